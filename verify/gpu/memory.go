package gpu

import (
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// Mode is a way to place a model's components on a device.
type Mode string

// The modes, from the one that moves nothing during a request to the one that needs least.
const (
	// ResidentInt8 keeps everything on the device, with the transformer's 4-bit linears
	// unpacked to int8 once. It belongs to the method Int8.
	ResidentInt8 Mode = "resident-int8"
	// Resident keeps text encoder, transformer and VAE on the device.
	Resident Mode = "resident"
	// Component loads one component at a time.
	Component Mode = "component"
	// Transformer is the transformer's share alone; text encoder and VAE are elsewhere. It
	// is listed for comparison and never advised.
	Transformer Mode = "transformer"
	// Offload streams the transformer block by block and the text encoder layer by layer.
	Offload Mode = "offload"
)

// Need is the device memory that a mode takes, in bytes, its own CUDA context included.
type Need struct {
	Mode  Mode  `json:"mode"`
	Bytes int64 `json:"bytes"`
	// Measured says that this project measured it; otherwise it is an estimate.
	Measured bool `json:"measured"`
}

// Context is what a process's CUDA context takes of a device before anything is allocated:
// measured on an H100 with driver 580; other GPUs take less.
const Context = 500_000_000

// Buffers that one picture needs beside weights, in rows of bf16 as wide as the stream.
// They count what is alive at the fullest point of the planned pipeline.
const (
	bf16 = 2 // bytes
	// A transformer block at its attention: the residual, the prepared input, q, k and v
	// before and after rotation, the attention's output and the projection's.
	transformerRows = 10
	// A text encoder layer at its MLP, whose inside is 5.3 times as wide: the residual, the
	// prepared input, gate, up and their product.
	textRows = 18
	// The VAE's last upsampler: twice the channels in fp32 (4) and in bf16 (2), the
	// convolution's output and its input.
	vaeRows = 8
)

// Tokens of one picture. A token of latents is 16 pixels a side, one of the vision tower 28.
const (
	latentPixels = 16 * 16
	visionPixels = 28 * 28
	// promptTokens are those of the prompt and its template, rounding of the picture's sides
	// included: a prompt of about 90 tokens. Each further token takes 0.1 MB.
	promptTokens = 128
	// mlpRatio is the inner width of the transformer's MLP over its hidden width.
	mlpRatio = 4
)

// Picture is the request that memory is computed for.
type Picture struct {
	// Area is in pixels. Below 1 it is DefaultArea.
	Area int64 `json:"area"`
	// References are the pictures that are edited; each adds as many tokens as the result.
	References int64 `json:"references"`
}

// DefaultArea is 1024 by 1024 pixels, the area that the model was made for.
const DefaultArea = 1 << 20

func (p Picture) area() int64 {
	if p.Area < 1 {
		return DefaultArea
	}
	return p.Area
}

// imageTokens is the length of the transformer's image stream.
func (p Picture) imageTokens() int64 {
	return (1 + p.References) * ((p.area() + latentPixels - 1) / latentPixels)
}

// textTokens is the length of the text stream: the edited picture as the vision tower sees
// it, at its full area, and the prompt.
func (p Picture) textTokens() int64 {
	return min(p.References, 1)*((p.area()+visionPixels-1)/visionPixels) + promptTokens
}

// component is a component's tensors, with what inference never reads.
type component struct {
	manifests.TensorSums
	unused int64
}

// weights is what has to be on the device.
func (c component) weights() int64 { return c.Bytes - c.unused }

// streamed is what has to be there at a time if blocks numbered parts are: those, and all
// that is in no numbered part but tables that the host looks up.
func (c component) streamed(blocks int64) int64 {
	return max(c.weights()-c.Repeated-c.Lookup, 0) + blocks*c.Block
}

// set is the components that one checkpoint runs with.
type set struct {
	precision              string
	transformer, text, vae component
	picture                Picture
}

// needs lists the modes, most memory first within each form of the weights.
//
//	resident    transformer + text encoder + VAE + the largest of their buffers
//	component   the largest of (component + its buffers)
//	transformer the transformer + its buffers
//	offload     the largest of: 3 blocks (2 in turn, 1 resident) and what is in no block,
//	            2 layers of the text encoder likewise, the whole VAE, each + buffers
//
// and the CUDA context in all. Under the method Int8, packed weights pass through a scratch
// of one linear.
func (s set) needs() []Need {
	buffers := struct{ transformer, text, vae int64 }{
		bf16 * transformerRows * s.transformer.Width * (s.picture.imageTokens() + s.picture.textTokens()),
		bf16 * textRows * s.text.Width * s.picture.textTokens(),
		bf16 * vaeRows * s.vae.Width * s.picture.area(),
	}
	most := max(buffers.transformer, buffers.text, buffers.vae)
	others := s.text.weights() + s.vae.weights()
	var out []Need
	if s.precision == svdq.Int4 {
		out = append(out, Need{Mode: ResidentInt8, Bytes: s.unpacked() + others + most})
		buffers.transformer += mlpRatio * s.transformer.Width * s.transformer.Width
	}
	out = append(out,
		Need{Mode: Resident, Bytes: s.transformer.weights() + others + max(most, buffers.transformer)},
		Need{Mode: Component, Bytes: max(s.transformer.weights()+buffers.transformer, s.text.weights()+buffers.text, s.vae.weights()+buffers.vae)},
		Need{Mode: Transformer, Bytes: s.transformer.weights() + buffers.transformer},
		Need{Mode: Offload, Bytes: max(s.transformer.streamed(3)+buffers.transformer, s.text.streamed(2)+buffers.text, s.vae.weights()+buffers.vae)},
	)
	for i := range out {
		out[i].Bytes += Context
	}
	return out
}

// unpacked is the transformer with a byte for each 4-bit weight. INT4 scales, two bytes for
// 64 weights, give way to one for a whole output channel, which is not worth counting.
func (s set) unpacked() int64 {
	const scalesPerPacked = 16 // packed bytes for one byte of scales
	return s.transformer.weights() + s.transformer.Packed - s.transformer.Packed/scalesPerPacked
}

// Checkpoint is a checkpoint aboard, with the memory that it takes.
type Checkpoint struct {
	Name string `json:"name"`
	// File is the file's own name.
	File      string `json:"file"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"`
	// Needs lists the modes; empty where the description does not know the tensors.
	Needs []Need `json:"memory,omitempty"`
}

// Need returns what a mode takes; ok is false where it is not known or not a mode of the
// checkpoint.
func (c Checkpoint) Need(m Mode) (bytes int64, ok bool) {
	i := slices.IndexFunc(c.Needs, func(n Need) bool { return n.Mode == m })
	if i < 0 {
		return 0, false
	}
	return c.Needs[i].Bytes, true
}

// PictureOf is the request that a model's memory is computed for: the area that it serves,
// with one picture to edit.
func PictureOf(c *manifests.ModelConfig) Picture {
	p := Picture{Area: DefaultArea, References: 1}
	if c.Serve != nil && c.Serve.PixelArea > 0 {
		p.Area = int64(c.Serve.PixelArea)
	}
	return p
}

// Checkpoints lists the checkpoints aboard in their order.
func Checkpoints(c *manifests.ModelConfig) []Checkpoint {
	var out []Checkpoint
	for _, p := range c.Checkpoints {
		out = append(out, Checkpoint{
			Name: p.Name, File: path.Base(p.Path), Precision: p.Precision, Rank: p.Rank, Needs: needsOf(c, p),
		})
	}
	return out
}

// needsOf computes the needs of a checkpoint beside the model's text encoder and VAE; nil
// where one of the three, or its width, is not known.
func needsOf(c *manifests.ModelConfig, p manifests.ModelCheckpoint) []Need {
	s := set{precision: p.Precision, picture: PictureOf(c)}
	places := map[string]*component{p.Path: &s.transformer}
	for _, source := range c.Sources {
		if source.Role == manifests.RoleBase {
			places[source.Path+"/text_encoder"], places[source.Path+"/vae"] = &s.text, &s.vae
		}
	}
	for _, t := range c.Tensors {
		if place := places[t.Path]; place != nil {
			*place = component{TensorSums: t, unused: unusedOf(c, t.Path)}
		}
	}
	for _, part := range []component{s.transformer, s.text, s.vae} {
		if part.Bytes == 0 || part.Width == 0 || part.unused > part.Bytes {
			return nil
		}
	}
	return s.needs()
}

// unusedOf adds up what inference never reads of a component.
func unusedOf(c *manifests.ModelConfig, component string) (sum int64) {
	for _, u := range c.Unused {
		if u.Path == component || strings.HasPrefix(u.Path, component+"/") {
			sum += u.Bytes
		}
	}
	return sum
}
