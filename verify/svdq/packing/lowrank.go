package packing

// UnpackUp unpacks a proj_up: dst gets U as [out][rank] bfloat16 values, src has
// 2·out·rank bytes. out and rank are multiples of 16.
func UnpackUp(dst []uint16, src []byte, out, rank int) error {
	if err := checkLowRank("proj_up", "out", out, rank, len(dst), len(src)); err != nil {
		return err
	}
	eachTileRow(out, rank, func(at, lane, long, r int) {
		f := (*[fragment]byte)(src[at:])
		putRow(dst[(long+lane)*rank+r:], gather(f, 0))
		putRow(dst[(long+lane+8)*rank+r:], gather(f, 1))
	})
	return nil
}

// PackUp is the inverse of UnpackUp.
func PackUp(dst []byte, src []uint16, out, rank int) error {
	if err := checkLowRank("proj_up", "out", out, rank, len(src), len(dst)); err != nil {
		return err
	}
	eachTileRow(out, rank, func(at, lane, long, r int) {
		f := (*[fragment]byte)(dst[at:])
		scatter(f, 0, rowOf(src[(long+lane)*rank+r:]))
		scatter(f, 1, rowOf(src[(long+lane+8)*rank+r:]))
	})
	return nil
}

// UnpackDown unpacks a proj_down, whose nominal shape is [in, rank]: dst gets D as
// [rank][in] bfloat16 values, so that D·x has rank elements. src has 2·in·rank bytes. in
// and rank are multiples of 16.
func UnpackDown(dst []uint16, src []byte, in, rank int) error {
	if err := checkLowRank("proj_down", "in", in, rank, len(dst), len(src)); err != nil {
		return err
	}
	eachTileRow(in, rank, func(at, lane, long, r int) {
		f := (*[fragment]byte)(src[at:])
		putRow(dst[(r+lane)*in+long:], gather(f, 0))
		putRow(dst[(r+lane+8)*in+long:], gather(f, 1))
	})
	return nil
}

// PackDown is the inverse of UnpackDown.
func PackDown(dst []byte, src []uint16, in, rank int) error {
	if err := checkLowRank("proj_down", "in", in, rank, len(src), len(dst)); err != nil {
		return err
	}
	eachTileRow(in, rank, func(at, lane, long, r int) {
		f := (*[fragment]byte)(dst[at:])
		scatter(f, 0, rowOf(src[(r+lane)*in+long:]))
		scatter(f, 1, rowOf(src[(r+lane+8)*in+long:]))
	})
	return nil
}

func checkLowRank(what, axis string, long, rank, plain, packed int) error {
	if err := checkDims(what, dim{axis, long, RankUnit}, dim{"rank", rank, RankUnit}); err != nil {
		return err
	}
	values := int64(long) * int64(rank)
	return checkLengths(what, values, plain, 2*values, packed)
}

// eachTileRow visits the fragments of a low-rank factor: at is the first byte, lane the
// first of its two rows in the tile, which begins at element long of the long axis and
// element r of the rank.
func eachTileRow(length, rank int, visit func(at, lane, long, r int)) {
	at := 0
	for long := 0; long < length; long += RankUnit {
		for r := 0; r < rank; r += RankUnit {
			for lane := range 8 {
				visit(at, lane, long, r)
				at += fragment
			}
		}
	}
}

// putRow writes the 16 values of a tile's row.
func putRow(dst []uint16, q quad) {
	dst = dst[:RankUnit]
	for i, w := range q {
		putValues(dst[4*i:], w)
	}
}

// rowOf is the inverse of putRow.
func rowOf(src []uint16) (q quad) {
	src = src[:RankUnit]
	for i := range q {
		q[i] = valuesOf(src[4*i:])
	}
	return q
}
