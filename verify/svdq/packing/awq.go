package packing

// UnpackAWQNibbles unpacks an AWQ qweight into rows of nibbles: dst and src have out·in/2
// bytes. Rows stay in the interleaved order of a modulation linear: see Deinterleave.
func UnpackAWQNibbles(dst, src []byte, out, in int) error {
	if err := checkAWQ(out, in, 2*len(dst), len(src)); err != nil {
		return err
	}
	eachAWQGroup(out, in, func(at, row, column int) {
		awqRow(bytesOf(src[at:])).put(dst[(row*in+column)/2:])
	})
	return nil
}

// PackAWQNibbles is the inverse of UnpackAWQNibbles.
func PackAWQNibbles(dst, src []byte, out, in int) error {
	if err := checkAWQ(out, in, 2*len(src), len(dst)); err != nil {
		return err
	}
	eachAWQGroup(out, in, func(at, row, column int) {
		awqUnits(bytesOf(src[(row*in+column)/2:])).put(dst[at:])
	})
	return nil
}

// UnpackAWQ unpacks an AWQ qweight: dst gets [out][in] codes, 0 to 15. The weight is
// code·scale + zero, with the row's scale and zero of the 64 columns' group.
func UnpackAWQ(dst []uint8, src []byte, out, in int) error {
	if err := checkAWQ(out, in, len(dst), len(src)); err != nil {
		return err
	}
	eachAWQGroup(out, in, func(at, row, column int) {
		putUnsigned(dst[row*in+column:], awqRow(bytesOf(src[at:])))
	})
	return nil
}

// PackAWQ is the inverse of UnpackAWQ. A code above 15 is an error.
func PackAWQ(dst []byte, src []uint8, out, in int) error {
	if err := checkAWQ(out, in, len(src), len(dst)); err != nil {
		return err
	}
	wrong := uint64(0)
	eachAWQGroup(out, in, func(at, row, column int) {
		q, bad := unsignedOf(src[row*in+column:])
		awqUnits(q).put(dst[at:])
		wrong |= bad
	})
	if wrong != 0 {
		return badCode("AWQ qweight", src, in, 0, 15)
	}
	return nil
}

func checkAWQ(out, in, plain, packed int) error {
	const what = "AWQ qweight"
	if err := checkDims(what, dim{"out", out, awqRows}, dim{"in", in, TileColumns}); err != nil {
		return err
	}
	codes := int64(out) * int64(in)
	return checkLengths(what, codes, plain, codes/2, packed)
}

// eachAWQGroup visits the groups of 64 columns of a row, 32 bytes each, at byte at.
func eachAWQGroup(out, in int, visit func(at, row, column int)) {
	at := 0
	for row := 0; row < out; row += awqRows {
		for column := 0; column < in; column += TileColumns {
			for r := range awqRows {
				visit(at, row+r, column)
				at += TileColumns / 2
			}
		}
	}
}

// awqRow puts a group's 64 codes into the order of columns. A group is two halves of 32
// columns, each of eight 16-bit units; unit r holds columns r, 8+r, 16+r and 24+r.
func awqRow(q quad) quad {
	a, b, c, d := transpose(q[0]), transpose(q[1]), transpose(q[2]), transpose(q[3])
	return quad{
		pairs(a) | pairs(b)<<16, pairs(a>>32) | pairs(b>>32)<<16,
		pairs(c) | pairs(d)<<16, pairs(c>>32) | pairs(d>>32)<<16,
	}
}

// awqUnits is the inverse of awqRow.
func awqUnits(q quad) quad {
	return quad{
		transpose(unpairs(q[0]) | unpairs(q[1])<<32), transpose(unpairs(q[0]>>16) | unpairs(q[1]>>16)<<32),
		transpose(unpairs(q[2]) | unpairs(q[3])<<32), transpose(unpairs(q[2]>>16) | unpairs(q[3]>>16)<<32),
	}
}
