package gpu

import (
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Mode is a way to place a model's components on a device.
type Mode string

// The modes that the runtime chooses from by itself, the one that takes most first. In the
// resident ones text encoder, transformer and VAE stay on the device, and nothing of them moves
// during a request.
const (
	// ResidentInt8 holds the transformer's 4-bit linears in 8 bits. It belongs to the method
	// Int8.
	ResidentInt8 Mode = "resident-int8"
	// Resident holds them packed, as in the file.
	Resident Mode = "resident"
	// Streamed holds them packed too, and has as many groups of weights on the device as fit.
	// The others stay on the host and come through a window when a request needs them. A group
	// is a layer of the text encoder, a block of its vision tower, its table of words, of which
	// only rows come, the modulations of a transformer block, or the rest of one. It is the mode
	// for all that lies between what it takes and what Resident takes.
	Streamed Mode = "streamed"
)

// Need is the device memory that a mode takes, in bytes, its own CUDA context included: an
// estimate. Of Streamed it is the least with which the runtime starts, every group on the host.
type Need struct {
	Mode  Mode  `json:"mode"`
	Bytes int64 `json:"bytes"`
	// HostBytes is what should lie in the host's page cache with that, since every request reads
	// it again; 0 where nothing streams.
	HostBytes int64 `json:"hostBytes,omitempty"`
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
	// vaeDeep is how many times as many channels the VAE's attention has as full resolution.
	vaeDeep = 4
	// colours are the channels of the picture that the VAE writes, in fp32.
	colours = 3
	// scoreBytes bounds the scores of the VAE's attention, in fp32, together with the bf16
	// weights made of them: it takes as many queries at a time as fit.
	scoreBytes = 256 << 20
)

// mergedWidth is the width of four of the vision tower's tokens side by side. Its merger, two
// linears, makes one of the language model's of them.
const mergedWidth = 4 * 1280

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
	steps, rank            int64
}

// needs lists the modes: the components' weights, the largest of the components'
// activations, Reserve and Context. Where streaming saves nothing, as with few layers, Streamed
// takes what Resident takes.
func (s set) needs() []Need {
	rest := s.text.weights() + s.vae.weights() + s.activations() + Reserve + Context
	resident := s.transformer.weights() + rest
	streamed := Need{Streamed, resident, 0}
	if host := s.groups(); host > s.window() {
		streamed = Need{Streamed, resident - host + s.window(), host}
	}
	return []Need{{ResidentInt8, s.unpacked() + rest, 0}, {Resident, resident, 0}, streamed}
}

// groups is the size of all groups of weights: the table of words, and what is numbered of
// transformer and text encoder. The merger's two linears are numbered as well, but no group.
func (s set) groups() int64 {
	merger := min(bf16*mergedWidth*(mergedWidth+s.text.Width), s.text.Repeated)
	return s.transformer.Repeated + s.text.Repeated - merger + s.text.Lookup
}

// window has room for two of the largest groups, so that one comes while another is used. A
// transformer block is two groups, its modulations and the rest, and bounds both.
func (s set) window() int64 { return 2 * max(s.text.Block, s.transformer.Block) }

// activations is what a picture takes at the fullest point. The modulations of all steps
// stay until the picture is there, and so does the prompt, as the text encoder leaves it and as
// the transformer takes it.
func (s set) activations() int64 {
	return s.modulations() + bf16*(s.text.Width+s.transformer.Width)*s.picture.textTokens() + max(
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
// attention (scores, and its values in another order) and its last layers, which prepare their
// input, need beside.
func (s set) autoencoder() int64 {
	area := s.picture.area()
	tokens := area / vaePixels
	row := bf16 * s.vae.Width * area
	attention := min(scoreBytes, (f32+bf16)*tokens*tokens) + bf16*vaeDeep*s.vae.Width*tokens
	return vaeRows*row + f32*colours*area + max(row, attention)
}

// unpacked is the transformer with a byte for each 4-bit weight. INT4 scales, two bytes for
// 64 weights, give way to one for a whole output channel, which is not worth counting, and the
// branch of low rank is worked in.
func (s set) unpacked() int64 {
	const scalesPerPacked = 16 // packed bytes for one byte of scales
	return s.transformer.weights() + s.transformer.Packed - s.transformer.Packed/scalesPerPacked - s.lowRank()
}

// lowRank is the size of the branches of low rank. The four 4-bit linears of a stream of a block
// have 12 times the square of the width as weights, half a byte each, and 16 times the width as
// inputs and outputs, each with a row of rank values in bf16. It is never more than what lies
// beside the packed weights.
func (s set) lowRank() int64 {
	const perSquare, perWidth = 12 / 2, 16 * bf16 // bytes packed, and bytes for each of the rank
	return min(s.transformer.Packed/s.transformer.Width*s.rank*perWidth/perSquare, s.transformer.weights()-s.transformer.Packed)
}

// Checkpoint is a checkpoint aboard, with the memory that it takes.
type Checkpoint struct {
	Name string `json:"name"`
	// File is the file's own name.
	File      string `json:"file"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"`
	// Needs lists the modes, the one that takes most first; empty where the description does not
	// know the tensors, and where the checkpoint runs nowhere.
	Needs []Need `json:"memory,omitempty"`
}

// Need returns what a mode takes; ok is false where it is not known or not a mode of the
// checkpoint.
func (c Checkpoint) Need(m Mode) (need Need, ok bool) {
	i := slices.IndexFunc(c.Needs, func(n Need) bool { return n.Mode == m })
	if i < 0 {
		return Need{}, false
	}
	return c.Needs[i], true
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
	s := set{picture: PictureOf(c), steps: int64(p.Steps), rank: int64(p.Rank)}
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
