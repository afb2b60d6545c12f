package gateway

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

// claims is what a valid token says.
type claims struct {
	id    Identity
	scope map[string]bool
}

// check validates the claims of a token whose signature holds.
func (j *JWT) check(mc jwt.MapClaims) (*claims, error) {
	if err := j.checkTimes(mc); err != nil {
		return nil, err
	}
	if iss, _ := mc["iss"].(string); j.cfg.Issuer != "" && iss != j.cfg.Issuer {
		return nil, unauthorized("the token is not of the issuer that is asked for")
	}
	if len(j.cfg.Audience) > 0 {
		aud, ok := stringList(mc["aud"])
		if !ok || !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(j.cfg.Audience, a) }) {
			return nil, unauthorized("the token is for another audience")
		}
	}
	return readClaims(mc)
}

// checkTimes checks exp, nbf and iat: numbers of seconds since 1970.
func (j *JWT) checkTimes(mc jwt.MapClaims) error {
	now := float64(j.cfg.Now().UnixMilli()) / 1000
	exp, ok := mc["exp"].(float64)
	switch {
	case !ok:
		return unauthorized("the token has no exp, or one that is no number")
	case exp <= now:
		return unauthorized("the token has expired")
	case exp > now+j.cfg.MaxLife.Seconds():
		return unauthorized("the token's exp is too far ahead")
	}
	for _, name := range []string{"nbf", "iat"} {
		v, there := mc[name]
		at, ok := v.(float64)
		switch {
		case there && !ok:
			return unauthorized("the token's " + name + " is no number")
		case at > now+j.cfg.Leeway.Seconds():
			return unauthorized("the token is not valid yet")
		case name == "iat" && there && exp-at > j.cfg.MaxLife.Seconds():
			// Else a revocation could be forgotten before the token is.
			return unauthorized("the token is good for too long")
		}
	}
	return nil
}

func readClaims(mc jwt.MapClaims) (*claims, error) {
	c := &claims{scope: map[string]bool{}}
	c.id.Expires = int64(mc["exp"].(float64) * 1000) // bounded by MaxLife
	for name, at := range map[string]*string{"sub": &c.id.Viewer, "acc": &c.id.Account, "dev": &c.id.Device, "plan": &c.id.Plan} {
		v, there := mc[name]
		if s, ok := v.(string); ok && validID(s) {
			*at = s
		} else if there {
			return nil, unauthorized(fmt.Sprintf("the token's %s is not text of 1 to %d bytes", name, maxIDLen))
		}
	}
	if v, there := mc["lim"]; there {
		n, ok := v.(float64)
		if !ok || n != math.Trunc(n) || n < 1 || n > grandstand.MaxStreams {
			return nil, unauthorized(fmt.Sprintf("the token's lim is not a whole number from 1 to %d", grandstand.MaxStreams))
		}
		c.id.Limit = int(n)
	}
	if v, there := mc["evt"]; there {
		var ok bool
		if c.id.Events, ok = stringList(v); !ok {
			return nil, unauthorized("the token's evt is not an event or a list of events")
		}
	}
	if v, there := mc["scope"]; there {
		scopes, ok := stringList(v)
		if !ok {
			return nil, unauthorized("the token's scope is not text or a list of texts")
		}
		for _, s := range scopes {
			for word := range strings.FieldsSeq(s) {
				c.scope[word] = true
			}
		}
	}
	c.id.Service = c.scope["service"]
	var err error
	c.id.Segments, err = segmentClaim(mc)
	return c, err
}

// segmentClaim reads the object "seg". A name that is no dimension of the event
// is ignored later; an impossible value is the issuer's mistake.
func segmentClaim(mc jwt.MapClaims) (map[string]string, error) {
	segments := map[string]string{}
	v, there := mc["seg"]
	if !there {
		return segments, nil
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, unauthorized("the token's seg is not an object")
	}
	for name, v := range obj {
		s, ok := v.(string)
		if !ok || !grandstand.ValidValue(s) {
			return nil, unauthorized(fmt.Sprintf("the token's seg holds a value that is not 1 to %d characters of A-Z a-z 0-9 . _ -", grandstand.MaxValueLen))
		}
		segments[name] = s
	}
	return segments, nil
}

// stringList reads a string or a list of strings. The list is never nil.
func stringList(v any) (list []string, ok bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		list = make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}
