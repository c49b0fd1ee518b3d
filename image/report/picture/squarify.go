package picture

// box is a rectangle in units of the picture, y growing downwards.
type box struct{ X, Y, W, H float64 }

func (b box) overlaps(o box) bool {
	return b.X < o.X+o.W && o.X < b.X+b.W && b.Y < o.Y+o.H && o.Y < b.Y+b.H
}

// lie is how many times wider than high an area had best be: text lies.
const lie = 1.8

// arrange is squarify with areas that are wide rather than square.
func arrange(nodes []*node, into box) []box {
	out := squarify(nodes, box{into.X, into.Y, into.W / lie, into.H})
	for i := range out {
		out[i].X = into.X + (out[i].X-into.X)*lie
		out[i].W *= lie
	}
	return out
}

// squarify divides a rectangle among nodes, largest first, each with bytes: areas are in
// proportion to bytes, and as near to squares as the rule of Bruls, Huizing and van Wijk
// ("Squarified Treemaps", 2000) makes them. A row is filled along the shorter side until
// one more node would make its worst shape worse.
func squarify(nodes []*node, into box) []box {
	var out []box
	for len(nodes) > 0 {
		scale := into.W * into.H / float64(sum(nodes))
		side := min(into.W, into.H)
		n := 1
		for n < len(nodes) && worst(nodes[:n+1], side, scale) <= worst(nodes[:n], side, scale) {
			n++
		}
		row, rest := into.row(float64(sum(nodes[:n])) * scale)
		out = append(out, row.divide(nodes[:n], into.W < into.H)...)
		nodes, into = nodes[n:], rest
	}
	return out
}

// worst is the largest aspect ratio in a row of the given length.
func worst(row []*node, side, scale float64) float64 {
	total := float64(sum(row)) * scale
	out := 0.0
	for _, n := range row {
		area := float64(n.bytes) * scale
		ratio := side * side * area / (total * total)
		out = max(out, ratio, 1/ratio)
	}
	return out
}

// row cuts a row of an area off: at the left of a wide box, at the bottom of a high one,
// since cargo is stowed from the keel.
func (b box) row(area float64) (row, rest box) {
	if b.W < b.H {
		h := min(area/b.W, b.H)
		return box{b.X, b.Y + b.H - h, b.W, h}, box{b.X, b.Y, b.W, b.H - h}
	}
	w := min(area/b.H, b.W)
	return box{b.X, b.Y, w, b.H}, box{b.X + w, b.Y, b.W - w, b.H}
}

// divide shares a row out along its length.
func (b box) divide(nodes []*node, lying bool) []box {
	total, done := float64(sum(nodes)), 0.0
	out := make([]box, len(nodes))
	for i, n := range nodes {
		share := float64(n.bytes) / total
		if lying {
			out[i] = box{b.X + done*b.W, b.Y, share * b.W, b.H}
		} else {
			out[i] = box{b.X, b.Y + done*b.H, b.W, share * b.H}
		}
		done += share
	}
	return out
}
