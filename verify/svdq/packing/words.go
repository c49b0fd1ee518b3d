package packing

import "encoding/binary"

// All tiles of SVDQ weights and of low-rank factors are made of the same fragment: 64 bytes
// in which two rows of 32 bytes meet, those of one lane group of an mma instruction. Lane
// kl = 0..3 holds 16 bytes, and in them row s = 0, 1 has 8: four bytes of the row's first
// half, then four of its second half.

// quad is a row's 32 bytes as little-endian words.
type quad [4]uint64

const low = 1<<32 - 1

// gather takes row s of a fragment.
func gather(f *[fragment]byte, s int) quad {
	b := f[8*s : 8*s+56]
	w0, w1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[16:])
	w2, w3 := binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[48:])
	return quad{w0&low | w1<<32, w2&low | w3<<32, w0>>32 | w1&^low, w2>>32 | w3&^low}
}

// scatter is the inverse of gather.
func scatter(f *[fragment]byte, s int, q quad) {
	b := f[8*s : 8*s+56]
	binary.LittleEndian.PutUint64(b, q[0]&low|q[2]<<32)
	binary.LittleEndian.PutUint64(b[16:], q[0]>>32|q[2]&^low)
	binary.LittleEndian.PutUint64(b[32:], q[1]&low|q[3]<<32)
	binary.LittleEndian.PutUint64(b[48:], q[1]>>32|q[3]&^low)
}

// bytesOf reads 32 bytes.
func bytesOf(b []byte) quad {
	b = b[:32]
	return quad{
		binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]),
		binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]),
	}
}

// put writes 32 bytes.
func (q quad) put(b []byte) {
	b = b[:32]
	binary.LittleEndian.PutUint64(b, q[0])
	binary.LittleEndian.PutUint64(b[8:], q[1])
	binary.LittleEndian.PutUint64(b[16:], q[2])
	binary.LittleEndian.PutUint64(b[24:], q[3])
}

// Masks of bytes.
const (
	nibbleMask = 0x0f0f0f0f0f0f0f0f
	signs      = 0x0808080808080808
	tops       = 0x8080808080808080
)

// spread gives each of eight nibbles a byte of its own.
func spread(w uint32) uint64 {
	x := uint64(w)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	return (x | x<<4) & nibbleMask
}

// squeeze is the inverse of spread; high halves of the bytes must be zero.
func squeeze(x uint64) uint32 {
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// extend turns eight bytes of 4-bit two's complement into 8-bit two's complement. Setting
// the top bits keeps the subtraction of one byte from borrowing from the next.
func extend(x uint64) uint64 { return (x ^ signs | tops) - signs ^ tops }

// transpose swaps rows and columns of a 4 by 4 matrix of nibbles. It is its own inverse.
func transpose(x uint64) uint64 {
	t := (x ^ x>>12) & 0x0000f0f00000f0f0
	x ^= t ^ t<<12
	t = (x ^ x>>24) & 0x00000000ff00ff00
	return x ^ t ^ t<<24
}

// pairs moves two 16-bit halves apart: into bits 0..15 and 32..47.
func pairs(x uint64) uint64 { return (x&low | x&low<<16) & 0x0000ffff0000ffff }

// unpairs is the inverse of pairs; other bits are ignored.
func unpairs(x uint64) uint64 {
	x &= 0x0000ffff0000ffff
	return (x | x>>16) & low
}

// Stores and loads below are written element by element: the compiler makes one 64-bit
// move of them, and no pointer has to change its type.

func putCodes[T int8 | uint8](dst []T, x uint64) {
	_ = dst[7]
	dst[0], dst[1], dst[2], dst[3] = T(x), T(x>>8), T(x>>16), T(x>>24)
	dst[4], dst[5], dst[6], dst[7] = T(x>>32), T(x>>40), T(x>>48), T(x>>56)
}

func codesOf[T int8 | uint8](src []T) uint64 {
	_ = src[7]
	return uint64(uint8(src[0])) | uint64(uint8(src[1]))<<8 | uint64(uint8(src[2]))<<16 | uint64(uint8(src[3]))<<24 |
		uint64(uint8(src[4]))<<32 | uint64(uint8(src[5]))<<40 | uint64(uint8(src[6]))<<48 | uint64(uint8(src[7]))<<56
}

func putValues(dst []uint16, x uint64) {
	_ = dst[3]
	dst[0], dst[1], dst[2], dst[3] = uint16(x), uint16(x>>16), uint16(x>>32), uint16(x>>48)
}

func valuesOf(src []uint16) uint64 {
	_ = src[3]
	return uint64(src[0]) | uint64(src[1])<<16 | uint64(src[2])<<32 | uint64(src[3])<<48
}
