package grandstand

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Conflict is a rival as the viewer of a blocked session is shown it.
type Conflict struct {
	Device   string `json:"device"` // Key.Text: no id leaves the edge
	Name     string `json:"name"`
	Event    string `json:"event"`
	Since    int64  `json:"since"`     // Unix ms
	LastSeen int64  `json:"last_seen"` // Unix ms

	// TerminationCode ends the rival, in a takeover or in "terminate".
	TerminationCode string `json:"termination_code"`
}

// Refusal is why a session may not play: the message "blocked" of the viewer's
// WebSocket but for "t", and the body of 409 and 410.
type Refusal struct {
	Code      BlockCode  `json:"code"`
	Message   string     `json:"message"` // one English sentence for the viewer
	Rule      string     `json:"rule,omitempty"`
	Limit     int        `json:"limit"`
	Current   int        `json:"current"`
	By        string     `json:"by,omitempty"` // the name of the device that took the place
	Conflicts []Conflict `json:"conflicts"`
	RetryMS   int64      `json:"retry_ms,omitempty"` // to ask again after; not with a code that is Final
}

// Refusal returns what the viewer is told. retryMS is ignored for a final code.
func (v *Verdict) Refusal(ak AccountsKey, account Key, retryMS int64) Refusal {
	r := Refusal{
		Code: v.Code, Rule: v.Rule, Limit: v.Limit, Current: v.Current, By: v.By,
		Conflicts: make([]Conflict, len(v.Rivals)), Message: v.sentence(), RetryMS: retryMS,
	}
	if v.Code.Final() {
		r.RetryMS = 0
	}
	for i := range v.Rivals {
		l := &v.Rivals[i]
		r.Conflicts[i] = Conflict{
			Device: l.Device.Text(), Name: l.Name, Event: l.Event, Since: l.Since, LastSeen: l.SeenAt,
			TerminationCode: ak.TerminationCode(account, l.LeaseRef),
		}
	}
	return r
}

// AppendBlocked appends the message that the session may not play.
func AppendBlocked(dst []byte, r *Refusal) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers only
	}
	dst = append(dst, `{"t":"blocked",`...)
	return append(dst, b[1:]...)
}

// AppendUnblocked appends the message that the session may play now.
func AppendUnblocked(dst []byte) []byte { return append(dst, `{"t":"unblocked"}`...) }

// sentence says to a person why the session may not play.
func (v *Verdict) sentence() string {
	switch v.Code {
	case BlockTakenOver:
		if v.By == "" {
			return "Playing stopped here: another device took over."
		}
		return fmt.Sprintf("Playing stopped here: %s took over.", v.By)
	case BlockSuperseded:
		return "Playing stopped here: the same device plays in a newer window."
	case BlockSignedOut:
		return "This device was signed out from the list of devices."
	case BlockTooManyDevices:
		return fmt.Sprintf("This account has more than %d devices playing or waiting. Try again in a minute.", MaxDevices)
	case BlockUnavailable:
		return "We cannot check right now how many devices are playing. Trying again."
	}
	where, playing := "", names(v.Rivals)
	if strings.HasPrefix(v.Rule, EventRule("")) {
		where = " of this event"
	}
	streams := "streams"
	if v.Limit == 1 {
		streams = "stream"
	}
	if playing == "" {
		return fmt.Sprintf("This account may play %d %s%s at a time.", v.Limit, streams, where)
	}
	return fmt.Sprintf("This account may play %d %s%s at a time. Playing now: %s.", v.Limit, streams, where, playing)
}

// shownNames is how many devices a sentence names.
const shownNames = 4

// names lists the rivals' devices: "A", "A and B", "A, B, C and 7 more".
func names(rivals []Lease) string {
	list := make([]string, 0, shownNames+1)
	for i := range rivals {
		if len(list) == shownNames-1 && len(rivals) > shownNames {
			list = append(list, fmt.Sprintf("%d more", len(rivals)-i))
			break
		}
		name := rivals[i].Name
		if name == "" {
			name = "a device without a name"
		}
		list = append(list, name)
	}
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return strings.Join(list, "")
}
