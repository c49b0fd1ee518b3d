package tokenizer

import "unicode"

// class is what the pattern tells apart.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	space               // \s
	letter              // \p{L}
	number              // \p{N}
)

// ascii holds the classes of the characters that nearly all text consists of.
var ascii = func() (t [128]class) {
	for r := range t {
		t[r] = lookUp(rune(r))
	}
	return t
}()

func classOf(r rune) class {
	if r < 128 {
		return ascii[r]
	}
	return lookUp(r)
}

func lookUp(r rune) class {
	switch {
	case unicode.IsLetter(r) || unicode.Is(newLetters, r):
		return letter
	case unicode.IsSpace(r):
		return space
	case unicode.IsNumber(r) || unicode.Is(newNumbers, r):
		return number
	}
	return other
}

// The letters and numbers that Unicode 15.1 and 16 added. Package unicode of Go 1.26 is at
// 15.0, the regular expressions of the tokenizers library are at 16; interop compares all
// characters. White space has not changed since Unicode 6.3.
var (
	newLetters = &unicode.RangeTable{
		R16: []unicode.Range16{
			{0x1c89, 0x1c8a, 1},
			{0xa7cb, 0xa7cd, 1},
			{0xa7da, 0xa7dc, 1},
		},
		R32: []unicode.Range32{
			{0x105c0, 0x105f3, 1},
			{0x10d4a, 0x10d65, 1},
			{0x10d6f, 0x10d85, 1},
			{0x10ec2, 0x10ec4, 1},
			{0x11380, 0x11389, 1},
			{0x1138b, 0x1138b, 1},
			{0x1138e, 0x1138e, 1},
			{0x11390, 0x113b5, 1},
			{0x113b7, 0x113b7, 1},
			{0x113d1, 0x113d1, 1},
			{0x113d3, 0x113d3, 1},
			{0x11bc0, 0x11be0, 1},
			{0x13460, 0x143fa, 1},
			{0x16100, 0x1611d, 1},
			{0x16d40, 0x16d6c, 1},
			{0x18cff, 0x18cff, 1},
			{0x1e5d0, 0x1e5ed, 1},
			{0x1e5f0, 0x1e5f0, 1},
			{0x2ebf0, 0x2ee5d, 1},
		},
	}
	newNumbers = &unicode.RangeTable{
		R32: []unicode.Range32{
			{0x10d40, 0x10d49, 1},
			{0x116d0, 0x116e3, 1},
			{0x11bf0, 0x11bf9, 1},
			{0x16130, 0x16139, 1},
			{0x16d70, 0x16d79, 1},
			{0x1ccf0, 0x1ccf9, 1},
			{0x1e5f1, 0x1e5fa, 1},
		},
	}
)
