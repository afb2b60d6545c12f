package gateway

import (
	"context"
	"time"

	"grandstand"
)

// authTimeout bounds how long a new token is checked, key fetches included.
const authTimeout = 5 * time.Second

// decode reads one message of the viewer. m aliases text.
func (c *conn) decode(text []byte, m *grandstand.Message) error {
	err := grandstand.DecodeMessage(text, m)
	if err == nil {
		c.g.metrics.typedBy[m.Type].Inc()
	}
	return err
}

// dispatch carries out a message that was decoded, and says to the viewer if that
// was not possible, or err. m is not kept.
func (c *conn) dispatch(m *grandstand.Message, err error, now int64) {
	if err == nil {
		err = c.carryOut(m, now)
	}
	if err == nil {
		return
	}
	c.g.metrics.unusable.WithLabelValues(string(grandstand.CodeOf(err))).Inc()
	if grandstand.CodeOf(err) == grandstand.CodeInternal {
		c.g.trouble("carry out message", err)
	}
	c.w.send(appendText(nil, grandstand.AppendError(nil, grandstand.CodeOf(err), grandstand.MessageOf(err), m.Seq, m.HasSeq)))
}

func (c *conn) carryOut(m *grandstand.Message, now int64) error {
	switch m.Type {
	case grandstand.MsgBeat, grandstand.MsgEvent:
		return c.carry(m, now)
	case grandstand.MsgJoin:
		return c.join(m)
	case grandstand.MsgAuth:
		return c.renew(m)
	default:
		return c.takeover(m)
	}
}

// join changes dimensions that the event lets viewers choose.
func (c *conn) join(m *grandstand.Message) error {
	e := c.room.event()
	declared := c.session.declaredNow()
	choose := make(map[string]bool, len(e.Dims))
	for _, d := range e.Dims {
		choose[d.Name] = d.Choose
	}
	for _, p := range m.Seg {
		dim := string(p.Dim)
		if _, known := choose[dim]; !known {
			return grandstand.Errorf(grandstand.CodeInvalid, "the event has no dimension %.64q", dim)
		}
		if !choose[dim] {
			return grandstand.Errorf(grandstand.CodeForbidden, "viewers may not choose their %s", dim)
		}
		declared[dim] = string(p.Value)
	}
	values, err := grandstand.Fold(context.Background(), e, declared, c.room)
	if err != nil {
		return err
	}
	c.session.refold(c.room.intern(values), nil)
	c.w.send(appendText(nil, grandstand.AppendOK(nil, "join")))
	c.w.again()
	c.showNewest(c.room.newest())
	return nil
}

// renew takes a new token. A bad one ends the connection: its holder must not
// go on as if it had been taken.
func (c *conn) renew(m *grandstand.Message) error {
	old := c.identity
	if old == nil {
		old = &Identity{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), authTimeout)
	defer cancel()
	id, err := c.g.cfg.Auth.Renew(ctx, string(m.Token), c.room.name, old)
	switch grandstand.CodeOf(err) {
	case "":
	case grandstand.CodeForbidden:
		c.g.metrics.unusable.WithLabelValues(string(grandstand.CodeForbidden)).Inc()
		c.w.close(closeNotAllowed)
		return nil
	case grandstand.CodeUnauthorized, grandstand.CodeInvalid:
		c.g.metrics.unusable.WithLabelValues(string(grandstand.CodeUnauthorized)).Inc()
		c.w.close(closeBadToken)
		return nil
	default:
		return err // the keys cannot be fetched just now: the old token holds on
	}
	if c.identity != nil {
		kept := *id
		kept.Segments = nil
		c.identity = &kept
		c.session.renewTerms(id.Limit, id.Plan)
	}
	c.expiresAt(id.Expires)
	c.grant(id.Grant)
	c.w.send(appendText(nil, grandstand.AppendOK(nil, "auth")))
	return nil
}
