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
// in dir. Chromium without a shell around it is taken if there is one: it has the
// same pages with half the processor time, since it draws no window of its own.
// A machine without either fails to start it (make tools installs it).
func Options(dir string) []chromedp.ExecAllocatorOption {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true))
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil {
			return append(options, chromedp.ExecPath(path))
		}
	}
	return options
}
