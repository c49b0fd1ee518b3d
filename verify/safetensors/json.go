package safetensors

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is the deepest nesting of objects and arrays accepted; the reference's JSON
// parser has the same limit. A header needs 3.
const maxDepth = 127

// scanner walks over JSON text. It exists because encoding/json drops what this package
// must refuse: repeated keys and lone surrogates. The text must be valid UTF-8.
type scanner struct {
	b     []byte
	pos   int
	depth int
}

// errorf makes an error that names the position.
func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: "+format, append([]any{s.pos}, args...)...)
}

// peek skips white space and returns the next byte without consuming it, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// expect consumes one structural byte.
func (s *scanner) expect(c byte) error {
	if got := s.peek(); got != c || s.pos == len(s.b) {
		return s.errorf("want %q, have %s", c, s.here())
	}
	s.pos++
	return nil
}

// here describes the next byte for an error.
func (s *scanner) here() string {
	if s.pos >= len(s.b) {
		return "the end of the header"
	}
	r, _ := utf8.DecodeRune(s.b[s.pos:])
	return strconv.QuoteRune(r)
}

// list consumes an array or object between the two brackets and calls item for each
// member.
func (s *scanner) list(open, end byte, item func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.errorf("nested deeper than %d", maxDepth)
	}
	defer func() { s.depth-- }()
	for first := true; ; first = false {
		if s.peek() == end {
			if !first {
				return s.errorf("want a member after the comma, have %s", s.here())
			}
			s.pos++
			return nil
		}
		if err := item(); err != nil {
			return err
		}
		if s.peek() == end {
			s.pos++
			return nil
		}
		if err := s.expect(','); err != nil {
			return err
		}
	}
}

// object consumes an object and calls value once per key, with the scanner at the value.
func (s *scanner) object(value func(key string) error) error {
	var seen keys
	return s.list('{', '}', func() error {
		key, err := s.str()
		if err != nil {
			return err
		}
		if !seen.add(key) {
			return s.errorf("key %s occurs twice", quote(key))
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		return value(key)
	})
}

// keys is a set of keys. A tensor's entry has three, of which there are thousands: the first
// few are compared one by one, and only more make a map.
type keys struct {
	few  [4]string
	n    int
	many map[string]struct{}
}

// add reports whether a key is new.
func (k *keys) add(key string) bool {
	for _, other := range k.few[:min(k.n, len(k.few))] {
		if other == key {
			return false
		}
	}
	if k.n++; k.n <= len(k.few) {
		k.few[k.n-1] = key
		return true
	}
	if k.many == nil {
		k.many = map[string]struct{}{}
	}
	before := len(k.many)
	k.many[key] = struct{}{}
	return len(k.many) > before
}

// skip consumes any value, checked as strictly as the others.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(func(string) error { return s.skip() })
	case c == '[':
		return s.list('[', ']', s.skip)
	case c == '"':
		_, err := s.str()
		return err
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// word consumes a literal.
func (s *scanner) word(w string) error {
	if len(s.b)-s.pos < len(w) || string(s.b[s.pos:s.pos+len(w)]) != w {
		return s.errorf("want %s, have %s", w, s.here())
	}
	s.pos += len(w)
	return nil
}

// numeral consumes the longest run of bytes that occur in numbers.
func (s *scanner) numeral() []byte {
	s.peek()
	start := s.pos
	for s.pos < len(s.b) && isNumeral(s.b[s.pos]) {
		s.pos++
	}
	return s.b[start:s.pos]
}

func isNumeral(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// number consumes any number that fits a float64.
func (s *scanner) number() error {
	raw := s.numeral()
	if len(raw) == 0 {
		return s.errorf("want a value, have %s", s.here())
	}
	if !json.Valid(raw) {
		return s.errorf("%s is not a number", quote(string(raw)))
	}
	if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
		return s.errorf("number %s is out of range", quote(string(raw)))
	}
	return nil
}

// natural consumes an integer from 0 to 2^63-1 written without sign, fraction or
// exponent.
func (s *scanner) natural() (int64, error) {
	raw := s.numeral()
	n, err := strconv.ParseInt(string(raw), 10, 64)
	plain := len(raw) > 0 && '0' <= raw[0] && raw[0] <= '9' && (raw[0] != '0' || len(raw) == 1)
	if err != nil || !plain {
		return 0, s.errorf("want an integer from 0 to 2^63-1, have %s", quote(string(raw)))
	}
	return n, nil
}

// str consumes a string and returns its value.
func (s *scanner) str() (string, error) {
	if err := s.expect('"'); err != nil {
		return "", err
	}
	start, escaped := s.pos, false
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; {
		case c == '"':
			raw := s.b[start:s.pos]
			s.pos++
			if !escaped {
				return common(raw), nil
			}
			return s.unescape(raw)
		case c < 0x20:
			return "", s.errorf("unescaped control character %#02x in a string", c)
		case c == '\\':
			escaped = true
			s.pos++
		}
		s.pos++
	}
	s.pos = len(s.b)
	return "", s.errorf("a string has no end")
}

// common is the text as a string, without memory of its own for words that every tensor has.
func common(raw []byte) string {
	switch string(raw) {
	case "dtype":
		return "dtype"
	case "shape":
		return "shape"
	case "data_offsets":
		return "data_offsets"
	case string(BF16):
		return string(BF16)
	case string(I8):
		return string(I8)
	}
	return string(raw)
}

// simpleEscapes maps the letter behind a backslash to its byte.
var simpleEscapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// unescape resolves the escapes of a string's raw text, which never ends in a lone
// backslash.
func (s *scanner) unescape(raw []byte) (string, error) {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		if raw[0] != '\\' {
			out, raw = append(out, raw[0]), raw[1:]
			continue
		}
		if c, ok := simpleEscapes[raw[1]]; ok {
			out, raw = append(out, c), raw[2:]
			continue
		}
		r, n := unicodeEscape(raw)
		if n == 0 {
			return "", s.errorf("bad escape in a string: %s", quote(string(raw[:min(12, len(raw))])))
		}
		out, raw = utf8.AppendRune(out, r), raw[n:]
	}
	return string(out), nil
}

// unicodeEscape decodes \uXXXX or a pair of surrogates at the start of raw and returns
// the bytes consumed, 0 if it is malformed. A surrogate without its partner is no
// character.
func unicodeEscape(raw []byte) (rune, int) {
	r, ok := hexEscape(raw)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hexEscape(raw[6:])
	if full := utf16.DecodeRune(r, low); ok && full != utf8.RuneError {
		return full, 12
	}
	return 0, 0
}

// hexEscape decodes one \uXXXX.
func hexEscape(raw []byte) (rune, bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return rune(n), err == nil
}

// quote quotes a foreign string for an error, cut to a readable length.
func quote(s string) string {
	const limit = 120
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:limit]) + "…"
}
