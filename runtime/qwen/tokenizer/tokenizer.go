// Package tokenizer turns text into the token ids of Qwen2 and Qwen2.5-VL and back, as the
// model's own tokenizer.json says.
//
//	text ─ added tokens ─ NFC ─ split into words ─ UTF-8 bytes ─ merges by rank ─ ids
//
// What is implemented is Qwen2's tokenizer and no other: Read refuses a file with another
// normalizer, pattern or decoder, instead of giving ids that the model has never seen. The
// pattern is matched by hand (see split), since Go's regexp has no look-ahead.
//
// The measure is the tokenizers library, with which interop compares every step. Three of
// its traits are no accident here. Its regular expressions know Unicode 16, Go's tables
// Unicode 15: see class.go. It composes characters otherwise than
// golang.org/x/text/unicode/norm: see normal.go. And it takes U+017F, the long s, for the s
// of a contraction.
//
// # Added tokens in other people's text
//
// transformers recognises added tokens such as <|im_end|> wherever they stand, those in a
// user's prompt included; a prompt can then end its own message and begin one in another
// role. Encode does the same and is for text that the program itself wrote. EncodePlain
// recognises none: to it <|im_end|> is seven ordinary tokens, which Decode gives back as
// the same text. Which of the two a user's text goes through is the caller's choice.
//
// Between two added tokens the encoding of a text depends on nothing outside, so that ids
// of a template's pieces and of a user's text may be joined there.
//
// There is no cache of words: a prompt is encoded once in front of seconds of computing,
// and takes microseconds (BenchmarkEncode).
package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxText is the length of the longest text that is encoded, in bytes. The model's own
// limit, in tokens, is far lower. Time and memory grow with n·log n at most.
const MaxText = 1 << 20

// Tokenizer is one model's tokenizer. It does not change: it is safe for concurrent use.
type Tokenizer struct {
	tokens []string // by id: the bytes of a token; added tokens come last
	bytes  [256]int32
	merges map[pair]merge
	added  []added
	begins [256]bool // the first bytes of added tokens
}

// added is a token that is recognised in text as it stands.
type added struct {
	content string
	id      int32
}

// Size is the number of tokens, added ones included; ids are 0 to Size()-1. The model's
// embedding may have more rows.
func (t *Tokenizer) Size() int { return len(t.tokens) }

// ID is the id of an added token, such as <|image_pad|>.
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	for _, a := range t.added {
		if a.content == token {
			return a.id, true
		}
	}
	return 0, false
}

// Encode encodes text of the program's own and recognises every added token in it, as
// transformers does by default; where two begin at one place, the longer one.
//
// Text that is not UTF-8 or longer than MaxText is an error: the model would see something
// else than what was written.
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	e := t.encoder(len(text))
	for text != "" {
		at, token := t.next(text)
		if at < 0 {
			break
		}
		e.add(text[:at])
		e.ids = append(e.ids, token.id)
		text = text[at+len(token.content):]
	}
	e.add(text)
	return e.ids, nil
}

// EncodePlain encodes text of which nothing is an added token, whatever it looks like. The
// errors are those of Encode.
func (t *Tokenizer) EncodePlain(text string) ([]int32, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	e := t.encoder(len(text))
	e.add(text)
	return e.ids, nil
}

func check(text string) error {
	if len(text) > MaxText {
		return fmt.Errorf("encoding text: it has %d bytes, the most are %d", len(text), MaxText)
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return fmt.Errorf("encoding text: byte %#02x at offset %d is not UTF-8", text[i], i)
		}
		i += n
	}
	return nil
}

// next finds the first added token, the longest one there: they are sorted by length.
func (t *Tokenizer) next(text string) (at int, found added) {
	for at := range len(text) {
		if !t.begins[text[at]] {
			continue
		}
		for _, a := range t.added {
			if strings.HasPrefix(text[at:], a.content) {
				return at, a
			}
		}
	}
	return -1, added{}
}

// encoder collects the ids of one text; its memory serves all words.
type encoder struct {
	*Tokenizer
	ids  []int32
	word word
}

func (t *Tokenizer) encoder(length int) *encoder {
	return &encoder{Tokenizer: t, ids: make([]int32, 0, length/4+8)}
}

// add encodes a text without added tokens.
func (e *encoder) add(text string) {
	text = compose(text)
	for text != "" {
		n := split(text)
		e.ids = e.word.encode(e.Tokenizer, text[:n], e.ids)
		text = text[n:]
	}
}

// Decode gives the text of ids, added tokens as they are written. A single token may be a
// part of a character: the text is UTF-8 where ids are all of a text's. An id that the
// tokenizer does not have is an error.
func (t *Tokenizer) Decode(ids []int32) (string, error) {
	var b strings.Builder
	for i, id := range ids {
		if id < 0 || int(id) >= len(t.tokens) {
			return "", fmt.Errorf("decoding token %d: its id is %d, the tokenizer has 0 to %d", i, id, len(t.tokens)-1)
		}
		b.WriteString(t.tokens[id])
	}
	return b.String(), nil
}

// newTokenizer puts the checked parts together; tokens are in the order of ids.
func newTokenizer(plain, special []string, merges map[pair]merge, bytes [256]int32) *Tokenizer {
	t := &Tokenizer{tokens: slices.Concat(plain, special), bytes: bytes, merges: merges}
	for i, s := range special {
		t.added = append(t.added, added{s, int32(len(plain) + i)})
		t.begins[s[0]] = true
	}
	slices.SortStableFunc(t.added, func(a, b added) int { return len(b.content) - len(a.content) })
	return t
}
