// Package safetensorstest makes safetensors files out of nothing: files of any size whose
// bytes are computed when they are read, so that tests and the demo handle checkpoints of
// many gigabytes without a disk to hold them.
//
// A File is an io.ReaderAt. Each of its tensors has a Fill, and every byte is a pure
// function of the file's seed, the tensor's name and the offset inside the tensor. Any
// range can be read in any order, by several goroutines, with the same result; two files
// that share a seed and a tensor share that tensor's bytes. The random values are made in
// fixed blocks: one mixed counter picks whole words out of a small table of finished
// values, which is faster than hashing the result.
package safetensorstest

import (
	"fmt"
	"io"
	"sort"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Tensor is a tensor to be generated.
type Tensor struct {
	Spec safetensors.Spec
	Fill Fill
}

// Fill prepares the content of one tensor. seed already depends on the file's seed and
// the tensor's name. An error says that this fill cannot make this dtype or shape.
type Fill func(t safetensors.Tensor, seed uint64) (Source, error)

// Source writes the bytes from off to off+len(p) of one tensor's data into p. It is only
// called with ranges inside the tensor, is a pure function of off, and is safe for
// concurrent use.
type Source func(p []byte, off int64)

// File is a generated file. It is immutable and safe for concurrent use.
type File struct {
	header  *safetensors.Header
	head    []byte
	sources []Source // parallel to header.Tensors
}

var _ io.ReaderAt = (*File)(nil)

// New lays the tensors out in canonical order and binds their fills. metadata may be nil.
func New(metadata map[string]string, tensors []Tensor, seed uint64) (*File, error) {
	specs, fills := make([]safetensors.Spec, len(tensors)), make(map[string]Fill, len(tensors))
	for i, t := range tensors {
		specs[i], fills[t.Spec.Name] = t.Spec, t.Fill
	}
	h, head, err := safetensors.Layout(metadata, specs)
	if err != nil {
		return nil, err
	}
	f := &File{header: h, head: head, sources: make([]Source, len(h.Tensors))}
	for i, t := range h.Tensors {
		if fills[t.Name] == nil {
			return nil, fmt.Errorf("filling tensor %q: no fill given", t.Name)
		}
		if f.sources[i], err = fills[t.Name](t, Seed(seed, t.Name)); err != nil {
			return nil, fmt.Errorf("filling tensor %q: %w", t.Name, err)
		}
	}
	return f, nil
}

// Header returns the file's header; the caller must not change it.
func (f *File) Header() *safetensors.Header { return f.header }

// Size returns the file's size in bytes.
func (f *File) Size() int64 { return f.header.FileSize }

// ReadAt implements io.ReaderAt. It never fails except at the end of the file.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading generated file: negative offset %d", off)
	}
	n := 0
	if off < int64(len(f.head)) {
		n = copy(p, f.head[off:])
	}
	n += f.readData(p[n:], off+int64(n)-f.header.DataStart)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readData fills p from position pos of the data section and returns the bytes made.
func (f *File) readData(p []byte, pos int64) int {
	n, tensors := 0, f.header.Tensors
	i := sort.Search(len(tensors), func(i int) bool { return tensors[i].End > pos })
	for ; n < len(p) && i < len(tensors); i++ {
		off := pos + int64(n) - tensors[i].Begin
		part := p[n:min(int64(len(p)), int64(n)+tensors[i].Size()-off)]
		if len(part) > 0 {
			f.sources[i](part, off)
		}
		n += len(part)
	}
	return n
}
