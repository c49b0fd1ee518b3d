package tokenizer

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

func TestComposeManyMarks(t *testing.T) {
	long := strings.Repeat("\u0301", 100)
	for in, want := range map[string]string{
		"e" + long:                               "\u00e9" + long[2:],
		"e" + long + "\u0323":                    "\u1eb9" + long, // the dot below is sorted before all accents
		"e" + strings.Repeat("\u0301\u0323", 40): "\u1eb9" + strings.Repeat("\u0323", 39) + strings.Repeat("\u0301", 40),
		long + "x":                               long + "x",
		"\u1100\u1161\u11a8" + long:              "\uac01" + long,
		"\u212b" + long + "\uac00\u11a8":         "\u01fa" + long[2:] + "\uac01",
	} {
		require.Equal(t, want, compose(in))
	}
}

// TestComposeAgainstNorm: where norm is right, the two agree.
func TestComposeAgainstNorm(t *testing.T) {
	for r := range rune(0x10000) {
		if utf8.ValidRune(r) && !unicode.Is(newMarks, r) {
			for _, s := range []string{string(r), "a" + string(r) + "\u0323\u0301", "\u0f71" + string(r) + "\u0301"} {
				if want, got := norm.NFC.String(s), compose(s); want != got {
					require.Equal(t, want, got, "%+q", s)
				}
			}
		}
	}
}

// TestComposeBeyond16Bits: of characters that are not in norm's table, and of one that is.
func TestComposeBeyond16Bits(t *testing.T) {
	for in, want := range map[string]string{
		"\U000e0041\u0301e\u0301": "\U000e0041\u0301\u00e9",
		"\U00011f41\u0301e\u0301": "\U00011f41\u0301\u00e9",
		"\U00011099\U000110ba":    "\U0001109a",
		"\U0001d157\U0001d165":    "\U0001d157\U0001d165", // excluded from composition
		"\U0001d15e":              "\U0001d157\U0001d165",
	} {
		require.Equal(t, want, compose(in), "%+q", in)
	}
}

func FuzzCompose(f *testing.F) {
	for _, s := range []string{"e\u0301\u0323", "\u1100\u1161\u11a8", "\u0344\u0958", "\u0fb2\u0f71\u0f80", "a\u0315\u0300\u05ae\u0300\u0062"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		got := compose(s)
		require.Equal(t, got, compose(got))
		simple := !strings.ContainsFunc(s, func(r rune) bool { return r > 0xffff || unicode.Is(newMarks, r) })
		if want := norm.NFC.String(s); simple && !strings.Contains(want, "\u034f") {
			require.Equal(t, want, got)
		}
	})
}
