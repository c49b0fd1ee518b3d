package exactjson

import (
	"encoding/json"
	"unicode/utf8"
)

// text is JSON that is known to be valid, read from at on. Its methods move at.
type text struct {
	data []byte
	at   int
}

// peek is the byte behind white space.
func (t *text) peek() byte {
	for isSpace(t.data[t.at]) {
		t.at++
	}
	return t.data[t.at]
}

// list goes through an object or array, by its closing bracket: item is called in front of
// each member and moves behind it.
func (t *text) list(end byte, item func() error) error {
	t.peek()
	for t.at++; t.peek() != end; {
		if err := item(); err != nil {
			return err
		}
		if t.peek() == ',' {
			t.at++
		}
	}
	t.at++
	return nil
}

// value takes the next value as it is written.
func (t *text) value() []byte {
	first, start := t.peek(), t.at
	switch first {
	case '"':
		t.skipString()
	case '{', '[':
		t.skipNested()
	default:
		for t.at < len(t.data) && !endsWord(t.data[t.at]) {
			t.at++
		}
	}
	return t.data[start:t.at]
}

// endsWord reports whether a byte stands behind a number or word.
func endsWord(c byte) bool { return c == ',' || c == '}' || c == ']' || isSpace(c) }

// skipNested moves behind an object or array.
func (t *text) skipNested() {
	for depth := 0; ; t.at++ {
		switch t.data[t.at] {
		case '"':
			t.skipString()
			t.at--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				t.at++
				return
			}
		}
	}
}

// skipString moves behind a string and says whether it is its own value: no escapes in it,
// and ASCII.
func (t *text) skipString() (plain, ascii bool) {
	plain, all := true, byte(0)
	for t.at++; t.data[t.at] != '"'; t.at++ {
		c := t.data[t.at]
		all |= c
		if c == '\\' {
			plain = false
			t.at++
		}
	}
	t.at++
	return plain, all < utf8.RuneSelf
}

// string takes a string and appends its value to buf. What needs more than copying, which is
// rare, is left to encoding/json.
func (t *text) string(buf []byte) ([]byte, error) {
	t.peek()
	start := t.at
	plain, ascii := t.skipString()
	raw := t.data[start:t.at]
	if inner := raw[1 : len(raw)-1]; plain && (ascii || utf8.Valid(inner)) {
		return append(buf, inner...), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return append(buf, s...), err
}

// key takes a member's name and colon.
func (t *text) key() (string, error) {
	var room [64]byte
	name, err := t.string(room[:0])
	t.colon()
	return string(name), err
}

func (t *text) colon() {
	t.peek()
	t.at++
}

// integer takes a whole number that is sure to fit an int64. What else there is stays: ok is
// false then.
func (t *text) integer() (n int64, ok bool) {
	t.peek()
	i, negative := t.at, false
	if t.data[i] == '-' {
		i, negative = i+1, true
	}
	start := i
	for ; i < len(t.data) && isDigit(t.data[i]); i++ {
		if i-start == 18 { // 10^18 fits
			return 0, false
		}
		n = 10*n + int64(t.data[i]-'0')
	}
	if i == start || i < len(t.data) && (t.data[i] == '.' || t.data[i]|0x20 == 'e') {
		return 0, false
	}
	if t.at = i; negative {
		n = -n
	}
	return n, true
}
