package archiver

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"grandstand"
)

// bucket keeps objects in a bucket of S3. It uses no more than GET, HEAD, PUT
// (multipart from 16 MiB on), DELETE and LIST version 2, which every
// implementation has.
type bucket struct {
	client    *minio.Client
	transport *http.Transport
	name      string
	prefix    string // "" or ending in a slash
}

// maxRetries bounds how often a call is tried; the deadline ends it sooner.
const maxRetries = 4

func openBucket(u *url.URL) (*bucket, error) {
	invalid := func(format string, args ...any) error {
		return grandstand.Errorf(grandstand.CodeInvalid, "archive: "+format, args...)
	}
	if u.Host == "" || u.User != nil {
		return nil, invalid("write s3://BUCKET/PREFIX; keys belong into the environment")
	}
	query := u.Query()
	for name := range query {
		if name != "endpoint" && name != "region" {
			return nil, invalid("s3: has no setting %q, only endpoint and region", name)
		}
	}
	region := cmp.Or(query.Get("region"), os.Getenv("AWS_REGION"), "us-east-1")
	endpoint := &url.URL{Scheme: "https", Host: "s3." + region + ".amazonaws.com"}
	lookup := minio.BucketLookupAuto
	if e := query.Get("endpoint"); e != "" {
		var err error
		endpoint, err = url.Parse(e)
		if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" || strings.Trim(endpoint.Path, "/") != "" {
			return nil, invalid("s3: endpoint is http://HOST:PORT or https://HOST:PORT")
		}
		lookup = minio.BucketLookupPath
	}
	transport, err := minio.DefaultTransport(endpoint.Scheme == "https")
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "archive: open bucket")
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:        s3Credentials(),
		Secure:       endpoint.Scheme == "https",
		Transport:    transport,
		Region:       region,
		BucketLookup: lookup,
		MaxRetries:   maxRetries,
	})
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "archive: open bucket")
	}
	b := &bucket{client: client, transport: transport, name: u.Host}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		b.prefix = prefix + "/"
	}
	return b, nil
}

// s3Credentials returns our own keys if they are set, else those that AWS tools
// would find.
func s3Credentials() *credentials.Credentials {
	if key := os.Getenv("GRANDSTAND_S3_ACCESS_KEY"); key != "" {
		return credentials.NewStaticV4(key, os.Getenv("GRANDSTAND_S3_SECRET_KEY"), "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

func (b *bucket) get(ctx context.Context, key string) ([]byte, error) {
	o, err := b.client.GetObject(ctx, b.name, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	body, err := readObject(o)
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil, nil
	}
	return body, err
}

func (b *bucket) put(ctx context.Context, key string, body []byte) error {
	_, err := b.client.PutObject(ctx, b.name, b.prefix+key, bytes.NewReader(body), int64(len(body)),
		minio.PutObjectOptions{ContentType: "application/octet-stream"})
	return err
}

// create is a conditional PUT (RFC 9110, "If-None-Match"; Amazon S3 since
// August 2024, MinIO before). The object is looked for first: that is all there
// is on a store that does not know the condition or pays no heed to it, where of
// two writers at the same moment the last one wins.
func (b *bucket) create(ctx context.Context, key string, body *io.SectionReader) (bool, error) {
	if _, found, err := b.stat(ctx, key); found || err != nil {
		return false, err
	}
	opts := minio.PutObjectOptions{
		ContentType: "application/vnd.apache.parquet",
		// One request, which is there as a whole or not at all. What came to the
		// store is compared when it is read back.
		DisableMultipart: true,
	}
	opts.SetMatchETagExcept("*")
	_, err := b.client.PutObject(ctx, b.name, b.prefix+key, body, body.Size(), opts)
	switch response := minio.ToErrorResponse(err); {
	case err == nil:
		return true, nil
	case response.StatusCode == http.StatusPreconditionFailed:
		return false, nil
	case response.StatusCode != http.StatusNotImplemented && response.Code != "NotImplemented":
		return false, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	_, err = b.client.PutObject(ctx, b.name, b.prefix+key, body, body.Size(),
		minio.PutObjectOptions{ContentType: opts.ContentType, DisableMultipart: true})
	return err == nil, err
}

func (b *bucket) stat(ctx context.Context, key string) (int64, bool, error) {
	info, err := b.client.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
	if err == nil {
		return info.Size, true, nil
	}
	// HEAD has no body that could tell a missing key from a missing bucket.
	if minio.ToErrorResponse(err).StatusCode != http.StatusNotFound {
		return 0, false, err
	}
	return 0, false, nil
}

func (b *bucket) open(ctx context.Context, key string, offset, n int64) (io.ReadCloser, error) {
	var opts minio.GetObjectOptions
	switch {
	case n == 0:
		return io.NopCloser(bytes.NewReader(nil)), nil
	case n > 0:
		opts.SetRange(offset, offset+n-1)
	case offset > 0:
		opts.SetRange(offset, 0)
	}
	body, _, _, err := minio.Core{Client: b.client}.GetObject(ctx, b.name, b.prefix+key, opts)
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = errNoObject
	}
	return body, err
}

func (b *bucket) remove(ctx context.Context, key string) error {
	return b.client.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{})
}

func (b *bucket) list(ctx context.Context, prefix string) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing if we leave early
	var entries []Entry
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		entries = append(entries, Entry{Key: strings.TrimPrefix(o.Key, b.prefix), Size: o.Size})
	}
	slices.SortFunc(entries, func(x, y Entry) int { return strings.Compare(x.Key, y.Key) })
	return entries, ctx.Err()
}
