package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"grandstand"
)

// Peer is the journal of a running gateway, read over its --peer.
type Peer struct {
	base   string // URL without a slash at the end
	token  string
	client *http.Client
}

// NewPeer returns the journal of the gateway whose --peer is at that URL
// (http://HOST:PORT). The client is for calls that may take long: its own
// timeout must be 0; nil is http.DefaultClient.
func NewPeer(base string, secret []byte, client *http.Client) *Peer {
	if client == nil {
		client = http.DefaultClient
	}
	return &Peer{base: base, token: grandstand.PeerToken(secret), client: client}
}

// String returns the URL.
func (p *Peer) String() string { return p.base }

const (
	filesPath   = "/v1/journal/files"
	maxListing  = 8 << 20 // bytes of a listing
	maxResumes  = 8       // of a file whose reading breaks off
	resumeAfter = 100 * time.Millisecond
)

// Files implements Source.
func (p *Peer) Files(ctx context.Context) ([]JournalFile, error) {
	r, err := p.do(ctx, http.MethodGet, filesPath, nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	switch r.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil // its port is for the tree: it keeps no journal
	default:
		return nil, statusError(r)
	}
	var list grandstand.JournalFiles
	if err := json.NewDecoder(io.LimitReader(r.Body, maxListing)).Decode(&list); err != nil {
		return nil, fmt.Errorf("list journal of %s: %w", p.base, err)
	}
	for _, f := range list.Files {
		if !grandstand.ValidValue(f.Journal) || f.Number == 0 || f.Size < 0 {
			return nil, grandstand.Errorf(grandstand.CodeInvalid, "list journal of %s: %q number %d is not the name of a file", p.base, f.Journal, f.Number)
		}
	}
	return list.Files, nil
}

// Open implements Source. What breaks off is resumed where it did.
func (p *Peer) Open(ctx context.Context, file JournalFile) (io.ReadCloser, error) {
	f := &peerFile{ctx: ctx, peer: p, file: file}
	if err := f.resume(); err != nil {
		return nil, err
	}
	return f, nil
}

// Delete implements Source.
func (p *Peer) Delete(ctx context.Context, file JournalFile) error {
	r, err := p.do(ctx, http.MethodDelete, pathOf(file), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	switch r.StatusCode {
	case http.StatusNoContent, http.StatusOK, http.StatusNotFound:
		return nil
	}
	return statusError(r)
}

func pathOf(file JournalFile) string {
	return filesPath + "/" + url.PathEscape(file.Journal) + "/" + strconv.FormatUint(file.Number, 10)
}

func (p *Peer) do(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Accept-Encoding", "identity")
	return p.client.Do(r)
}

// statusError makes an error of an answer: the body says which.
func statusError(r *http.Response) error {
	var body struct {
		Code    grandstand.Code `json:"code"`
		Message string          `json:"message"`
	}
	// What cannot be read says nothing.
	_ = json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&body)
	code := grandstand.CodeUnavailable
	switch r.StatusCode {
	case http.StatusUnauthorized:
		code = grandstand.CodeUnauthorized
	case http.StatusNotFound:
		code = grandstand.CodeNotFound
	}
	return grandstand.Errorf(code, "%s answers %s: %s", r.Request.URL.Host, r.Status, body.Message)
}

// peerFile reads a file, and goes on where the connection broke.
type peerFile struct {
	ctx     context.Context
	peer    *Peer
	file    JournalFile
	body    io.ReadCloser
	offset  int64
	resumes int
}

// resume asks for what is left.
func (f *peerFile) resume() error {
	header := http.Header{}
	want := http.StatusOK
	if f.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", f.offset))
		want = http.StatusPartialContent
	}
	r, err := f.peer.do(f.ctx, http.MethodGet, pathOf(f.file), header)
	if err != nil {
		return err
	}
	if r.StatusCode != want {
		defer r.Body.Close()
		return statusError(r)
	}
	if left := f.file.Size - f.offset; r.ContentLength >= 0 && r.ContentLength != left {
		r.Body.Close()
		return grandstand.Errorf(grandstand.CodeConflict, "%s has %d bytes of the file left, not %d as it said", f.peer.base, r.ContentLength, left)
	}
	f.body = r.Body
	return nil
}

// Read implements io.Reader.
func (f *peerFile) Read(b []byte) (int, error) {
	for {
		n, err := f.body.Read(b)
		f.offset += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if f.offset >= f.file.Size && errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err := f.again(err); err != nil {
			return 0, err
		}
	}
}

// again goes on after the error that the reading broke off with.
func (f *peerFile) again(err error) error {
	for {
		if f.resumes++; f.resumes > maxResumes || f.ctx.Err() != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		select {
		case <-time.After(resumeAfter * time.Duration(f.resumes)):
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		f.body.Close()
		f.body = io.NopCloser(emptyReader{})
		if next := f.resume(); next == nil {
			return nil
		} else if grandstand.CodeOf(next) == grandstand.CodeInternal || grandstand.CodeOf(next) == grandstand.CodeUnavailable {
			err = next
		} else {
			return next
		}
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (f *peerFile) Close() error { return f.body.Close() }

// Peers remembers the gateways' journals between rounds.
type Peers struct {
	secret []byte
	scheme string
	client *http.Client

	mu    sync.Mutex
	peers map[string]*Peer
}

// NewPeers returns a set without peers. As to secret and client see NewPeer;
// scheme is http or https.
func NewPeers(secret []byte, scheme string, client *http.Client) *Peers {
	return &Peers{secret: secret, scheme: scheme, client: client, peers: map[string]*Peer{}}
}

// Sources returns the journals of the gateways whose --peer are at these
// addresses (host:port), and forgets others.
func (p *Peers) Sources(addresses []string) []Source {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]*Peer, len(addresses))
	sources := make([]Source, 0, len(addresses))
	for _, a := range addresses {
		if next[a] != nil {
			continue
		}
		peer := p.peers[a]
		if peer == nil {
			peer = NewPeer(p.scheme+"://"+a, p.secret, p.client)
		}
		next[a] = peer
		sources = append(sources, peer)
	}
	p.peers = next
	return sources
}
