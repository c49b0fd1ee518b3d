package packing

// The functions here define the layout, one element at a time. They do not check their
// arguments: n, k, g, r must lie inside the tensor.

// Nibble is the place of a 4-bit code in packed bytes: b[Byte]>>Shift&15.
type Nibble struct {
	Byte  int
	Shift int // 0 or 4
}

// Of returns the code at this place of b, 0 to 15.
func (p Nibble) Of(b []byte) byte { return b[p.Byte] >> p.Shift & 15 }

// CodeAt returns the place of row n, column k of an SVDQ qweight with in columns. int4 and
// e2m1 codes lie alike.
func CodeAt(n, k, in int) Nibble {
	pack, s, nl := n%TileRows/packRows, n%packRows/8, n%8
	h, kl, r := k%TileColumns/32, k%32/8, k%8
	tile := n/TileRows*(in/TileColumns) + k/TileColumns
	word := (((tile*8+pack)*8+nl)*4+kl)*4 + 2*s + h
	return Nibble{4*word + r/2, r % 2 * 4}
}

// VectorAt returns the index of element n of a bias, wcscales or smooth factor.
func VectorAt(n int) int {
	a, b, c, d := n%TileRows/16, n%16/8, n%8/2, n%2
	return n/TileRows*TileRows + 16*a + 4*c + 2*b + d
}

// ScaleAt returns the index of the int4 scale of row n, group g of a linear with in
// columns; a group is 64 columns.
func ScaleAt(n, g, in int) int {
	return (n/TileRows*(in/TileColumns)+g)*TileRows + VectorAt(n%TileRows)
}

// NVFP4ScaleAt returns the index of the e4m3 scale of row n, group g of a linear with in
// columns; a group is 16 columns.
func NVFP4ScaleAt(n, g, in int) int {
	quad := n/TileRows*(in/NVFP4Group/4) + g/4
	return (quad*TileRows+n%8*16+n%32/8*4+n%TileRows/32)*4 + g%4
}

// UpAt returns the index of output o, rank r of a proj_up.
func UpAt(o, r, rank int) int { return lowRankAt(o, r, o, r, rank) }

// DownAt returns the index of input i, rank r of a proj_down.
func DownAt(i, r, rank int) int { return lowRankAt(i, r, r, i, rank) }

// lowRankAt locates an element of a 16 by 16 tile: long and r name the tile, u is the
// element's row in the matrix product's sense and v its column.
func lowRankAt(long, r, u, v, rank int) int {
	tile := long/RankUnit*(rank/RankUnit) + r/RankUnit
	s, nl, h, kl, e := u%16/8, u%8, v%16/8, v%8/2, v%2
	return (((tile*8+nl)*4+kl)*2+s)*4 + 2*h + e
}

// AWQCodeAt returns the place of row n, column k of an AWQ qweight with in columns. Rows
// are in the order of ModulationAt.
func AWQCodeAt(n, k, in int) Nibble {
	unit := n/awqRows*in + k/TileColumns*TileColumns + n%awqRows*16 + k%TileColumns/32*8 + k%8
	nibble := k % 32 / 8
	return Nibble{2*unit + nibble/2, nibble % 2 * 4}
}

// ModulationAt returns the row of a modulation linear that holds a part of a channel: part
// 0 to 5 is shift, scale and gate of the attention, then of the MLP. It applies to the
// rows of qweight, to the columns of wscales and wzeros and to bias. In plain order the row
// is part·channels + channel.
func ModulationAt(part, channel int) int { return ModulationParts*channel + part }
