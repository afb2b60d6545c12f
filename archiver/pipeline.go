package archiver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"grandstand"
)

// The steps of a file's way, as metrics and logs name them.
const (
	stepFetch   = "fetch"   // the bytes of the journal file
	stepConvert = "convert" // into Parquet, in a temporary file
	stepPut     = "put"     // into the store, once
	stepVerify  = "verify"  // what comes back from there, against the journal
	stepKeep    = "keep"    // the bytes of a damaged file
	stepDelete  = "delete"  // at the source
)

var steps = []string{stepFetch, stepConvert, stepPut, stepVerify, stepKeep, stepDelete, "list"}

// Points are the places at which an archiver may crash and lose nothing, as
// tests name them: before the object is written, in the middle of it, after it,
// after it was read back and found good, and before the source is told.
var Points = []string{"before-put", "during-put", "after-put", "after-readback", "before-delete"}

// The prefixes of objects.
const (
	livePrefix    = "live/"
	damagedPrefix = "damaged/" // what could not be read, and is kept as it is
)

// objectName returns the name of a journal file's object, without the folder.
func objectName(journal string, number uint64) string {
	return fmt.Sprintf("%s-%08d", journal, number)
}

// liveKey returns the key of a journal file's object: by the hour of its first
// event, else that in which the file was begun.
func liveKey(m *Metadata) string {
	at := time.UnixMilli(m.FirstReceived).UTC()
	if m.Rows == 0 {
		at = time.UnixMilli(m.CreatedAt).UTC()
	}
	return livePrefix + at.Format("date=2006-01-02/hour=15/") + objectName(m.Journal, m.File) + parquetSuffix
}

const parquetSuffix = ".parquet"

// object is a file converted, in a temporary file.
type object struct {
	file *os.File
	size int64
	meta *Metadata
}

func (o *object) close() {
	o.file.Close()
	os.Remove(o.file.Name())
}

// archive takes a file all the way. Whatever it returns, and wherever it stops,
// the file can be begun anew.
func (a *Archiver) archive(ctx context.Context, j *job) error {
	if !j.stored {
		if err := a.store(ctx, j); err != nil {
			return err
		}
		j.stored, j.tries = true, 0
		a.metrics.freshness.Observe(time.Since(j.seen).Seconds())
	}
	a.cfg.hook("before-delete")
	return a.step(ctx, j, stepDelete, func(ctx context.Context) error { return j.source.Delete(ctx, j.file) })
}

// store has a file in the store and verified when it returns no error.
func (a *Archiver) store(ctx context.Context, j *job) error {
	var body []byte
	defer func() { a.release(body) }()
	if err := a.step(ctx, j, stepFetch, func(ctx context.Context) (err error) {
		body, err = a.fetch(ctx, j)
		return err
	}); err != nil {
		return err
	}
	var o *object
	if err := a.step(ctx, j, stepConvert, func(context.Context) (err error) {
		o, err = a.convert(j.file, body)
		return err
	}); err != nil {
		return err
	}
	defer o.close()
	if o.meta.whole() { // it is no longer needed
		a.release(body)
		body = nil
	}
	if err := a.publish(ctx, j, o); err != nil {
		return err
	}
	a.cfg.hook("after-readback")
	if !o.meta.whole() {
		a.metrics.troubled.WithLabelValues("damaged").Inc()
		a.cfg.Logger.Error("a journal file is damaged: it is kept as it is", "journal", j.file.Journal, "file", j.file.Number,
			"parts", o.meta.Damaged, "unreadable", o.meta.Unreadable, "rows", o.meta.Rows, "expected", o.meta.Expected, "sealed", o.meta.Sealed)
		if err := a.step(ctx, j, stepKeep, func(ctx context.Context) error { return a.keep(ctx, o.meta, body) }); err != nil {
			return err
		}
	}
	a.metrics.files.Inc()
	a.metrics.rows.Add(float64(o.meta.Rows))
	a.metrics.bytes.WithLabelValues("journal").Add(float64(o.meta.Bytes))
	a.metrics.bytes.WithLabelValues("object").Add(float64(o.size))
	return nil
}

