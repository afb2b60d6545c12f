// Package chromiumtest says how tests start Chromium.
//
// In: a directory for a profile.
//
// Out: options of a chromedp.ExecAllocator.
package chromiumtest

import (
	"os/exec"

	"github.com/chromedp/chromedp"
)

// Options are those of a headless Chromium that keeps to itself, with its profile
// in dir. Chromium without a window around its pages is taken if there is one: it
// has the same pages with half the processor time. A machine without either fails
// to start it (make tools installs both).
func Options(dir string) []chromedp.ExecAllocatorOption {
	return append(options(dir), find("chromium-headless-shell", "chromium")...)
}

// Windowed are Options of a Chromium with windows, in which a tab hides another.
func Windowed(dir string) []chromedp.ExecAllocatorOption {
	return append(options(dir), find("chromium")...)
}

func options(dir string) []chromedp.ExecAllocatorOption {
	return append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true))
}

func find(names ...string) []chromedp.ExecAllocatorOption {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return []chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}
		}
	}
	return nil // chromedp looks for other names
}
