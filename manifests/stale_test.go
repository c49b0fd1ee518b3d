package manifests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

func TestStale(t *testing.T) {
	const (
		path   = "testdata/tiny.yaml"
		config = "config.json of base: the lock says keep by rule config, the manifest "
	)
	ones, twos := strings.Repeat("1", 40), strings.Repeat("2", 40)
	cases := []struct {
		name     string
		old, new string
		want     []string
	}{
		{"same", "title: A tiny model", "title: A tiny model", nil},
		{"title, reason, serving and variants do not matter", "priority: [fast, plain, hub]", "priority: [plain]", nil},
		{"a pin on the locked commit", "revision: main", "revision: '" + twos + "'", nil},
		{"name", "name: tiny\n", "name: tiny2\n", []string{`the lock is for "tiny", the manifest is "tiny2"`}},
		{"partSize", "partSize: 3 MiB", "partSize: 4 MiB", []string{"partSize is 3145728 in the lock and 4194304 in the manifest"}},
		{"no partSize", "partSize: 3 MiB\n", "", []string{"partSize is 3145728 in the lock and 0 in the manifest"}},
		{"repository", "repo: maker/tiny", "repo: maker/large", []string{"source base is maker/tiny in the lock and maker/large in the manifest"}},
		{"pinned commit", "revision: " + ones, "revision: '" + twos + "'", []string{"source base is at " + ones + " in the lock and " + twos + " in the manifest"}},
		{"branch", "revision: main", "revision: dev", []string{"source checkpoints is revision main in the lock and dev in the manifest"}},
		{"from a pin to a branch", "revision: " + ones, "revision: main", []string{"source base is revision " + ones + " in the lock and main in the manifest"}},
		{"rule's name", "- name: config\n", "- name: json\n", []string{config + "keep by rule json"}},
		{"decision", "keep: [\"*-r128*.safetensors\"]", "keep: [\"*.safetensors\"]", []string{"selecting files of packer/tiny-quantised: 2 rules claim tiny-r32.safetensors: good, low-rank"}},
		{"no rule", "drop: [README.md]", "drop: [NOTES.md]", []string{"selecting files of maker/tiny: no rule claims README.md"}},
		{"package", "packages: [libc6]", "packages: [libc6, libgcc-s1]", []string{"base packages are [trixie/libc6] in the lock and [trixie/libc6 trixie/libgcc-s1] in the manifest"}},
		{"suite", "suite: trixie", "suite: forky", []string{"base packages are [trixie/libc6] in the lock and [forky/libc6] in the manifest"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := manifests.Parse(edited(t, path, c.old, c.new))
			require.NoError(t, err)
			require.Equal(t, c.want, fullLock(t).Stale(m))
		})
	}
}

func TestStaleFindsAChangedDecision(t *testing.T) {
	text := string(edited(t, "testdata/tiny.yaml", `drop: [README.md]`, `drop: ["*.json"]`))
	text = strings.Replace(text, `keep: ["*.json"]`, `keep: [README.md]`, 1)
	m, err := manifests.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, []string{
		"README.md of base: the lock says drop by rule docs, the manifest keep by rule config",
		"config.json of base: the lock says keep by rule config, the manifest drop by rule docs",
	}, fullLock(t).Stale(m))
}

func TestStaleFindsOtherSources(t *testing.T) {
	m := load(t, "testdata/tiny.yaml")
	m.Sources[0].Name = "other"
	require.Equal(t, []string{"source base is not in the manifest", "source other is not in the lock"}, fullLock(t).Stale(m))
}

func TestPin(t *testing.T) {
	l, m := fullLock(t), load(t, "testdata/tiny.yaml")
	ones, twos := strings.Repeat("1", 40), strings.Repeat("2", 40)
	cases := []struct {
		name   string
		source int
		change func(*manifests.Source)
		commit string
		ok     bool
	}{
		{"commit", 0, func(*manifests.Source) {}, ones, true},
		{"branch", 1, func(*manifests.Source) {}, twos, true},
		{"the locked commit", 1, func(s *manifests.Source) { s.Revision = twos }, twos, true},
		{"another commit", 0, func(s *manifests.Source) { s.Revision = twos }, ones, false},
		{"another branch", 1, func(s *manifests.Source) { s.Revision = "dev" }, twos, false},
		{"another repository", 1, func(s *manifests.Source) { s.Repo = "packer/other" }, twos, false},
		{"another source", 1, func(s *manifests.Source) { s.Name = "other" }, "", false},
	}
	for _, c := range cases {
		s := m.Sources[c.source]
		c.change(&s)
		commit, ok := l.Pin(s)
		require.Equal(t, []any{c.commit, c.ok}, []any{commit, ok}, c.name)
	}
}

func TestStaleWithoutABase(t *testing.T) {
	m := load(t, "testdata/tiny.yaml")
	m.Image.Base = nil
	require.Equal(t, []string{"base packages are [trixie/libc6] in the lock and [] in the manifest"}, fullLock(t).Stale(m))
	l, err := manifests.NewLock(m, tinyListings(), nil)
	require.NoError(t, err)
	require.Empty(t, l.Stale(m))
}

func TestChanges(t *testing.T) {
	old := fullLock(t)
	require.Empty(t, tinyLock(t).Changes(old), "layers and unused shares follow from the rest")

	m := load(t, "testdata/tiny.yaml")
	listings, packages := tinyListings(), tinyPackages()
	b, c := listings["base"], listings["checkpoints"]
	c.Commit = strings.Repeat("3", 40)
	c.Files[1].Size, c.Files[1].SHA256 = 6<<20, large("other", 0).SHA256
	b.Files[0].Path = "extra.json"
	b.Files[0].SHA256 = large("extra.json", 0).SHA256
	listings["base"], listings["checkpoints"] = b, c
	packages[0].Version = "2.41-13"
	more := packages[0]
	more.Name = "libgcc-s1"
	m.Sources[1].Rules[1].Name = "weak"
	l, err := manifests.NewLock(m, listings, append(packages, more))
	require.NoError(t, err)
	require.Equal(t, []string{
		"checkpoints: commit was " + strings.Repeat("2", 40) + ", is " + strings.Repeat("3", 40),
		"base: extra.json is new, 7 bytes, keep",
		"checkpoints: tiny-r128.safetensors changed, 5242880 bytes before, 6291456 now",
		"checkpoints: tiny-r32.safetensors was drop by rule low-rank, is drop by rule weak",
		"base: README.md is gone, 7 bytes",
		"package libc6 was 2.41-12, is 2.41-13",
		"package libgcc-s1 2.41-13 is new",
	}, l.Changes(old))

	back := old.Changes(l)
	require.Contains(t, back, "package libgcc-s1 2.41-13 is gone")

	same := tinyLock(t)
	same.Packages[0].SHA256 = strings.Repeat("d", 64)
	require.Equal(t, []string{"package libc6 2.41-12 changed its sha256: " + strings.Repeat("c", 64) + " before, " + strings.Repeat("d", 64) + " now"}, same.Changes(old))
}
