package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
	"github.com/stretchr/testify/require"
)

func words(s string) (out []string) {
	for s != "" {
		n := split(s)
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"it's HE'LL 'S 'sword":  {"it", "'s", " HE", "'LL", " '", "S", " '", "sword"},
		"'ſx":                   {"'ſ", "x"},
		"'r'v'l":                {"'r", "'v", "'l"},
		"2024":                  {"2", "0", "2", "4"},
		"a  b":                  {"a", " ", " b"},
		"a \u00a0\u3000b":       {"a", " \u00a0", "\u3000b"},
		"a   ":                  {"a", "   "},
		"a \n b":                {"a", " \n", " b"},
		"a \n\n  b":             {"a", " \n\n", " ", " b"},
		"a\r\n\tb":              {"a", "\r\n", "\tb"},
		"x  1":                  {"x", " ", " ", "1"},
		"x  !":                  {"x", " ", " !"},
		"x \t!":                 {"x", " ", "\t", "!"},
		"!?\n\nx":               {"!?\n\n", "x"},
		" !\r\n x":              {" !\r\n", " x"},
		"(word)":                {"(word", ")"},
		"e\u0301x":              {"e", "\u0301x"},
		"\u0301\u0301x":         {"\u0301\u0301", "x"},
		"½²Ⅷ":                   {"½", "²", "Ⅷ"},
		"\U000105c0\U00010d40!": {"\U000105c0", "\U00010d40", "!"}, // of Unicode 16
		"\x00a\u0085\u0085b":    {"\x00a", "\u0085", "\u0085b"},
		"👩\u200d👧 x":            {"👩\u200d👧", " x"},
	} {
		require.Equal(t, want, words(in), "%q", in)
	}
}

// oracle is the pattern itself. The class of a character that Unicode 16 has and Go has not,
// and the long s, of which regexp2 has another opinion, are left to interop.
var oracle = regexp2.MustCompile(pattern, regexp2.None)

func matches(t *testing.T, s string) (out []string) {
	m, err := oracle.FindStringMatch(s)
	for ; m != nil; m, err = oracle.FindNextMatch(m) {
		out = append(out, m.String())
	}
	require.NoError(t, err)
	return out
}

func judged(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r == 'ſ' || unicode.Is(newLetters, r) || unicode.Is(newNumbers, r)
	})
}

// TestSplitAgainstTheOracle tries all short texts over an alphabet of every kind.
func TestSplitAgainstTheOracle(t *testing.T) {
	alphabet := []string{"a", "'", "s", "l", "E", "r", "1", " ", "\n", "\r", "\t", "\u3000", "!", "é", "\u0301", "½"}
	texts := []string{""}
	for range 4 {
		for _, s := range slices.Clone(texts) {
			for _, a := range alphabet {
				if len(texts) < 60_000 {
					texts = append(texts, s+a)
				}
			}
		}
	}
	for _, s := range texts {
		if got, want := words(s), matches(t, s); !slices.Equal(want, got) {
			require.Equal(t, want, got, "%q", s)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"it's a  test\r\n\n !?\n 12", "'LL 've\u00a0 \u2028x", "👩\u200d👧 e\u0301", "   ", " \n \t x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if judged(s) {
			require.Equal(t, matches(t, s), words(s))
		}
	})
}

// TestUnicodeVersion: when Go's tables move, those of class.go must be looked at again.
func TestUnicodeVersion(t *testing.T) {
	require.Equal(t, "15.0.0", unicode.Version, "interop compares all characters with the tokenizers library")
	for _, table := range []*unicode.RangeTable{newLetters, newNumbers} {
		for _, r := range table.R32 {
			require.False(t, unicode.In(rune(r.Lo), unicode.L, unicode.N))
		}
	}
}
