package manifests

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Linux's limits for a path and for one of its names, in bytes (limits.h: PATH_MAX,
// NAME_MAX).
const (
	maxPath = 4096
	maxName = 255
)

// CheckPath refuses a name from outside that could leave the folder that it is meant for,
// that two programs could read differently, or that no file system takes: empty, absolute,
// not clean, "..", NUL and other control characters, a backslash, bytes that are not UTF-8,
// a final slash, more than 4096 bytes or 255 between two slashes.
func CheckPath(p string) error {
	switch {
	case p == "" || p == ".":
		return fmt.Errorf("%q is not a file name", p)
	case len(p) > maxPath:
		return fmt.Errorf("%q… has %d bytes, at most %d are possible", p[:64], len(p), maxPath)
	case strings.HasPrefix(p, "/"):
		return fmt.Errorf("%q is absolute", p)
	case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return fmt.Errorf("%q holds a control character, a backslash or bytes that are not UTF-8", p)
	case path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("%q is not clean or leaves its folder", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > maxName {
			return fmt.Errorf("%q holds a name of %d bytes, at most %d are possible", p, len(name), maxName)
		}
	}
	return nil
}

// isHex reports whether s is exactly n lower-case hex digits.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
