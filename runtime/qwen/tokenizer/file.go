package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/exactjson"
)

// MaxFile is the size of the largest tokenizer.json that is read, in bytes. The published
// ones of Qwen2.5 have 7 and 11 million.
const MaxFile = 64 << 20

// document is tokenizer.json. What it says in parts that are of no consequence here, such
// as the offsets that a post-processor trims, is not looked at.
type document struct {
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	Added         []addedToken    `json:"added_tokens"`
	Normalizer    step            `json:"normalizer"`
	PreTokenizer  preTokenizer    `json:"pre_tokenizer"`
	PostProcessor *step           `json:"post_processor"`
	Decoder       step            `json:"decoder"`
	Model         model           `json:"model"`
}

type step struct {
	Type string `json:"type"`
}

type preTokenizer struct {
	step
	Steps []struct {
		step
		Pattern struct {
			Regex string `json:"Regex"`
		} `json:"pattern"`
		Behavior       string `json:"behavior"`
		Invert         bool   `json:"invert"`
		AddPrefixSpace *bool  `json:"add_prefix_space"`
		UseRegex       *bool  `json:"use_regex"`
	} `json:"pretokenizers"`
}

type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	// Normalized is true where it is missing: the library's default is not relied on.
	Normalized *bool `json:"normalized"`
	// Special is of use to a decoder that leaves special tokens out; this one does not.
	Special bool `json:"special"`
}

type model struct {
	step
	Dropout      json.RawMessage  `json:"dropout"`
	Prefix       string           `json:"continuing_subword_prefix"`
	Suffix       string           `json:"end_of_word_suffix"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       mergeRules       `json:"merges"`
}

// Read reads a tokenizer.json of the tokenizers library, to its end. A file that is damaged,
// larger than MaxFile, or describes anything but Qwen2's tokenizer is an error of kind
// fault.Invalid; an error of r keeps its kind.
func Read(r io.Reader) (*Tokenizer, error) {
	data, err := readAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading tokenizer: %w", err)
	}
	return Parse(data)
}

// Parse is Read of a file that is in memory already, which it does not keep.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "take processor/tokenizer.json of the model's base repository", fmt.Errorf("reading tokenizer: %w", err))
	}
	return t, nil
}

// readAll reads to the end, or more than MaxFile bytes, into memory that needs not grow where r
// says how much there is.
func readAll(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	if sized, ok := r.(interface{ Len() int }); ok {
		b.Grow(min(sized.Len(), MaxFile) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(r, MaxFile+1))
	return b.Bytes(), err
}

func parse(data []byte) (*Tokenizer, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("file has more than %d bytes, the most that are read", MaxFile)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("file is not UTF-8, JSON must be")
	}
	var d document
	if err := exactjson.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("decoding JSON: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return d.build()
}

// check refuses what is not implemented.
func (d *document) check() error {
	want := []claim{
		{"normalizer", d.Normalizer.Type, "NFC"},
		{"pre-tokenizer", d.PreTokenizer.Type, "Sequence"},
		{"decoder", d.Decoder.Type, "ByteLevel"},
		{"model", d.Model.Type, "BPE"},
		{"dropout", null(d.Model.Dropout), "null"},
		{"truncation", null(d.Truncation), "null"},
		{"padding", null(d.Padding), "null"},
		{"continuing_subword_prefix", d.Model.Prefix, ""},
		{"end_of_word_suffix", d.Model.Suffix, ""},
		{"byte_fallback", fmt.Sprint(d.Model.ByteFallback), "false"},
		{"ignore_merges", fmt.Sprint(d.Model.IgnoreMerges), "false"},
		{"number of pre-tokenizers", fmt.Sprint(len(d.PreTokenizer.Steps)), "2"},
	}
	if d.PostProcessor != nil {
		want = append(want, claim{"post-processor", d.PostProcessor.Type, "ByteLevel"})
	}
	if steps := d.PreTokenizer.Steps; len(steps) == 2 {
		want = append(want,
			claim{"first pre-tokenizer", steps[0].Type, "Split"},
			claim{"pattern of the pre-tokenizer", steps[0].Pattern.Regex, pattern},
			claim{"behavior of the pre-tokenizer", steps[0].Behavior, "Isolated"},
			claim{"invert of the pre-tokenizer", fmt.Sprint(steps[0].Invert), "false"},
			claim{"second pre-tokenizer", steps[1].Type, "ByteLevel"},
			claim{"add_prefix_space", optional(steps[1].AddPrefixSpace), "false"},
			claim{"use_regex", optional(steps[1].UseRegex), "false"})
	}
	for _, c := range want {
		if c.is != c.implemented {
			return fmt.Errorf("%s is %.300q, only %q is implemented", c.what, c.is, c.implemented)
		}
	}
	return nil
}

// claim is one thing that the file says, beside what is implemented.
type claim struct{ what, is, implemented string }

func null(m json.RawMessage) string {
	if len(m) == 0 {
		return "null"
	}
	return string(m)
}

func optional(b *bool) string {
	if b == nil {
		return "missing"
	}
	return fmt.Sprint(*b)
}
