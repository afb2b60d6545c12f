package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"grandstand"
)

// badge answers GET /badge/{event}.svg: the count of a segment as a picture, for
// pages without scripts. ?segment= (default world), ?label=, ?value= (sessions,
// fans, peak or reach), ?key= to read with.
type badge struct{ cfg Config }

const (
	badgeLabelLen = 32              // bytes
	badgeCache    = "max-age=5"     // a picture in a page is not fetched again before the page is
	badgeChar     = 7               // px, a width that fits Verdana's 11 px figures
	badgePad      = 10              // px on both sides of a text
	badgeOld      = 10_000          // ms: from then on its age is shown, as elements have it
	badgeExact    = 2000            // fans up to which the estimate is as good as exact, as elements have it
	badgeNone     = "no such event" // and the like: the picture says it, since nobody sees a status
)

func (b badge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, q := mux.Vars(r)["event"], r.URL.Query()
	status, text := http.StatusNotFound, badgeNone
	if grandstand.ValidValue(event) {
		status, text = b.count(r, event, q)
	}
	label := q.Get("label")
	if label == "" || len(label) > badgeLabelLen || !utf8.ValidString(label) {
		label = "watching"
	}
	var body bytes.Buffer
	if err := badgePicture.Execute(&body, newPicture(label, text)); err != nil {
		status = http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", kinds[".svg"])
	h.Set("Cache-Control", badgeCache)
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body.Bytes())
	}
}

// count returns what the picture says.
func (b badge) count(r *http.Request, event string, q url.Values) (status int, text string) {
	if b.cfg.Counts == nil {
		return http.StatusServiceUnavailable, "no gateway"
	}
	segment := q.Get("segment")
	if segment == "" {
		segment = grandstand.World
	}
	ask := url.Values{"segment": {segment}}
	if key := q.Get("key"); key != "" {
		ask.Set("key", key)
	}
	status, body := b.cfg.Counts(r.Context(), event, ask)
	switch {
	case status == http.StatusNotFound:
		return status, badgeNone
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return status, "not public"
	case status == http.StatusBadRequest:
		return status, "no such segment"
	case status != http.StatusOK:
		return http.StatusServiceUnavailable, "not known now"
	}
	return http.StatusOK, countIn(body, q.Get("value"))
}

// countIn returns the one count of an answer to GET counts. What lacks a part is
// about so much; what is old says how old.
func countIn(body []byte, value string) string {
	var board struct {
		Quality   string
		AgeMS     int64 `json:"age_ms"`
		Dims      map[string]json.RawMessage
		MinCohort uint64 `json:"min_cohort"`
	}
	if json.Unmarshal(body, &board) != nil {
		return "not known now"
	}
	if value != "fans" && value != "peak" && value != "reach" {
		value = "sessions"
	}
	old := ""
	if board.Quality == "stale" || board.Quality != "final" && board.AgeMS > badgeOld {
		old = ", " + age(board.AgeMS) + " ago"
	}
	for dim, raw := range board.Dims {
		of := map[string]json.RawMessage{"": raw}
		if dim != grandstand.World {
			of = map[string]json.RawMessage{}
			_ = json.Unmarshal(raw, &of)
		}
		for _, c := range of {
			var count map[string]uint64
			if json.Unmarshal(c, &count) != nil || count == nil {
				return "<" + thousands(board.MinCohort) + old // too small to be shown
			}
			about, n := "", count[value]
			if board.Quality == "partial" || n > badgeExact && (value == "fans" || value == "reach") {
				about = "≈ "
			}
			return about + thousands(n) + old
		}
	}
	return "0" + old
}

// age returns a time in words that a badge has room for.
func age(ms int64) string {
	switch s := max((ms+500)/1000, 1); {
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 7200:
		return fmt.Sprintf("%d min", s/60)
	default:
		return fmt.Sprintf("%d h", s/3600)
	}
}

// thousands returns n with thin spaces (SI, 5.4.4).
func thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

type picture struct {
	Label, Text           string
	Left, Right, Width    int // px
	LabelMiddle, TextFrom int // px
}

func newPicture(label, text string) picture {
	p := picture{Label: label, Text: text}
	p.Left = utf8.RuneCountInString(label)*badgeChar + 2*badgePad
	p.Right = utf8.RuneCountInString(text)*badgeChar + 2*badgePad
	p.Width, p.LabelMiddle, p.TextFrom = p.Left+p.Right, p.Left/2, p.Left+p.Right/2
	return p
}

// The picture is XML; html/template escapes what is in its texts and attributes.
var badgePicture = template.Must(template.New("badge").Parse(fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="%[1]d" role="img" aria-label="{{.Label}}: {{.Text}}">
<title>{{.Label}}: {{.Text}}</title>
<rect width="{{.Width}}" height="%[1]d" rx="4" fill="#334155"/>
<path d="M{{.Left}} 0h{{.Right}}v%[1]dh-{{.Right}}z" fill="#1d4ed8"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{{.LabelMiddle}}" y="15">{{.Label}}</text>
<text x="{{.TextFrom}}" y="15" font-weight="bold">{{.Text}}</text>
</g>
</svg>
`, 22)))
