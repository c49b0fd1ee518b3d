package vae

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// frame is a picture inside the network: x [h·w, channels], channels last.
type frame struct {
	x    compute.Tensor
	h, w int
}

// layer is a step of a network.
type layer interface {
	// size is the size of the result for a picture of h rows and w columns.
	size(h, w int) (rows, columns int)
	// room is how many values the layer takes of the buffer that the picture is not in.
	room(h, w int) int
	// run runs the layer. The picture lies where the layer before left it, and is gone
	// afterwards.
	run(b compute.Backend, m *memory, f frame) frame
}

// conv is a convolution with the norm and the SiLU ahead of it, where it has them.
type conv struct {
	kernel compute.Conv   // none if the window is one pixel, which is
	pixel  compute.Linear // a linear
	pre    compute.Pre
}

func (c *conv) size(h, w int) (rows, columns int) {
	if c.kernel != nil {
		return c.kernel.Size(h, w)
	}
	return h, w
}

func (c *conv) out() int {
	if c.kernel != nil {
		return c.kernel.Out()
	}
	return c.pixel.Out()
}

// apply computes the convolution into dst.
func (c *conv) apply(b compute.Backend, dst compute.Tensor, f frame, post compute.Post) {
	if c.kernel != nil {
		b.Convolve(dst, c.kernel, f.x, f.h, f.w, c.pre, post)
	} else {
		b.Linear(dst, c.pixel, f.x, c.pre, post)
	}
}

func (c *conv) room(h, w int) int {
	rows, columns := c.size(h, w)
	return aligned(rows * columns * c.out())
}

func (c *conv) run(b compute.Backend, m *memory, f frame) frame {
	rows, columns := c.size(f.h, f.w)
	y := frame{m.take(rows*columns, c.out()), rows, columns}
	c.apply(b, y.x, f, compute.Post{})
	m.move()
	return y
}

// residual is a block of two convolutions beside the picture as it is, or, where the number
// of channels changes, beside a convolution of one pixel.
type residual struct {
	first, second *conv
	shortcut      *conv // nil where there is none
}

func (r *residual) size(h, w int) (rows, columns int) { return h, w }

func (r *residual) room(h, w int) int {
	n := r.first.room(h, w)
	if r.shortcut != nil {
		n += r.shortcut.room(h, w)
	}
	return n
}

func (r *residual) run(b compute.Backend, m *memory, f frame) frame {
	sum := f
	if r.shortcut != nil {
		sum.x = m.take(f.x.Rows, r.shortcut.out())
		r.shortcut.apply(b, sum.x, f, compute.Post{})
	}
	inner := frame{m.take(f.x.Rows, r.first.out()), f.h, f.w}
	r.first.apply(b, inner.x, f, compute.Post{})
	r.second.apply(b, sum.x, inner, compute.Post{Kind: compute.Add, Residual: sum.x})
	if r.shortcut != nil {
		m.move()
	} else {
		m.stay()
	}
	return sum
}

// attention lets every pixel see all others, in one head of all channels, and adds what they
// say to the picture.
type attention struct{ qkv, proj *conv }

func (a *attention) size(h, w int) (rows, columns int) { return h, w }

func (a *attention) room(h, w int) int {
	return a.qkv.room(h, w) + 3*a.proj.room(h, w)
}

func (a *attention) run(b compute.Backend, m *memory, f frame) frame {
	pixels, width := f.x.Rows, a.proj.out()
	qkv := m.take(pixels, a.qkv.out())
	q, k, v := m.take(pixels, width), m.take(pixels, width), m.take(pixels, width)
	a.qkv.apply(b, qkv, f, compute.Post{})
	b.Heads(compute.Split{X: qkv, Q: q, K: k, V: v, Dim: width})
	seen := qkv.Reshape(3*pixels, width).Slice(0, pixels) // qkv is not needed any more
	b.Attention(seen, q, k, v, compute.Attention{Heads: 1, KVHeads: 1, Dim: width, Scale: float32(1 / math.Sqrt(float64(width)))})
	a.proj.apply(b, f.x, frame{seen, f.h, f.w}, compute.Post{Kind: compute.Add, Residual: f.x})
	m.stay()
	return f
}
