// Package modelsettest makes whole model sets out of nothing: every file of the base
// repository Qwen/Qwen-Image-Edit and the published quantised checkpoints that replace its
// transformer, at any width. The demo serves such a set, tests mutate it, and the runtime
// and the public Python libraries can load and run it.
//
// A set has the published file names, tensor names, dtypes, configuration keys, shard
// counts and tokenizer rules; only dimensions differ, and every dimension that differs is
// written into the configuration files. Real gives the published dimensions; there the
// sizes of all 14 weight files come out as published, to the byte, which is the proof that
// names, shapes and order of tensors are right.
//
// Sources of the facts: names, sizes and shards from the repository at commit
// ac7f9318f633fc4b5778c59367c8128225f1e3de; tensor names from the published classes
// Qwen2_5_VLForConditionalGeneration (transformers 4.53, whose files use the prefixes
// "visual." and "model."), QwenImageTransformer2DModel and AutoencoderKLQwenImage
// (diffusers 0.35). A repository is cut into shards in the order of the modules' state
// dictionaries, a shard ending where the next tensor would pass 5 GB.
//
// Contents are functions of the seed, made at any offset when they are read: a set at full
// size needs neither disk nor memory. Weights are normal, with deviations that keep
// activations near one through any number of layers; no norm weight, gamma or bias has its
// neutral value, so that an implementation that forgets one is found out.
package modelsettest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// File is one file of a repository.
type File struct {
	// Content gives any range of the file; it is safe for concurrent use.
	Content interface {
		io.ReaderAt
		Size() int64
	}
	// LFS says that a Hub keeps the file in LFS and knows its sha256.
	LFS bool
}

// Params are the dimensions of a set.
type Params struct {
	Text        Text
	Vision      Vision
	Transformer Transformer
	VAE         VAE
	// Seed decides all weights.
	Seed uint64
	// ShardLimit is the largest number of bytes of tensors in one shard. 0 takes the
	// smallest limit that cuts the text encoder into TextShards and the transformer into
	// TransformerShards.
	ShardLimit int64
}

// The published numbers of shards.
const (
	TextShards        = 4
	TransformerShards = 9
)

// Text are the dimensions of the language model inside the text encoder. The width of a
// head is Hidden/Heads, a multiple of 16: rotary sections take it as 2:3:3.
type Text struct {
	Hidden, Layers, Heads, KVHeads, Intermediate int
	// Rows is the number of rows of the embedding, Tokens the number of byte-pair tokens;
	// the special tokens follow at Tokens, so Rows is at least Tokens + len(Specials()).
	Rows, Tokens int
}

// Vision are the dimensions of the vision tower inside the text encoder. Patches are 14
// pixels square and 2 frames deep, 2×2 of them merge into one token, and windows measure
// 112 pixels, as published. The width of a head is Hidden/Heads, a multiple of 4.
type Vision struct {
	Hidden, Depth, Heads, Intermediate int
	// Full lists the blocks that attend to the whole image instead of a window.
	Full []int
}

// Transformer are the dimensions of the diffusion transformer. HeadDim is a multiple of
// 32: rotary axes take it as 2:7:7, in pairs.
type Transformer struct{ Layers, Heads, HeadDim int }

// Hidden is the width of the transformer's streams.
func (t Transformer) Hidden() int { return t.Heads * t.HeadDim }

// VAE is the width of the autoencoder: the number of channels at full resolution. The
// latent space has 16 channels, since its published statistics have.
type VAE struct{ Base int }

// Latents is the number of channels of the latent space, and Patch the side of the square
// of latents that makes one token of the transformer.
const (
	Latents = 16
	Patch   = 2
)

// Real are the published dimensions: 57.7 GB.
func Real() Params {
	return Params{
		Text:        Text{Hidden: 3584, Layers: 28, Heads: 28, KVHeads: 4, Intermediate: 18944, Rows: 152064, Tokens: 151643},
		Vision:      Vision{Hidden: 1280, Depth: 32, Heads: 16, Intermediate: 3420, Full: []int{7, 15, 23, 31}},
		Transformer: Transformer{Layers: 60, Heads: 24, HeadDim: 128},
		VAE:         VAE{Base: 96},
		ShardLimit:  5_000_000_000,
	}
}

