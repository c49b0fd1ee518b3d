package verify

import (
	"fmt"
	"io"
	"sort"
)

// Section is random access to a known number of bytes, such as an *io.SectionReader.
type Section interface {
	io.ReaderAt
	// Size is the number of bytes, constant over the section's life.
	Size() int64
}

// Joined reads several sections as one: the parts of a file that was cut into layers. It
// holds no buffer, and is safe for concurrent use if its sections are.
type Joined struct {
	parts []Section
	ends  []int64 // ends[i] is the offset behind parts[i]
}

var _ Section = (*Joined)(nil)

// Concat joins the sections in the given order. Without any it is an empty section.
func Concat(parts ...Section) *Joined {
	j := &Joined{parts: parts, ends: make([]int64, len(parts))}
	var end int64
	for i, p := range parts {
		end += p.Size()
		j.ends[i] = end
	}
	return j
}

// Size is the sum of the sections' sizes.
func (j *Joined) Size() int64 {
	if len(j.ends) == 0 {
		return 0
	}
	return j.ends[len(j.ends)-1]
}

// ReadAt reads across the seams as io.ReaderAt wants it. A section that ends before its
// Size is an io.ErrUnexpectedEOF, never a silent gap.
func (j *Joined) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading joined parts: offset %d is below zero", off)
	}
	var done int
	at := sort.Search(len(j.ends), func(i int) bool { return j.ends[i] > off })
	for ; at < len(j.parts) && done < len(p); at++ {
		size := j.parts[at].Size()
		local := off + int64(done) - (j.ends[at] - size)
		piece := p[done:min(int64(len(p)), int64(done)+size-local)]
		n, err := j.parts[at].ReadAt(piece, local)
		done += n
		if n == len(piece) {
			continue
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return done, fmt.Errorf("reading part %d of %d at byte %d: %w", at, len(j.parts), local+int64(n), err)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
