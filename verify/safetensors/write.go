package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Spec is a tensor to be written: what a Tensor is before it has a place.
type Spec struct {
	Name  string
	DType DType
	Shape []int64
}

// Layout gives every tensor its place in a file and returns the header together with its
// encoding: length field, JSON and padding, exactly Header.DataStart bytes. The form is
// save_file's, with metadata keys sorted; a nil metadata is left out. The order of specs
// does not matter. Names must be distinct, valid UTF-8 and not "__metadata__".
func Layout(metadata map[string]string, specs []Spec) (*Header, []byte, error) {
	tensors, end, err := place(specs)
	if err != nil {
		return nil, nil, fmt.Errorf("laying out safetensors: %w", err)
	}
	encoded, err := encode(metadata, tensors)
	if err != nil {
		return nil, nil, fmt.Errorf("laying out safetensors: %w", err)
	}
	start := int64(len(encoded))
	if end > math.MaxInt64-start {
		return nil, nil, fmt.Errorf("laying out safetensors: %d bytes of data overflow", end)
	}
	h := &Header{Metadata: maps.Clone(metadata), Tensors: tensors, DataStart: start, FileSize: start + end}
	h.buildIndex()
	return h, encoded, nil
}

// Write writes a whole file: the header of Layout, then each tensor's data in the order
// of the file. data is called once per tensor; its reader must give exactly t.Size()
// bytes and then io.EOF.
func Write(w io.Writer, metadata map[string]string, specs []Spec, data func(t Tensor) io.Reader) error {
	h, encoded, err := Layout(metadata, specs)
	if err != nil {
		return err
	}
	if _, err := w.Write(encoded); err != nil {
		return fmt.Errorf("writing safetensors header: %w", err)
	}
	for _, t := range h.Tensors {
		if err := copyExactly(w, data(t), t.Size()); err != nil {
			return fmt.Errorf("writing tensor %s: %w", quote(t.Name), err)
		}
	}
	return nil
}

// copyExactly copies n bytes and makes sure that the reader had no more.
func copyExactly(w io.Writer, r io.Reader, n int64) error {
	got, err := io.Copy(w, io.LimitReader(r, n))
	if err != nil {
		return err
	}
	if got != n {
		return fmt.Errorf("data ends after %d bytes, the tensor takes %d", got, n)
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("data goes on after the tensor's %d bytes", n)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// place sorts the specs into canonical order and gives each its range.
func place(specs []Spec) ([]Tensor, int64, error) {
	sorted := slices.Clone(specs)
	slices.SortStableFunc(sorted, func(a, b Spec) int {
		return cmp.Or(cmp.Compare(rankOf[b.DType], rankOf[a.DType]), cmp.Compare(a.Name, b.Name))
	})
	tensors, end := make([]Tensor, 0, len(sorted)), int64(0)
	seen := make(map[string]struct{}, len(sorted))
	for _, s := range sorted {
		if _, dup := seen[s.Name]; dup || s.Name == metadataKey {
			return nil, 0, fmt.Errorf("tensor name %s is taken", quote(s.Name))
		}
		seen[s.Name] = struct{}{}
		size, err := checkSpec(s, end)
		if err != nil {
			return nil, 0, fmt.Errorf("tensor %s: %w", quote(s.Name), err)
		}
		tensors = append(tensors, Tensor{Name: s.Name, DType: s.DType, Shape: append([]int64{}, s.Shape...), Begin: end, End: end + size})
		end += size
	}
	return tensors, end, nil
}

// checkSpec returns the size of a tensor that would begin at end.
func checkSpec(s Spec, end int64) (int64, error) {
	if len(s.Shape) > maxDims {
		return 0, fmt.Errorf("shape has %d dimensions, the limit is %d", len(s.Shape), maxDims)
	}
	size, err := byteSize(s.DType, s.Shape)
	if err != nil {
		return 0, err
	}
	if size > math.MaxInt64-end {
		return 0, fmt.Errorf("%d bytes after %d overflow", size, end)
	}
	return size, nil
}

// encode returns length field, JSON and padding.
func encode(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	b := append(make([]byte, lengthSize), '{')
	var err error
	if metadata != nil {
		if b, err = appendMetadata(b, metadata); err != nil {
			return nil, err
		}
	}
	for _, t := range tensors {
		if b, err = appendEntry(b, t); err != nil {
			return nil, err
		}
	}
	b = append(bytes.TrimSuffix(b, []byte(",")), '}')
	for len(b)%lengthSize != 0 {
		b = append(b, ' ')
	}
	if len(b)-lengthSize > MaxHeader {
		return nil, fmt.Errorf("header takes %d bytes, the limit is %d", len(b)-lengthSize, MaxHeader)
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-lengthSize))
	return b, nil
}

// appendMetadata appends the metadata member and a comma.
func appendMetadata(b []byte, metadata map[string]string) ([]byte, error) {
	b = append(b, `"`+metadataKey+`":{`...)
	var err error
	for i, k := range slices.Sorted(maps.Keys(metadata)) {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendString(b, k); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendString(b, metadata[k]); err != nil {
			return nil, err
		}
	}
	return append(b, "},"...), nil
}

// appendEntry appends one tensor's member and a comma.
func appendEntry(b []byte, t Tensor) ([]byte, error) {
	b, err := appendString(b, t.Name)
	if err != nil {
		return nil, err
	}
	b = append(b, `:{"dtype":"`...)
	b = append(b, t.DType...)
	b = append(b, `","shape":`...)
	b = appendInts(b, t.Shape)
	b = append(b, `,"data_offsets":`...)
	b = appendInts(b, []int64{t.Begin, t.End})
	return append(b, "},"...), nil
}

func appendInts(b []byte, ints []int64) []byte {
	b = append(b, '[')
	for i, n := range ints {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// shortEscapes are the control characters that have an escape of their own; together
// with the quote and the backslash they are all that the reference's writer escapes so.
var shortEscapes = map[byte]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// appendString appends s as JSON in the reference's form: only what must be escaped is,
// and text beyond ASCII stays as it is (encoding/json escapes more).
func appendString(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("string %s is not UTF-8", quote(s))
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			b = appendEscape(b, c)
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"'), nil
}

func appendEscape(b []byte, c byte) []byte {
	if short, ok := shortEscapes[c]; ok {
		return append(b, '\\', short)
	}
	return fmt.Appendf(b, `\u%04x`, c)
}
