package grandstand

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What devices call themselves, as seen in the wild or in their vendors' pages.
func TestDevicesAreNamedAsPeopleKnowThem(t *testing.T) {
	const webkit = " AppleWebKit/537.36 (KHTML, like Gecko) "
	for _, c := range []struct{ agent, want string }{
		// televisions and boxes
		{"Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.5)" + webkit + "85.0.4183.93/6.5 TV Safari/537.36", "Samsung TV"},
		{"Mozilla/5.0 (SMART-TV; Linux; Tizen 2.4.0) AppleWebkit/538.1 (KHTML, like Gecko) SamsungBrowser/1.1 TV Safari/538.1", "Samsung TV"},
		{"Mozilla/5.0 (SMART-TV; X11; Linux armv7l) AppleWebkit/537.42 (KHTML, like Gecko) Safari/537.42", "Smart TV"},
		{"Mozilla/5.0 (Web0S; Linux/SmartTV)" + webkit + "Chrome/79.0.3945.79 Safari/537.36 DMOST/2.0.0 (; LGE; webOSTV; WEBOS6.3.2 03.34.95; W6_lm21a;)", "LG TV"},
		{"Mozilla/5.0 (Linux; NetCast; U)" + webkit + "Chrome/33.0.1750.152 Safari/537.36 SmartTV/8.5", "Smart TV"},
		{"Mozilla/5.0 (Linux; Andr0id 9; BRAVIA 4K UR2 Build/PTT1.190515.001.S38)" + webkit + "Chrome/87.0.4280.101 Safari/537.36 OPR/46.0.2207.0 OMI/4.20.5.51.R2", "Sony TV"},
		{"Mozilla/5.0 (Linux; Android 10; BRAVIA 4K VH2 Build/QTG3.200305.006.S292; wv)" + webkit + "Version/4.0 Chrome/98.0 Mobile Safari/537.36", "Sony TV"},
		{"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7628; wv)" + webkit + "Version/4.0 Chrome/108.0.5359.160 Mobile Safari/537.36", "Fire TV"},
		{"Dalvik/2.1.0 (Linux; U; Android 9; AFTKA Build/PS7633)", "Fire TV"},
		{"Mozilla/5.0 (X11; Linux armv7l)" + webkit + "Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000 DeviceType/Chromecast", "Chromecast"},
		{"Mozilla/5.0 (Fuchsia)" + webkit + "Chrome/114.0.0.0 Safari/537.36 CrKey/1.56.500000", "Chromecast"},
		{"Mozilla/5.0 (X11; Linux aarch64)" + webkit + "Chrome/66.0.3359.181 Safari/537.36 CrKey/1.0.999999 VIZIO SmartCast(Conjure/MTKC-5.1.516.1 FW/3.4.6.4-2 Model/V505-G9)", "Vizio TV"},
		{"Roku/DVP-12.0 (12.0.0.4182-88)", "Roku"},
		{"Mozilla/5.0 (Roku) AppleWebKit/537.36 Safari/537.36", "Roku"},
		{"AppleCoreMedia/1.0.0.20K71 (Apple TV; U; CPU OS 16_1 like Mac OS X; en_us)", "Apple TV"},
		{"AppleTV11,1/16.1", "Apple TV"},
		{"Dalvik/2.1.0 (Linux; U; Android 11; SHIELD Android TV Build/RQ1A.210105.003)", "Android TV"},
		{"HbbTV/1.5.1 (+DRM; Panasonic; VIERA 2017; 3.101; 0071-0802 2000-0000;)", "Smart TV"},
		{"Mozilla/5.0 (X11; Linux armv7l)" + webkit + "Chrome/88.0.4324.152 Safari/537.36 OPR/46.0.2207.0 LOEWE-SL7/HIS/VIDAA/6.0 (Hisense;SmartTV;43A6G)", "Smart TV"},
		// consoles
		{"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15", "PlayStation"},
		{"Mozilla/5.0 (PlayStation 4 11.00) AppleWebKit/605.1.15 (KHTML, like Gecko)", "PlayStation"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X)" + webkit + "Chrome/125.0.0.0 Safari/537.36 Edg/125.0.2535.51", "Xbox"},
		{"Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/609.4 (KHTML, like Gecko) NF/6.0.2.21.3 NintendoBrowser/5.1.0.22474", "Nintendo"},
		// phones and tablets
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iPhone"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1", "Chrome on iPhone"},
		{"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPad"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 EdgiOS/125.0.2535.96 Mobile/15E148 Safari/605.1.15", "Edge on iPhone"},
		{"Mozilla/5.0 (Linux; Android 10; K)" + webkit + "Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"},
		{"Mozilla/5.0 (Linux; Android 10; K)" + webkit + "Chrome/125.0.0.0 Mobile Safari/537.36 EdgA/125.0.2535.72", "Edge on Android"},
		{"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S921B)" + webkit + "SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"},
		{"Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox on Android"},
		{"Mozilla/5.0 (Linux; Android 10; K)" + webkit + "Chrome/124.0.0.0 Mobile Safari/537.36 OPR/82.0.0.0", "Opera on Android"},
		{"Mozilla/5.0 (Linux; Android 9; KFMAWI)" + webkit + "Silk/108.4.6 like Chrome/108.0.5359.160 Safari/537.36", "Silk on Android"},
		{"Mozilla/5.0 (Linux; Android 12; MINECRAFT Build/SP1A)" + webkit + "Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"},
		{"TheApp/7.1 (Linux;Android 13) ExoPlayerLib/2.19.1", "Android"},
		{"AppleCoreMedia/1.0.0.21F79 (iPhone; U; CPU OS 17_5 like Mac OS X; en_us)", "iPhone"},
		// computers
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/126.0.0.0 Safari/537.36", "Chrome on Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/125.0.0.0 Safari/537.36 Edg/125.0.2535.85", "Edge on Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763", "Edge on Windows"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", "Safari on Mac"},
		{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)" + webkit + "Chrome/126.0.0.0 Safari/537.36", "Chrome on ChromeOS"},
		{"Mozilla/5.0 (X11; Linux x86_64)" + webkit + "HeadlessChrome/126.0.0.0 Safari/537.36", "Chrome on Linux"},
		{"Mozilla/5.0 (X11; Linux x86_64)" + webkit + "Chrome/126.0.0.0 Safari/537.36 OPR/112.0.0.0", "Opera on Linux"},
		// what says nothing
		{"curl/8.8.0", ""},
		{"Go-http-client/2.0", ""},
		{"TheApp/7.1 CFNetwork/1496.0.7 Darwin/23.5.0", ""},
		{"", ""},
	} {
		if got := DeviceName(c.agent); got != c.want {
			t.Errorf("%s\nis called %q, want %q", c.agent, got, c.want)
		}
		if got := DeviceName(c.agent); got != CleanDeviceName(got) {
			t.Errorf("%q is no clean name", got)
		}
	}
}

