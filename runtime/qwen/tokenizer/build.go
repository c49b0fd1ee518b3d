package tokenizer

import "fmt"

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

// byteOf is the way back.
var byteOf = func() map[rune]byte {
	m := make(map[rune]byte, len(letters))
	for b, r := range letters {
		m[r] = byte(b)
	}
	return m
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
// library numbers added tokens from.
func (m *model) tokens() ([]string, error) {
	out := make([]string, len(m.Vocab))
	for token, id := range m.Vocab {
		if id < 0 || id >= int64(len(out)) {
			return nil, fmt.Errorf("id of token %.100q is %d, the vocabulary has %d tokens", token, id, len(out))
		}
		if out[id] != "" {
			return nil, fmt.Errorf("id of token %.100q is %d, which belongs to another token, too", token, id)
		}
		text, err := spelled(token)
		if err != nil {
			return nil, err
		}
		out[id] = text
	}
	return out, nil
}

// spelled is the text that a token stands for.
func spelled(token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("a token of the vocabulary is empty")
	}
	b := make([]byte, 0, len(token))
	for _, r := range token {
		c, ok := byteOf[r]
		if !ok {
			return "", fmt.Errorf("token %.100q contains %q, which stands for no byte", token, r)
		}
		b = append(b, c)
	}
	return string(b), nil
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
	out := make(map[pair]merge, len(m.Merges))
	for rank, rule := range m.Merges {
		var ids [3]int32
		for i, token := range []string{rule[0], rule[1], rule[0] + rule[1]} {
			id, ok := m.Vocab[token]
			if !ok {
				return nil, fmt.Errorf("merge %d needs token %.100q, which is not in the vocabulary", rank, token)
			}
			ids[i] = int32(id)
		}
		p := pairOf(ids[0], ids[1])
		if first, ok := out[p]; ok {
			return nil, fmt.Errorf("merge %d of %.100q is merge %d, too", rank, rule, first.rank)
		}
		out[p] = merge{int32(rank), ids[2]}
	}
	return out, nil
}
