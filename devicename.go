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
// first: every browser also names those that it wants to be taken for.
var (
	agentBrowsers = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	agentPlatforms = [][2]string{
		{"AppleTV", "Apple TV"}, {"Apple TV", "Apple TV"}, {"tvOS", "Apple TV"}, {"Tizen", "Samsung TV"}, {"SMART-TV", "smart TV"},
		{"Web0S", "LG TV"}, {"webOS", "LG TV"}, {"AFT", "Fire TV"}, {"CrKey", "Chromecast"}, {"Roku", "Roku"}, {"BRAVIA", "Sony TV"},
		{"PlayStation", "PlayStation"}, {"Xbox", "Xbox"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android TV", "Android TV"},
		{"Android", "Android"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"}, {"Macintosh", "Mac"}, {"Linux", "Linux"},
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
	browser, platform := find(agentBrowsers), find(agentPlatforms)
	switch {
	case platform == "":
		return browser
	case browser == "" || strings.HasSuffix(platform, "TV") || platform == "Roku" || platform == "Chromecast":
		return platform
	}
	return browser + " on " + platform
}
