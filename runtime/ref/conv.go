package ref

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// conv is a convolution: as a layer, a linear of the pixels under its window, laid side by
// side, [kh][kw][channels].
type conv struct {
	size       // of the layer
	channels   int
	kt, kh, kw int
	spec       compute.ConvSpec
	weight     matrix // [out] rows of [channels][kt][kh][kw]
	bias       []float32
}

// picture is a conv as package compute shows it.
type picture struct{ *conv }

// In is the number of channels.
func (c picture) In() int { return c.channels }

// Size is the size of the result for a picture of h rows and w columns.
func (c picture) Size(h, w int) (rows, columns int) {
	s := &c.spec
	if s.Upsample {
		h, w = 2*h, 2*w
	}
	return (h+s.Top+s.Bottom-c.kh)/s.Stride + 1, (w+s.Left+s.Right-c.kw)/s.Stride + 1
}

// LoadConv takes a convolution.
func (b *Backend) LoadConv(s compute.ConvSpec) (compute.Conv, error) {
	shape := s.Weight.Shape
	if len(shape) != 4 && len(shape) != 5 {
		return nil, loading(s.Weight, fmt.Errorf("it has %d dimensions, a convolution has 4 or 5", len(shape)))
	}
	m, err := newMatrix(s.Weight)
	if err != nil {
		return nil, loading(s.Weight, err)
	}
	bias, err := biasOf(s.Bias, m.rows)
	if err != nil {
		return nil, loading(s.Bias, err)
	}
	if s.Stride < 1 || s.Stride > 2 || min(s.Top, s.Left, s.Bottom, s.Right) < 0 {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("loading %v: its stride is %d, its padding %d %d %d %d",
			s.Weight, s.Stride, s.Top, s.Left, s.Bottom, s.Right))
	}
	n := len(shape)
	c := &conv{channels: int(shape[1]), kt: 1, kh: int(shape[n-2]), kw: int(shape[n-1]), spec: s, weight: m, bias: bias}
	if n == 5 {
		c.kt = int(shape[2])
	}
	c.size = size{b, c.kh * c.kw * c.channels, m.rows}
	return picture{c}, nil
}

func (c *conv) tile() int { return denseTile }

func (c *conv) prepare(*Backend, *block) {}

func (c *conv) multiply(w *worker, k *block, y rows, from, to, first, outs int) {
	weights := rows{grow(&w.weights, outs*c.in), c.in}
	for i := range outs {
		c.row(weights.at(i, 0, c.in), grow(&w.low, c.weight.cols), first+i)
	}
	multiply(y, rows{k.x[from*k.cols:], k.cols}, weights, to-from, outs, c.in)
	addBias(y, c.bias[first:][:outs], to-from)
}

// row decodes the weights of one output, [kh][kw][channels], of the last slice in time.
func (c *conv) row(dst, stored []float32, out int) {
	c.weight.row(stored, out)
	window := c.kh * c.kw
	for ch := range c.channels {
		for i, v := range stored[(ch*c.kt+c.kt-1)*window:][:window] {
			dst[i*c.channels+ch] = v
		}
	}
}

// Convolve computes dst = Post(convolution of Pre(x) + b).
func (b *Backend) Convolve(dst compute.Tensor, c compute.Conv, x compute.Tensor, h, w int, p compute.Pre, q compute.Post) {
	pic, ok := c.(picture)
	if !ok || pic.home != b {
		panic(fmt.Sprintf("ref: a convolution of another backend, %T", c))
	}
	compute.CheckConvolve(dst, c, x, h, w, p, q)
	b.optional(p.Weight)
	if b.err != nil {
		return
	}
	b.arena.ApartFused(dst, x, p, q)
	rows, columns := pic.Size(h, w)
	s := &strip{conv: pic.conv, w: w, h: h, cols: x.Cols, in: b.values(x), before: b.pre(p, x.Cols), lines: &b.lines}
	after := b.post(q, dst)
	perBlock := max(1, blockRows/columns)
	for line := 0; line < rows; line += perBlock {
		n := min(perBlock, rows-line)
		s.load(b, line, n)
		b.blocked(n*columns, pic.size.in, func(k *block, first int) {
			b.each(k.rows, func(_ *worker, i int) {
				at := first + i
				s.window(k.row(i), line+at/columns, at%columns)
			})
			b.product(pic.conv, k, func(row, col int, y []float32) { after.store(line*columns+first+row, col, y) })
		})
	}
}

// strip is the lines of a picture, after Pre, that some lines of the result need.
type strip struct {
	*conv
	h, w, cols int
	in         []float32
	before     pre
	lines      *[]float32
	top        int // the first line in lines
}

// load computes what n lines of the result need, from a line on.
func (s *strip) load(b *Backend, line, n int) {
	top := s.source(line*s.spec.Stride - s.spec.Top)
	end := s.source((line+n-1)*s.spec.Stride - s.spec.Top + s.kh - 1)
	s.top = min(max(top, 0), s.h-1)
	end = min(max(end, 0), s.h-1) + 1
	pixels := (end - s.top) * s.w
	lines := grow(s.lines, pixels*s.channels)
	b.each(pixels, func(_ *worker, i int) {
		at := s.top*s.w + i
		s.before.row(lines[i*s.channels:][:s.channels], s.in[at*s.cols:][:s.cols], at)
	})
}

// source is the line or column that one of the enlarged picture is taken from.
func (s *strip) source(i int) int {
	if s.spec.Upsample {
		return i >> 1
	}
	return i
}

// window lays the pixels under the window of one pixel of the result side by side.
func (s *strip) window(dst []float32, line, column int) {
	for ky := range s.kh {
		y := s.source(line*s.spec.Stride - s.spec.Top + ky)
		for kx := range s.kw {
			x := s.source(column*s.spec.Stride - s.spec.Left + kx)
			pixel := dst[(ky*s.kw+kx)*s.channels:][:s.channels]
			if y < 0 || y >= s.h || x < 0 || x >= s.w {
				clear(pixel)
			} else {
				copy(pixel, (*s.lines)[((y-s.top)*s.w+x)*s.channels:])
			}
		}
	}
}