func TestCleanDeviceName(t *testing.T) {
	long := strings.Repeat("ö", 40) // 80 bytes
	for _, c := range []struct{ name, want string }{
		{"Living room", "Living room"},
		{"  Living \t\r\n room  ", "Living room"},
		{"Anna’s iPad 📺", "Anna’s iPad 📺"},
		{"غرفة الجلوس", "غرفة الجلوس"},
		{"line\u2028separator", "line separator"},
		{"turned \u202eround\u202c", "turned round"},
		{"\u2066isolated\u2069", "isolated"},
		{"zero\u200bwidth\ufeff", "zerowidth"},
		{"bell\a and \x1b[31mred", "bell and [31mred"},
		{"broken \xff\xfe bytes \xc3", "broken bytes"},
		{"private \ue000 use", "private use"},
		{"\x00\x01\u200f", ""},
		{"   ", ""},
		{"", ""},
		{long, strings.Repeat("ö", 32)},
		{"x" + long, "x" + strings.Repeat("ö", 31)},
		{strings.Repeat("a", 63) + " b", strings.Repeat("a", 63)},
		{strings.Repeat(" ", 10_000) + "far away", ""}, // only the beginning is looked at
	} {
		if got := CleanDeviceName(c.name); got != c.want {
			t.Errorf("%.80q becomes %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzCleanDeviceName(f *testing.F) {
	for _, s := range []string{"Living room", " a  b ", "\u202ea\u2069", "\xff\xc3", strings.Repeat("ö ", 50), "e\u0301", "👩\u200d🚀", "\U000e0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := CleanDeviceName(name)
		if len(got) > MaxDeviceName || !utf8.ValidString(got) || got != strings.TrimSpace(got) {
			t.Errorf("%q becomes %q of %d bytes", name, got, len(got))
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Bidi_Control) }); i >= 0 {
			t.Errorf("%q becomes %q, with a control character at %d", name, got, i)
		}
		if again := CleanDeviceName(got); again != got {
			t.Errorf("%q becomes %q, and that %q", name, got, again)
		}
	})
}
