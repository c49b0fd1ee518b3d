package tokenizer_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer/tokenizertest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// BenchmarkEncode: a prompt, a long text, and two words of many characters, where ns/byte
// tells a quadratic algorithm from one that is not.
func BenchmarkEncode(b *testing.B) {
	tok := small(b)
	for name, text := range map[string]string{
		"prompt":         "Replace the red car in front of the house with a blue bicycle that leans against the fence.",
		"texts":          strings.Join(texts(6, 500), " "),
		"word of 1,000":  strings.Repeat("abcdefghij", 100),
		"word of 100000": strings.Repeat("abcdefghij", 10_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := tok.EncodePlain(text)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(text)), "ns/byte")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	data := tokenizertest.Small(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		_, err := tokenizer.Read(bytes.NewReader(data))
		require.NoError(b, err)
	}
}

// BenchmarkParse reads a file of the published one's size and form: 151,643 tokens in 11 MB,
// most of which is white space. Maps of as many tokens and merges are the floor: six operations
// a token, of some 40 ns each.
func BenchmarkParse(b *testing.B) {
	files, err := modelsettest.Base(modelsettest.Real())
	require.NoError(b, err)
	c := files["processor/tokenizer.json"].Content
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(b, err)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := tokenizer.Parse(data)
		require.NoError(b, err)
	}
}
