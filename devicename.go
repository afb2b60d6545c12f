package grandstand

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanDeviceName returns a device's name as it can be kept and shown: valid
// UTF-8 without control characters or line separators, in at most
// MaxDeviceName bytes, and without space around it.
func CleanDeviceName(name string) string {
	if len(name) > 4*MaxDeviceName {
		name = name[:4*MaxDeviceName]
	}
	var b strings.Builder
	space := false
	for _, r := range strings.ToValidUTF8(name, "") {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if !unicode.IsPrint(r) {
			continue // controls, and characters that turn or hide the text around them
		}
		n := utf8.RuneLen(r)
		if space {
			n++
		}
		if b.Len()+n > MaxDeviceName {
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// The signs in a User-Agent by which a person knows a device, the telling ones
// first: every browser also names those that it wants to be taken for, and
// televisions say that they are Android, Linux or a Chromecast.
var (
	agentBrowsers = [][2]string{
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"Edge/", "Edge"}, {"OPR/", "Opera"}, {"OPT/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"}, {"Silk/", "Silk"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	agentScreens = [][2]string{ // a browser's name adds nothing
		{"AppleTV", "Apple TV"}, {"Apple TV", "Apple TV"}, {"tvOS", "Apple TV"}, {"Tizen", "Samsung TV"}, {"Web0S", "LG TV"}, {"webOS", "LG TV"},
		{"; AFT", "Fire TV"}, {"VIZIO", "Vizio TV"}, {"CrKey", "Chromecast"}, {"Roku", "Roku"}, {"BRAVIA", "Sony TV"}, {"Android TV", "Android TV"},
		{"SMART-TV", "Smart TV"}, {"SmartTV", "Smart TV"}, {"HbbTV", "Smart TV"},
		{"PlayStation", "PlayStation"}, {"Xbox", "Xbox"}, {"Nintendo", "Nintendo"},
	}
	agentPlatforms = [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"},
		{"Macintosh", "Mac"}, {"Linux", "Linux"},
	}
)

// DeviceName returns a name for a device that has told none, from its
// User-Agent (RFC 9110, 10.1.5): "Firefox on Windows", "LG TV", "" if that says
// nothing.
func DeviceName(userAgent string) string {
	find := func(signs [][2]string) string {
		for _, s := range signs {
			if strings.Contains(userAgent, s[0]) {
				return s[1]
			}
		}
		return ""
	}
	if screen := find(agentScreens); screen != "" {
		return screen
	}
	browser, platform := find(agentBrowsers), find(agentPlatforms)
	if browser == "" || platform == "" {
		return browser + platform
	}
	return browser + " on " + platform
}
