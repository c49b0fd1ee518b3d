package base

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// aptDir is where apt keeps its configuration (sources.list(5)).
const aptDir = "/etc/apt"

// SystemMirrors returns the mirrors to try on this machine: the one in MirrorEnv, the
// Debian archives among the machine's apt sources, then manifest, without repetition.
func SystemMirrors(manifest []string) []string {
	return mirrorOrder(os.Getenv(MirrorEnv), aptDir, manifest)
}

func mirrorOrder(first, apt string, manifest []string) []string {
	all := append([]string{first}, aptMirrors(apt)...)
	var out []string
	for _, m := range append(all, manifest...) {
		m = strings.TrimRight(strings.TrimSpace(m), "/")
		if m != "" && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// aptMirrors returns the root URLs of Debian archives that apt is configured for, in the
// order of the files' names, sources.list first. They are an offer of the machine, not a
// setting of ours: a file that cannot be read or parsed offers nothing.
func aptMirrors(dir string) []string {
	files := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		files = append(files, more...)
	}
	slices.Sort(files[1:])
	var out []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if strings.HasSuffix(file, ".sources") {
			out = append(out, deb822Sources(data)...)
		} else {
			out = append(out, oneLineSources(data)...)
		}
	}
	return out
}

// oneLineSources reads "deb [options] uri suite component...".
func oneLineSources(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if before, rest, ok := strings.Cut(line, "["); ok {
			_, after, _ := strings.Cut(rest, "]")
			line = before + after
		}
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "deb" && slices.Contains(f[3:], "main") && isArchive(f[1]) {
			out = append(out, f[1])
		}
	}
	return out
}

// deb822Sources reads the stanzas of a .sources file.
func deb822Sources(data []byte) []string {
	var out []string
	for c := newControlReader(bytes.NewReader(data)); ; {
		s, err := c.next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			return nil
		}
		enabled := !slices.Contains([]string{"no", "false", "off", "0"}, strings.ToLower(s["enabled"]))
		if !enabled || !slices.Contains(s.words("types"), "deb") || !slices.Contains(s.words("components"), "main") {
			continue
		}
		for _, uri := range s.words("uris") {
			if isArchive(uri) {
				out = append(out, uri)
			}
		}
	}
}

// isArchive tells Debian's own archive from its security archive and from other vendors'
// repositories: mirrors serve it in a folder named debian.
func isArchive(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && path.Base(u.Path) == "debian"
}
