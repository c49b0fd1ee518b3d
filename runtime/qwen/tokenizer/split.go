package tokenizer

import "unicode/utf8"

// pattern is the published pre-tokenizer of Qwen2, which split matches.
const pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// split is the length of the first word of a text that is not empty. The alternatives of
// pattern are tried in their order; each character is of one class, so one matches always.
func split(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	r, first := utf8.DecodeRuneInString(s)
	c := classOf(r)
	if c == letter {
		return first + run(s[first:], letter)
	}
	if c != number && r != '\r' && r != '\n' {
		if n := run(s[first:], letter); n > 0 {
			return first + n
		}
	}
	switch {
	case c == number:
		return first
	case c == other:
		return punctuation(s)
	case r == ' ' && run(s[1:], other) > 0:
		return 1 + punctuation(s[1:])
	}
	return spaces(s)
}

// contraction is the length of (?i:'s|'t|'re|'ve|'m|'ll|'d) at the beginning, else 0. The
// long s folds to s; no other character outside ASCII folds to one of these letters.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] | 0x20 {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2]|0x20 == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2]|0x20 == 'l' {
			return 3
		}
	}
	if r, n := utf8.DecodeRuneInString(s[1:]); r == 'ſ' {
		return 1 + n
	}
	return 0
}

// run is the length of the characters of a class that s begins with.
func run(s string, c class) (n int) {
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if classOf(r) != c {
			break
		}
		n += size
	}
	return n
}

// punctuation is the length of [^\s\p{L}\p{N}]+[\r\n]* at the beginning.
func punctuation(s string) int {
	n := run(s, other)
	for n < len(s) && (s[n] == '\r' || s[n] == '\n') {
		n++
	}
	return n
}

// spaces is the length of \s*[\r\n]+|\s+(?!\S)|\s+ at the beginning, which is white space:
// all of it through the last line end; where there is none, all at the text's end; else all
// but the last one, which belongs to the word behind, unless it is the only one.
func spaces(s string) int {
	n, line, last := 0, 0, 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if classOf(r) != space {
			break
		}
		last, n = n, n+size
		if r == '\r' || r == '\n' {
			line = n
		}
	}
	switch {
	case line > 0:
		return line
	case n == len(s) || last == 0:
		return n
	}
	return last
}
