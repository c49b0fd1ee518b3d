package base

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// apt writes files of an apt configuration.
func apt(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func TestMirrorOrder(t *testing.T) {
	dir := apt(t, map[string]string{
		"sources.list": `
# deb http://commented.example/debian trixie main
deb http://list.example/debian/ trixie main contrib
deb-src http://source.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] https://options.example/debian trixie main # tail
deb http://security.example/debian-security trixie-security main
deb https://vendor.example/linux/debian trixie stable
deb http://short.example/debian trixie
deb cdrom:[Debian 13]/ trixie main
`,
		"sources.list.d/b.list":    "deb http://b.example/debian sid main\n",
		"sources.list.d/a.sources": "# comment\nTypes: deb deb-src\nURIs: http://a1.example/debian\n https://a2.example/pub/debian/\nSuites: trixie\nComponents: main\n\nTypes: deb\nURIs: http://a3.example/debian\nSuites: trixie\nComponents: contrib\n",
		"sources.list.d/c.sources": "Enabled: no\nTypes: deb\nURIs: http://c.example/debian\nSuites: trixie\nComponents: main\n",
		"sources.list.d/d.sources": "Types: deb-src\nURIs: http://d.example/debian\nSuites: trixie\nComponents: main\n\nTypes: deb\nURIs: file:///srv/debian http:///debian http://list.example/debian\nComponents: main\n",
		"sources.list.d/e.sources": "broken\n",
		"sources.list.d/f.save":    "deb http://f.example/debian trixie main\n",
	})
	got := mirrorOrder(" http://first.example/debian/ ", dir, []string{"https://last.example/debian", "http://b.example/debian", ""})
	require.Equal(t, []string{
		"http://first.example/debian",
		"http://list.example/debian", "https://options.example/debian",
		"http://a1.example/debian", "https://a2.example/pub/debian",
		"http://b.example/debian",
		"https://last.example/debian",
	}, got)
}

func TestMirrorOrderWithoutAnything(t *testing.T) {
	require.Empty(t, mirrorOrder("", filepath.Join(t.TempDir(), "missing"), nil))
}

func TestSystemMirrorsReadsTheEnvironment(t *testing.T) {
	t.Setenv(MirrorEnv, "http://127.0.0.1:1/debian")
	got := SystemMirrors([]string{"http://127.0.0.1:2/debian"})
	require.Equal(t, "http://127.0.0.1:1/debian", got[0])
	require.Equal(t, "http://127.0.0.1:2/debian", got[len(got)-1])
}

func FuzzAptSources(f *testing.F) {
	f.Add("deb [a=b] http://list.example/debian trixie main\n")
	f.Add("Types: deb\nURIs: http://a.example/debian\nComponents: main\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, uri := range append(oneLineSources([]byte(text)), deb822Sources([]byte(text))...) {
			require.True(t, isArchive(uri), uri)
		}
	})
}
