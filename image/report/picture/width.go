package picture

import (
	"strings"
	"unicode"
)

// ems is the width of a letter in ems, on the safe side: that of DejaVu Sans, the widest of
// the fonts that browsers fall back to, in groups. Letters of East Asian scripts are square.
func ems(r rune) float64 {
	switch {
	case r >= 0x1100:
		return 1.4
	case strings.ContainsRune("WMmw@%&\u2026\u2014", r):
		return 1
	case strings.ContainsRune("ijlftrI .,:;'`|!()[]{}/\\-\"", r):
		return 0.43
	case unicode.IsUpper(r):
		return 0.79
	case r < 0x80:
		return 0.645
	}
	return 0.8
}

// wide is the width of a text whose em is so large.
func wide(text string, em float64) float64 {
	sum := 0.0
	for _, r := range text {
		sum += ems(r)
	}
	return sum * em
}

// fit keeps the beginning of a text, as much as a width holds, with dots where something is
// missing.
func fit(text string, width, em float64) string {
	if wide(text, em) <= width {
		return text
	}
	sum := em * ems('\u2026')
	for i, r := range text {
		if sum += ems(r) * em; sum > width {
			if i == 0 {
				return ""
			}
			return strings.TrimRight(text[:i], " ") + "\u2026"
		}
	}
	return text
}
