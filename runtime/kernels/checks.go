package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// maxChecks is how many checks may wait to be looked at.
const maxChecks = 512

// checks are the calls of Finite since the host last waited. Each has a place on the
// device for the index of the first value that is not finite.
type checks struct {
	memory  cuda.Pointer
	pending []check
}

type check struct {
	x    compute.Tensor
	what string
}

func (c *checks) open(b *Backend) (err error) {
	c.memory, err = b.context.Alloc(8 * maxChecks)
	if err == nil {
		b.stream.Fill(c.memory, 0xff, 8*maxChecks)
	}
	return err
}

// Finite makes a NaN or an infinity an error that sticks, once the host waits.
func (b *Backend) Finite(x compute.Tensor, what string) {
	if !b.ready() {
		return
	}
	b.arena.Present(x)
	c := &b.checks
	if len(c.pending) == maxChecks {
		if b.stick(c.look(b)); b.err != nil {
			return
		}
	}
	place := c.memory + cuda.Pointer(8*len(c.pending))
	c.pending = append(c.pending, check{x, what})
	b.spread("finite_"+format(x.Kind), x.Len(), 4, b.address(x), cuda.Int(x.Len()), cuda.Address(place))
}

// look waits for the checks and returns the first one's error.
func (c *checks) look(b *Backend) error {
	if len(c.pending) == 0 {
		return nil
	}
	n := 8 * len(c.pending)
	var failed error
	err := b.staging.Read(c.memory, n, func(piece []byte, offset int) {
		for i := range len(piece) / 8 {
			at := binary.LittleEndian.Uint64(piece[8*i:])
			if at != math.MaxUint64 && failed == nil {
				failed = c.pending[offset/8+i].failed(at)
			}
		}
	})
	c.pending = c.pending[:0]
	b.stream.Fill(c.memory, 0xff, int64(n))
	if err != nil {
		return err
	}
	return failed
}

func (k check) failed(at uint64) error {
	cols := uint64(k.x.Cols)
	return fault.Wrap(fault.Internal, "", fmt.Errorf("checking %s: value %d of row %d of %v is not finite", k.what, at%cols, at/cols, k.x))
}
