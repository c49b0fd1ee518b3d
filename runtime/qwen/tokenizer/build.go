package tokenizer

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// letters are the characters that stand for the 256 bytes in tokenizer.json: the byte itself
// where it is printable Latin-1, else one from U+0100 on, in order. The rule is GPT-2's.
var letters = func() (t [256]rune) {
	next := rune(0x100)
	for b := range t {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			t[b] = rune(b)
			continue
		}
		t[b] = next
		next++
	}
	return t
}()

// byteOf is the way back, -1 for a character that stands for no byte. The last that does is
// U+0143.
var byteOf = func() (t [0x144]int16) {
	for r := range t {
		t[r] = -1
	}
	for b, r := range letters {
		t[r] = int16(b)
	}
	return t
}()

// build makes the tokenizer of a document that says what is implemented.
func (d *document) build() (*Tokenizer, error) {
	plain, err := d.Model.tokens()
	if err != nil {
		return nil, err
	}
	special, err := d.addedTokens(len(plain))
	if err != nil {
		return nil, err
	}
	merges, err := d.Model.ranks()
	if err != nil {
		return nil, err
	}
	var bytes [256]int32
	for b, r := range letters {
		id, ok := d.Model.Vocab[string(r)]
		if !ok {
			return nil, fmt.Errorf("byte %#02x has no token: %q is not in the vocabulary", b, r)
		}
		bytes[b] = int32(id)
	}
	return newTokenizer(plain, special, merges, bytes), nil
}

// tokens are the bytes of the vocabulary's tokens by id. Ids without a gap are what the
// library numbers added tokens from. All of them share one piece of memory.
func (m *model) tokens() ([]string, error) {
	out := make([]string, len(m.Vocab))
	var all strings.Builder
	for token, id := range m.Vocab {
		if id < 0 || id >= int64(len(out)) {
			return nil, fmt.Errorf("id of token %.100q is %d, the vocabulary has %d tokens", token, id, len(out))
		}
		if out[id] != "" {
			return nil, fmt.Errorf("id of token %.100q is %d, which belongs to another token, too", token, id)
		}
		before := all.Len()
		if err := spell(&all, token); err != nil {
			return nil, err
		}
		out[id] = all.String()[before:]
	}
	return out, nil
}

// spell writes the text that a token stands for.
func spell(to *strings.Builder, token string) error {
	if token == "" {
		return fmt.Errorf("a token of the vocabulary is empty")
	}
	for _, r := range token {
		if r >= rune(len(byteOf)) || byteOf[r] < 0 {
			return fmt.Errorf("token %.100q contains %q, which stands for no byte", token, r)
		}
		to.WriteByte(byte(byteOf[r]))
	}
	return nil
}

// addedTokens are the added tokens in the order of ids, which follow the vocabulary's. The
// library gives them these ids whatever the file says; one that says otherwise is of a
// model whose embedding was not made for this vocabulary.
func (d *document) addedTokens(first int) ([]string, error) {
	out := make([]string, len(d.Added))
	seen := map[string]bool{}
	for i, a := range d.Added {
		at := a.ID - int64(first)
		switch {
		case a.Content == "":
			return nil, fmt.Errorf("added token %d is empty", a.ID)
		case at != int64(i):
			return nil, fmt.Errorf("id of added token %.100q is %d, behind %d tokens it must be %d", a.Content, a.ID, first+i, first+i)
		case seen[a.Content]:
			return nil, fmt.Errorf("added token %.100q occurs twice", a.Content)
		case a.LStrip || a.RStrip || a.SingleWord || a.Normalized == nil || *a.Normalized:
			return nil, fmt.Errorf("flags of added token %.100q are lstrip %t, rstrip %t, single_word %t, normalized %s, only false is implemented",
				a.Content, a.LStrip, a.RStrip, a.SingleWord, optional(a.Normalized))
		}
		if id, ok := d.Model.Vocab[a.Content]; ok {
			return nil, fmt.Errorf("id of added token %.100q is %d, in the vocabulary it is %d", a.Content, a.ID, id)
		}
		seen[a.Content] = true
		out[i] = a.Content
	}
	return out, nil
}

// ranks are the merges; what they join and make must be tokens.
func (m *model) ranks() (map[pair]merge, error) {
	all := m.mergedIDs()
	out := make(map[pair]merge, len(all))
	for rank, ids := range all {
		left, right, joined := m.Merges.rule(rank)
		for i, token := range []string{left, right, joined} {
			if ids[i] < 0 {
				return nil, fmt.Errorf("merge %d needs token %.100q, which is not in the vocabulary", rank, token)
			}
		}
		out[pairOf(ids[0], ids[1])] = merge{int32(rank), ids[2]}
		if len(out) == rank {
			first := slices.IndexFunc(all, func(other [3]int32) bool { return other[0] == ids[0] && other[1] == ids[1] })
			return nil, fmt.Errorf("merge %d of %.100q is merge %d, too", rank, []string{left, right}, first)
		}
	}
	return out, nil
}

// mergedIDs looks up the two tokens of every merge and the one that they become, -1 for one
// that is not in the vocabulary. Merges are shared out to the processors.
func (m *model) mergedIDs() [][3]int32 {
	out := make([][3]int32, m.Merges.len())
	look := func(token string) int32 {
		if id, ok := m.Vocab[token]; ok {
			return int32(id)
		}
		return -1
	}
	var group sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for i := range n {
		group.Go(func() {
			for k := len(out) * i / n; k < len(out)*(i+1)/n; k++ {
				left, right, joined := m.Merges.rule(k)
				out[k] = [3]int32{look(left), look(right), look(joined)}
			}
		})
	}
	group.Wait()
	return out
}
