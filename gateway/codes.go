package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"

	"grandstand"
)

// closeCode is the status of a WebSocket close frame. 4000 to 4499 say connect
// again, 4500 to 4999 do not.
type closeCode uint16

const (
	closeNormal     closeCode = 1000
	closeAway       closeCode = 1001
	closeProtocol   closeCode = 1002
	closeType       closeCode = 1003
	closeEcho       closeCode = 1005 // no status: an echo of a close frame without one
	closeUTF8       closeCode = 1007
	closePolicy     closeCode = 1008
	closeTooLarge   closeCode = 1009
	closeInternal   closeCode = 1011
	closeRestart    closeCode = 1012
	closeSilent     closeCode = 4000
	closeExpired    closeCode = 4002
	closeSlow       closeCode = 4008
	closeBadToken   closeCode = 4501
	closeNotAllowed closeCode = 4503
	closeEnded      closeCode = 4504
)

// reason is what the close frame says, and the label of the metric.
func (c closeCode) reason() string {
	switch c {
	case closeNormal:
		return "normal"
	case closeAway:
		return "going_away"
	case closeProtocol:
		return "protocol"
	case closeType:
		return "binary"
	case closeUTF8:
		return "not_utf8"
	case closePolicy:
		return "rate"
	case closeTooLarge:
		return "too_large"
	case closeInternal:
		return "internal"
	case closeRestart:
		return "drain"
	case closeSilent:
		return "silent"
	case closeExpired:
		return "token_expired"
	case closeSlow:
		return "slow_reader"
	case closeBadToken:
		return "bad_token"
	case closeNotAllowed:
		return "not_allowed"
	case closeEnded:
		return "event_ended"
	}
	return "other"
}

// statusOf is the one table from an error's code to its HTTP status.
func statusOf(code grandstand.Code) int {
	switch code {
	case grandstand.CodeInvalid:
		return http.StatusBadRequest
	case grandstand.CodeUnauthorized:
		return http.StatusUnauthorized
	case grandstand.CodeForbidden:
		return http.StatusForbidden
	case grandstand.CodeNotFound:
		return http.StatusNotFound
	case grandstand.CodeConflict:
		return http.StatusConflict
	case grandstand.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case grandstand.CodeRateLimited:
		return http.StatusTooManyRequests
	case grandstand.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers a request with an error, counts it, and logs what is not the
// client's doing.
func (g *Gateway) fail(w http.ResponseWriter, route string, err error) {
	g.failWith(w, route, err, nil)
}

// failWith is fail for a request that was carried out in part: its sessions are
// named unless that is nil.
func (g *Gateway) failWith(w http.ResponseWriter, route string, err error, sessions *resumable) {
	code := grandstand.CodeOf(err)
	g.metrics.refused.WithLabelValues(route, string(code)).Inc()
	if code == grandstand.CodeInternal {
		g.log.Error("answer request", "route", route, "error", err)
	} else if code == grandstand.CodeUnavailable {
		g.log.Debug("answer request", "route", route, "error", err)
	}
	if code == grandstand.CodeUnavailable || code == grandstand.CodeRateLimited {
		w.Header().Set("Retry-After", strconv.Itoa(g.load.retryAfter(err)))
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, statusOf(code), struct {
		Code    grandstand.Code `json:"code"`
		Message string          `json:"message"`
		*resumable
	}{code, grandstand.MessageOf(err), sessions})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
