package web

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/gorilla/mux"
)

// dashboard is what make web builds of web/dashboard/src.
//
//go:embed dashboard/dist
var dashboard embed.FS

// addDashboard serves the operators' page and its parts. The page itself is for
// everybody: what it shows, it asks of the gateway with the operator's token.
func addDashboard(r *mux.Router) error {
	const dir = "dashboard/dist"
	entries, err := fs.ReadDir(dashboard, dir)
	if err != nil {
		return fmt.Errorf("list the dashboard: %w", err)
	}
	for _, e := range entries {
		body, err := dashboard.ReadFile(dir + "/" + e.Name())
		if err != nil {
			return fmt.Errorf("read the dashboard: %w", err)
		}
		address := "/dashboard/" + e.Name()
		if e.Name() == "index.html" {
			address = "/dashboard"
		}
		r.Handle(address, newFile(e.Name(), body)).Methods(http.MethodGet, http.MethodHead)
	}
	return nil
}
