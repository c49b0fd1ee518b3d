// Package safetensors reads and writes the safetensors container, the file format of
// published model weights, without ever holding more than its header in memory.
//
// A file is an 8-byte little-endian length, a JSON header of that many bytes and the data
// of all tensors. The header maps each tensor's name to dtype, shape and the half-open
// byte range of its data, counted from the end of the header, and may carry a map of
// strings under "__metadata__".
//
// Read accepts a file only if the header explains every byte of it: the ranges follow
// each other from 0 without hole or overlap, each is as long as dtype and shape demand,
// and the last one ends at the end of the file. A truncated download therefore never
// passes, and the error says how many bytes are missing.
//
// The reference is the Rust library behind Python's safetensors (0.8). What it refuses is
// refused here. Unknown keys inside a tensor's entry are ignored, as it does, so that
// later versions of the format stay readable. Known differences, all on the strict side:
// a header must begin with '{' (the format's document demands it, the library does not
// check), no key may occur twice at any level (the library lets the last tensor of a name
// win), an entry must be an object (the library also takes an array of its three values),
// a shape has at most 64 dimensions, and no number exceeds 2^63-1.
//
// Layout and Write make the canonical form that save_file produces: tensors by descending
// dtype rank, then by name, compact JSON padded with spaces to a multiple of 8 bytes.
// Metadata keys are sorted, where the reference leaves their order to chance.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// MaxHeader is the largest header accepted, in bytes; the same limit as the reference's.
const MaxHeader = 100_000_000

// lengthSize is the size of the length field in front of the header.
const lengthSize = 8

// damagedHint is the way out when the bytes contradict themselves.
const damagedHint = "the file is damaged or incomplete: fetch it again"

// Tensor is one entry of a header. Begin and End are byte offsets relative to the data
// section, as in the file; add Header.DataStart for positions in the file.
type Tensor struct {
	Name       string
	DType      DType
	Shape      []int64
	Begin, End int64
}

// Size returns the number of bytes of the tensor's data.
func (t Tensor) Size() int64 { return t.End - t.Begin }

// Elements returns the product of the shape, 1 for a scalar. It is exact for a tensor
// that came from Read or Layout; there the product is known to fit.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Header is a checked header. It is read-only after Read or Layout made it, and then safe
// for concurrent use.
type Header struct {
	// Metadata is the file's "__metadata__": nil if absent.
	Metadata map[string]string
	// Tensors are sorted by Begin; their ranges cover the data section exactly.
	Tensors []Tensor
	// DataStart is the position in the file of the first byte of data.
	DataStart int64
	// FileSize is the size of the whole file in bytes.
	FileSize int64

	index map[string]int
}

// Tensor returns the tensor of that name.
func (h *Header) Tensor(name string) (Tensor, bool) {
	i, ok := h.index[name]
	if !ok {
		return Tensor{}, false
	}
	return h.Tensors[i], true
}

// DataBytes returns the size of the data section.
func (h *Header) DataBytes() int64 { return h.FileSize - h.DataStart }

// Section returns the data of t inside r, which must be the file that h was read from.
func (h *Header) Section(r io.ReaderAt, t Tensor) *io.SectionReader {
	return io.NewSectionReader(r, h.DataStart+t.Begin, t.Size())
}

// Read reads and checks the header of a file of the given size. It reads the header's
// bytes once and none of the data; memory is proportional to the header. An error about
// the file's content carries fault.Invalid; one of r's own errors keeps its kind.
func Read(r io.ReaderAt, size int64) (*Header, error) {
	raw, err := readRaw(r, size)
	if err != nil {
		return nil, err
	}
	h, err := parse(raw, size)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, damagedHint, fmt.Errorf("reading safetensors header: %w", err))
	}
	return h, nil
}

// readRaw returns the header's JSON.
func readRaw(r io.ReaderAt, size int64) ([]byte, error) {
	n, err := headerLength(r, size)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, n)
	if err := readFull(r, raw, lengthSize); err != nil {
		return nil, err
	}
	return raw, nil
}

