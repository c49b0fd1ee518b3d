package values

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// format is a kind of 4-bit code.
type format struct {
	name string
	// value of a code in steps of the grid.
	value func(code uint8) float64
	// mirror is the code of the opposite value, the code itself where it has none.
	mirror func(code uint8) uint8
	// peaks are the two codes of the largest magnitude that the quantiser makes.
	peaks [2]uint8
	// foreign is a code that a symmetric quantiser never makes, or none.
	foreign int
	// columns is the number of columns that share a scale: 64 or 16.
	columns int
	// tiled is set for the layout of SVDQ weights, clear for AWQ's.
	tiled bool
}

const none = -1

// The formats. Zero has no opposite; in e2m1 some writers make -0 and some do not.
var (
	int4 = &format{
		name: "int4", value: func(c uint8) float64 { return float64(int8(c<<4) >> 4) },
		mirror: func(c uint8) uint8 { return -c & 15 }, peaks: [2]uint8{7, 9}, foreign: 8, columns: 64, tiled: true,
	}
	e2m1 = &format{
		name: "e2m1", value: func(c uint8) float64 { return float64(packing.E2M1(c)) },
		mirror: func(c uint8) uint8 { return c ^ opposite[c&7] }, peaks: [2]uint8{7, 15}, foreign: none, columns: 16, tiled: true,
	}
	awq = &format{
		name: "AWQ", value: func(c uint8) float64 { return float64(c) - awqZero },
		mirror: func(c uint8) uint8 { return (2*awqZero - c) & 15 }, peaks: [2]uint8{0, 14}, foreign: 15, columns: 64,
	}
)

// opposite is the sign bit of e2m1, for all magnitudes but zero.
var opposite = [8]uint8{0, 8, 8, 8, 8, 8, 8, 8}

const (
	fragment = 64 // bytes: two rows of 64 columns, in either layout
	rowBytes = fragment / 2
	allOnes  = math.MaxUint64
)

// tally collects what the codes of one tensor show. It needs no shape: in both layouts
// every 64 bytes hold two rows of the same 64 columns.
type tally struct {
	format         *format
	hist           [16]int64
	groups, peaked int64
	// constant counts rows of 64 columns with a single code; run is the current length of
	// such rows in the order of the file, longest the greatest.
	constant, run, longest int64
	// otherGroups and otherPeaked count the groups of doubtful pieces, read as if the
	// tensor had the other layout.
	otherGroups, otherPeaked int64
	rest                     int // bytes that make no fragment
}

// feed takes the next bytes; all but the last piece must be whole fragments.
func (t *tally) feed(data ...[]byte) {
	p := data[0]
	t.rest += len(p) % fragment
	p = p[:len(p)/fragment*fragment]
	groups, peaked := t.groups, t.peaked
	for q := p; len(q) >= fragment; q = q[fragment:] {
		f := (*[fragment]byte)(q)
		if t.format.tiled {
			t.row(tiledRow(f, 0))
			t.row(tiledRow(f, 1))
		} else {
			t.row(plainRow(f, 0))
			t.row(plainRow(f, 1))
		}
	}
	if float64(t.peaked-peaked) < PeakShare*float64(t.groups-groups) {
		t.otherLayout(p)
	}
}

// Rows are handed on as four words of 16 codes, and as the four planes that these make, in
// variables of their own: arrays would live in memory, which halves the speed.

// tiledRow takes a row out of a fragment of a tiled weight: the words of two rows
// alternate, and the halves of a word are 32 columns apart.
func tiledRow(f *[fragment]byte, row int) (a, b, c, d uint64) {
	s := f[8*row : 8*row+56]
	return le(s), le(s[16:]), le(s[32:]), le(s[48:])
}

// plainRow takes a row out of a fragment in which rows are contiguous.
func plainRow(f *[fragment]byte, row int) (a, b, c, d uint64) {
	s := f[rowBytes*row : rowBytes*row+rowBytes]
	return le(s), le(s[8:]), le(s[16:]), le(s[24:])
}

