package tokenizer_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer/tokenizertest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

func readFile(t *testing.T, path string) *tokenizer.Tokenizer {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return tokenizertest.Read(t, data)
}

// TestInteropEncode: the published tokenizer gives the ids that the tokenizers library gives
// with it, for 10,000 texts, with and without added tokens, and the library decodes them to
// what Decode does.
func TestInteropEncode(t *testing.T) {
	interoptest.Require(t, "python3")
	withStrings, withPairs := tokenizertest.Published(t)
	tok := readFile(t, withPairs)
	require.Equal(t, readFile(t, withStrings), tok, "both forms are one tokenizer")
	require.Equal(t, 151665, tok.Size())

	in := append(texts(0, 10_000), strings.Repeat("a", 20_000), strings.Repeat("日本語", 5_000), strings.Repeat(" ", 3_000)+"x", strings.Repeat("ab!", 3_000))
	var want struct {
		IDs, Plain [][]int32
		Text       []string
	}
	tokenizertest.Oracle(t, withPairs, `
ids = [e.ids for e in tok.encode_batch(input, add_special_tokens=False)]
output = {"IDs": ids, "Plain": [e.ids for e in plain.encode_batch(input, add_special_tokens=False)],
    "Text": tok.decode_batch(ids, skip_special_tokens=False)}
`, in, &want)
	require.Len(t, want.IDs, len(in))
	tokens, differ := 0, 0
	for i, s := range in {
		ids, err := tok.Encode(s)
		require.NoError(t, err)
		plain, err := tok.EncodePlain(s)
		require.NoError(t, err)
		back, err := tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, append([]int32{}, want.IDs[i]...), ids, "%+q", s)
		require.Equal(t, append([]int32{}, want.Plain[i]...), plain, "%+q", s)
		require.Equal(t, want.Text[i], back, "%+q", s)
		tokens += len(ids)
		if len(ids) != len(plain) {
			differ++
		}
	}
	require.Greater(t, differ, 1000, "texts with added tokens")
	t.Logf("%d texts, %d tokens, %d texts with added tokens", len(in), tokens, differ)
}

// TestInteropCharacters: every character is of the class that the library's regular
// expressions give it, and is composed with a neighbour as the library composes it.
func TestInteropCharacters(t *testing.T) {
	interoptest.Require(t, "python3")
	path, _ := tokenizertest.Published(t)
	var want struct{ Classes, Composed, Apart []string }
	apart := []string{"\U000e0041\u0301"} // all canonical decompositions, and one that norm takes for A and acute
	for r := range rune(utf8.MaxRune + 1) {
		if s := norm.NFD.String(string(r)); utf8.ValidRune(r) && s != string(r) && (r < 0xac00 || r > 0xd7a3) {
			apart = append(apart, s)
		}
	}
	tokenizertest.Oracle(t, path, `
every = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000]
classes = {}
for name, pattern in {"letter": r"\p{L}", "number": r"\p{N}", "space": r"\s"}.items():
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    for i in range(0, len(every), 256):
        some = every[i:i + 256]
        left = set("".join(piece for piece, _ in split.pre_tokenize_str("".join(some))))
        classes |= {c: name for c in some if c not in left}
nfc = normalizers.NFC()
output = {"Classes": [classes.get(c, "other") for c in every],
    "Composed": [nfc.normalize_str("a" + c + "\u0323\u0301" + c) for c in every],
    "Apart": [nfc.normalize_str(s) for s in input]}
`, apart, &want)
	i := 0
	var classes, composed []string
	for r := range rune(utf8.MaxRune + 1) {
		if !utf8.ValidRune(r) {
			continue
		}
		if got := tokenizer.ClassName(r); got != want.Classes[i] {
			classes = append(classes, fmt.Sprintf("%U is %s, the library says %s", r, got, want.Classes[i]))
		}
		if got := tokenizer.Compose("a" + string(r) + "\u0323\u0301" + string(r)); got != want.Composed[i] {
			composed = append(composed, fmt.Sprintf("%U", r))
		}
		i++
	}
	require.Equal(t, len(want.Classes), i)
	require.Empty(t, classes)
	require.Empty(t, composed)
	for i, s := range apart {
		require.Equal(t, want.Apart[i], tokenizer.Compose(s), "%+q", s)
	}
}

// TestInteropSmallFile: the library takes the demo's file for the same tokenizer, too.
func TestInteropSmallFile(t *testing.T) {
	interoptest.Require(t, "python3")
	path := t.TempDir() + "/tokenizer.json"
	require.NoError(t, os.WriteFile(path, tokenizertest.Small(t), 0o644))
	tok := readFile(t, path)
	var want [][]int32
	in := texts(9, 1000)
	tokenizertest.Oracle(t, path, `output = [e.ids for e in tok.encode_batch(input, add_special_tokens=False)]`, in, &want)
	for i, s := range in {
		ids, err := tok.Encode(s)
		require.NoError(t, err)
		require.Equal(t, append([]int32{}, want[i]...), ids, "%+q", s)
	}
}
