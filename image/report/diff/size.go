package diff

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// size is a number of bytes for people.
func size(n int64) string { return report.UnitFor(n).Format(n) }

// change is the difference of two sizes with its sign.
func change(was, is int64) string {
	switch {
	case is > was:
		return "+" + size(is-was)
	case is < was:
		return "-" + size(was-is)
	}
	return "same size"
}

// plural is a number and what it counts.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// cut shortens text to a number of characters.
func cut(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-2]) + ".."
}

// short cuts a digest to twelve digits; "not known" for none.
func short(digest string) string {
	if digest == "" {
		return "not known yet"
	}
	_, hex, _ := strings.Cut(digest, ":")
	return report.Clean(hex[:min(12, len(hex))])
}
