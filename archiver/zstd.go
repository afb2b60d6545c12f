package archiver

import (
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// codec is Zstandard (RFC 8878) as the library's, with a window that is no
// larger than a page: an encoder's memory is twice its window, 1 MiB instead of
// 16, and there is one for all objects, which the garbage collector cannot take.
// It is safe for concurrent use.
type codec struct {
	level zstd.EncoderLevel

	once    sync.Once
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// zstdWindow holds a page (pageBytes and the row that ends it) or a dictionary.
const zstdWindow = 1 << 20

func (c *codec) open() {
	c.once.Do(func() {
		var err error
		if c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(c.level), zstd.WithWindowSize(zstdWindow),
			zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true)); err != nil {
			panic(err) // the options are impossible
		}
		if c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxObject)); err != nil {
			panic(err)
		}
	})
}

// String implements compress.Codec.
func (c *codec) String() string { return "ZSTD" }

// CompressionCodec implements compress.Codec.
func (c *codec) CompressionCodec() format.CompressionCodec { return format.Zstd }

// Encode implements compress.Codec.
func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	c.open()
	return c.encoder.EncodeAll(src, dst[:0]), nil
}

// Decode implements compress.Codec.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	c.open()
	return c.decoder.DecodeAll(src, dst[:0])
}