func le(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// row counts the 64 codes of a row.
func (t *tally) row(a, b, c, d uint64) {
	a, b, c, d = planes(a, b, c, d)
	t.count(a, b, c, d)
	reached := t.format.reached(t.format.peak(a, b, c, d), t.format.tiled)
	t.groups += int64(64 / t.format.columns)
	t.peaked += int64(reached)
	if a+1 > 1 || b+1 > 1 || c+1 > 1 || d+1 > 1 {
		t.run = 0
		return
	}
	t.constant++
	t.run++
	t.longest = max(t.longest, t.run)
}

// planes transposes the 4 by 4 bits of four words' nibbles: bit 4·j+i of the b-th result is
// bit b of nibble j of word i.
func planes(a, b, c, d uint64) (uint64, uint64, uint64, uint64) {
	const odd, upper = 0x5555555555555555, 0x3333333333333333
	x, y := (a>>1^b)&odd, (c>>1^d)&odd
	a, b, c, d = a^x<<1, b^x, c^y<<1, d^y
	x, y = (a>>2^c)&upper, (b>>2^d)&upper
	return a ^ x<<2, b ^ y<<2, c ^ x, d ^ y
}

// count adds a row's planes to the histogram. Each pair of planes splits the codes four
// ways, and the two splits together sixteen.
func (t *tally) count(p0, p1, p2, p3 uint64) {
	a, b, c, d := ^p1 & ^p0, ^p1&p0, p1 & ^p0, p1&p0
	quarter(t.hist[0:4], ^p3 & ^p2, a, b, c, d)
	quarter(t.hist[4:8], ^p3&p2, a, b, c, d)
	quarter(t.hist[8:12], p3 & ^p2, a, b, c, d)
	quarter(t.hist[12:16], p3&p2, a, b, c, d)
}

func quarter(hist []int64, high, a, b, c, d uint64) {
	_ = hist[3]
	hist[0] += int64(bits.OnesCount64(high & a))
	hist[1] += int64(bits.OnesCount64(high & b))
	hist[2] += int64(bits.OnesCount64(high & c))
	hist[3] += int64(bits.OnesCount64(high & d))
}

// peak marks the columns whose code is one of the peaks.
func (f *format) peak(p0, p1, p2, p3 uint64) uint64 {
	switch f {
	case int4: // 7 and 9
		return p2&p1&p0 & ^p3 | p3 & ^p2 & ^p1 & p0
	case awq: // 0 and 14
		return ^(p3 | p2 | p1 | p0) | p3&p2&p1 & ^p0
	}
	return p2 & p1 & p0 // 7 and 15
}

// reached counts the groups of a row in which a column is marked. Four groups share a row
// of 64 columns in NVFP4: quarters of two words in a tile, words in a plain row.
func (f *format) reached(peak uint64, tiled bool) int {
	switch {
	case f.columns == 64:
		return has(peak, allOnes)
	case tiled:
		return has(peak, 0x33333333) + has(peak, 0xcccccccc) + has(peak, 0x33333333<<32) + has(peak, 0xcccccccc<<32)
	}
	return has(peak, 0x1111111111111111) + has(peak, 0x2222222222222222) + has(peak, 0x4444444444444444) + has(peak, 0x8888888888888888)
}

// has is 1 if x and mask have a bit in common, else 0, without a branch.
func has(x, mask uint64) int { return int((x&mask | -(x & mask)) >> 63) }

// otherLayout counts the groups of a piece as the other layout has them: plain rows
// instead of tiles, or tiles instead of AWQ's rows.
func (t *tally) otherLayout(p []byte) {
	read := tiledRow
	if t.format.tiled {
		read = plainRow
	}
	for ; len(p) >= fragment; p = p[fragment:] {
		for row := range 2 {
			peak := t.format.peak(planes(read((*[fragment]byte)(p), row)))
			t.otherGroups += int64(64 / t.format.columns)
			t.otherPeaked += int64(t.format.reached(peak, !t.format.tiled))
		}
	}
}

// lopsided is the share of codes that would have to change for every code to occur as
// often as its opposite, if the codes were of format f.
func (t *tally) lopsided(f *format) float64 {
	total, off := int64(0), int64(0)
	for c, n := range t.hist {
		total += n
		if d := n - t.hist[f.mirror(uint8(c))]; d > 0 {
			off += d
		}
	}
	return share(off, total)
}
