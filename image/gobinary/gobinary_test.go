package gobinary_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// module is a small module with a dependency beside it, a file that only a build tag lets
// in, and licence texts at several depths. It prints nothing but its version.
func module() map[string]string {
	return map[string]string{
		"main/go.mod":                    "module example.com/main\n\ngo 1.26\n\ntoolchain " + runtime.Version() + " // pinned\n\nrequire example.com/dep v1.2.3\n\nreplace example.com/dep => ../dep\n",
		"main/LICENSE":                   "main licence",
		"main/run/main.go":               "package main\n\nimport \"example.com/dep/linked\"\n\nvar version = \"none\"\n\nfunc main() { println(version, dep.Name, marker) }\n",
		"main/run/plain.go":              "//go:build !evil\n\npackage main\n\nconst marker = \"plain-marker\"\n",
		"main/run/evil.go":               "//go:build evil\n\npackage main\n\nconst marker = \"evil-marker\"\n",
		"main/run/README.md":             "no licence",
		"dep/go.mod":                     "module example.com/dep\n\ngo 1.26\n",
		"dep/LICENSE.txt":                "dep licence",
		"dep/linked/dep.go":              "package dep\n\nconst Name = \"dep\"\n",
		"dep/linked/COPYING":             "linked licence",
		"dep/linked/license.go":          "package dep\n",
		"dep/elsewhere/LICENSE":          "of a package that is not linked",
		"dep/elsewhere/elsewhere.go":     "package elsewhere\n",
		"broken/go.mod":                  "module example.com/broken\n\ngo 1.26\n\ntoolchain " + runtime.Version() + "\n",
		"broken/main.go":                 "package main\n\nfunc main() { undefinedThing() }\n",
		"unlicensed/go.mod":              "module example.com/unlicensed\n\ngo 1.26\n\ntoolchain " + runtime.Version() + "\n",
		"unlicensed/main.go":             "package main\n\nfunc main() {}\n",
		"unpinned/go.mod":                "module example.com/unpinned\n\ngo 1.26\n",
		"unpinned/main.go":               "package main\n\nfunc main() {}\n",
		"unresolved/go.mod":              "module example.com/unresolved\n\ngo 1.26\n\ntoolchain " + runtime.Version() + "\n",
		"unresolved/main.go":             "package main\n\nimport _ \"example.com/dep/linked\"\n\nfunc main() {}\n",
		"unlicensed/sub/LICENSE/ignored": "a folder is no text",
	}
}

// write makes the module in a new folder and returns it.
func write(t *testing.T, folder string) string {
	dir := filepath.Join(t.TempDir(), folder)
	for name, text := range module() {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return dir
}

func options(dir, name string) gobinary.Options {
	return gobinary.Options{Dir: filepath.Join(dir, name), Package: ".", Out: filepath.Join(dir, "out", "bin", name)}
}

// hostile sets everything that a user's machine could carry into a build: in the
// environment, and in the go command's settings file, which lies below HOME. The caches
// stay where they are, so that the build is not a cold one.
func hostile(t *testing.T, dir string) {
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	require.NoError(t, err)
	places := strings.Fields(string(caches))
	settings := filepath.Join(dir, ".config", "go", "env")
	require.NoError(t, os.MkdirAll(filepath.Dir(settings), 0o755))
	text := "GOAMD64=v3\nGOFLAGS=-tags=evil\nCGO_ENABLED=1\nGOCACHE=" + places[0] + "\nGOMODCACHE=" + places[1] + "\n"
	require.NoError(t, os.WriteFile(settings, []byte(text), 0o644))
	// The go command's telemetry would go on writing below HOME when the test has ended.
	telemetry := filepath.Join(dir, ".config", "go", "telemetry")
	require.NoError(t, os.MkdirAll(telemetry, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o644))
	for name, value := range map[string]string{
		"HOME": dir, "XDG_CONFIG_HOME": "", "GOENV": "", "GOCACHE": "", "GOMODCACHE": "", "GOFLAGS": "-tags=evil -gcflags=-N", "GOAMD64": "v3", "GOEXPERIMENT": "nogreenteagc", "GOOS": "windows",
		"GOARCH": "arm64", "GO111MODULE": "off", "GODEBUG": "panicnil=1", "GOFIPS140": "latest", "GOWORK": filepath.Join(dir, "go.work"),
		"GOTOOLCHAIN": "go1.1", "GOROOT_FINAL": "/somewhere", "CGO_ENABLED": "1", "CC": "false", "LC_ALL": "C.UTF-8",
	} {
		t.Setenv(name, value)
	}
}

func TestBuildIsTheSameEverywhere(t *testing.T) {
	first := write(t, "one")
	o := options(first, "main")
	o.Package, o.Version = "./run", "v1.2.3-rc.1+x_y"
	want, err := gobinary.Build(context.Background(), o)
	require.NoError(t, err)
	binary, err := os.ReadFile(o.Out)
	require.NoError(t, err)

	second := write(t, "quite/another")
	hostile(t, second)
	o2 := options(second, "main")
	o2.Package, o2.Version = o.Package, o.Version
	got, err := gobinary.Build(context.Background(), o2)
	require.NoError(t, err)
	require.Equal(t, want, got)
	again, err := os.ReadFile(o2.Out)
	require.NoError(t, err)
	require.True(t, bytes.Equal(binary, again))

	sum := sha256.Sum256(binary)
	require.Equal(t, gobinary.Info{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(binary)), GoVersion: runtime.Version()}, want)
	require.Contains(t, string(binary), "plain-marker")
	require.NotContains(t, string(binary), "evil-marker")
	require.NotContains(t, string(binary), filepath.Dir(first), "no path of the machine is inside")
	require.Contains(t, string(binary), o.Version)
	file, err := elf.NewFile(bytes.NewReader(binary))
	require.NoError(t, err)
	require.Nil(t, file.Section(".note.go.buildid"))
	require.Nil(t, file.Section(".symtab"))
}