// Demo are the dimensions of the demo, about 33 MB: a few layers of each kind, with the
// published width of heads, all widths different from each other.
func Demo() Params {
	return Params{
		Text:        Text{Hidden: 384, Layers: 2, Heads: 3, KVHeads: 1, Intermediate: 1024, Rows: 1024, Tokens: 960},
		Vision:      Vision{Hidden: 160, Depth: 4, Heads: 2, Intermediate: 428, Full: []int{1, 3}},
		Transformer: Transformer{Layers: 3, Heads: 2, HeadDim: 128},
		VAE:         VAE{Base: 16},
		Seed:        20,
	}
}

// Tiny are dimensions for tests, about 2 MB: one layer of each kind. The transformer's
// width is the smallest that quantised checkpoints can have.
func Tiny() Params {
	return Params{
		Text:        Text{Hidden: 64, Layers: 1, Heads: 2, KVHeads: 1, Intermediate: 96, Rows: 640, Tokens: 600},
		Vision:      Vision{Hidden: 16, Depth: 2, Heads: 2, Intermediate: 28, Full: []int{1}},
		Transformer: Transformer{Layers: 1, Heads: 4, HeadDim: 32},
		VAE:         VAE{Base: 4},
		Seed:        1,
	}
}

// Golden are the dimensions of golden vectors, about 17 MB: wide enough for every kind of
// layer, group and shared head, with no two widths alike, and two or more layers of each
// kind, so that an order of layers shows.
func Golden() Params {
	return Params{
		Text:        Text{Hidden: 128, Layers: 2, Heads: 4, KVHeads: 2, Intermediate: 160, Rows: 640, Tokens: 600},
		Vision:      Vision{Hidden: 48, Depth: 3, Heads: 2, Intermediate: 60, Full: []int{1}},
		Transformer: Transformer{Layers: 2, Heads: 4, HeadDim: 64},
		VAE:         VAE{Base: 8},
		Seed:        7,
	}
}

// check says why dimensions make no model.
func (p Params) check() error {
	t, v, d := p.Text, p.Vision, p.Transformer
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{min(t.Hidden, t.Layers, t.Heads, t.KVHeads, t.Intermediate) > 0, "a text dimension is not positive"},
		{min(v.Hidden, v.Depth, v.Heads, v.Intermediate) > 0, "a vision dimension is not positive"},
		{min(d.Layers, d.Heads, d.HeadDim, p.VAE.Base) > 0, "a transformer or VAE dimension is not positive"},
		{t.Heads > 0 && t.Hidden%(16*t.Heads) == 0, "the text head's width is not a multiple of 16"},
		{t.KVHeads > 0 && t.Heads%t.KVHeads == 0, "KVHeads does not divide Heads"},
		{v.Heads > 0 && v.Hidden%(4*v.Heads) == 0, "the vision head's width is not a multiple of 4"},
		{d.HeadDim%32 == 0, "the transformer head's width is not a multiple of 32"},
		{t.Tokens >= len(byteOrder), "Tokens is below the 256 bytes"},
		{t.Rows >= t.Tokens+len(Specials()), "Rows is below Tokens and the special tokens"},
		{len(v.Full) == 0 || slices.Max(v.Full) < v.Depth && slices.Min(v.Full) >= 0, "Full names a block that is not there"},
	} {
		if !c.ok {
			return fmt.Errorf("making a model set: %s: %+v", c.what, p)
		}
	}
	return nil
}

// Base returns the files of the base repository by path: always the 39 published names.
// It fails only for dimensions that make no model.
func Base(p Params) (map[string]File, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	files := p.documents()
	maps.Copy(files, p.configs())
	maps.Copy(files, p.tokenizers())
	for _, weigh := range []func() (map[string]File, error){p.textEncoderFiles, p.transformerFiles, p.vaeFiles} {
		weights, err := weigh()
		if err != nil {
			return nil, fmt.Errorf("making a model set: %w", err)
		}
		maps.Copy(files, weights)
	}
	return files, nil
}

// text is a file with the given content.
func text(content string) File { return File{Content: bytes.NewReader([]byte(content))} }
