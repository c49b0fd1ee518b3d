package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// The threads that copy weights, and the pinned buffers of each: README.md has what was
// measured.
const (
	feedThreads = 12
	feedBuffers = 2
	feedSize    = 2 << 20
)

// intake is what is being loaded: bytes on their way to the device, and the kernels that
// bring into order what needs it once it is there. What is only read by such kernels lies in
// the arena above the tensors, which is free as long as nothing runs; when that is full, one
// round of loading is finished before the next.
type intake struct {
	feed  *cuda.Feed // nil unless something is being loaded
	batch *cuda.Batch
	after []func()
	raw   int64 // bytes of the arena
}

// put copies n bytes of a weight, or what becomes of it, to the device, behind, or when the
// group comes that is being loaded.
func (b *Backend) put(w compute.Weight, p cuda.Pointer, n int, fill cuda.Fill) {
	if g := b.window.loading; g != nil {
		g.puts = append(g.puts, put{w.String(), p - g.at, n, fill})
		return
	}
	if b.intake.feed == nil && n <= stagingSize { // threads take longer to begin
		b.stick(b.staging.Carry(w.String(), p, n, fill))
		return
	}
	if b.intake.feed == nil {
		b.intake.feed = b.context.Feed(min(feedThreads, runtime.GOMAXPROCS(0)), feedBuffers, feedSize)
		b.intake.batch = b.intake.feed.Batch(nil)
	}
	b.intake.batch.Put(w.String(), p, n, fill)
}

// putRaw copies the bytes of a weight as they are.
func (b *Backend) putRaw(w compute.Weight, p cuda.Pointer) {
	b.put(w, p, len(w.Data), func(buffer []byte, offset int) error {
		copy(buffer, w.Data[offset:])
		return nil
	})
}

// putWide copies the values of a weight as float32.
func (b *Backend) putWide(w compute.Weight, p cuda.Pointer) {
	if kindOf(w) == compute.F32 {
		b.putRaw(w, p)
		return
	}
	b.put(w, p, w.Len()*f32Size, func(buffer []byte, offset int) error {
		from := w.Data[offset/f32Size*actSize:]
		for i := range len(buffer) / f32Size {
			v := bf16.Value(binary.LittleEndian.Uint16(from[actSize*i:]))
			binary.LittleEndian.PutUint32(buffer[f32Size*i:], math.Float32bits(v))
		}
		return nil
	})
}

// putRows copies rows of in values as bfloat16, each padded with zeros.
func (b *Backend) putRows(w compute.Weight, p cuda.Pointer, in, padded int) {
	row := func(buffer []byte, offset int) { copy(buffer, w.Data[offset:]) }
	if kindOf(w) == compute.F32 {
		row = func(buffer []byte, offset int) { narrow(buffer, w.Data[offset/actSize*f32Size:]) }
	}
	b.put(w, p, w.Len()/in*padded*actSize, func(buffer []byte, offset int) error {
		if in == padded {
			row(buffer, offset)
			return nil
		}
		for len(buffer) > 0 {
			i, at := offset/(padded*actSize), offset%(padded*actSize)
			n := min(len(buffer), max(in*actSize-at, 0))
			if n > 0 {
				row(buffer[:n], i*in*actSize+at)
			} else {
				n = min(len(buffer), padded*actSize-at)
				clear(buffer[:n])
			}
			buffer, offset = buffer[n:], offset+n
		}
		return nil
	})
}

// narrow writes values of F32 as bfloat16.
func narrow(buffer, from []byte) {
	for i := range len(buffer) / actSize {
		v := math.Float32frombits(binary.LittleEndian.Uint32(from[f32Size*i:]))
		binary.LittleEndian.PutUint16(buffer[actSize*i:], bf16.Bits(v))
	}
}

// take takes memory for what stays as long as its layer.
func (b *Backend) take(all ...taken) error {
	if g := b.window.loading; g != nil {
		g.take(all...)
		return nil
	}
	return b.store.take(all...)
}

// takeRoom takes memory in the arena, or the group's, for what one layer's kernels read, until
// they have run.
func (b *Backend) takeRoom(all ...taken) error {
	if g := b.window.loading; g != nil {
		g.take(all...)
		return nil
	}
	var need int64
	for _, t := range all {
		need += aligned(t.bytes)
	}
	in, used := &b.intake, aligned(b.arena.Used())
	if room := b.arena.Limit - used; need > room {
		return fault.Wrap(fault.Resource, "make the arena larger", fmt.Errorf("%w: its kernels read %d bytes in the arena, and %d of %d are in use",
			cuda.ErrMemory, need, b.arena.Used(), b.arena.Limit))
	} else if in.raw+need > room {
		b.finishRound()
	}
	if in.raw == 0 {
		b.stick(b.stream.Sync()) // what runs may still use the memory
	}
	for _, t := range all {
		*t.to = b.memory + cuda.Pointer(used+in.raw)
		in.raw += aligned(t.bytes)
	}
	return b.err
}

// later has kernels launched once all bytes are there that were put before. Addresses that were
// taken must be read by launch itself: those of a group may change until then.
func (b *Backend) later(launch func()) {
	if g := b.window.loading; g != nil {
		g.after = append(g.after, launch)
		return
	}
	b.intake.after = append(b.intake.after, launch)
}

// finishRound waits for the bytes and launches the kernels.
func (b *Backend) finishRound() {
	in := &b.intake
	if in.batch != nil {
		b.stick(in.batch.Wait())
	}
	for _, launch := range in.after {
		if b.err == nil {
			launch()
		}
	}
	in.after, in.raw = nil, 0
}

// settle finishes loading: what is put into the stream afterwards finds the weights. The
// threads and their pinned memory go.
func (b *Backend) settle() {
	b.stick(b.place())
	if b.intake.feed == nil && len(b.intake.after) == 0 {
		return
	}
	b.finishRound()
	b.endIntake()
}

// endIntake drops what was not begun.
func (b *Backend) endIntake() {
	if b.intake.feed != nil {
		b.stick(b.intake.feed.Close())
	}
	b.intake = intake{}
}

func aligned(n int64) int64 { return (n + compute.Align - 1) / compute.Align * compute.Align }
