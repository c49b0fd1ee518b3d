package packing

import "encoding/binary"

// UnpackVector unpacks a bias, wcscales, smooth_factor or smooth_factor_orig of n elements,
// n a multiple of 128: dst gets n bfloat16 values, src has 2·n bytes.
func UnpackVector(dst []uint16, src []byte) error {
	if err := checkVector(len(dst), len(src)); err != nil {
		return err
	}
	eachQuartet(len(dst), func(at, n int) {
		w := binary.LittleEndian.Uint64(src[2*at:])
		d := dst[n : n+10]
		d[0], d[1], d[8], d[9] = uint16(w), uint16(w>>16), uint16(w>>32), uint16(w>>48)
	})
	return nil
}

// PackVector is the inverse of UnpackVector.
func PackVector(dst []byte, src []uint16) error {
	if err := checkVector(len(src), len(dst)); err != nil {
		return err
	}
	eachQuartet(len(src), func(at, n int) {
		s := src[n : n+10]
		w := uint64(s[0]) | uint64(s[1])<<16 | uint64(s[8])<<32 | uint64(s[9])<<48
		binary.LittleEndian.PutUint64(dst[2*at:], w)
	})
	return nil
}

// UnpackScales unpacks the wscales of an int4 linear: dst gets [out][in/64] bfloat16
// values, the scale of each row's group of 64 columns. src has out·in/32 bytes.
func UnpackScales(dst []uint16, src []byte, out, in int) error {
	groups := in / TileColumns
	if err := checkScales(out, in, len(dst), len(src)); err != nil {
		return err
	}
	eachScaleQuartet(out, groups, func(at, n, g int) {
		w := binary.LittleEndian.Uint64(src[2*at:])
		d := dst[n*groups+g : (n+9)*groups+g+1]
		d[0], d[groups], d[8*groups], d[9*groups] = uint16(w), uint16(w>>16), uint16(w>>32), uint16(w>>48)
	})
	return nil
}

// PackScales is the inverse of UnpackScales.
func PackScales(dst []byte, src []uint16, out, in int) error {
	groups := in / TileColumns
	if err := checkScales(out, in, len(src), len(dst)); err != nil {
		return err
	}
	eachScaleQuartet(out, groups, func(at, n, g int) {
		s := src[n*groups+g : (n+9)*groups+g+1]
		w := uint64(s[0]) | uint64(s[groups])<<16 | uint64(s[8*groups])<<32 | uint64(s[9*groups])<<48
		binary.LittleEndian.PutUint64(dst[2*at:], w)
	})
	return nil
}

// UnpackNVFP4Scales unpacks the wscales of an nvfp4 linear: dst gets [out][in/16] e4m3
// codes, the scale of each row's group of 16 columns. src is as long.
func UnpackNVFP4Scales(dst []uint8, src []byte, out, in int) error {
	groups := in / NVFP4Group
	if err := checkNVFP4Scales(out, in, len(dst), len(src)); err != nil {
		return err
	}
	eachScaleWord(out, groups, func(at, n, g int) {
		copy(dst[n*groups+g:n*groups+g+4], src[at:])
	})
	return nil
}

// PackNVFP4Scales is the inverse of UnpackNVFP4Scales.
func PackNVFP4Scales(dst []byte, src []uint8, out, in int) error {
	groups := in / NVFP4Group
	if err := checkNVFP4Scales(out, in, len(src), len(dst)); err != nil {
		return err
	}
	eachScaleWord(out, groups, func(at, n, g int) {
		copy(dst[at:at+4], src[n*groups+g:])
	})
	return nil
}

func checkVector(plain, packed int) error {
	if err := checkDims("vector", dim{"length", plain, TileRows}); err != nil {
		return err
	}
	return checkLengths("vector", int64(plain), plain, 2*int64(plain), packed)
}

func checkScales(out, in, plain, packed int) error {
	const what = "int4 wscales"
	if err := checkDims(what, dim{"out", out, TileRows}, dim{"in", in, columnUnit}); err != nil {
		return err
	}
	scales := int64(out) * int64(in) / TileColumns
	return checkLengths(what, scales, plain, 2*scales, packed)
}

func checkNVFP4Scales(out, in, plain, packed int) error {
	const what = "nvfp4 wscales"
	if err := checkDims(what, dim{"out", out, TileRows}, dim{"in", in, columnUnit}); err != nil {
		return err
	}
	scales := int64(out) * int64(in) / NVFP4Group
	return checkLengths(what, scales, plain, scales, packed)
}

// eachQuartet visits the runs of four packed elements from at; they are elements n, n+1,
// n+8 and n+9.
func eachQuartet(length int, visit func(at, n int)) {
	for at := 0; at < length; at += 4 {
		visit(at, at/16*16+at%16/2)
	}
}

// eachScaleQuartet does the same for each group of each tile of rows.
func eachScaleQuartet(out, groups int, visit func(at, n, g int)) {
	for row := 0; row < out; row += TileRows {
		for g := range groups {
			at := row*groups + g*TileRows
			eachQuartet(TileRows, func(i, n int) { visit(at+i, row+n, g) })
		}
	}
}

// eachScaleWord visits the e4m3 scales of row n, groups g to g+3, at byte at.
func eachScaleWord(out, groups int, visit func(at, n, g int)) {
	at := 0
	for row := 0; row < out; row += TileRows {
		for g := 0; g < groups; g += 4 {
			for i := range TileRows {
				visit(at, row+32*(i%4)+8*(i/4%4)+i/16, g)
				at += 4
			}
		}
	}
}
