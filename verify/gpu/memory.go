package gpu

import (
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Mode is a way to place a model's components on a device.
type Mode string

// The modes, the one that takes most first. In both, text encoder, transformer and VAE stay
// on the device, and nothing of them moves during a request.
const (
	// ResidentInt8 holds the transformer's 4-bit linears in 8 bits. It belongs to the method
	// Int8.
	ResidentInt8 Mode = "resident-int8"
	// Resident holds them packed, as in the file.
	Resident Mode = "resident"
)

// Need is the device memory that a mode takes, in bytes, its own CUDA context included: an
// estimate.
type Need struct {
	Mode  Mode  `json:"mode"`
	Bytes int64 `json:"bytes"`
}

const (
	// Context is what a process's CUDA context takes of a device before anything is
	// allocated: measured on an H100 with driver 580; other GPUs take less.
	Context = 500_000_000
	// Reserve is what the runtime keeps free beside weights and activations: for compiled
	// kernels, one linear's unpacked weights, and what the driver takes as it goes along.
	Reserve = 1 << 30
)

// What one picture needs beside weights, in rows as wide as the component's stream. It is
// what is alive at the fullest point of each component in the runtime, whose tests hold it
// against the runtime's own plan.
const (
	bf16, f32 = 2, 4 // bytes
	// A transformer block behind its attention: the residual, q, k and v, the attention's
	// output, the projection's, the prepared input, and the latents.
	transformerRows = 9
	// A text encoder layer at its MLP, whose inside is 5.3 times as wide: the residual, the
	// prepared input, gate, up and their product.
	textRows = 19
	// The VAE's buffers at full resolution: a layer reads one and writes the other.
	vaeRows = 2
	// colours are the channels of the picture that the VAE writes, in fp32.
	colours = 3
	// scoreBytes bounds the scores of the VAE's attention, in fp32, together with the bf16
	// weights made of them: it takes as many queries at a time as fit.
	scoreBytes = 256 << 20
)

// Tokens of one picture. A token of latents is 16 pixels a side, one of the VAE's attention
// 8, one of the vision tower 28.
const (
	latentPixels = 16 * 16
	vaePixels    = 8 * 8
	visionPixels = 28 * 28
	// promptTokens are those of the prompt and its template, rounding of the picture's sides
	// included: a prompt of about 90 tokens. Each further token takes 0.06 MB.
	promptTokens = 128
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

// set is the components that one checkpoint runs with.
type set struct {
	transformer, text, vae component
	picture                Picture
	steps                  int64
}

// needs lists the modes: the components' weights, the largest of the components'
// activations, Reserve and Context.
func (s set) needs() []Need {
	rest := s.text.weights() + s.vae.weights() + s.activations() + Reserve + Context
	return []Need{
		{ResidentInt8, s.unpacked() + rest},
		{Resident, s.transformer.weights() + rest},
	}
}

// activations is what a picture takes at the fullest point. The modulations of all steps
// stay until the picture is there.
func (s set) activations() int64 {
	return s.modulations() + max(
		bf16*transformerRows*s.transformer.Width*(s.picture.imageTokens()+s.picture.textTokens()),
		bf16*textRows*s.text.Width*s.picture.textTokens(),
		s.autoencoder(),
	)
}

// modulations are 6 rows in fp32 for each stream of each block and each step. Such a stream's
// 4-bit linears have 12 times the square of the width as weights, half a byte each: so a
// step's rows are 4 bytes for each byte of those over the width.
func (s set) modulations() int64 { return s.steps * f32 * s.transformer.Packed / s.transformer.Width }

// autoencoder is what the VAE takes: the buffers, the picture, and the larger of what its
// attention and its last layers, which prepare their input, need beside.
func (s set) autoencoder() int64 {
	area := s.picture.area()
	tokens := area / vaePixels
	row := bf16 * s.vae.Width * area
	return vaeRows*row + f32*colours*area + max(row, min(scoreBytes, (f32+bf16)*tokens*tokens))
}

// unpacked is the transformer with a byte for each 4-bit weight. INT4 scales, two bytes for
// 64 weights, give way to one for a whole output channel, which is not worth counting. The
// branch of low rank is counted, as the runtime does when it asks whether there is room.
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
	// Needs lists the modes; empty where the description does not know the tensors, and where
	// the checkpoint runs nowhere.
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

// Runs says that there are GPUs on which the runtime runs the checkpoint.
func (c Checkpoint) Runs() bool { return runs(c.Precision) }

func runs(precision string) bool {
	return slices.ContainsFunc(Routes(precision), func(r Route) bool { return r.Runs })
}

// needsOf computes the needs of a checkpoint beside the model's text encoder and VAE; nil
// where one of the three, or its width, is not known, and for one that does not run.
func needsOf(c *manifests.ModelConfig, p manifests.ModelCheckpoint) []Need {
	if !runs(p.Precision) {
		return nil
	}
	s := set{picture: PictureOf(c), steps: int64(p.Steps)}
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
