package safetensorstest

import (
	"encoding/binary"
	"hash/fnv"
)

// golden is 2^64 divided by the golden ratio, the increment of SplitMix64: consecutive
// counters land far apart before they are mixed.
const golden = 0x9e3779b97f4a7c15

// Mix returns the i-th 64-bit value of the sequence that seed names, in any order: it is
// SplitMix64 with the counter as an argument.
func Mix(seed, i uint64) uint64 {
	x := seed + i*golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Seed derives the seed of a labelled part, such as one tensor, from the seed of the
// whole.
func Seed(seed uint64, label string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(label))
	return Mix(seed, h.Sum64())
}

// Blocks makes a Source out of a generator of whole blocks of size bytes. gen fills dst,
// a multiple of size long, beginning with block number first; Blocks cuts reads that
// begin or end inside a block.
func Blocks(size int, gen func(dst []byte, first int64)) Source {
	edge := func(p []byte, off int64) int {
		block := make([]byte, size)
		gen(block, off/int64(size))
		return copy(p, block[off%int64(size):])
	}
	return func(p []byte, off int64) {
		if off%int64(size) != 0 {
			n := edge(p, off)
			p, off = p[n:], off+int64(n)
		}
		if whole := len(p) / size * size; whole > 0 {
			gen(p[:whole], off/int64(size))
			p, off = p[whole:], off+int64(whole)
		}
		if len(p) > 0 {
			edge(p, off)
		}
	}
}

const (
	tableBits = 12
	tableSize = 1 << tableBits
	tableMask = tableSize - 1
	// blockSize is what one mixed counter yields: 4 words of 8 bytes, 16 bits each.
	blockSize = 32
)

// table holds words of finished values and masks that are laid over them with XOR, such
// as sign bits; all masks zero means none.
type table struct {
	words [tableSize]uint64
	masks [16]uint64
}

// source draws words from the table.
func (t *table) source(seed uint64) Source {
	return Blocks(blockSize, func(dst []byte, first int64) {
		for i := uint64(first); len(dst) >= blockSize; i++ {
			x := Mix(seed, i)
			binary.LittleEndian.PutUint64(dst, t.word(x))
			binary.LittleEndian.PutUint64(dst[8:], t.word(x>>16))
			binary.LittleEndian.PutUint64(dst[16:], t.word(x>>32))
			binary.LittleEndian.PutUint64(dst[24:], t.word(x>>48))
			dst = dst[blockSize:]
		}
	})
}

// word picks a word and a mask by the low 16 bits of x.
func (t *table) word(x uint64) uint64 {
	return t.words[x&tableMask] ^ t.masks[x>>tableBits&15]
}
