package manifests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestParseQwenImageEdit(t *testing.T) {
	m := load(t, "qwen-image-edit.yaml")
	require.Equal(t, manifests.Size(9_500_000_000), m.PartSize)
	require.Equal(t, []string{"lightning", "plain", manifests.PriorityHub}, m.Serve.Priority)
	require.Equal(t, []int{128}, m.Serve.SupportedRanks)
	require.Equal(t, []int{128, 8}, []int{m.Serve.DefaultRank, m.Serve.DefaultSteps})
	require.Equal(t, map[string][]string{
		"default": {"lightning", "plain"}, "lightning": {"lightning"}, "plain": {"plain"},
	}, m.Variants)
	base, ok := m.Source("base")
	require.True(t, ok)
	require.True(t, base.Pinned())
	require.Equal(t, "app/models/Qwen--Qwen-Image-Edit/vae/config.json", base.ImagePath("vae/config.json"))
	checkpoints, ok := m.Source("checkpoints")
	require.True(t, ok)
	require.False(t, checkpoints.Pinned())
	_, ok = m.Source("none")
	require.False(t, ok)
	plain, ok := m.Checkpoint("plain")
	require.True(t, ok)
	require.Equal(t, manifests.Scheduler{BaseShift: 0.5, MaxShift: 0.9, BaseSeqLen: 256, MaxSeqLen: 8192, ShiftTerminal: 0.02}, plain.Scheduler)
	_, ok = m.Checkpoint(manifests.PriorityHub)
	require.False(t, ok)
}

