package ref

// piece is how many products are summed in one go. Sums of pieces are nearer to the true
// sum than one long sum, and a piece of a few rows fits into the nearest cache.
const piece = 512

// rows is a matrix in a slice: row i begins at i·stride.
type rows struct {
	v      []float32
	stride int
}

func (r rows) at(i, from, n int) []float32 { return r.v[i*r.stride+from:][:n:n] }

// multiply computes y = x·wᵀ: n rows of x, m rows of w, k columns of both, y [n, m].
//
// Each value of y is summed alone and in the order of k, so it depends on its two rows and
// on nothing else.
func multiply(y, x, w rows, n, m, k int) {
	for from := 0; from < k; from += piece {
		width := min(piece, k-from)
		for j := 0; j < m; j += 4 {
			// Beyond the last row, it is taken again, and the results are dropped.
			last := m - 1
			w0, w1 := w.at(j, from, width), w.at(min(j+1, last), from, width)
			w2, w3 := w.at(min(j+2, last), from, width), w.at(min(j+3, last), from, width)
			for i := 0; i+1 < n; i += 2 {
				a, b := dot2x4(x.at(i, from, width), x.at(i+1, from, width), w0, w1, w2, w3)
				put(y.at(i, j, min(4, m-j)), a, from > 0)
				put(y.at(i+1, j, min(4, m-j)), b, from > 0)
			}
			if n%2 == 1 {
				put(y.at(n-1, j, min(4, m-j)), dot1x4(x.at(n-1, from, width), w0, w1, w2, w3), from > 0)
			}
		}
	}
}

// put stores sums, or adds them to those of the pieces before.
func put(y []float32, s [4]float32, add bool) {
	for i := range y {
		if add {
			y[i] += s[i]
		} else {
			y[i] = s[i]
		}
	}
}

// dot2x4 computes the products of two rows with four: eight sums that do not wait for each
// other, from six loads.
func dot2x4(a, b, w0, w1, w2, w3 []float32) (r, s [4]float32) {
	n := len(a)
	b, w0, w1, w2, w3 = b[:n], w0[:n], w1[:n], w2[:n], w3[:n]
	var r0, r1, r2, r3, s0, s1, s2, s3 float32
	for i, x := range a {
		y := b[i]
		v := w0[i]
		r0 += x * v
		s0 += y * v
		v = w1[i]
		r1 += x * v
		s1 += y * v
		v = w2[i]
		r2 += x * v
		s2 += y * v
		v = w3[i]
		r3 += x * v
		s3 += y * v
	}
	return [4]float32{r0, r1, r2, r3}, [4]float32{s0, s1, s2, s3}
}

// dot1x4 is dot2x4 of one row.
func dot1x4(a, w0, w1, w2, w3 []float32) [4]float32 {
	n := len(a)
	w0, w1, w2, w3 = w0[:n], w1[:n], w2[:n], w3[:n]
	var r0, r1, r2, r3 float32
	for i, x := range a {
		r0 += x * w0[i]
		r1 += x * w1[i]
		r2 += x * w2[i]
		r3 += x * w3[i]
	}
	return [4]float32{r0, r1, r2, r3}
}

// combine computes y = Σ c[j]·v[j], rows v of a matrix.
func combine(y, c []float32, v rows) {
	clear(y)
	j := 0
	for ; j+3 < len(c); j += 4 {
		c0, c1, c2, c3 := c[j], c[j+1], c[j+2], c[j+3]
		v0, v1 := v.at(j, 0, len(y)), v.at(j+1, 0, len(y))
		v2, v3 := v.at(j+2, 0, len(y)), v.at(j+3, 0, len(y))
		for i := range y {
			y[i] += c0*v0[i] + c1*v1[i] + c2*v2[i] + c3*v3[i]
		}
	}
	for ; j < len(c); j++ {
		for i, x := range v.at(j, 0, len(y)) {
			y[i] += c[j] * x
		}
	}
}
