package packing

import "fmt"

// UnpackNibbles unpacks an SVDQ qweight of either precision into rows of nibbles: dst and
// src have out·in/2 bytes, the code of column k is in byte k/2 of its row, even k in the
// low half.
func UnpackNibbles(dst, src []byte, out, in int) error {
	if err := checkWeight("qweight", out, in, 2*len(dst), len(src)); err != nil {
		return err
	}
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(src[at:])
		gather(f, 0).put(dst[(row*in+column)/2:])
		gather(f, 1).put(dst[((row+8)*in+column)/2:])
	})
	return nil
}

// PackNibbles is the inverse of UnpackNibbles.
func PackNibbles(dst, src []byte, out, in int) error {
	if err := checkWeight("qweight", out, in, 2*len(src), len(dst)); err != nil {
		return err
	}
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(dst[at:])
		scatter(f, 0, bytesOf(src[(row*in+column)/2:]))
		scatter(f, 1, bytesOf(src[((row+8)*in+column)/2:]))
	})
	return nil
}

// UnpackInt4 unpacks an SVDQ qweight of precision int4: dst gets [out][in] codes, -8 to 7.
func UnpackInt4(dst []int8, src []byte, out, in int) error {
	if err := checkWeight("int4 qweight", out, in, len(dst), len(src)); err != nil {
		return err
	}
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(src[at:])
		putSigned(dst[row*in+column:], gather(f, 0))
		putSigned(dst[(row+8)*in+column:], gather(f, 1))
	})
	return nil
}

// PackInt4 is the inverse of UnpackInt4. A code outside -8..7 is an error.
func PackInt4(dst []byte, src []int8, out, in int) error {
	if err := checkWeight("int4 qweight", out, in, len(src), len(dst)); err != nil {
		return err
	}
	wrong := uint64(0)
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(dst[at:])
		for s := range 2 {
			q, bad := signedOf(src[(row+8*s)*in+column:])
			scatter(f, s, q)
			wrong |= bad
		}
	})
	if wrong != 0 {
		return badCode("int4 qweight", src, in, -8, 7)
	}
	return nil
}

// UnpackE2M1 unpacks an SVDQ qweight of precision nvfp4: dst gets [out][in] e2m1 codes, 0
// to 15. E2M1 gives their values.
func UnpackE2M1(dst []uint8, src []byte, out, in int) error {
	if err := checkWeight("nvfp4 qweight", out, in, len(dst), len(src)); err != nil {
		return err
	}
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(src[at:])
		putUnsigned(dst[row*in+column:], gather(f, 0))
		putUnsigned(dst[(row+8)*in+column:], gather(f, 1))
	})
	return nil
}

// PackE2M1 is the inverse of UnpackE2M1. A code above 15 is an error.
func PackE2M1(dst []byte, src []uint8, out, in int) error {
	if err := checkWeight("nvfp4 qweight", out, in, len(src), len(dst)); err != nil {
		return err
	}
	wrong := uint64(0)
	eachFragment(out, in, func(at, row, column int) {
		f := (*[fragment]byte)(dst[at:])
		for s := range 2 {
			q, bad := unsignedOf(src[(row+8*s)*in+column:])
			scatter(f, s, q)
			wrong |= bad
		}
	})
	if wrong != 0 {
		return badCode("nvfp4 qweight", src, in, 0, 15)
	}
	return nil
}

func checkWeight(what string, out, in, plain, packed int) error {
	if err := checkDims(what, dim{"out", out, TileRows}, dim{"in", in, columnUnit}); err != nil {
		return err
	}
	codes := int64(out) * int64(in)
	return checkLengths(what, codes, plain, codes/2, packed)
}

// eachFragment visits the fragments of a packed weight: at is the first byte, row the
// first of two rows (the other is 8 below), column the first of 64. It goes along the rows
// of 16, which writes sixteen streams in order and costs fewer misses than the order of
// the file.
func eachFragment(out, in int, visit func(at, row, column int)) {
	for row := 0; row < out; row += packRows {
		at := row/TileRows*(TileRows*in/2) + row%TileRows/packRows*(8*fragment)
		for column := 0; column < in; column += TileColumns {
			for lane := range 8 {
				visit(at+lane*fragment, row+lane, column)
			}
			at += tileBytes
		}
	}
}

// putSigned writes 64 codes of a row of nibbles.
func putSigned(dst []int8, q quad) {
	dst = dst[:TileColumns]
	for i, w := range q {
		putCodes(dst[16*i:], extend(spread(uint32(w))))
		putCodes(dst[16*i+8:], extend(spread(uint32(w>>32))))
	}
}

// signedOf is the inverse of putSigned. bad is 0 if all codes fit.
func signedOf(src []int8) (q quad, bad uint64) {
	src = src[:TileColumns]
	for i := range q {
		a, b := codesOf(src[16*i:]), codesOf(src[16*i+8:])
		bad |= a ^ extend(a&nibbleMask) | b ^ extend(b&nibbleMask)
		q[i] = uint64(squeeze(a&nibbleMask)) | uint64(squeeze(b&nibbleMask))<<32
	}
	return q, bad
}

// putUnsigned writes 64 codes of a row of nibbles.
func putUnsigned(dst []uint8, q quad) {
	dst = dst[:TileColumns]
	for i, w := range q {
		putCodes(dst[16*i:], spread(uint32(w)))
		putCodes(dst[16*i+8:], spread(uint32(w>>32)))
	}
}

// unsignedOf is the inverse of putUnsigned. bad is 0 if all codes fit.
func unsignedOf(src []uint8) (q quad, bad uint64) {
	src = src[:TileColumns]
	for i := range q {
		a, b := codesOf(src[16*i:]), codesOf(src[16*i+8:])
		bad |= (a | b) &^ nibbleMask
		q[i] = uint64(squeeze(a&nibbleMask)) | uint64(squeeze(b&nibbleMask))<<32
	}
	return q, bad
}

// badCode finds the code that does not fit.
func badCode[T int8 | uint8](what string, codes []T, in, lo, hi int) error {
	for i, c := range codes {
		if int(c) < lo || int(c) > hi {
			return fmt.Errorf("packing %s: code of row %d, column %d is %d, want %d to %d", what, i/in, i%in, c, lo, hi)
		}
	}
	return nil
}
