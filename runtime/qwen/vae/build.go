package vae

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// builder makes layers of a set's tensors. Loading is put off until all tensors were found.
type builder struct {
	backend compute.Backend
	set     *weights.Set
	loads   []func() error
}

// encoder makes the network from a picture to the mean of its latents.
func (l *builder) encoder(c Config) network {
	in := c.Base
	layers := []layer{l.conv("encoder.conv_in", norm{}, Channels, in, picture)}
	n := 0
	at := func() string { n++; return fmt.Sprintf("encoder.down_blocks.%d", n-1) }
	for stage := range stages {
		for range c.Blocks {
			layers = append(layers, l.residual(at(), in, c.width(stage)))
			in = c.width(stage)
		}
		if stage < stages-1 {
			layers = append(layers, l.conv(at()+".resample.1", norm{}, in, in, halved))
		}
	}
	layers = append(layers, l.middle("encoder.mid_block", in)...)
	layers = append(layers, l.conv("encoder.conv_out", l.normSiLU("encoder.norm_out", in), in, 2*c.Latents, picture))
	return network{layers, l.mean(c.Latents)}
}

// mean is quant_conv without the half of its outputs that says how far latents may stray
// from their mean.
func (l *builder) mean(n int) *conv {
	all := int64(2 * n)
	weight := l.set.Take("quant_conv.weight", all, all, 1, 1, 1)
	bias := l.set.Take("quant_conv.bias", all)
	return l.pixel(firstRows(weight, n), firstRows(bias, n), norm{})
}

// firstRows is a tensor's part of the first n of its first dimension.
func firstRows(w compute.Weight, n int) compute.Weight {
	if w.IsZero() {
		return w
	}
	w.Shape[0] = int64(n) // the shape is the caller's own
	if w.Data != nil {    // headers alone have none
		w.Data = w.Data[:w.Len()*w.DType.Bits()/8]
	}
	return w
}

// decoder makes the network from latents to a picture.
func (l *builder) decoder(c Config) network {
	in := c.width(stages - 1)
	layers := []layer{
		l.dense("post_quant_conv", norm{}, c.Latents, c.Latents, 1, 1, 1),
		l.conv("decoder.conv_in", norm{}, c.Latents, in, picture),
	}
	layers = append(layers, l.middle("decoder.mid_block", in)...)
	for i := range stages {
		at, out := fmt.Sprintf("decoder.up_blocks.%d", i), c.width(stages-1-i)
		for j := range c.Blocks + 1 {
			layers = append(layers, l.residual(fmt.Sprintf("%s.resnets.%d", at, j), in, out))
			in = out
		}
		if i < stages-1 {
			in = out / 2 // enlarging halves the channels
			layers = append(layers, l.conv(at+".upsamplers.0.resample.1", norm{}, out, in, doubled))
		}
	}
	return network{layers, l.conv("decoder.conv_out", l.normSiLU("decoder.norm_out", in), in, Channels, picture)}
}

// middle is attention between two residual blocks.
func (l *builder) middle(at string, width int) []layer {
	before := norm{compute.ChannelNorm, l.set.Take(at+".attentions.0.norm.gamma", int64(width), 1, 1)}
	return []layer{
		l.residual(at+".resnets.0", width, width),
		&attention{
			qkv:  l.dense(at+".attentions.0.to_qkv", before, width, 3*width, 1, 1),
			proj: l.dense(at+".attentions.0.proj", norm{}, width, width, 1, 1),
		},
		l.residual(at+".resnets.1", width, width),
	}
}

func (l *builder) residual(at string, in, out int) *residual {
	r := &residual{
		first:  l.conv(at+".conv1", l.normSiLU(at+".norm1", in), in, out, picture),
		second: l.conv(at+".conv2", l.normSiLU(at+".norm2", out), out, out, picture),
	}
	if in != out {
		r.shortcut = l.dense(at+".conv_shortcut", norm{}, in, out, 1, 1, 1)
	}
	return r
}

// kind is one of the convolutions of 3×3 pixels that there are.
type kind struct {
	window []int64 // of the kernel: 3×3, or 3 frames of them
	spec   compute.ConvSpec
}

var (
	// picture keeps the size.
	picture = kind{[]int64{3, 3, 3}, compute.ConvSpec{Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}}
	// halved takes the windows whose upper left pixel is in an even row and column.
	halved = kind{[]int64{3, 3}, compute.ConvSpec{Stride: 2, Bottom: 1, Right: 1}}
	// doubled acts on the picture with each pixel taken four times.
	doubled = kind{[]int64{3, 3}, compute.ConvSpec{Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, Upsample: true}}
)

// norm is what happens ahead of a convolution. The zero norm is nothing.
type norm struct {
	kind  compute.PreKind
	gamma compute.Weight
}

// normSiLU takes a norm that a SiLU follows.
func (l *builder) normSiLU(name string, width int) norm {
	return norm{compute.ChannelNormSiLU, l.set.Take(name+".gamma", int64(width), 1, 1, 1)}
}

// conv makes a convolution of 3×3 pixels.
func (l *builder) conv(name string, before norm, in, out int, k kind) *conv {
	c, spec := l.after(before), k.spec
	spec.Weight = l.set.Take(name+".weight", append([]int64{int64(out), int64(in)}, k.window...)...)
	spec.Bias = l.set.Take(name+".bias", int64(out))
	l.later(func() (err error) {
		c.kernel, err = l.backend.LoadConv(spec)
		return err
	})
	return c
}

// dense makes a convolution of one pixel, whose weight has the given dimensions of 1.
func (l *builder) dense(name string, before norm, in, out int, ones ...int64) *conv {
	weight := l.set.Take(name+".weight", append([]int64{int64(out), int64(in)}, ones...)...)
	return l.pixel(weight, l.set.Take(name+".bias", int64(out)), before)
}

func (l *builder) pixel(weight, bias compute.Weight, before norm) *conv {
	c := l.after(before)
	l.later(func() (err error) {
		c.pixel, err = l.backend.LoadLinear(compute.Dense{Weights: []compute.Weight{weight}, Biases: []compute.Weight{bias}})
		return err
	})
	return c
}

// after is a convolution that has its norm, and nothing else yet.
func (l *builder) after(before norm) *conv {
	c := &conv{pre: compute.Pre{Kind: before.kind}}
	if before.kind != compute.None {
		l.later(func() (err error) {
			c.pre.Weight, err = l.backend.LoadVector(before.gamma)
			return err
		})
	}
	return c
}

func (l *builder) later(load func() error) { l.loads = append(l.loads, load) }

// load loads everything, if all tensors were found.
func (l *builder) load() error {
	if err := l.set.Err(); err != nil {
		return err
	}
	for _, load := range l.loads {
		if err := load(); err != nil {
			return err
		}
	}
	return nil
}
