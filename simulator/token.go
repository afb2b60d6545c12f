package simulator

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecret = 32                      // bytes: RFC 7518, section 3.2
	tokenLife = maxDuration + time.Hour // nobody needs a second one
)

// Token returns a token for an event, signed with HS256, that says nothing of who
// brings it: for reading counts. It is "" without a secret.
func Token(secret []byte, event string) string {
	return sign(secret, jwt.MapClaims{"evt": event})
}

// token returns what the player shows at the door; "" where no tokens are asked for.
func (p *player) token() string {
	claims := jwt.MapClaims{"evt": p.crowd.cfg.Event, "sub": p.who.id, "dev": p.device, "seg": p.who.declared()}
	if p.who.pays {
		claims["acc"], claims["lim"] = p.who.id, streamsOfAnAccount
	}
	return sign(p.crowd.cfg.Secret, claims)
}

func sign(secret []byte, claims jwt.MapClaims) string {
	if len(secret) == 0 {
		return ""
	}
	claims["exp"] = time.Now().Add(tokenLife).Unix()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		panic(err) // the claims are text, numbers and a map of text
	}
	return token
}