// TestHostileEnvironmentIsHostile keeps the test above honest: what it sets does change a
// build that is not shielded.
func TestHostileEnvironmentIsHostile(t *testing.T) {
	dir := write(t, "one")
	hostile(t, dir)
	t.Setenv("GOTOOLCHAIN", "local")
	t.Setenv("GO111MODULE", "on")
	t.Setenv("GOWORK", "off")
	cmd := exec.Command("go", "list", "-f", "{{.GoFiles}}", "./run")
	cmd.Dir = filepath.Join(dir, "main")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "[evil.go main.go]\n", string(out))
}

func TestBuildSettings(t *testing.T) {
	dir := write(t, "one")
	o := options(dir, "main")
	o.Package = "./run"
	_, err := gobinary.Build(context.Background(), o)
	require.NoError(t, err)
	stat, err := os.Stat(o.Out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), stat.Mode())
	require.Equal(t, []string{"main"}, names(t, filepath.Dir(o.Out)), "no temporary file is left")

	info, err := buildinfo.ReadFile(o.Out)
	require.NoError(t, err)
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	require.Equal(t, map[string]string{
		"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true",
		"CGO_ENABLED": "0", "GOARCH": "amd64", "GOOS": "linux", "GOAMD64": "v1",
	}, settings)
}

func names(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestBuildErrors(t *testing.T) {
	dir := write(t, "one")
	evilVersion := options(dir, "main")
	evilVersion.Version = "v1 -X main.other=x"
	cases := []struct {
		name, want string
		o          gobinary.Options
		kind       fault.Kind
	}{
		{"compiler", "undefined: undefinedThing", options(dir, "broken"), fault.Internal},
		{"module that go.mod lacks", "example.com/dep/linked", options(dir, "unresolved"), fault.Internal},
		{"no toolchain line", "has no toolchain line", options(dir, "unpinned"), fault.Usage},
		{"no module", "go.mod", options(dir, "missing"), fault.Usage},
		{"version with a space", "the version is", evilVersion, fault.Usage},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := gobinary.Build(context.Background(), c.o)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, c.kind, fault.KindOf(err))
			_, err = os.Stat(c.o.Out)
			require.ErrorIs(t, err, os.ErrNotExist)
			if _, err := os.Stat(filepath.Dir(c.o.Out)); err == nil {
				require.Empty(t, names(t, filepath.Dir(c.o.Out)), "no temporary file is left")
			}
		})
	}
}

func TestBuildKeepsTheOldProgramOnErrors(t *testing.T) {
	dir := write(t, "one")
	o := options(dir, "broken")
	require.NoError(t, os.MkdirAll(filepath.Dir(o.Out), 0o755))
	require.NoError(t, os.WriteFile(o.Out, []byte("old"), 0o755))
	_, err := gobinary.Build(context.Background(), o)
	require.Error(t, err)
	data, err := os.ReadFile(o.Out)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
}

func TestBuildUnwritable(t *testing.T) {
	dir := write(t, "one")
	o := options(dir, "main")
	o.Out = filepath.Join(dir, "main", "LICENSE", "below-a-file")
	_, err := gobinary.Build(context.Background(), o)
	require.ErrorContains(t, err, "building .")
}

func TestWithoutGo(t *testing.T) {
	dir := write(t, "one")
	t.Setenv("PATH", t.TempDir())
	_, err := gobinary.Build(context.Background(), options(dir, "main"))
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "install Go")
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := gobinary.Build(ctx, options(write(t, "one"), "main"))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
}

func TestLicenses(t *testing.T) {
	dir := write(t, "one")
	o := options(dir, "main")
	o.Package = "./run"
	got, err := gobinary.Licenses(context.Background(), o)
	require.NoError(t, err)
	var short []string
	for _, l := range got {
		require.NotEmpty(t, l.Text)
		short = append(short, strings.Join([]string{l.Module, l.Version, l.Name}, " "))
	}
	require.Subset(t, short, []string{"std " + runtime.Version() + " LICENSE"})
	require.Equal(t, []string{
		"example.com/dep v1.2.3 LICENSE.txt", "example.com/dep v1.2.3 linked/COPYING", "example.com/main  LICENSE",
	}, short[:3])
	require.Equal(t, "linked licence", got[1].Text)
	require.Equal(t, "main licence", got[2].Text)
	require.NotContains(t, strings.Join(short, "\n"), "elsewhere")

	hostile(t, dir)
	again, err := gobinary.Licenses(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, got, again)
}

func TestLicensesErrors(t *testing.T) {
	dir := write(t, "one")
	_, err := gobinary.Licenses(context.Background(), options(dir, "unlicensed"))
	require.ErrorContains(t, err, "no licence text in example.com/unlicensed")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	_, err = gobinary.Licenses(context.Background(), options(dir, "unpinned"))
	require.ErrorContains(t, err, "no toolchain line")
	_, err = gobinary.Licenses(context.Background(), options(dir, "unresolved"))
	require.ErrorContains(t, err, "example.com/dep/linked")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "main", "LICENSE"), make([]byte, 1<<20+1), 0o644))
	o := options(dir, "main")
	o.Package = "./run"
	_, err = gobinary.Licenses(context.Background(), o)
	require.ErrorContains(t, err, "at most 1048576 are allowed")
}
