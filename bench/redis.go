package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// redisServer is the one that a measurement uses, its own or a given one.
type redisServer struct {
	url, addr string
	child     *child // nil: a given one
}

// findRedis returns the program of a redis-server, or "" and the address of the
// one that is given.
func findRedis(given string) (program, addr string, err error) {
	if given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Scheme != "redis" || u.Host == "" || u.User != nil {
			return "", "", fmt.Errorf("redis %q is not redis://host:port", given)
		}
		if err := dialable(u.Host); err != nil {
			return "", "", fmt.Errorf("reach redis: %w", err)
		}
		return "", u.Host, nil
	}
	if program, err = exec.LookPath("redis-server"); err != nil {
		return "", "", errors.New("there is no redis-server on the PATH: install one (apt-get install redis-server), or give one with --redis")
	}
	return program, "", nil
}

// startRedis starts a redis-server that keeps nothing on disk, unless one is
// given. A given one must serve nobody else: its counters are read.
func startRedis(ctx context.Context, given, dir string) (*redisServer, error) {
	program, addr, err := findRedis(given)
	if err != nil || program == "" {
		return &redisServer{url: given, addr: addr}, err
	}
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addrs[0])
	c, err := spawn("redis-server", program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err != nil {
		return nil, err
	}
	go io.Copy(io.Discard, c.out) // its log; ends with it
	s := &redisServer{url: "redis://" + addrs[0], addr: addrs[0], child: c}
	if err := c.await(ctx, 10*time.Second, func() error { return dialable(s.addr) }); err != nil {
		c.end()
		return nil, err
	}
	return s, nil
}

func (s *redisServer) end() {
	if s.child != nil {
		s.child.end()
	}
}

// info asks for INFO. No client is needed for that: one command, one answer.
func (s *redisServer) info() (info, error) {
	c, err := net.DialTimeout("tcp", s.addr, 2*time.Second)
	if err != nil {
		return nil, fmt.Errorf("ask redis: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "INFO all\r\n"); err != nil {
		return nil, fmt.Errorf("ask redis: %w", err)
	}
	text, err := readBulk(bufio.NewReader(c))
	return parseInfo(text), err
}

// maxBulk bounds an answer of Redis.
const maxBulk = 1 << 20

// readBulk reads a bulk string of RESP: "$length\r\n" and the bytes.
func readBulk(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read answer of redis: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, "$"), "\r\n"))
	if err != nil || line[0] != '$' || n < 0 || n > maxBulk {
		return "", fmt.Errorf("read answer of redis: %q", line)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("read answer of redis: %w", err)
	}
	return string(b), nil
}
