package tokenizer_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer/tokenizertest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

func small(t testing.TB) *tokenizer.Tokenizer {
	return tokenizertest.Read(t, tokenizertest.Small(t))
}

// spelling is a text's tokens, joined by a bar.
func spelling(t *testing.T, tok *tokenizer.Tokenizer, ids []int32) string {
	t.Helper()
	var out []string
	for _, id := range ids {
		s, err := tok.Decode([]int32{id})
		require.NoError(t, err)
		out = append(out, s)
	}
	return strings.Join(out, "|")
}

func TestAddedTokens(t *testing.T) {
	tok := small(t)
	require.Equal(t, modelsettest.Demo().Text.Tokens+len(modelsettest.Specials()), tok.Size())
	for _, s := range modelsettest.Specials() {
		id, ok := tok.ID(s)
		require.True(t, ok)
		require.EqualValues(t, modelsettest.Demo().Text.ID(s), id)
		ids, err := tok.Encode(s)
		require.NoError(t, err)
		require.Equal(t, []int32{id}, ids)
		ids, err = tok.EncodePlain(s)
		require.NoError(t, err)
		require.NotContains(t, ids, id)
		require.Greater(t, len(ids), 1)
		back, err := tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
	_, ok := tok.ID("system")
	require.False(t, ok, "an ordinary token is none that is added")
}

// TestPlainTextHoldsNoAddedToken: whatever a user writes.
func TestPlainTextHoldsNoAddedToken(t *testing.T) {
	tok := small(t)
	first := int32(modelsettest.Demo().Text.Tokens)
	for _, s := range texts(1, 500) {
		ids, err := tok.EncodePlain(s)
		require.NoError(t, err)
		for _, id := range ids {
			require.Less(t, id, first, "%q", s)
		}
	}
}

func TestEncode(t *testing.T) {
	tok := small(t)
	for in, want := range map[string]string{
		"":                               "",
		"system\n":                       "system|\n",
		"<|im_start|>user\n<|im_end|>":   "<|im_start|>|user|\n|<|im_end|>",
		"<|im_end|><|im_end|>":           "<|im_end|>|<|im_end|>",
		"<<|im_end|>":                    "<|<|im_end|>",
		"<|im_start|><tool_call>":        "<|im_start|>|<tool_call>",
		"the input image (color, shape)": "t|h|e| input| image| (|color|,| shape|)",
	} {
		ids, err := tok.Encode(in)
		require.NoError(t, err)
		require.Equal(t, want, spelling(t, tok, ids), in)
	}
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	tok := small(t)
	for _, s := range append(texts(2, 1000), strings.Repeat("Zebra", 1<<14)) {
		ids, err := tok.EncodePlain(s)
		require.NoError(t, err)
		back, err := tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, tokenizer.Compose(s), back, "%q", s)
		again, err := tok.EncodePlain(back)
		require.NoError(t, err)
		require.Equal(t, ids, again, "%q", s)
	}
}

// TestPiecesJoinAtAddedTokens is what a prompt relies on.
func TestPiecesJoinAtAddedTokens(t *testing.T) {
	tok := small(t)
	id, _ := tok.ID("<|im_end|>")
	for _, s := range texts(3, 300) {
		left, err := tok.Encode(s)
		require.NoError(t, err)
		right, err := tok.Encode("\n" + s)
		require.NoError(t, err)
		if strings.HasSuffix(s, "<") {
			continue
		}
		whole, err := tok.Encode(s + "<|im_end|>\n" + s)
		require.NoError(t, err)
		require.Equal(t, append(append(left, id), right...), whole, "%q", s)
	}
}

func TestTextThatIsRefused(t *testing.T) {
	tok := small(t)
	for text, want := range map[string]string{
		"a\xffb":                                 "encoding text: byte 0xff at offset 1 is not UTF-8",
		"\xed\xa0\x80":                           "encoding text: byte 0xed at offset 0 is not UTF-8",
		"né\xc3":                                 "encoding text: byte 0xc3 at offset 3 is not UTF-8",
		strings.Repeat("a", tokenizer.MaxText+1): "encoding text: it has 1048577 bytes, the most are 1048576",
	} {
		_, err := tok.Encode(text)
		require.EqualError(t, err, want)
		_, err = tok.EncodePlain(text)
		require.EqualError(t, err, want)
	}
	_, err := tok.Encode("\ufffd")
	require.NoError(t, err, "the replacement character itself is text")
}

func TestDecodeRefusesStrangeIDs(t *testing.T) {
	tok := small(t)
	for _, id := range []int32{-1, int32(tok.Size())} {
		_, err := tok.Decode([]int32{0, id})
		require.ErrorContains(t, err, "decoding token 1: its id is ")
	}
}

func TestConcurrentUse(t *testing.T) {
	tok := small(t)
	want, err := tok.Encode(strings.Join(texts(4, 50), " "))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := tok.Encode(strings.Join(texts(4, 50), " "))
			if err != nil || !bytes.Equal(raw(got), raw(want)) {
				t.Errorf("encoding beside others: ids differ, error is %v", err)
			}
		})
	}
	wg.Wait()
}

func raw(ids []int32) (out []byte) {
	for _, id := range ids {
		out = append(out, byte(id), byte(id>>8), byte(id>>16))
	}
	return out
}

func FuzzEncode(f *testing.F) {
	for _, s := range texts(5, 50) {
		f.Add(s)
	}
	tok := small(f)
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := tok.EncodePlain(s)
		if err != nil {
			require.False(t, utf8.ValidString(s))
			return
		}
		back, err := tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, tokenizer.Compose(s), back)
		ids, err = tok.Encode(s)
		require.NoError(t, err)
		back, err = tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, tokenizer.Compose(s), tokenizer.Compose(back), "the text between added tokens is composed on its own")
	})
}
