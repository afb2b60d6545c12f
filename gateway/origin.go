package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"grandstand"
)

// Origins is the allow-list of browser origins (RFC 6454). It is immutable. The
// zero value allows the pages of the gateway's own host, and what is not a
// browser.
type Origins struct {
	any   bool
	exact map[string]bool // scheme://host[:port], lower case, default port left out; "null"
	under []originUnder
}

// originUnder allows the sub-domains of one domain.
type originUnder struct {
	scheme, suffix, port string // "https", ".example.com", "" or "8443"
}

// ParseOrigins reads entries of four kinds: "https://tv.example.com" with an
// optional port, exactly; "https://*.example.com", one or more labels below the
// domain; "null", which sandboxed frames and files send; "*", every origin but
// null.
func ParseOrigins(entries []string) (Origins, error) {
	o := Origins{exact: map[string]bool{}}
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		scheme, rest, _ := strings.Cut(entry, "://")
		domain, wild := strings.CutPrefix(rest, "*.")
		switch {
		case entry == "*":
			o.any = true
		case entry == "null":
			o.exact[entry] = true
		case wild:
			scheme, host, port, ok := splitOrigin(scheme + "://" + domain)
			if !ok || !strings.Contains(host, ".") || strings.ContainsAny(host, "[]") {
				return Origins{}, fmt.Errorf("origin %q: after *. comes a domain with a dot in it", entry)
			}
			o.under = append(o.under, originUnder{scheme: scheme, suffix: "." + host, port: port})
		default:
			scheme, host, port, ok := splitOrigin(entry)
			if !ok {
				return Origins{}, fmt.Errorf("origin %q: write scheme://host[:port] with http or https, https://*.domain, null or *", entry)
			}
			o.exact[joinOrigin(scheme, host, port)] = true
		}
	}
	return o, nil
}

// splitOrigin takes an origin apart, in lower case and without the default
// port. It refuses everything that a browser would not send as one.
func splitOrigin(text string) (scheme, host, port string, ok bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "", "", "", false // browsers send punycode, and some letters become others in lower case
	}
	u, err := url.Parse(strings.ToLower(text))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#") {
		return "", "", "", false
	}
	host, port = u.Hostname(), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !validHost(host) || strings.HasSuffix(u.Host, ":") {
		return "", "", "", false
	}
	return u.Scheme, host, withoutDefault(u.Scheme, port), true
}

func withoutDefault(scheme, port string) string {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ""
	}
	return port
}

func joinOrigin(scheme, host, port string) string {
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port
}

// validHost accepts names of non-empty labels and addresses in brackets, in
// lower case.
func validHost(host string) bool {
	if strings.HasPrefix(host, "[") {
		return strings.HasSuffix(host, "]") && len(host) > 4
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// allows reports whether a page of the origin may talk to a gateway that is
// called host in the request.
func (o Origins) allows(origin, host string) bool {
	if origin == "null" {
		return o.exact["null"]
	}
	scheme, name, port, ok := splitOrigin(origin)
	if !ok {
		return false
	}
	if o.any || o.exact[joinOrigin(scheme, name, port)] || sameHost(scheme, name, port, host) {
		return true
	}
	for _, u := range o.under {
		if scheme == u.scheme && port == u.port && strings.HasSuffix(name, u.suffix) {
			return true
		}
	}
	return false
}

// sameHost compares without the scheme: behind a proxy that ends TLS the
// gateway does not know its own.
func sameHost(scheme, name, port, host string) bool {
	_, hname, hport, ok := splitOrigin(scheme + "://" + host)
	return ok && name == hname && port == hport
}

// checkOrigin returns an error with CodeForbidden for a request of a page that
// is not allowed. A request without Origin is not of a browser's page.
func checkOrigin(r *http.Request, allowed Origins) error {
	values := r.Header.Values("Origin")
	if len(values) == 0 || len(values) == 1 && allowed.allows(values[0], r.Host) {
		return nil
	}
	return grandstand.Errorf(grandstand.CodeForbidden, "pages of this origin may not use this service; its operator lists it in --origins")
}

// CORS lets the pages of allowed origins read the answers of next, answers
// their preflights, and refuses other pages. Nothing here lives on cookies, so
// credentials are never allowed.
func (o Origins) CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		if len(r.Header.Values("Origin")) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		if err := checkOrigin(r, o); err != nil {
			// The page cannot read it; whoever looks at the network log can.
			writeJSON(w, statusOf(grandstand.CodeOf(err)), map[string]string{
				"code": string(grandstand.CodeOf(err)), "message": grandstand.MessageOf(err),
			})
			return
		}
		h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		h.Set("Access-Control-Expose-Headers", "ETag, Retry-After")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, Last-Event-ID")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
