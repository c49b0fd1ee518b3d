package tokenizer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// naive merges by looking at everything each time.
func naive(t *Tokenizer, text string) []int32 {
	var ids []int32
	for i := range len(text) {
		ids = append(ids, t.bytes[text[i]])
	}
	for {
		best, m := -1, merge{}
		for i := range len(ids) - 1 {
			if x, ok := t.merges[pairOf(ids[i], ids[i+1])]; ok && (best < 0 || x.rank < m.rank) {
				best, m = i, x
			}
		}
		if best < 0 {
			return ids
		}
		ids = append(append(ids[:best:best], m.id), ids[best+2:]...)
	}
}

// TestMerging compares both ways of merging with the naive one, on random merges over two
// letters, where nearly every pair merges and one token comes about in many ways.
func TestMerging(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		tok := randomMerges(r)
		for _, n := range []int{1, 2, 3, scanned - 1, scanned, scanned + 1, 60, 200} {
			text := make([]byte, n)
			for i := range text {
				text[i] = "ab"[r.IntN(2)]
			}
			var w word
			require.Equal(t, naive(tok, string(text)), w.encode(tok, string(text), nil), "%s", text)
			require.Equal(t, naive(tok, string(text)), w.encode(tok, string(text), nil), "memory that was used before")
		}
	}
}

// randomMerges makes up to 40 merges; a pair of tokens that makes a known one gets a rank
// of its own, as in published files.
func randomMerges(r *rand.Rand) *Tokenizer {
	t := &Tokenizer{tokens: []string{"a", "b"}, merges: map[pair]merge{}}
	t.bytes['a'], t.bytes['b'] = 0, 1
	ids := map[string]int32{"a": 0, "b": 1}
	for rank := range int32(40) {
		left, right := int32(r.IntN(len(t.tokens))), int32(r.IntN(len(t.tokens)))
		s := t.tokens[left] + t.tokens[right]
		if _, there := t.merges[pairOf(left, right)]; there || len(s) > 12 {
			continue
		}
		if _, known := ids[s]; !known {
			ids[s] = int32(len(t.tokens))
			t.tokens = append(t.tokens, s)
		}
		t.merges[pairOf(left, right)] = merge{rank, ids[s]}
	}
	return t
}
