package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// conv is a convolution: weights [out, kh·kw, padded] in bfloat16.
type conv struct {
	size           // channels
	padded, kh, kw int
	spec           compute.ConvSpec
	weight, bias   cuda.Pointer
}

// Size is the size of the result for a picture of h rows and w columns.
func (c *conv) Size(h, w int) (rows, columns int) {
	s := &c.spec
	if s.Upsample {
		h, w = 2*h, 2*w
	}
	return (h+s.Top+s.Bottom-c.kh)/s.Stride + 1, (w+s.Left+s.Right-c.kw)/s.Stride + 1
}

// LoadConv takes a convolution.
func (b *Backend) LoadConv(s compute.ConvSpec) (compute.Conv, error) {
	w := s.Weight
	n := len(w.Shape)
	if n != 4 && n != 5 {
		return nil, loading(w, fmt.Errorf("it has %d dimensions, a convolution has 4 or 5", n))
	}
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return nil, loading(w, err)
	}
	if s.Stride < 1 || s.Stride > 2 || min(s.Top, s.Left, s.Bottom, s.Right) < 0 {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("loading %v: its stride is %d, its padding %d %d %d %d",
			w, s.Stride, s.Top, s.Left, s.Bottom, s.Right))
	}
	if err := checkBias(s.Bias, w.Shape[0]); err != nil {
		return nil, err
	}
	c := &conv{
		size: size{b, int(w.Shape[1]), int(w.Shape[0]), b.window.loading}, kh: int(w.Shape[n-2]), kw: int(w.Shape[n-1]),
		padded: ceil(int(w.Shape[1]), 8) * 8, spec: s,
	}
	if err := c.load(s); err != nil {
		return nil, loading(w, err)
	}
	return c, nil
}

// load takes memory and puts the weights on their way, of which a kernel takes the last
// slice in time, channels innermost.
func (c *conv) load(s compute.ConvSpec) error {
	b, w := c.home, s.Weight
	taps, count := w.Len()/(c.in*c.out), c.kh*c.kw
	var from cuda.Pointer
	if err := b.takeRoom(taken{&from, int64(len(w.Data))}); err != nil {
		return err
	}
	n := c.out * count * c.padded
	if err := b.take(taken{&c.weight, int64(n) * actSize}, taken{&c.bias, int64(c.out) * f32Size}); err != nil {
		return err
	}
	b.putRaw(w, from)
	b.putWide(s.Bias, c.bias)
	b.later(func() {
		b.spread("conv_weights", n, 1, cuda.Address(c.weight), cuda.Address(from), cuda.Bool(kindOf(w) == compute.Act),
			cuda.Int(c.out), cuda.Int(c.in), cuda.Int(c.padded), cuda.Int(taps), cuda.Int(taps-count), cuda.Int(count))
	})
	return nil
}

// Convolve computes dst = Post(convolution of Pre(x) + b).
func (b *Backend) Convolve(dst compute.Tensor, cv compute.Conv, x compute.Tensor, h, w int, p compute.Pre, q compute.Post) {
	c, ok := cv.(*conv)
	if !ok || c.home != b {
		panic(fmt.Sprintf("kernels: a convolution of another backend, %T", cv))
	}
	compute.CheckConvolve(dst, cv, x, h, w, p, q)
	if !b.ready() {
		return
	}
	b.arena.ApartFused(dst, x, p, q)
	b.use(c.of, p.Weight)
	if q.Kind != compute.GateAdd {
		c.run(dst, x, h, w, p, b.epilogue(dst, q))
		return
	}
	// The kernels of conv.cu have no gate.
	y, done := b.temporary(compute.F32, dst.Rows, dst.Cols)
	defer done()
	if b.err != nil {
		return
	}
	c.run(y, x, h, w, p, epilogue{flags: flagOutF32})
	e := b.epilogue(dst, q)
	b.spread("finish", dst.Len(), 1, b.address(dst), b.address(y), e.residual, e.gate, e.rest,
		cuda.Int(dst.Rows), cuda.Int(dst.Cols), cuda.Int(e.until), cuda.Int(e.flags))
}

func (c *conv) run(dst, x compute.Tensor, h, w int, p compute.Pre, e epilogue) {
	b := c.home
	y, done := b.prepared(x, p, compute.Act)
	defer done()
	if b.err == nil && c.padded != c.in {
		z, done := b.temporary(compute.Act, y.Rows, c.padded)
		defer done()
		if b.err == nil {
			b.pad(z, y)
		}
		y = z
	}
	if b.err != nil {
		return
	}
	t := tile{128, 96, 128, 57344}
	if c.out <= 32 {
		t = tile{128, 32, 128, 51200}
	}
	oh, ow := c.Size(h, w)
	s := &c.spec
	b.launch(fmt.Sprintf("conv_bf16_%dx%d", t.m, t.n), cuda.Dim{X: t.blocks(oh*ow, c.out)}, cuda.Dim{X: t.threads}, t.shared,
		b.address(dst), b.address(y), cuda.Address(c.weight), cuda.Address(c.bias), e.residual,
		cuda.Int(h), cuda.Int(w), cuda.Int(c.padded), cuda.Int(oh), cuda.Int(ow), cuda.Int(c.out), cuda.Int(c.kh), cuda.Int(c.kw),
		cuda.Int(s.Stride), cuda.Int(s.Top), cuda.Int(s.Left), cuda.Bool(s.Upsample), cuda.Int(e.flags))
}
