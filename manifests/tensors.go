package manifests

import (
	"fmt"
	"slices"
	"strings"
)

// TensorSums sums up the tensors of one component of a model: the facts from which the
// memory that it takes follows. They come from the headers of verified files; bytes are
// those of tensor data, without headers.
type TensorSums struct {
	// Path is a file that holds the whole component, or the folder of the files that do.
	Path string `json:"path"`
	// Bytes is the size of all tensors.
	Bytes int64 `json:"bytes"`
	// Repeated is the size of those that belong to a numbered part, such as a transformer
	// block or a layer.
	Repeated int64 `json:"repeated"`
	// Block is the size of the largest numbered part: what is moved at a time where a
	// component is streamed.
	Block int64 `json:"block"`
	// Lookup is the size of tables of which a request reads single rows, which therefore may
	// stay in the host's memory.
	Lookup int64 `json:"lookup"`
	// Packed is the size of two 4-bit weights a byte that could be unpacked to int8.
	Packed int64 `json:"packed"`
	// Width is the number of channels of the component's stream: that of tokens, or, of an
	// autoencoder, that at full resolution. 0 where no tensor shows it.
	Width int64 `json:"width"`
}

// LockTensors is a line of the lock about one component. Path is relative to the source's
// repository.
type LockTensors struct {
	Kind   string `json:"kind"` // "tensors"
	Source string `json:"source"`
	TensorSums
}

// maxWidth bounds widths far above any real one, so that products with them do not
// overflow.
const maxWidth = 1 << 20

// covers reports whether a file belongs to the component.
func (t TensorSums) covers(file string) bool {
	return file == t.Path || strings.HasPrefix(file, t.Path+"/")
}

// check refuses sums that contradict each other or the size of the component's files.
func (t TensorSums) check(size int64) error {
	switch {
	case t.Bytes < 0 || t.Bytes > size:
		return fmt.Errorf("%d bytes of tensors in files of %d", t.Bytes, size)
	case t.Block < 0 || t.Block > t.Repeated || t.Repeated > t.Bytes:
		return fmt.Errorf("block is %d, repeated %d, bytes %d: want a rising order", t.Block, t.Repeated, t.Bytes)
	case t.Lookup < 0 || t.Lookup > t.Bytes-t.Repeated:
		return fmt.Errorf("lookup is %d of %d bytes outside of repeated parts", t.Lookup, t.Bytes-t.Repeated)
	case t.Packed < 0 || t.Packed > t.Bytes:
		return fmt.Errorf("packed is %d of %d bytes", t.Packed, t.Bytes)
	case t.Width < 0 || t.Width > maxWidth:
		return fmt.Errorf("width is %d, want 0 to %d", t.Width, maxWidth)
	}
	return nil
}

// SetTensors records the sums of components of one source, replacing what was known of the
// same paths. It is not safe for concurrent use with other methods.
func (l *Lock) SetTensors(source string, sums []TensorSums) {
	for _, t := range sums {
		l.Tensors = slices.DeleteFunc(l.Tensors, func(o LockTensors) bool { return o.Source == source && o.Path == t.Path })
		l.Tensors = append(l.Tensors, LockTensors{Kind: kindTensors, Source: source, TensorSums: t})
	}
}

// TensorsKnown reports whether a line of the lock is about the component that a file of the
// source belongs to.
func (l *Lock) TensorsKnown(source, file string) bool {
	return slices.ContainsFunc(l.Tensors, func(t LockTensors) bool { return t.Source == source && t.covers(file) })
}

// adoptTensors takes over the sums of components whose files are the same in both locks:
// no byte of them changed, and none came or went.
func (l *Lock) adoptTensors(other *Lock) {
	shared := l.sharedFiles(other)
	for _, t := range other.Tensors {
		known := slices.ContainsFunc(l.Tensors, func(o LockTensors) bool { return o.Source == t.Source && o.Path == t.Path })
		if !known && t.onlyOf(l, shared) && t.onlyOf(other, shared) {
			l.Tensors = append(l.Tensors, t)
		}
	}
}

// onlyOf reports whether the lock keeps files of the component, and all of them are in the
// set, whose keys are source and path.
func (t LockTensors) onlyOf(l *Lock, set map[[2]string]bool) bool {
	found := false
	for _, f := range l.Files {
		if f.Source != t.Source || !f.Keep || !t.covers(f.Path) {
			continue
		}
		if !set[[2]string{f.Source, f.Path}] {
			return false
		}
		found = true
	}
	return found
}

func (l *Lock) checkTensors() error {
	seen := map[[2]string]bool{}
	for _, t := range l.Tensors {
		key := [2]string{t.Source, t.Path}
		if seen[key] {
			return fmt.Errorf("tensors of %s: they are there twice", t.Path)
		}
		seen[key] = true
		size, found := int64(0), false
		for _, f := range l.Files {
			if f.Source == t.Source && f.Keep && t.covers(f.Path) {
				size, found = size+f.Size, true
			}
		}
		if !found {
			return fmt.Errorf("tensors of %s: no kept file of source %s has this path or lies in this folder", t.Path, t.Source)
		}
		if err := t.check(size); err != nil {
			return fmt.Errorf("tensors of %s: %w", t.Path, err)
		}
	}
	return nil
}

// tensorsAboard lists the sums of the components that are aboard with all their files,
// under their paths in the image.
func (c *ModelConfig) tensorsAboard(l *Lock) []TensorSums {
	aboard, folders := map[[2]string]bool{}, map[string]string{}
	for _, s := range c.Sources {
		folders[s.Name] = s.Path
	}
	for _, f := range c.Files {
		aboard[[2]string{f.Source, strings.TrimPrefix(f.Path, folders[f.Source]+"/")}] = true
	}
	var out []TensorSums
	for _, t := range byPath(l.Tensors) {
		if t.onlyOf(l, aboard) {
			sums := t.TensorSums
			sums.Path = folders[t.Source] + "/" + t.Path
			out = append(out, sums)
		}
	}
	return out
}

// checkTensors refuses sums of what is not aboard.
func (c *ModelConfig) checkTensors() error {
	seen := map[string]bool{}
	for _, t := range c.Tensors {
		size, found := int64(0), false
		for _, f := range c.Files {
			if t.covers(f.Path) {
				size, found = size+f.Size, true
			}
		}
		if !found || seen[t.Path] {
			return fmt.Errorf("tensors of %q: they are there twice, or no file has this path or lies in this folder", t.Path)
		}
		seen[t.Path] = true
		if err := t.check(size); err != nil {
			return fmt.Errorf("tensors of %s: %w", t.Path, err)
		}
	}
	return nil
}

// byPath returns the lines in a fixed order.
func byPath(in []LockTensors) []LockTensors {
	return sorted(in, func(a, b LockTensors) int {
		if a.Source != b.Source {
			return strings.Compare(a.Source, b.Source)
		}
		return strings.Compare(a.Path, b.Path)
	})
}
