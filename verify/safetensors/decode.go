package safetensors

import (
	"errors"
	"unicode/utf8"
)

// metadataKey is the one top-level key that is not a tensor.
const metadataKey = "__metadata__"

// maxDims bounds a shape. PyTorch and NumPy stop at 64 dimensions too, and without a
// bound a hostile shape would take four times the header's memory.
const maxDims = 64

// decode turns a header's JSON into metadata and tensors, in the order of the text.
func decode(raw []byte) (map[string]string, []Tensor, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, nil, errors.New("header does not begin with '{'")
	}
	if !utf8.Valid(raw) {
		return nil, nil, errors.New("header is not UTF-8")
	}
	d := decoder{scanner{b: raw}}
	return d.header()
}

// decoder gives the scanner the header's grammar.
type decoder struct{ scanner }

func (d *decoder) header() (meta map[string]string, tensors []Tensor, err error) {
	tensors = []Tensor{}
	err = d.object(func(key string) error {
		if key == metadataKey {
			var err error
			meta, err = d.metadata()
			return err
		}
		t, err := d.tensor(key)
		tensors = append(tensors, t)
		return err
	})
	if err == nil && d.peek() != 0 || err == nil && d.pos != len(d.b) {
		err = d.errorf("want the end of the header, have %s", d.here())
	}
	return meta, tensors, err
}

// metadata reads a map of strings; null counts as absent.
func (d *decoder) metadata() (map[string]string, error) {
	if d.peek() == 'n' {
		return nil, d.word("null")
	}
	m := map[string]string{}
	err := d.object(func(key string) (err error) {
		m[key], err = d.str()
		return err
	})
	return m, err
}

// entry is what has been seen of a tensor's entry.
type entry struct {
	dtype, shape bool
	offsets      []int64
}

func (d *decoder) tensor(name string) (Tensor, error) {
	t, e := Tensor{Name: name}, entry{}
	err := d.object(func(key string) (err error) {
		switch key {
		case "dtype":
			e.dtype = true
			t.DType, err = d.dtype()
		case "shape":
			e.shape = true
			t.Shape, err = d.naturals(maxDims)
		case "data_offsets":
			e.offsets, err = d.naturals(2)
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return t, err
	}
	switch {
	case !e.dtype:
		return t, d.errorf("tensor %s has no dtype", quote(name))
	case !e.shape:
		return t, d.errorf("tensor %s has no shape", quote(name))
	case len(e.offsets) != 2:
		return t, d.errorf("tensor %s has no pair of data_offsets", quote(name))
	}
	t.Begin, t.End = e.offsets[0], e.offsets[1]
	return t, nil
}

func (d *decoder) dtype() (DType, error) {
	s, err := d.str()
	if err != nil {
		return "", err
	}
	if DType(s).Bits() == 0 {
		return "", d.errorf("unknown dtype %s", quote(s))
	}
	return DType(s), nil
}

// naturals reads an array of at most limit integers.
func (d *decoder) naturals(limit int) ([]int64, error) {
	out := make([]int64, 0, 2) // as most shapes have
	err := d.list('[', ']', func() error {
		if len(out) == limit {
			return d.errorf("an array has more than %d numbers", limit)
		}
		n, err := d.natural()
		out = append(out, n)
		return err
	})
	return out, err
}
