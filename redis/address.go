package redis

import (
	"crypto/tls"
	"net"
	"net/url"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

const defaultPort = "6379"

// parseAddress reads Config.Address. It is no URL: it may name several hosts
// with a port each. Errors have CodeInvalid and hold no password.
func parseAddress(addr string) (rueidis.ClientOption, error) {
	var opt rueidis.ClientOption
	invalid := func(why string) (rueidis.ClientOption, error) {
		return rueidis.ClientOption{}, grandstand.Errorf(grandstand.CodeInvalid,
			"the address of Redis is redis://[user:password@]host:port[,host:port...]: %s", why)
	}
	scheme, rest, ok := strings.Cut(addr, "://")
	switch {
	case !ok:
		return invalid("it begins with redis:// or rediss://")
	case scheme == "rediss":
		opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	case scheme != "redis":
		return invalid("it begins with redis:// or rediss://")
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, password, _ := strings.Cut(rest[:i], ":")
		var err1, err2 error
		opt.Username, err1 = url.PathUnescape(user)
		opt.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return invalid("user or password is not percent-encoded")
		}
		rest = rest[i+1:]
	}
	rest, db, _ := strings.Cut(rest, "/")
	if db != "" && db != "0" {
		return invalid("only database 0 is used, as in a cluster")
	}
	for host := range strings.SplitSeq(rest, ",") {
		if host == "" {
			return invalid("a host is empty")
		}
		h, port, err := net.SplitHostPort(host)
		if err != nil {
			h, port = strings.Trim(host, "[]"), defaultPort
		}
		if h == "" || strings.ContainsAny(h, " ?#") {
			return invalid("a host is not host:port")
		}
		opt.InitAddress = append(opt.InitAddress, net.JoinHostPort(h, port))
	}
	return opt, nil
}
