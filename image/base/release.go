package base

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// indexFile is one line of a release file's SHA256 field.
type indexFile struct {
	path string // relative to dists/<suite>
	size int64
	sum  string
}

// release is what Resolve needs of an InRelease file (DebianRepository/Format, "Release
// files").
type release struct {
	byHash bool
	files  map[string]indexFile
}

// parseRelease reads an InRelease file and checks that it describes the suite and
// architecture asked for: a login page or another vendor's archive ends here.
func parseRelease(data []byte, suite, arch string) (*release, error) {
	text, err := clearText(data)
	if err != nil {
		return nil, err
	}
	s, err := readStanza(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	switch {
	case s["origin"] != "Debian":
		return nil, fmt.Errorf("checking InRelease: its origin is %q, not Debian", s["origin"])
	case s["codename"] != suite && s["suite"] != suite:
		return nil, fmt.Errorf("checking InRelease: it describes %q (%q), not %q", s["codename"], s["suite"], suite)
	case !containsWord(s["architectures"], arch):
		return nil, fmt.Errorf("checking InRelease: its architectures are %q, without %q", s["architectures"], arch)
	}
	files, err := parseSums(s["sha256"])
	if err != nil {
		return nil, err
	}
	return &release{byHash: s["acquire-by-hash"] == "yes", files: files}, nil
}

// index returns the smallest form of the package index that we can read.
func (r *release) index(arch string) (indexFile, error) {
	name := "main/binary-" + arch + "/Packages"
	for _, suffix := range []string{".xz", ".gz"} {
		if f, ok := r.files[name+suffix]; ok {
			return f, nil
		}
	}
	return indexFile{}, fmt.Errorf("checking InRelease: it lists neither %s.xz nor %s.gz", name, name)
}

func containsWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}

// parseSums reads lines of "sum size path".
func parseSums(field string) (map[string]indexFile, error) {
	out := map[string]indexFile{}
	for line := range strings.Lines(strings.TrimSpace(field)) {
		f := strings.Fields(line)
		if len(f) != 3 || !hexSHA256.MatchString(f[0]) {
			return nil, fmt.Errorf("reading InRelease: %.100q is not a line of sha256, size and path", line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("reading InRelease: the size of %.100q is %.30q", f[2], f[1])
		}
		out[f[2]] = indexFile{path: f[2], size: size, sum: f[0]}
	}
	return out, nil
}

// clearText takes the text out of the OpenPGP cleartext framework (RFC 9580, 7). It does
// not look at the signature.
func clearText(data []byte) ([]byte, error) {
	const begin, end = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	if !strings.HasPrefix(text, begin+"\n") {
		return nil, fmt.Errorf("reading InRelease: it begins with %.40q, not with %q", text, begin)
	}
	_, text, headed := strings.Cut(text, "\n\n")
	text, _, signed := strings.Cut(text, "\n"+end+"\n")
	if !headed || !signed {
		return nil, errors.New("reading InRelease: the signed message is cut off")
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "- ")
	}
	return []byte(strings.Join(lines, "\n") + "\n"), nil
}
