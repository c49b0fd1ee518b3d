// Package vae is AutoencoderKLQwenImage, the autoencoder between pictures and the latents
// that the transformer works on, over whichever backend it is given.
//
//	picture [H·W, 3] ── Encode ──▶ latents [H/8·W/8, 16] ── Decode ──▶ picture [H·W, 3]
//
// # A network for films, on a single picture
//
// The model is a 3-D convolutional network for videos, causal in time: ahead of the first
// frame it sees frames of zeros. A picture is that first frame. Of a kernel over three
// frames only the last slice meets anything but zeros, and the convolutions over time in
// the resampling layers (time_conv) act from the second frame on: their tensors are never
// taken. What is left, and is exactly what the model computes of a picture, is a network of
// 2-D convolutions, with one attention over all pixels in the middle of each half.
//
// # Layout
//
// Inside, and at both ends, a row is a pixel or a position of the latents, from top to
// bottom and from left to right, with its channels side by side (NHWC): what package
// picture's AppendVAE and FromVAE speak. Package latents keeps channels apart, [C, rows,
// columns]; its ChannelsLast and ChannelsFirst go from one to the other.
//
// Encode gives the mean of the latents' distribution, which diffusers calls its mode, in
// the VAE's own scale: latents.Statistics gets from that to the transformer's and back.
//
// # Memory
//
// The picture goes back and forth between two buffers, so that the arena holds, beside the
// input,
//
//	2·H·W·base_dim activations + 3·H·W float32 (decoding) or z_dim·H/8·W/8 float32 (encoding)
//
// at the peak of either direction, with the published dim_mult [1, 2, 4, 4], where the
// largest layers are those at full resolution; other ones may need more in the middle. At
// 1024×1024 and a base_dim of 96 that is 403 MB of bfloat16, or 805 MB of float32, and 13 MB.
package vae

import (
	"context"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// Model is a VAE that is loaded into a backend. Like its backend it is used by one goroutine
// at a time.
type Model struct {
	backend          compute.Backend
	config           Config
	encoder, decoder network
}

// New loads a VAE of the text of vae/config.json and the tensors of vae/*.safetensors into a
// backend. A configuration that is not implemented (see ParseConfig) and tensors that are
// missing, or of other shapes than it says, are of kind fault.Invalid; nothing was loaded
// then.
func New(b compute.Backend, configJSON []byte, set *weights.Set) (*Model, error) {
	c, err := ParseConfig(configJSON)
	if err != nil {
		return nil, err
	}
	l := &builder{backend: b, set: set}
	m := &Model{backend: b, config: c, encoder: l.encoder(c), decoder: l.decoder(c)}
	if err := l.load(); err != nil {
		return nil, err
	}
	return m, nil
}

// Config is what the model was made from.
func (m *Model) Config() Config { return m.config }

// Encode computes the mean of the latents of a picture of h rows and w columns, both
// multiples of 8: x [h·w, 3], of either kind, with samples in -1 to 1. The result
// [h/8·w/8, Latents] is F32 and taken from the arena; nothing else is left there.
//
// It returns ctx's error if ctx ends, as it is before every layer. Errors of the backend are
// the backend's to return, by Sync or Download.
func (m *Model) Encode(ctx context.Context, x compute.Tensor, h, w int) (compute.Tensor, error) {
	if h < 1 || w < 1 || h%latents.Scale != 0 || w%latents.Scale != 0 || x.Rows != h*w || x.Cols != Channels {
		panic(fmt.Sprintf("vae: encoding %v as a picture of %d×%d", x, h, w))
	}
	z, err := m.encoder.run(ctx, m.backend, frame{x, h, w})
	if err != nil {
		return z, fmt.Errorf("encoding a picture of %d×%d: %w", w, h, err)
	}
	return z, nil
}

// Decode computes the picture of latents of h rows and w columns: z [h·w, Latents], of either
// kind. The result [8h·8w, 3] is F32 and taken from the arena; nothing else is left there.
// Its samples are not limited to -1 to 1: who makes a picture of them does that. Errors are as
// with Encode.
func (m *Model) Decode(ctx context.Context, z compute.Tensor, h, w int) (compute.Tensor, error) {
	if h < 1 || w < 1 || z.Rows != h*w || z.Cols != m.config.Latents {
		panic(fmt.Sprintf("vae: decoding %v as latents of %d×%d", z, h, w))
	}
	x, err := m.decoder.run(ctx, m.backend, frame{z, h, w})
	if err != nil {
		return x, fmt.Errorf("decoding latents of %d×%d: %w", w, h, err)
	}
	return x, nil
}

// network is layers, and a last one whose result is the network's.
type network struct {
	layers []layer
	last   *conv
}

// run runs the network on a picture that the caller keeps.
func (n network) run(ctx context.Context, b compute.Backend, f frame) (compute.Tensor, error) {
	rows, columns, room := n.measure(f.h, f.w)
	begin := b.Mark()
	dst := b.Alloc(compute.F32, rows*columns, n.last.out())
	end := b.Mark()
	if err := n.into(ctx, b, dst, f, room); err != nil {
		b.Reset(begin)
		return compute.Tensor{}, err
	}
	b.Reset(end)
	return dst, nil
}

// into runs the network into dst, with buffers of room values.
func (n network) into(ctx context.Context, b compute.Backend, dst compute.Tensor, f frame, room int) error {
	if f.x.Kind != compute.Act {
		x := b.Alloc(compute.Act, f.x.Rows, f.x.Cols)
		b.Copy(x, f.x)
		f.x = x
	}
	m := newMemory(b, room)
	for _, l := range n.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		f = l.run(b, m, f)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n.last.apply(b, dst, f, compute.Post{})
	return nil
}

// measure is the size of the result for a picture of h rows and w columns, and how large the
// buffers have to be on the way.
func (n network) measure(h, w int) (rows, columns, room int) {
	for _, l := range n.layers {
		room = max(room, l.room(h, w))
		h, w = l.size(h, w)
	}
	rows, columns = n.last.size(h, w)
	return rows, columns, room
}