// Whatever YAML or a Go type can tell is reported with line, column and the lines around.
func TestParseShowsThePlace(t *testing.T) {
	const head = "apiVersion: plimsoll/v1\nname: tiny\n"
	cases := []struct {
		name     string
		old, new string
		want     string
		excerpt  string
	}{
		{"unknown key", "name: tiny\n", "name: tiny\nnames: [a]\n", `[3:1] unknown key "names"; known here: apiVersion, name, title, runtime, partSize, sources, checkpoints, variants, serve, image, before, budget`, ">  3 | names: [a]\n       ^"},
		{"unknown key below", "    role: base\n", "    role: base\n    rol: base\n", `[10:5] unknown key "rol"; known here: name, title, role, repo, revision, license, path, endpoints, rules, hints`, "> 10 |     rol: base\n           ^"},
		{"other case", "title: A tiny model", "Title: A tiny model", `[3:1] unknown key "Title"`, ">  3 | Title: A tiny model"},
		{"duplicate key", "name: tiny\n", "name: tiny\nname: other\n", `[3:1] mapping key "name" already defined at [2:1]`, ">  3 | name: other\n       ^"},
		{"duplicate key below", "    role: base\n", "    role: base\n    role: base\n", `[10:5] mapping key "role" already defined at [9:5]`, "> 10 |     role: base"},
		{"duplicate variant", "  fast: [fast]\n", "  fast: [fast]\n  fast: [plain]\n", `mapping key "fast" already defined at`, "|   fast: [plain]"},
		{"missing key", "title: A tiny model\n", "", `the key "title" is missing`, "apiVersion: plimsoll/v1"},
		{"missing key below", "{baseShift: 1, maxShift: 1, ", "{maxShift: 1, ", `[45:16] the key "baseShift" is missing`, "> 45 |     scheduler: {maxShift: 1,"},
		{"no value", "title: A tiny model", "title:", `[3:1] the key "title" has no value`, ">  3 | title:"},
		{"null", "title: A tiny model", "title: ~", `[3:1] the key "title" has no value`, ">  3 | title: ~"},
		{"bool for text", "title: A tiny model", "title: true", "[3:8] boolean is there, text (in quotes, if it looks like something else) is expected", ">  3 | title: true"},
		{"number for text", "title: A tiny model", "title: 5", "[3:8] int is there, text", ">  3 | title: 5"},
		{"list for text", "title: A tiny model", "title: [x]", "[3:8] sequence is there, text", ">  3 | title: [x]"},
		{"text for list", "drop: [README.md]", "drop: README.md", "[19:15] string is there, a list is expected", "> 19 |         drop: README.md\n                     ^"},
		{"number in list", "drop: [README.md]", "drop: [7]", "[19:16] int is there, text", "> 19 |         drop: [7]"},
		{"empty entry", "drop: [README.md]", "drop: [README.md, null]", "[19:15] an entry of this list is empty", "> 19 |         drop:"},
		{"mapping for list", "drop: [README.md]", "drop: {a: b}", "[19:15] mapping is there, a list is expected", "> 19 |"},
		{"list for mapping", "serve:\n", "serve: []\nserv:\n", "sequence is there, a mapping is expected", "| serve: []"},
		{"fraction for int", "    steps: 8\n", "    steps: 8.5\n", "[43:12] float is there, a whole number is expected", "> 43 |     steps: 8.5\n                  ^"},
		{"text for int", "    steps: 8\n", "    steps: \"8\"\n", "[43:12] string is there, a whole number is expected", "> 43 |     steps: \"8\""},
		{"too large for int", "    steps: 8\n", "    steps: 9223372036854775808\n", "[43:12] cannot unmarshal 9223372036854775808 into Go value of type int ( overflow )", "> 43 |"},
		{"text for number", "    trueCFGScale: 1\n", "    trueCFGScale: one\n", "[44:19] string is there, a number is expected", "> 44 |"},
		{"not a number", "    trueCFGScale: 1\n", "    trueCFGScale: .nan\n", "[44:19] nan is there, a number is expected", "> 44 |"},
		{"infinity", "    trueCFGScale: 1\n", "    trueCFGScale: .inf\n", "[44:19] inf is there, a number is expected", "> 44 |"},
		{"number as key", "  fast: [fast]\n", "  1: [fast]\n", "int is there, a key in plain text is expected", "|   1: [fast]"},
		{"comma in a size", "partSize: 3 MiB", "partSize: 9,5 GB", `[5:11] reading a size: "9,5 GB" is not a number of bytes such as 9.5 GB`, ">  5 | partSize: 9,5 GB\n                 ^"},
		{"fraction of a byte", "partSize: 3 MiB", "partSize: 0.3 KiB", `[5:11] reading a size: "0.3 KiB" is no whole number of bytes`, ">  5 |"},
		{"float as a size", "partSize: 3 MiB", "partSize: 1.5", "[5:11] float is there, a whole number or text such as 9.5 GB is expected", ">  5 |"},
		{"size below 0", "partSize: 3 MiB", "budget: {outside: -1}", `[5:19] reading a size: "-1" is not a number of bytes`, ">  5 |"},
		{"words as a growth", "partSize: 3 MiB", "budget: {growth: 2 percent}", `[5:18] reading a growth: "2 percent" is neither a percentage such as 2% nor a number of bytes such as 500 MB`, ">  5 |"},
		{"too much growth", "partSize: 3 MiB", "budget: {growth: 1001%}", `[5:18] reading a growth: "1001%" is more than 1000%`, ">  5 |"},
		{"number as a growth", "partSize: 3 MiB", "budget: {growth: 2}", `[5:18] int is there, text such as 2% or 500 MB is expected`, ">  5 |"},
		{"unknown limit", "partSize: 3 MiB", "budget: {images: 1 GB}", `[5:10] unknown key "images"; known here: image, outside, growth`, ">  5 |"},
		{"list as a size", "partSize: 3 MiB", "partSize: [1]", "[5:11] sequence is there, a whole number or text such as 9.5 GB is expected", ">  5 |"},
		{"anchor", "title: A tiny model", "title: &a A tiny model", "[3:8] a YAML anchor is not read here: write text", ">  3 |"},
		{"alias", "title: A tiny model", "title: *a", "", "title: *a"},
		{"tag", "    steps: 8\n", "    steps: !!int eight\n", "[43:12] a YAML tag is not read here: write a whole number", "> 43 |"},
		{"merge", "  defaultSteps: 8", "  <<: {defaultSteps: 8}", "a YAML merge key is not read here: write a key in plain text", "|   <<: {defaultSteps: 8}"},
		{"complex key", "name: tiny\n", "? name\n: tiny\n", "[2:1] key is there, a key in plain text is expected", ">  2 | ? name"},
		{"directive", head, "%YAML 1.2\n---\n" + head, "[1:1] YAML directives are not read", ">  1 | %YAML 1.2"},
		{"two documents", head, "name: other\n---\n" + head, "[3:11] more than one YAML document in one manifest", ">  3 | apiVersion"},
		{"syntax", "drop: [README.md]", "drop: [README.md", "[20:9] ',' or ']' must be specified", "> 20 |"},
		{"open quote", "title: A tiny model", "title: 'A tiny model", "could not find end character of single-quoted text", "title: 'A tiny model"},
		{"tab", "name: tiny\n", "name: tiny\n\tx: y\n", "[3:", ">  3 |"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := manifests.Parse(edited(t, "testdata/tiny.yaml", c.old, c.new))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, c.excerpt)
			require.Regexp(t, `^\[\d+:\d+\] `, err.Error())
			require.Equal(t, fault.Usage, fault.KindOf(err))
		})
	}
}

