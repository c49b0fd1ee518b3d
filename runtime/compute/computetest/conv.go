package computetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// convolve: windows, steps, zeros on each side, enlarging, weights with a time.
func convolve(m *machine) {
	same := compute.ConvSpec{Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
	up := same
	up.Upsample = true
	down := compute.ConvSpec{Stride: 2, Bottom: 1, Right: 1}
	for _, c := range []struct {
		spec  compute.ConvSpec
		h, w  int
		shape []int
	}{
		{same, 5, 7, []int{6, 4, 3, 3}},
		{same, 37, 41, []int{3, 8, 3, 3, 3}},
		{up, 6, 5, []int{5, 10, 3, 3}},
		{up, 19, 23, []int{16, 8, 3, 3}},
		{down, 8, 6, []int{9, 6, 3, 3}},
		{down, 7, 11, []int{4, 5, 3, 3}},
		{compute.ConvSpec{Stride: 1}, 4, 9, []int{7, 12, 1, 1}},
		{compute.ConvSpec{Stride: 1}, 3, 3, []int{4, 6, 1, 1, 1}},
		{compute.ConvSpec{Stride: 2, Top: 2, Left: 1, Right: 3}, 9, 7, []int{5, 3, 2, 4}},
		{same, 1, 1, []int{2, 2, 3, 3}},
		{same, 1, 700, []int{4, 3, 3, 3}},
	} {
		m.sub(fmt.Sprintf("%v on %dx%d, stride %d, upsample %v", c.shape, c.h, c.w, c.spec.Stride, c.spec.Upsample), func(m *machine) {
			conv, p := m.conv(c.spec, c.shape)
			rows, columns := conv.Size(c.h, c.w)
			x, v := m.random(compute.Act, c.h*c.w, p.in)
			y := m.poisoned(compute.Act, rows*columns, p.out)
			m.b.Convolve(y, conv, x, c.h, c.w, compute.Pre{}, compute.Post{})
			m.near(y, p.apply(v, c.h, c.w, rows, columns), m.tol.Act)
		})
	}
}

// convolvePreAndPost: every Pre with every Post. Zeros are put around what Pre made, which
// for some Pre is not what Pre makes of zeros.
func convolvePreAndPost(m *machine) {
	const h, w, in, out = 5, 9, 8, 7
	spec := compute.ConvSpec{Stride: 2, Top: 1, Left: 0, Bottom: 1, Right: 2, Upsample: true}
	conv, p := m.conv(spec, []int{out, in, 3, 3})
	rows, columns := conv.Size(h, w)
	for _, pre := range m.pres(h*w, in) {
		for i, post := range m.posts(rows*columns, out, compute.F32) {
			m.sub(pre.name+", "+post.name, func(m *machine) {
				x, v := m.random(compute.F32, h*w, pre.wide)
				y := m.poisoned(compute.F32, rows*columns, out)
				if i%2 == 0 && !post.post.Residual.IsZero() {
					y, post.truth.residual = m.random(compute.F32, rows*columns, out)
					post.post.Residual = y
				}
				m.b.Convolve(y, conv, x, h, w, pre.pre, post.post)
				m.near(y, post.truth.apply(p.apply(pre.truth.apply(v), h, w, rows, columns)), m.tol.Act)
			})
		}
	}
}

// conv is a convolution with random weights.
func (m *machine) conv(spec compute.ConvSpec, shape []int) (compute.Conv, convTruth) {
	m.Helper()
	n := len(shape)
	p := convTruth{out: shape[0], in: shape[1], kt: 1, kh: shape[n-2], kw: shape[n-1]}
	if n == 5 {
		p.kt = shape[2]
	}
	spec.Weight, p.w = m.weight("w", safetensors.BF16, 0.2, shape...)
	spec.Bias, p.bias = m.weight("b", safetensors.BF16, 0.5, p.out)
	p.ConvSpec = spec
	c, err := m.b.LoadConv(spec)
	require.NoError(m, err)
	require.Equal(m, p.in, c.In())
	require.Equal(m, p.out, c.Out())
	return c, p
}

// vector is a vector with random values.
func (m *machine) vector(n int) (compute.Vector, []float64) {
	m.Helper()
	w, v := m.weight("v", safetensors.BF16, 1, n)
	x, err := m.b.LoadVector(w)
	require.NoError(m, err)
	require.Equal(m, n, x.Len())
	return x, v
}
