package diff

import (
	"fmt"
	"strings"
	"unicode"
)

// size is a number of bytes for people, in decimal units as registries and disks use them.
// Only nothing is 0.
func size(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.2f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

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

// clean makes one line of text that moves no cursor and reorders nothing: names and
// instructions come from outside.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "?")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}), " ")
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
	return clean(hex[:min(12, len(hex))])
}
