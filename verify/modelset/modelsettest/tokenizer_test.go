package modelsettest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// encoder is a byte-pair encoder that knows nothing but the written files.
type encoder struct {
	ids   map[string]int
	ranks map[merge]int
	bytes map[rune]byte
}

func newEncoder(t *testing.T, p Params) encoder {
	t.Helper()
	files := p.tokenizers()
	e := encoder{ids: map[string]int{}, ranks: map[merge]int{}, bytes: map[rune]byte{}}
	require.NoError(t, json.Unmarshal(read(t, files["tokenizer/vocab.json"]), &e.ids))
	lines := strings.Split(strings.TrimSpace(string(read(t, files["tokenizer/merges.txt"]))), "\n")
	require.Equal(t, "#version: 0.2", lines[0])
	for rank, line := range lines[1:] {
		left, right, ok := strings.Cut(line, " ")
		require.True(t, ok)
		e.ranks[merge{left, right}] = rank
	}
	for b, r := range byteRune {
		e.bytes[r] = byte(b)
	}
	return e
}

// encode applies the best merge until none is left, as every encoder does.
func (e encoder) encode(t *testing.T, s string) []int {
	t.Helper()
	var ids []int
	for _, w := range goPattern.FindAllString(s, -1) {
		symbols := strings.Split(letters(w), "")
		for {
			best, rank := merge{}, len(e.ranks)
			for i := 1; i < len(symbols); i++ {
				if r, ok := e.ranks[merge{symbols[i-1], symbols[i]}]; ok && r < rank {
					best, rank = merge{symbols[i-1], symbols[i]}, r
				}
			}
			if rank == len(e.ranks) {
				break
			}
			symbols = best.apply(symbols)
		}
		for _, s := range symbols {
			id, ok := e.ids[s]
			require.True(t, ok, s)
			ids = append(ids, id)
		}
	}
	return ids
}

func (e encoder) decode(ids []int) string {
	tokens := make(map[int]string, len(e.ids))
	for t, id := range e.ids {
		tokens[id] = t
	}
	var b strings.Builder
	for _, id := range ids {
		for _, r := range tokens[id] {
			b.WriteByte(e.bytes[r])
		}
	}
	return b.String()
}

// TestPrefixHas64Tokens: the pipeline drops 64 tokens from each prompt, which must be
// everything up to the user's own words. Special tokens split the text.
func TestPrefixHas64Tokens(t *testing.T) {
	system, _, ok := strings.Cut(template, "\nuser\n")
	require.True(t, ok)
	for _, p := range []Params{Tiny(), Demo(), Real()} {
		e := newEncoder(t, p)
		im := 3 // <|im_start|>, <|im_end|>, <|im_start|>
		require.Equal(t, 64, im+len(e.encode(t, system))+len(e.encode(t, "\n"))+len(e.encode(t, "user\n")))
		require.Len(t, e.encode(t, "\n"), 1)
		require.Len(t, e.encode(t, "assistant\n"), 2)
	}
}

func TestEncodingLosesNothing(t *testing.T) {
	for _, p := range []Params{Tiny(), Demo()} {
		e := newEncoder(t, p)
		for _, s := range []string{corpus, template, "Größe 12,5 × 日本語 \x00\xff it's\r\n\r\nDONE!!", ""} {
			require.Equal(t, s, e.decode(e.encode(t, s)))
		}
	}
}

// TestVocabulary: ids of bytes are the published ones, tokens are distinct, and each merge
// makes a token of tokens.
func TestVocabulary(t *testing.T) {
	for _, count := range []int{256, 257, 600, 960, 5000, 151643} {
		tokens, merges := vocabulary(count)
		require.Len(t, tokens, count)
		require.Len(t, merges, count-256)
		ids := map[string]int{}
		for i, token := range tokens {
			ids[token] = i
		}
		require.Len(t, ids, count, "tokens must be distinct")
		for i, m := range merges {
			require.Equal(t, 256+i, ids[m[0]+m[1]])
			left, okLeft := ids[m[0]]
			right, okRight := ids[m[1]]
			require.True(t, okLeft && okRight && max(left, right) < 256+i, m)
		}
		for token, id := range map[string]int{"!": 0, "0": 15, "A": 32, "~": 93, "Ċ": 198, "Ġ": 220, "Ń": 255} {
			require.Equal(t, id, ids[token], token)
		}
	}
}

func TestSpecialTokensHaveThePublishedIDs(t *testing.T) {
	real := Real().Text
	for token, id := range map[string]int{
		"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|vision_start|>": 151652,
		"<|vision_end|>": 151653, "<|vision_pad|>": 151654, "<|image_pad|>": 151655, "<|video_pad|>": 151656,
		"<tool_call>": 151657, "<|file_sep|>": 151664, "no such token": -1,
	} {
		require.Equal(t, id, real.ID(token), token)
	}
	require.Len(t, Specials(), 22)
}

func TestBothFormsOfTheTokenizerAgree(t *testing.T) {
	files := Tiny().tokenizers()
	var single struct {
		Model struct {
			Vocab  map[string]int
			Merges []merge
		}
	}
	require.NoError(t, json.Unmarshal(read(t, files["processor/tokenizer.json"]), &single))
	require.Equal(t, newEncoder(t, Tiny()).ids, single.Model.Vocab)
	require.Equal(t, string(read(t, files["tokenizer/merges.txt"])), mergesText(single.Model.Merges))
}
