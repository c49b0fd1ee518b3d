package push

import (
	"errors"
	"io"
	"sync"
)

const (
	// blockSize is the unit that is read, and windowSize what is kept of what was read.
	blockSize  = 1 << 20
	windowSize = 64 << 20
)

// window keeps the newest blocks that were read from the layers of one image, so that
// several readers that are close together cost one read. Nobody waits for a slower reader:
// what one needs that has left the window it reads for itself, without pushing newer
// blocks out. It is safe for concurrent use.
type window struct {
	mu     sync.Mutex
	blocks map[blockKey]*block
	order  []blockKey
	newest map[int]int64
	// free holds the memory of blocks that have left the window.
	free [][]byte
}

type blockKey struct {
	layer int
	index int64
}

// block is one block; ready is closed when it has been read.
type block struct {
	ready chan struct{}
	data  []byte
	err   error
	// readers are inside; gone says that the block has left the window.
	readers int
	gone    bool
}

// share makes layers whose readers share a window.
func share(layers []layer) []layer {
	w := &window{blocks: map[blockKey]*block{}, newest: map[int]int64{}}
	out := make([]layer, len(layers))
	for i, l := range layers {
		own := l.open
		l.open = func() (source, error) {
			s, err := own()
			if err != nil {
				return nil, err
			}
			return &shared{source: s, window: w, layer: i, size: l.size}, nil
		}
		out[i] = l
	}
	return out
}

// shared is one reader's source.
type shared struct {
	source
	window *window
	layer  int
	size   int64
}

// ReadAt reads from the window, or through it.
func (s *shared) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < s.size {
		b, err := s.block(off / blockSize)
		if err != nil {
			return n, err
		}
		if b == nil {
			m, err := s.source.ReadAt(p[n:], off)
			return n + m, err
		}
		m := copy(p[n:], b.data[off%blockSize:])
		n, off = n+m, off+int64(m)
		s.window.release(b)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// block returns a block of the window, which the caller releases; this reader reads it
// where it is the first to come to it. It is nil where the window has gone on.
func (s *shared) block(index int64) (*block, error) {
	b, mine := s.window.claim(blockKey{s.layer, index})
	if b == nil {
		return nil, nil
	}
	if mine {
		b.data, b.err = s.fill(index)
		close(b.ready)
	}
	<-b.ready
	if b.err != nil {
		s.window.release(b)
		return nil, b.err
	}
	return b, nil
}

// fill reads a block.
func (s *shared) fill(index int64) ([]byte, error) {
	data := s.window.memory()[:min(blockSize, s.size-index*blockSize)]
	n, err := s.source.ReadAt(data, index*blockSize)
	if n == len(data) {
		return data, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// memory is room for one block.
func (w *window) memory() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.free)
	if n == 0 {
		return make([]byte, blockSize)
	}
	data := w.free[n-1]
	w.free = w.free[:n-1]
	return data
}

// release ends the use of a block; the last user of one that has left gives its memory back.
func (w *window) release(b *block) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.readers--
	w.recycle(b)
}

// recycle keeps the memory of a block that nobody uses or can find any more.
func (w *window) recycle(b *block) {
	if b.gone && b.readers == 0 && b.data != nil {
		w.free = append(w.free, b.data[:cap(b.data)])
		b.data = nil
	}
}

// claim finds a block or makes it; mine says that the caller has to fill it. A block
// behind the newest one of its layer is not made again.
func (w *window) claim(key blockKey) (b *block, mine bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b, ok := w.blocks[key]; ok {
		b.readers++
		return b, false
	}
	if newest, ok := w.newest[key.layer]; ok && key.index <= newest {
		return nil, false
	}
	w.newest[key.layer] = key.index
	if len(w.order) >= windowSize/blockSize {
		old := w.blocks[w.order[0]]
		old.gone = true
		delete(w.blocks, w.order[0])
		w.order = w.order[1:]
		w.recycle(old)
	}
	b = &block{ready: make(chan struct{}), readers: 1}
	w.blocks[key] = b
	w.order = append(w.order, key)
	return b, true
}