// step does one step of a file's way: it bounds, measures and counts it.
func (a *Archiver) step(ctx context.Context, j *job, name string, do func(context.Context) error) error {
	j.step = name
	ctx, cancel := context.WithTimeout(ctx, stepTimeout(j.file.Size))
	defer cancel()
	ctx, span := a.followStep(ctx, name)
	began := time.Now()
	err := do(ctx)
	endSpan(span, err)
	a.metrics.steps.WithLabelValues(name).Observe(time.Since(began).Seconds())
	if err != nil {
		a.metrics.failures.WithLabelValues(name).Inc()
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// slowest is the rate that a step may fall to, in bytes a second.
const slowest = 256 << 10

func stepTimeout(size int64) time.Duration {
	return Timeout + time.Duration(size/slowest)*time.Second
}

// fetch reads a journal file. One that looks damaged is read a second time: it
// may have been the way here.
func (a *Archiver) fetch(ctx context.Context, j *job) ([]byte, error) {
	if j.file.Size > MaxFile {
		return nil, grandstand.Errorf(grandstand.CodeTooLarge, "the file has %d bytes, the limit is %d", j.file.Size, MaxFile)
	}
	body := a.buffer(j.file.Size)
	err := fetchOnce(ctx, j, body)
	if err != nil || intact(body) {
		return body, err
	}
	sum := sha256.Sum256(body)
	err = fetchOnce(ctx, j, body)
	if err == nil && sum != sha256.Sum256(body) && !intact(body) {
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "the file differs each time that it is read")
	}
	return body, err
}

func fetchOnce(ctx context.Context, j *job, body []byte) error {
	r, err := j.source.Open(ctx, j.file)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if n, _ := r.Read(make([]byte, 1)); n > 0 {
		return grandstand.Errorf(grandstand.CodeConflict, "the file is longer than was listed: it is not sealed")
	}
	return nil
}

// intact reports whether a file has nothing but whole records, and a seal.
func intact(body []byte) bool {
	s := grandstand.NewJournalScanner(body)
	var last grandstand.RecordType
	for {
		t, _, ok := s.Next()
		if !ok {
			return last == grandstand.RecordSeal && len(s.Damaged()) == 0
		}
		last = t
	}
}

// convert writes the object of a journal file into a temporary file.
func (a *Archiver) convert(file JournalFile, body []byte) (*object, error) {
	f, err := os.CreateTemp(a.cfg.Temp, "grandstand-archiver-")
	if err != nil {
		return nil, err
	}
	o := &object{file: f}
	w := bufio.NewWriterSize(f, 256<<10)
	if o.meta, err = convert(w, file, body); err == nil {
		err = w.Flush()
	}
	if err == nil {
		o.size, err = f.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// errAnother says that there is a good object of that name, but of another
// journal file.
var errAnother = grandstand.Errorf(grandstand.CodeConflict, "there is an object of another journal file")

// publish creates the object and reads it back. What is there already is
// adopted if it has the same events. If it is damaged it is put aside and
// written anew. If it is of another file, which only a journal that was copied
// could have brought about, this one gets a name of its own: nothing is lost.
func (a *Archiver) publish(ctx context.Context, j *job, o *object) error {
	key := liveKey(o.meta)
	describeSpan(ctx, key, o.meta)
	err := a.putAndVerify(ctx, j, key, o)
	if errors.Is(err, errAnother) {
		a.metrics.troubled.WithLabelValues("another").Inc()
		a.cfg.Logger.Error("another journal file of that name is archived: there are two copies of a journal", "key", key)
		key = key[:len(key)-len(parquetSuffix)] + "-" + o.meta.SHA256[:16] + parquetSuffix
		err = a.putAndVerify(ctx, j, key, o)
	}
	if grandstand.CodeOf(err) != grandstand.CodeInvalid {
		return err
	}
	a.metrics.troubled.WithLabelValues("object").Inc()
	a.cfg.Logger.Error("an object in the store is damaged: it is put aside and written anew", "key", key, "error", err)
	if err := a.step(ctx, j, stepKeep, func(ctx context.Context) error { return a.cfg.Store.putAside(ctx, key) }); err != nil {
		return err
	}
	return a.putAndVerify(ctx, j, key, o)
}

func (a *Archiver) putAndVerify(ctx context.Context, j *job, key string, o *object) error {
	a.cfg.hook("before-put")
	var created bool
	if err := a.step(ctx, j, stepPut, func(ctx context.Context) (err error) {
		body := &hookedReader{r: o.file, at: o.size / 2, hook: func() { a.cfg.hook("during-put") }}
		created, err = a.cfg.Store.objects.create(ctx, key, io.NewSectionReader(body, 0, o.size))
		return err
	}); err != nil {
		return err
	}
	a.cfg.hook("after-put")
	if !created {
		a.metrics.adopted.Inc()
	}
	return a.step(ctx, j, stepVerify, func(ctx context.Context) error {
		same, err := a.verifyLive(ctx, key, o)
		if err == nil && created && !same {
			err = grandstand.Errorf(grandstand.CodeInvalid, "the object is not what was written")
		}
		return err
	})
}

// hookedReader calls the hook when it is read at an offset.
type hookedReader struct {
	r    io.ReaderAt
	at   int64
	hook func()
}

func (h *hookedReader) ReadAt(b []byte, off int64) (int, error) {
	if off <= h.at && off+int64(len(b)) > h.at {
		h.hook()
	}
	return h.r.ReadAt(b, off)
}

// verifyLive reads an object back and compares it with what a journal file was
// converted to: all of its rows, and whether it is the same to the byte. It is
// not if another release wrote it. Errors have CodeInvalid if the object is
// damaged, and are errAnother if it is good but has other events.
func (a *Archiver) verifyLive(ctx context.Context, key string, o *object) (same bool, err error) {
	body, err := a.cfg.Store.downloadInto(ctx, key, maxLive, a.buffer)
	defer a.release(body)
	if err != nil {
		return false, err
	}
	found, err := checkBytes(body)
	if err != nil {
		return false, err
	}
	switch {
	case found.SHA256 != o.meta.SHA256 || found.Journal != o.meta.Journal || found.File != o.meta.File:
		return false, errAnother
	case found.Rows != o.meta.Rows || found.Digest != o.meta.Digest:
		return false, grandstand.Errorf(grandstand.CodeInvalid, "the object has %d rows of digest %s, the journal file %d of %s", found.Rows, found.Digest, o.meta.Rows, o.meta.Digest)
	}
	return o.is(body)
}

// maxLive bounds a live object, in bytes: texts of keys take half as much again
// as in a journal.
const maxLive = 2 * MaxFile

// is compares an object with bytes.
func (o *object) is(body []byte) (bool, error) {
	if int64(len(body)) != o.size {
		return false, nil
	}
	var part [64 << 10]byte
	for off := 0; off < len(body); off += len(part) {
		want := body[off:min(off+len(part), len(body))]
		if _, err := o.file.ReadAt(part[:len(want)], int64(off)); err != nil {
			return false, err
		}
		if !bytes.Equal(part[:len(want)], want) {
			return false, nil
		}
	}
	return true, nil
}

// download reads an object of at most limit bytes.
func (s *Store) download(ctx context.Context, key string, limit int64) ([]byte, error) {
	return s.downloadInto(ctx, key, limit, func(size int64) []byte { return make([]byte, size) })
}

// downloadInto is download into memory that comes from alloc, which is also
// returned with an error.
func (s *Store) downloadInto(ctx context.Context, key string, limit int64, alloc func(int64) []byte) ([]byte, error) {
	size, found, err := s.objects.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoObject
	}
	if size > limit {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the object has %d bytes, the limit is %d", size, limit)
	}
	r, err := s.objects.open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body := alloc(size)
	if _, err := io.ReadFull(r, body); err != nil {
		return body, err
	}
	return body, nil
}

// putAside moves a damaged object away, so that a good one can be written.
func (s *Store) putAside(ctx context.Context, key string) error {
	body, err := s.download(ctx, key, maxObject)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	aside := fmt.Sprintf("%s%s.%x", damagedPrefix, path.Base(key), sum[:8])
	if _, err := s.objects.create(ctx, aside, io.NewSectionReader(bytes.NewReader(body), 0, int64(len(body)))); err != nil {
		return err
	}
	return s.objects.remove(ctx, key)
}

// keep stores a damaged journal file as it is.
func (a *Archiver) keep(ctx context.Context, m *Metadata, body []byte) error {
	key := fmt.Sprintf("%s%s.%s.journal", damagedPrefix, objectName(m.Journal, m.File), m.SHA256[:16])
	s := a.cfg.Store
	if _, err := s.objects.create(ctx, key, io.NewSectionReader(bytes.NewReader(body), 0, int64(len(body)))); err != nil {
		return err
	}
	back, err := s.download(ctx, key, MaxFile)
	if err == nil && !bytes.Equal(back, body) {
		err = grandstand.Errorf(grandstand.CodeUnavailable, "%s is not what was written there", key)
	}
	return err
}
