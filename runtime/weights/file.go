package weights

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// file is a container whose pieces are in memory, one after the other.
type file struct {
	header  *safetensors.Header
	pieces  [][]byte
	release func(piece []byte) error
	// described says that there are no pieces and that tensors have no bytes.
	described bool
}

// mapFile maps a file's pieces and reads its header.
func mapFile(c *modelfiles.Local) (*file, error) {
	f := &file{release: unix.Munmap}
	for _, part := range c.Files() {
		piece, err := mapPiece(part)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.pieces = append(f.pieces, piece)
	}
	header, err := safetensors.Read(c, c.Size())
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.header = header
	return f, nil
}

func mapPiece(part *os.File) ([]byte, error) {
	info, err := part.Stat()
	if err != nil {
		return nil, fault.Wrap(fault.Resource, "", err)
	}
	piece, err := unix.Mmap(int(part.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("mapping %d bytes: %w", info.Size(), err))
	}
	return piece, nil
}

// readFile reads a whole file into memory.
func readFile(s verify.Section) (*file, error) {
	data := make([]byte, s.Size())
	if _, err := io.ReadFull(io.NewSectionReader(s, 0, s.Size()), data); err != nil {
		return nil, err
	}
	header, err := safetensors.Read(s, s.Size())
	if err != nil {
		return nil, err
	}
	return &file{header: header, pieces: [][]byte{data}, release: func([]byte) error { return nil }}, nil
}

// bytes returns a tensor's data: a view, or a copy where they lie in several pieces, which
// of a model's thousands of tensors a dozen do.
func (f *file) bytes(t safetensors.Tensor) ([]byte, error) {
	if f.described {
		return nil, nil
	}
	from, size := f.header.DataStart+t.Begin, t.Size()
	var joined []byte
	for _, piece := range f.pieces {
		if from >= int64(len(piece)) {
			from -= int64(len(piece))
			continue
		}
		part := piece[from:min(int64(len(piece)), from+size-int64(len(joined)))]
		if joined == nil && int64(len(part)) == size {
			return part, nil
		}
		joined = append(joined, part...)
		from = 0
		if int64(len(joined)) == size {
			return joined, nil
		}
	}
	if size == 0 {
		return nil, nil
	}
	return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("its data end after %d of %d bytes", len(joined), size))
}

// close gives the memory back, and may be called twice.
func (f *file) close() error {
	var problems []error
	for _, piece := range f.pieces {
		problems = append(problems, f.release(piece))
	}
	f.pieces = nil
	return errors.Join(problems...)
}
