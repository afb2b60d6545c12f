package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

const (
	maxHandshakes = 512 // connections under way at the same time
	maxBeatsATurn = 512 // beats between two looks at the sockets
	giveUpAfter   = 15 * time.Second
	bindNoPort    = 24 // IP_BIND_ADDRESS_NO_PORT of linux/in.h
	rdHangup      = 0x2000
)

// loader is a load client: one loop over epoll, no goroutine per connection.
type loader struct {
	cfg    LoadConfig
	server *syscall.SockaddrInet4
	tokens *tokens
	epoll  int
	buf    []byte
	out    []byte

	conns   []*loadConn // in the order they were opened
	byFD    []*loadConn
	pending map[*loadConn]bool // handshakes under way
	looked  time.Time          // for those that take too long
	retries []retry            // of those that were told to come again, in the order of being told
	target  int                // connections to be open
	begin   time.Time
	nextOpn time.Time
	now     time.Time
	nowMS   int64

	grow     time.Duration // a further connection each; 0: none
	nextGrow time.Time
	beat     time.Duration // between two beats of a connection; 0: none
	turn     int           // whose beat is next
	nextBeat time.Time

	lastJoin []int64 // by event: ms of the last handshake
	stats    LoadStats
}

type connState uint8

const (
	connecting connState = iota
	asking               // the handshake was sent
	open
	gone
)

// retry is a connection that is to be tried again.
type retry struct {
	c  *loadConn
	at time.Time
}

type loadConn struct {
	fd, i, seq int
	state      connState
	silent     bool
	shown      bool
	seen       bool
	since      time.Time
	part       []byte // of a frame that is not complete
	at, got    int64  // of the last counts: ms of the state, and of its arrival
}

// Load is a load client. It reads a LoadConfig and then orders, one line of JSON
// each, until "stop" or the end of in, and answers marks with LoadStats.
func Load(in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.New("load: there is no configuration")
	}
	l := &loader{buf: make([]byte, 1<<16), pending: map[*loadConn]bool{}}
	if err := json.Unmarshal(lines.Bytes(), &l.cfg); err != nil {
		return fmt.Errorf("load: read configuration: %w", err)
	}
	if err := l.start(); err != nil {
		return err
	}
	orders, broken := make(chan loadOrder), make(chan error, 1)
	go func() { // ends with the process
		defer close(orders)
		for lines.Scan() {
			var o loadOrder
			if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
				broken <- fmt.Errorf("load: read order: %w", err)
				return
			}
			orders <- o
		}
	}()
	for {
		select {
		case o, more := <-orders:
			if !more {
				select {
				case err := <-broken:
					return err
				default:
					return nil
				}
			}
			if err := l.obey(o, out); err != nil || o.Do == "stop" {
				return err
			}
		default:
		}
		if err := l.step(); err != nil {
			return err
		}
	}
}

func (l *loader) start() (err error) {
	l.cfg.defaults()
	if l.server, err = sockaddr(l.cfg.Addr); err != nil {
		return err
	}
	files, err := raiseFiles()
	if err != nil {
		return err
	}
	l.byFD = make([]*loadConn, files)
	if l.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("open epoll: %w", err)
	}
	if len(l.cfg.Key) > 0 {
		if l.tokens, err = newTokens(&l.cfg); err != nil {
			return err
		}
	}
	l.target = l.cfg.Conns
	l.begin = time.Now()
	l.nextOpn = l.begin
	return nil
}

func (l *loader) obey(o loadOrder, out io.Writer) error {
	every := time.Duration(o.MS) * time.Millisecond
	switch o.Do {
	case "beat":
		l.beat, l.nextBeat = every, time.Now()
	case "grow":
		l.grow, l.nextGrow = every, time.Now().Add(every)
	case "mark", "stop":
		l.clock()
		l.stats.Asked = l.target
		for _, c := range l.conns {
			if c.state == open && c.got > 0 {
				l.stats.MaxGap = max(l.stats.MaxGap, l.nowMS-c.got) // also of those that wait still
			}
		}
		if err := json.NewEncoder(out).Encode(&l.stats); err != nil {
			return fmt.Errorf("load: answer: %w", err)
		}
		s := &l.stats
		l.stats = LoadStats{Open: s.Open, Failed: s.Failed, Closed: s.Closed, Shown: s.Shown, Protocol: s.Protocol, Reason: s.Reason, OpenMS: s.OpenMS, Seen: s.Seen, Retried: s.Retried}
	default:
		return fmt.Errorf("load: the order %q is unknown", o.Do)
	}
	return nil
}

// step does what is due, and what the sockets have.
func (l *loader) step() error {
	l.clock()
	if err := l.open(); err != nil {
		return err
	}
	l.beats()
	var events [2 * maxEvents]syscall.EpollEvent
	n, err := syscall.EpollWait(l.epoll, events[:], 2)
	if err != nil && err != syscall.EINTR {
		return fmt.Errorf("load: wait for sockets: %w", err)
	}
	for i := range max(n, 0) {
		if i%32 == 0 {
			l.clock()
		}
		if c := l.byFD[events[i].Fd]; c != nil {
			l.ready(c, events[i].Events)
		}
	}
	return nil
}

func (l *loader) clock() {
	l.now = time.Now()
	l.nowMS = l.now.UnixMilli()
}

