// Package prompt builds the token sequence that Qwen-Image-Edit's text encoder reads: a
// fixed system message, the pictures' places, the user's text, the beginning of an answer.
//
//	<|im_start|>system … <|im_end|> <|im_start|>user   dropped from the hidden states
//	<|vision_start|> <|image_pad|> … <|vision_end|>    each picture's tokens
//	text <|im_end|> <|im_start|>assistant              kept
//
// The transformer has learned from hidden states without those of the fixed beginning. How
// many positions that are is counted from the template, by the tokenizer in use: 64 with
// the published one, for which diffusers writes the number down.
//
// The text comes as ids. Which of its characters may be added tokens is decided where they
// are made, see package tokenizer: EncodePlain for text by strangers. As the text stands
// between two added tokens, its ids are the same there as on their own.
//
// Source: prompt_template_encode of QwenImageEditPipeline and QwenImageEditPlusPipeline,
// diffusers.
package prompt

import (
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
)

// Kind is the pipeline that a checkpoint was trained for.
type Kind int

const (
	// Edit is Qwen-Image-Edit: one picture.
	Edit Kind = iota
	// EditPlus is Qwen-Image-Edit-2509 and later: pictures with numbers.
	EditPlus
)

const (
	beginning = "<|im_start|>system\n" +
		"Describe the key features of the input image (color, shape, size, texture, objects, background), " +
		"then explain how the user's text instruction should alter or modify the image. Generate a new image " +
		"that meets the user's requirements while maintaining consistency with the original input where appropriate." +
		"<|im_end|>\n<|im_start|>user\n"
	end = "<|im_end|>\n<|im_start|>assistant\n"

	visionStart, imagePad, visionEnd = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
)

// Template is the template of a kind in the ids of a tokenizer. It does not change: it is
// safe for concurrent use.
type Template struct {
	kind            Kind
	tokenizer       *tokenizer.Tokenizer
	beginning, end  []int32
	start, pad, fin int32
}

// New encodes the template. A tokenizer without one of its added tokens is an error.
func New(k Kind, t *tokenizer.Tokenizer) (*Template, error) {
	out := &Template{kind: k, tokenizer: t}
	for _, token := range []string{"<|im_start|>", "<|im_end|>", visionStart, imagePad, visionEnd} {
		if _, ok := t.ID(token); !ok {
			return nil, fmt.Errorf("encoding the prompt's template: the tokenizer has no added token %s", token)
		}
	}
	out.start, _ = t.ID(visionStart)
	out.pad, _ = t.ID(imagePad)
	out.fin, _ = t.ID(visionEnd)
	var err error
	if out.beginning, err = t.Encode(beginning); err != nil {
		return nil, err
	}
	if out.end, err = t.Encode(end); err != nil {
		return nil, err
	}
	return out, nil
}

// Drop is the number of positions at the beginning whose hidden states are not used.
func (t *Template) Drop() int { return len(t.beginning) }

// Prompt is a sequence for the text encoder.
type Prompt struct {
	IDs    []int32
	Images []Span // the pictures' tokens among the IDs, in order
	Drop   int    // Template.Drop
}

// Span is a range of positions.
type Span struct{ Start, End int }

// Prompt puts pictures and text into the template. Of each picture the number of tokens
// counts, which is that of its patches after merging. Edit takes one picture, EditPlus at
// least one. Text that holds tokens of pictures is an error: they would pass for one.
func (t *Template) Prompt(images []int, text []int32) (*Prompt, error) {
	if n := len(images); n < 1 || t.kind == Edit && n > 1 {
		return nil, fmt.Errorf("building a prompt: it has %d pictures, %s", n, [...]string{"the model takes 1", "the model takes 1 or more"}[t.kind])
	}
	for i, id := range text {
		if id == t.start || id == t.pad || id == t.fin {
			token, _ := t.tokenizer.Decode([]int32{id})
			return nil, fmt.Errorf("building a prompt: token %d of the text is %s, which only pictures have", i, token)
		}
	}
	p := &Prompt{IDs: slices.Clone(t.beginning), Drop: t.Drop()}
	for i, n := range images {
		if err := t.addImage(p, i+1, n); err != nil {
			return nil, err
		}
	}
	p.IDs = slices.Concat(p.IDs, text, t.end)
	return p, nil
}

// addImage appends the picture of a number, which counts from 1.
func (t *Template) addImage(p *Prompt, number, tokens int) error {
	if tokens < 1 {
		return fmt.Errorf("building a prompt: picture %d has %d tokens, the least is 1", number, tokens)
	}
	if t.kind == EditPlus {
		label, err := t.tokenizer.Encode(fmt.Sprintf("Picture %d: ", number))
		if err != nil {
			return err
		}
		p.IDs = append(p.IDs, label...)
	}
	p.IDs = append(p.IDs, t.start)
	span := Span{len(p.IDs), len(p.IDs) + tokens}
	p.IDs = append(p.IDs, slices.Repeat([]int32{t.pad}, tokens)...)
	p.IDs = append(p.IDs, t.fin)
	p.Images = append(p.Images, span)
	return nil
}
