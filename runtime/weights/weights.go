// Package weights opens the tensors of a model's component where they lie: the files are
// mapped into memory and a tensor is a view of the mapping, so that weights are neither read
// before they are used nor held twice. What the system keeps of them is page cache.
//
//	set, err := weights.Open(shards...)
//	w := set.Take("img_in.weight", 3072, 64)
//	…
//	if err := set.Err(); err != nil { … }
//
// A model's constructor takes dozens of tensors by name. Take therefore returns no error:
// the first tensor that is missing, or has another shape than the model needs, is kept, and
// Err returns it once at the end. Nothing may be loaded into a backend before.
//
// Files come verified (package models): bytes are not judged here. A file that is made
// shorter while it is mapped ends the process at the next touch, as every mapping does; the
// folder of a running service is read-only for that reason.
//
// A Set is used by one goroutine; the bytes of its tensors may be read by many.
package weights

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Any, as a side of a shape, stands for every length.
const Any = -1

// Set is the tensors of the files of one component.
type Set struct {
	tensors map[string]place
	taken   map[string]bool
	files   []*file
	err     error
}

// place is a tensor in one of the files.
type place struct {
	file   *file
	tensor safetensors.Tensor
}

// Open maps .safetensors files, of which the caller may close the contents afterwards. A
// tensor's name must be in one of them only. Errors about what is in the files are of kind
// fault.Invalid. Close gives the mappings back.
func Open(contents ...*modelfiles.Local) (*Set, error) {
	files := make([]*file, len(contents))
	for i, c := range contents {
		f, err := mapFile(c)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mapping %s: %w", c.Names[0], err), closeAll(files[:i]))
		}
		files[i] = f
	}
	return join(files)
}

// Read reads whole files into memory, for those that are not on a disk.
func Read(sections ...verify.Section) (*Set, error) {
	files := make([]*file, len(sections))
	for i, s := range sections {
		f, err := readFile(s)
		if err != nil {
			return nil, fmt.Errorf("reading weights: %w", err)
		}
		files[i] = f
	}
	return join(files)
}

// Describe makes a set of headers alone: its tensors have names, formats and shapes, and no
// bytes. A model that is made of it can be planned, not run.
func Describe(headers ...*safetensors.Header) (*Set, error) {
	files := make([]*file, len(headers))
	for i, h := range headers {
		files[i] = &file{header: h, described: true}
	}
	return join(files)
}

// join makes a set of files, which it closes if it can't.
func join(files []*file) (*Set, error) {
	s := &Set{tensors: map[string]place{}, taken: map[string]bool{}, files: files}
	for _, f := range files {
		for _, t := range f.header.Tensors {
			if _, twice := s.tensors[t.Name]; twice {
				err := fault.Wrap(fault.Invalid, "", fmt.Errorf("joining weights: tensor %q is in two files", t.Name))
				return nil, errors.Join(err, s.Close())
			}
			s.tensors[t.Name] = place{f, t}
		}
	}
	return s, nil
}

// Take returns the tensor of a name, of whatever dtype it has. Its shape must be the given
// one, where Any fits every length. Otherwise it returns no tensor and Err says why.
func (s *Set) Take(name string, shape ...int64) compute.Weight {
	p, ok := s.tensors[name]
	if !ok {
		s.fail(fmt.Errorf("taking tensor %q: it is not there", name))
		return compute.Weight{}
	}
	if !fits(p.tensor.Shape, shape) {
		s.fail(fmt.Errorf("taking tensor %q: its shape is %v, the model needs %v", name, p.tensor.Shape, shape))
		return compute.Weight{}
	}
	data, err := p.file.bytes(p.tensor)
	if err != nil {
		s.fail(fmt.Errorf("taking tensor %q: %w", name, err))
		return compute.Weight{}
	}
	s.taken[name] = true
	return compute.Weight{Name: name, DType: p.tensor.DType, Shape: slices.Clone(p.tensor.Shape), Data: data}
}

// fits reports whether a shape is the wanted one.
func fits(shape, wanted []int64) bool {
	return slices.EqualFunc(shape, wanted, func(a, b int64) bool { return b == Any || a == b })
}

// fail keeps the first error.
func (s *Set) fail(err error) {
	if s.err == nil {
		s.err = fault.Wrap(fault.Invalid, "verify the model: its files are not those of this model", err)
	}
}

// Has reports whether there is a tensor of that name.
func (s *Set) Has(name string) bool {
	_, ok := s.tensors[name]
	return ok
}

// Err returns why the first Take that failed did.
func (s *Set) Err() error { return s.err }

// Untaken returns the names of the tensors that no Take returned, sorted.
func (s *Set) Untaken() (names []string) {
	for name := range s.tensors {
		if !s.taken[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TakenBytes is the size of the tensors that a Take returned, of each once.
func (s *Set) TakenBytes() (n int64) {
	for name := range s.taken {
		t := s.tensors[name].tensor
		n += t.End - t.Begin
	}
	return n
}

// Header is that of the file, where the set is one file, and nil otherwise.
func (s *Set) Header() *safetensors.Header {
	if len(s.files) != 1 {
		return nil
	}
	return s.files[0].header
}

// Metadata is that of the file, where the set is one file that has some.
func (s *Set) Metadata() map[string]string {
	if h := s.Header(); h != nil {
		return h.Metadata
	}
	return nil
}

// Close gives the mappings back. Tensors that were taken are gone with them: backends that
// read them are closed first.
func (s *Set) Close() error { return closeAll(s.files) }

func closeAll(files []*file) error {
	var problems []error
	for _, f := range files {
		problems = append(problems, f.close())
	}
	return errors.Join(problems...)
}