func (l *loader) open() error {
	if l.grow > 0 && l.now.After(l.nextGrow) {
		l.nextGrow = l.nextGrow.Add(l.grow)
		l.target++
	}
	for len(l.pending) < maxHandshakes {
		again := len(l.retries) > 0 && l.now.After(l.retries[0].at)
		if !again && len(l.conns) >= l.target {
			break
		}
		if l.cfg.Rate > 0 {
			if l.now.Before(l.nextOpn) {
				break
			}
			l.nextOpn = l.nextOpn.Add(time.Second / time.Duration(l.cfg.Rate))
		}
		var c *loadConn
		if again {
			c, l.retries = l.retries[0].c, l.retries[1:]
		} else {
			c = l.next()
		}
		if err := l.connect(c); err != nil {
			return err
		}
	}
	if l.now.Sub(l.looked) > time.Second {
		l.looked = l.now
		for c := range l.pending {
			if l.now.Sub(c.since) > giveUpAfter {
				l.drop(c, "no answer to the handshake")
			}
		}
	}
	return nil
}

// next returns the next of the connections.
func (l *loader) next() *loadConn {
	c := &loadConn{i: len(l.conns) + l.cfg.Offset}
	// Those that never read stand between the others.
	c.silent = l.cfg.Silent > 0 && len(l.conns)*l.cfg.Silent/l.cfg.Conns != (len(l.conns)+1)*l.cfg.Silent/l.cfg.Conns
	l.conns = append(l.conns, c)
	return c
}

// connect begins a connection. The source address is one of 200 so that ports
// do not run out.
func (l *loader) connect(c *loadConn) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("load: open socket %d: %w", c.i, err)
	}
	c.fd, c.state, c.since = fd, connecting, l.now
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindNoPort, 1)
	if c.silent {
		// The least buffer there is, and the segments of a network: for those of
		// loopback, 64 KiB each, the server's kernel would take some megabytes.
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
	}
	_ = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + c.i%200)}})
	l.byFD[fd] = c
	l.pending[c] = true
	if err := syscall.Connect(fd, l.server); err != nil && err != syscall.EINPROGRESS {
		l.drop(c, "connect: "+err.Error())
		return nil
	}
	const edge = 1 << 31 // EPOLLET
	e := &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | rdHangup | edge, Fd: int32(fd)}
	if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, e); err != nil {
		return fmt.Errorf("load: watch socket: %w", err)
	}
	return nil
}

// drop forgets a connection that was not closed by us.
func (l *loader) drop(c *loadConn, why string) {
	if c.state == open {
		l.stats.Open--
		l.stats.Closed++
	} else {
		l.stats.Failed++
	}
	l.stats.Reason = why
	l.close(c)
}

func (l *loader) close(c *loadConn) {
	delete(l.pending, c)
	c.state, c.part = gone, nil
	l.byFD[c.fd] = nil
	syscall.Close(c.fd)
}

// comeAgain closes a connection that was told to try again later, until then.
func (l *loader) comeAgain(c *loadConn, after time.Duration) {
	l.stats.Retried++
	l.close(c)
	l.retries = append(l.retries, retry{c, l.now.Add(after)})
}

func (l *loader) write(c *loadConn, b []byte) {
	if n, err := syscall.Write(c.fd, b); err != nil && err != syscall.EAGAIN {
		l.drop(c, "write: "+err.Error())
	} else if err == nil && n < len(b) {
		l.drop(c, "the server does not read")
	}
}

// beats sends the beats that are due, in order round the ring.
func (l *loader) beats() {
	if l.beat == 0 || len(l.conns) == 0 {
		return
	}
	step := l.beat / time.Duration(len(l.conns))
	for range maxBeatsATurn {
		if l.now.Before(l.nextBeat) {
			return
		}
		l.nextBeat = l.nextBeat.Add(step)
		l.turn = (l.turn + 1) % len(l.conns)
		c := l.conns[l.turn]
		if c.state != open {
			continue
		}
		c.seq++
		message := appendBeat(nil, c.seq)
		if c.silent {
			message = []byte("{}") // which is answered: there is more that is not read
		}
		l.out = appendClientFrame(l.out[:0], opText, message)
		l.write(c, l.out)
		l.stats.Beats++
	}
}

// appendBeat appends a beat as a player sends it.
func appendBeat(b []byte, seq int) []byte {
	b = append(b, `{"t":"beat","seq":`...)
	b = strconv.AppendInt(b, int64(seq), 10)
	return append(b, `,"state":"playing","pos":12.3,"bitrate":4500}`...)
}

func (l *loader) ready(c *loadConn, events uint32) {
	if c.state == connecting && events&syscall.EPOLLOUT != 0 {
		c.state = asking
		l.write(c, l.request(c))
	}
	if c.silent && c.state == open {
		if events&(rdHangup|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			l.drop(c, "cut while not reading")
		}
		return
	}
	for c.state != gone {
		n, err := syscall.Read(c.fd, l.buf)
		if err == syscall.EAGAIN {
			return
		}
		if err != nil || n == 0 {
			why := "closed"
			if err != nil {
				why = err.Error()
			}
			l.drop(c, why)
			return
		}
		l.received(c, l.buf[:n])
		if c.silent && c.state == open {
			return
		}
	}
}

func (l *loader) request(c *loadConn) []byte {
	b := append(l.out[:0], "GET "...)
	b = append(b, l.cfg.expand(c.i)...)
	b = append(b, " HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+wsKey+"\r\nSec-WebSocket-Protocol: "...)
	b = append(b, l.cfg.Protocol...)
	if l.tokens != nil {
		b = append(append(b, ", bearer."...), l.tokens.of(c.i)...)
	}
	l.out = append(b, "\r\n\r\n"...)
	return l.out
}
