package hubtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Content is the bytes of a file. ReadAt is called for the ranges that requests ask for,
// from many goroutines at once, and always gives the same bytes. An *io.SectionReader is a
// Content. One that is also an io.Closer is closed by Hub.Close.
type Content interface {
	io.ReaderAt
	// Size is the number of bytes; it does not change.
	Size() int64
}

// Bytes is a content in memory. The slice must not be changed.
func Bytes(b []byte) Content { return bytes.NewReader(b) }

// FileContent is the content of a file on disk, which must not change. It is opened anew
// for each request, which the kernel then serves without a copy through this process.
func FileContent(path string) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a file to serve: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("reading a file to serve: %w", err)
	}
	return &fileContent{File: f, size: info.Size()}, nil
}

// fileContent keeps its file open for ReadAt; streaming opens it again, because a stream
// has a position of its own.
type fileContent struct {
	*os.File
	size int64
}

// Size implements Content.
func (f *fileContent) Size() int64 { return f.size }

// open returns a reader with a position of its own, and how to close it. For files it is
// an *os.File, which net/http hands to sendfile.
func open(c Content) (io.ReadSeeker, func(), error) {
	if f, ok := c.(*fileContent); ok {
		again, err := os.Open(f.Name())
		if err != nil {
			return nil, nil, fmt.Errorf("reading a file to serve: %w", err)
		}
		return again, func() { _ = again.Close() }, nil
	}
	return io.NewSectionReader(c, 0, c.Size()), func() {}, nil
}

// Noise is size bytes that do not compress and depend on seed alone. They are made when
// they are read, at memory speed, and need no memory.
func Noise(seed uint64, size int64) Content { return noise{seed, size} }

type noise struct {
	seed uint64
	size int64
}

// Size implements Content.
func (n noise) Size() int64 { return n.size }

// ReadAt implements io.ReaderAt. Each 8 bytes are splitmix64 of their number.
func (n noise) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= n.size {
		return 0, io.EOF
	}
	want := len(p)
	p = p[:min(int64(len(p)), n.size-off)]
	done := 0
	if skip := int(off % 8); skip != 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], n.word(off/8))
		done = copy(p, word[skip:])
	}
	for ; len(p)-done >= 8; done += 8 {
		binary.LittleEndian.PutUint64(p[done:], n.word((off+int64(done))/8))
	}
	if done < len(p) {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], n.word((off+int64(done))/8))
		done += copy(p[done:], word[:])
	}
	if done < want {
		return done, io.EOF
	}
	return done, nil
}

// word is splitmix64 (Steele, Lea and Flood 2014) with the state seed + i steps.
func (n noise) word(i int64) uint64 {
	z := n.seed + uint64(i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
