package tokenizer

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// compose is Unicode's normalization form C as the tokenizers library computes it. What
// norm tells of single characters is used, but not its composition:
//
//   - behind 30 combining marks it inserts U+034F (its stream-safe text format);
//   - it takes a character beyond U+FFFF for the one with the same lower 16 bits, and
//     makes U+00C1 of U+E0041 and U+0301;
//   - the library is at an older version of Unicode, see newMarks.
func compose(s string) string {
	if norm.NFC.IsNormalString(s) {
		return s
	}
	parts := decompose(s)
	order(parts)
	b := make([]byte, 0, len(s))
	for _, p := range recompose(parts) {
		b = utf8.AppendRune(b, p.r)
	}
	return string(b)
}

// part is a character with its combining class.
type part struct {
	r     rune
	class uint8
}

// decompose gives the characters of the canonical decomposition, in the text's order.
func decompose(s string) []part {
	parts := make([]part, 0, len(s))
	for _, c := range s {
		if c < 0xc0 || unicode.Is(newMarks, c) {
			parts = append(parts, part{r: c})
			continue
		}
		for _, r := range norm.NFD.String(string(c)) {
			parts = append(parts, part{r, norm.NFD.PropertiesString(string(r)).CCC()})
		}
	}
	return parts
}

// order sorts each run of combining marks by class.
func order(parts []part) {
	for i := 0; i < len(parts); i++ {
		start := i
		for i < len(parts) && parts[i].class != 0 {
			i++
		}
		slices.SortStableFunc(parts[start:i], func(a, b part) int { return int(a.class) - int(b.class) })
	}
}

// recompose joins each character with the last starter before it where the two have a
// composite and no character of the same or a higher class lies between.
func recompose(parts []part) []part {
	out, starter := parts[:0], -1
	for _, p := range parts {
		if starter >= 0 {
			last := len(out) - 1
			if last == starter || out[last].class < p.class {
				if r, ok := composite(out[starter].r, p.r); ok {
					out[starter].r = r
					continue
				}
			}
		}
		if out = append(out, p); p.class == 0 {
			starter = len(out) - 1
		}
	}
	return out
}

// composite is the one character that two become, if there is one: it must come apart into
// these two again.
func composite(a, b rune) (rune, bool) {
	if b < 0x300 {
		return 0, false
	}
	pair := string(a) + string(b)
	s := norm.NFC.String(pair)
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s) && !unicode.Is(newMarks, r) && norm.NFD.String(s) == norm.NFD.String(string(a))+norm.NFD.String(string(b))
}

// newMarks are combining marks, and one composite, that are in norm's tables and younger
// than the library's normalization: to it they have neither combining class nor
// decomposition. Interop compares all characters.
var newMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07fd, 0x07fd, 1},
		{0x0898, 0x089f, 1},
		{0x08ca, 0x08d3, 1},
		{0x09fe, 0x09fe, 1},
		{0x0c3c, 0x0c3c, 1},
		{0x0d3b, 0x0d3c, 1},
		{0x0eba, 0x0eba, 1},
		{0x1715, 0x1715, 1},
		{0x1abf, 0x1ace, 1},
		{0x1df6, 0x1dfa, 1},
		{0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10d24, 0x10d27, 1},
		{0x10eab, 0x10eac, 1},
		{0x10efd, 0x10eff, 1},
		{0x10f46, 0x10f50, 1},
		{0x10f82, 0x10f85, 1},
		{0x11070, 0x11070, 1},
		{0x1133b, 0x1133b, 1},
		{0x1145e, 0x1145e, 1},
		{0x11839, 0x1183a, 1},
		{0x11938, 0x11938, 1},
		{0x1193d, 0x1193e, 1},
		{0x11943, 0x11943, 1},
		{0x119e0, 0x119e0, 1},
		{0x11a34, 0x11a34, 1},
		{0x11a47, 0x11a47, 1},
		{0x11a99, 0x11a99, 1},
		{0x11d42, 0x11d42, 1},
		{0x11d44, 0x11d45, 1},
		{0x11d97, 0x11d97, 1},
		{0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1},
		{0x1e08f, 0x1e08f, 1},
		{0x1e130, 0x1e136, 1},
		{0x1e2ae, 0x1e2ae, 1},
		{0x1e2ec, 0x1e2ef, 1},
		{0x1e4ec, 0x1e4ef, 1},
	},
}