func TestParseRefusesAsAWhole(t *testing.T) {
	cases := map[string]string{
		"":                   "the manifest is empty",
		"# only a comment\n": "the manifest is empty",
		"---\n":              "the manifest is empty",
		"[1, 2]":             "[1:1] sequence is there, a mapping is expected\n>  1 | [1, 2]\n       ^",
		"text":               "[1:1] string is there, a mapping is expected\n>  1 | text\n       ^",
		"sources: " + strings.Repeat("[", 500_000): "[1:26] more than 16 brackets are open",
		"sources: " + strings.Repeat("{a: ", 1000): "[1:74] more than 16 brackets are open",
		strings.Repeat("#", 1<<20+1):               "the manifest has 1048577 bytes, at most 1048576 are read",
	}
	for text, want := range cases {
		_, err := manifests.Parse([]byte(text))
		require.EqualError(t, err, want)
		require.Equal(t, fault.Usage, fault.KindOf(err))
	}
}

func TestParseAcceptsFormsOfYAML(t *testing.T) {
	cases := [][2]string{
		{"partSize: 3 MiB", "partSize: '3 MiB'"},
		{"partSize: 3 MiB", "partSize: 3145728"},
		{"partSize: 3 MiB", "partSize: 3 MiB # largest layer"},
		{"title: A tiny model", "title: >-\n  A tiny\n  model"},
		{"apiVersion", "---\napiVersion"},
		{"    trueCFGScale: 1\n", "    trueCFGScale: 1.0\n"},
		{"drop: [README.md]", "drop:\n          - README.md"},
		{"  fast: [fast]\n", "  fast: [\"fast\"]\n"},
		{"    checkpoints: [\"*-r128*.safetensors\"]\n", "    checkpoints: [\"*-r128*.safetensors\"]\n...\n---\n# nothing\n"},
	}
	want := load(t, "testdata/tiny.yaml")
	for _, c := range cases {
		got, err := manifests.Parse(edited(t, "testdata/tiny.yaml", c[0], c[1]))
		require.NoError(t, err, c[1])
		require.Equal(t, want, got, c[1])
	}
}

func TestLoad(t *testing.T) {
	_, err := manifests.Load("testdata/gone.yaml")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "reading manifest: open testdata/gone.yaml: no such file or directory")
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Equal(t, "-model takes a name out of manifests/ or the path of a manifest", fault.HintOf(err))

	path := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(path, []byte("x: 1"), 0o644))
	_, err = manifests.Load(path)
	require.ErrorContains(t, err, "reading manifest "+path+": [1:1] unknown key \"x\"")
	require.Equal(t, fault.Usage, fault.KindOf(err))
}

func TestParseSize(t *testing.T) {
	cases := map[string]manifests.Size{
		"0": 0, "1": 1, "4096": 4096, "9.5 GB": 9_500_000_000, "9.5GB": 9_500_000_000, "9.7 gb": 9_700_000_000,
		"1 kB": 1000, "1 KiB": 1024, "2 MiB": 2 << 20, "0.5 GiB": 1 << 29, "1.5 TB": 1_500_000_000_000, "4 TiB": 4 << 40,
		"7 B": 7, "0.000001 TB": 1_000_000, "4611686018427387904": 1 << 62,
	}
	for text, want := range cases {
		got, err := manifests.ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", " ", "GB", "-1", "+1", "1,000", "9,5 GB", "0x10", "1e9", "1 XB", "1  GB", "1 GB ", ".5 GB", "5. GB", "1 G", "nan", "inf",
		"0.3 KiB", "1.5", "0.1 B", "4611686018427387905", "5000000 TiB", "99999999999999999999 TB", "123456789012345678901",
	} {
		_, err := manifests.ParseSize(text)
		require.ErrorContains(t, err, "reading a size: ", text)
	}
}

// No input makes Parse panic, and what it accepts is valid: it can be selected from.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"qwen-image-edit.yaml", "demo.yaml", "testdata/tiny.yaml"} {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("a: [b, {c: d}]\n---\n? x\n: !!t &a *a\n<<: y\n"))
	f.Add([]byte("partSize: 9,5 GB\ntitle: |-\n  x\n..."))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifests.Parse(data)
		if err != nil {
			require.Nil(t, m)
			require.Equal(t, fault.Usage, fault.KindOf(err))
			return
		}
		listings := map[string]manifests.Listing{}
		for _, s := range m.Sources {
			listings[s.Name] = manifests.Listing{Repo: s.Repo, Files: []manifests.File{small("README.md", 1)}}
		}
		if _, err := m.Select("", listings); err != nil {
			require.Equal(t, fault.Usage, fault.KindOf(err))
		}
	})
}