// headerLength reads the length field and checks it against the limit and the file.
func headerLength(r io.ReaderAt, size int64) (int64, error) {
	if size < lengthSize {
		return 0, invalid("file has %d bytes, the header's length alone takes %d", size, lengthSize)
	}
	var field [lengthSize]byte
	if err := readFull(r, field[:], 0); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(field[:])
	switch {
	case bytes.Equal(field[:], []byte("version ")):
		return 0, fault.Wrap(fault.Invalid, "fetch the file itself: the Hub serves it under resolve/, git needs LFS",
			errors.New("reading safetensors header: the file looks like a Git LFS pointer, not like weights"))
	case n > MaxHeader:
		return 0, invalid("header length is %d, the limit is %d: not a safetensors file", n, MaxHeader)
	case int64(n) > size-lengthSize:
		return 0, invalid("header takes %d bytes, the file has %d after the length: file is at least %d bytes short",
			n, size-lengthSize, int64(n)-(size-lengthSize))
	}
	return int64(n), nil
}

// readFull fills p from off. Fewer bytes than the stated size promised is damage, not an
// end of file.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return invalid("file ends at byte %d, its size promised at least %d", off+int64(n), off+int64(len(p)))
	}
	return fmt.Errorf("reading safetensors header: %w", err)
}

// invalid makes a content error that needs no further context.
func invalid(format string, args ...any) error {
	return fault.Wrap(fault.Invalid, damagedHint, fmt.Errorf("reading safetensors header: "+format, args...))
}

// parse decodes and checks a header.
func parse(raw []byte, size int64) (*Header, error) {
	meta, tensors, err := decode(raw)
	if err != nil {
		return nil, err
	}
	byPlace := func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End)) }
	if !slices.IsSortedFunc(tensors, byPlace) { // as writers leave them
		slices.SortStableFunc(tensors, byPlace)
	}
	h := &Header{Metadata: meta, Tensors: tensors, DataStart: lengthSize + int64(len(raw)), FileSize: size}
	if err := h.check(); err != nil {
		return nil, err
	}
	h.buildIndex()
	return h, nil
}

func (h *Header) buildIndex() {
	h.index = make(map[string]int, len(h.Tensors))
	for i, t := range h.Tensors {
		h.index[t.Name] = i
	}
}

// check holds the tensors' ranges against their dtypes and shapes, each other and the
// file.
func (h *Header) check() error {
	end := int64(0)
	for _, t := range h.Tensors {
		if err := checkTensor(t, end); err != nil {
			return err
		}
		end = t.End
	}
	data := h.DataBytes()
	switch {
	case end > data:
		return fmt.Errorf("tensors end at byte %d of the data, the file has %d: file is %d bytes short", end, data, end-data)
	case end < data:
		return fmt.Errorf("tensors end at byte %d of the data, the file has %d: %d trailing bytes", end, data, data-end)
	}
	return nil
}

// checkTensor checks one range: it begins at prev, where the one before ended, and has
// the length that dtype and shape demand.
func checkTensor(t Tensor, prev int64) error {
	switch {
	case t.End < t.Begin:
		return fmt.Errorf("tensor %s ends at %d, before it begins at %d", quote(t.Name), t.End, t.Begin)
	case t.Begin > prev:
		return fmt.Errorf("tensor %s begins at %d, the one before ends at %d: a hole of %d bytes", quote(t.Name), t.Begin, prev, t.Begin-prev)
	case t.Begin < prev:
		return fmt.Errorf("tensor %s begins at %d, the one before ends at %d: they overlap", quote(t.Name), t.Begin, prev)
	}
	want, err := byteSize(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
	}
	if t.Size() != want {
		return fmt.Errorf("tensor %s has %d bytes, %s %v takes %d", quote(t.Name), t.Size(), t.DType, t.Shape, want)
	}
	return nil
}

// byteSize returns the bytes that a tensor takes. Like the reference it multiplies from
// the left, so that a huge dimension is refused before a later 0 could hide it.
func byteSize(d DType, shape []int64) (int64, error) {
	bits := int64(d.Bits())
	if bits == 0 {
		return 0, fmt.Errorf("unknown dtype %s", quote(string(d)))
	}
	n := int64(1)
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if dim > 0 && n > math.MaxInt64/dim {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		n *= dim
	}
	if n > math.MaxInt64/bits {
		return 0, fmt.Errorf("%s %v overflows", d, shape)
	}
	if n*bits%8 != 0 {
		return 0, fmt.Errorf("%s %v takes %d bits, not whole bytes", d, shape, n*bits)
	}
	return n * bits / 8, nil
}
