package manifests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const nameRule = "1 to 63 lower-case letters, digits, dots, dashes and underscores are allowed"

// Each case breaks one rule of the valid manifest testdata/tiny.yaml.
func TestParseValidates(t *testing.T) {
	const (
		base    = "sources[0] base: "
		fast    = "checkpoints[0] fast: "
		image   = "image:\n  base:\n    suite: trixie\n    packages: [libc6]\n"
		mirrors = "    packages: [libc6]\n"
		serve   = "serve:\n  priority: [fast, plain, hub]\n  supportedRanks: [128]\n  defaultRank: 128\n  defaultSteps: 8\n  pixelArea: 4096\n  conditionArea: 4096\n"
		license = "    license: Apache-2.0\n"
	)
	cases := []struct{ old, new, want string }{
		{"apiVersion: plimsoll/v1", "apiVersion: plimsoll/v2", `apiVersion is "plimsoll/v2", this plimsoll reads "plimsoll/v1"`},
		{"name: tiny", "name: Tiny", `name is "Tiny": ` + nameRule},
		{"name: tiny", "name: a/b", `name is "a/b": ` + nameRule},
		{"name: tiny", "name: " + strings.Repeat("n", 64), `name is "` + strings.Repeat("n", 64) + `": ` + nameRule},
		{"title: A tiny model", "title: ' '", `title is " ", want one line of text`},
		{"title: A tiny model", `title: "a\x1b[2Jb"`, `title is "a\x1b[2Jb", want one line of text`},
		{"runtime: plimsoll", "runtime: vllm", `runtime is "vllm": "plimsoll" and "none" are known`},
		{"partSize: 3 MiB", "partSize: 1 MB", "partSize is 1000000, the smallest is 2097152"},

		{"before:\n", "budget: {}\nbefore:\n", "budget limits nothing: image, outside or growth is needed"},
		{"before:\n", "budget: {image: 0 GB}\nbefore:\n", "budget.image is 0, want a number of bytes above 0"},
		{"before:\n", "budget: {image: 1 MB, outside: 2 MB}\nbefore:\n", "budget.outside is 2000000, more than budget.image with 1000000"},

		{"  - name: base\n", "  - name: Base\n", `sources[0] Base: name is "Base": ` + nameRule},
		{"    title: Base\n", "    title: ''\n", base + `title is "", want one line of text`},
		{"    repo: maker/tiny\n", "    repo: tiny\n", base + `repo is "tiny", want owner/name`},
		{"    repo: maker/tiny\n", "    repo: maker/../tiny\n", base + `repo is "maker/../tiny", want owner/name`},
		{"    repo: maker/tiny\n", "    repo: maker/ti..ny\n", base + `repo is "maker/ti..ny", want owner/name`},
		{"    repo: maker/tiny\n", "    repo: http://host/maker/tiny\n", base + `repo is "http://host/maker/tiny", want owner/name`},
		{"    revision: main\n", "    revision: ../main\n", `sources[1] checkpoints: revision is "../main", want a commit, branch or tag`},
		{"    revision: main\n", "    revision: 'main?x=1'\n", `sources[1] checkpoints: revision is "main?x=1", want a commit, branch or tag`},
		{"    role: base\n", "    role: weights\n", base + `role is "weights": "base" and "checkpoints" are known`},
		{license, "    license: ''\n", base + `license is "", want an SPDX identifier, or NOASSERTION where it is not known`},
		{"    path: maker--tiny\n", "    path: /tiny\n", base + `path: "/tiny" is absolute`},
		{"    path: maker--tiny\n", "    path: tiny/../..\n", base + `path: "tiny/../.." is not clean or leaves its folder`},
		{"  - name: checkpoints\n", "  - name: base\n", `sources[1]: the name "base" is taken`},
		{"    path: tiny-quantised\n", "    path: maker--tiny\n", `sources[1] checkpoints: the path "maker--tiny" meets the path "maker--tiny" of base`},
		{"    path: tiny-quantised\n", "    path: maker--tiny/quantised\n", `sources[1] checkpoints: the path "maker--tiny/quantised" meets the path "maker--tiny" of base`},
		{"    path: maker--tiny\n", "    path: tiny-quantised/base\n", `sources[1] checkpoints: the path "tiny-quantised" meets the path "tiny-quantised/base" of base`},
		{license, license + "    endpoints: [hub.example]\n", base + "endpoints[0]: want the base address of a server, such as https://host/path"},
		{license, license + "    endpoints: [https://h.example, ftp://h.example]\n", base + "endpoints[1]: want the base address of a server, such as https://host/path"},
		{license, license + "    endpoints: ['https://me:secret@h.example']\n", base + "endpoints[0]: user, password, query and fragment do not belong into an address"},
		{license, license + "    endpoints: ['https://h.example?token=secret']\n", base + "endpoints[0]: user, password, query and fragment do not belong into an address"},

		{"      - name: docs\n", "      - name: Docs\n", base + `rule "Docs": name: ` + nameRule},
		{"      - name: docs\n", "      - name: config\n", base + `rule "config": the name is taken`},
		{"        drop: [README.md]\n", "        keep: [x]\n        drop: [README.md]\n", base + `rule "docs": exactly one of keep and drop must be set`},
		{"        drop: [README.md]\n", "        drop: []\n", base + `rule "docs": exactly one of keep and drop must be set`},
		{"        drop: [README.md]\n", "        keep: [README.md]\n", base + `rule "docs": because is "docs", but only a drop has a category`},
		{"        because: docs\n", "", base + `rule "docs": because is "", known are [precision rank steps replaced duplicate docs]`},
		{"        because: docs\n", "        because: variant\n", base + `rule "docs": because is "variant", known are [precision rank steps replaced duplicate docs]`},
		{"        reason: not read at run time\n", "        reason: ''\n", base + `rule "docs": reason is "", want one line of text`},
		{"drop: [README.md]", `drop: ["[a"]`, base + `rule "docs": "[a" is not a pattern of paths in a repository`},
		{"drop: [README.md]", `drop: [""]`, base + `rule "docs": "" is not a pattern of paths in a repository`},
		{"drop: [README.md]", `drop: [/README.md]`, base + `rule "docs": "/README.md" is not a pattern of paths in a repository`},

		{license, license + "    hints: [{path: ../x, size: 1, source: s}]\n", base + `hint: "../x" is not clean or leaves its folder`},
		{license, license + "    hints: [{path: x, sha256: ABC, source: s}]\n", base + `hint for x: sha256 is "ABC", want 64 lower-case hex digits`},
		{license, license + "    hints: [{path: x, source: s}]\n", base + `hint for x: neither size nor sha256`},
		{license, license + "    hints: [{path: x, size: -1, source: s}]\n", base + `hint for x: neither size nor sha256`},
		{license, license + "    hints: [{path: x, size: 1, source: ''}]\n", base + `hint for x: source must say where the values come from`},

		{"  - name: fast\n", "  - name: hub\n", `checkpoints[0]: the name "hub" is malformed or taken`},
		{"  - name: fast\n", "  - name: Fast\n", `checkpoints[0]: the name "Fast" is malformed or taken`},
		{"  - name: plain\n", "  - name: fast\n", `checkpoints[1]: the name "fast" is malformed or taken`},
		{"    source: checkpoints\n    file: tiny-r128-fast", "    source: weights\n    file: tiny-r128-fast", `checkpoints[0] fast: there is no source "weights"`},
		{"    file: tiny-r128-fast.safetensors\n", "    file: a/../b\n", fast + `file: "a/../b" is not clean or leaves its folder`},
		{"    file: tiny-r128.safetensors\n", "    file: tiny-r128-fast.safetensors\n", "checkpoints[1] plain: tiny-r128-fast.safetensors is the file of fast already"},
		{"    precision: int4\n", "    precision: fp4\n", fast + `precision is "fp4": int4 and nvfp4 are known`},
		{"    rank: 128\n", "    rank: 100\n", fast + "rank is 100, want a multiple of 16"},
		{"    rank: 128\n", "    rank: 0\n", fast + "rank is 0, want a multiple of 16"},
		{"    steps: 8\n", "    steps: 0\n", fast + "steps is 0, want 1 or more"},
		{"    trueCFGScale: 1\n", "    trueCFGScale: 0\n", fast + "trueCFGScale is 0, want a number over 0"},
		{"baseSeqLen: 256, maxSeqLen: 8192}", "baseSeqLen: 0, maxSeqLen: 8192}", fast + "scheduler: baseSeqLen is 0 and maxSeqLen 8192, want a rising range over 0"},
		{"baseSeqLen: 256, maxSeqLen: 8192}", "baseSeqLen: 256, maxSeqLen: 256}", fast + "scheduler: baseSeqLen is 256 and maxSeqLen 256, want a rising range over 0"},
		{"shiftTerminal: 0.02", "shiftTerminal: 1", "checkpoints[1] plain: scheduler: shiftTerminal is 1, want 0 to below 1"},

		{"  default: [fast, plain]\n", "", `variants has no "default"`},
		{"  fast: [fast]\n", "  fast: []\n", `variants: "fast" is malformed or empty`},
		{"  fast: [fast]\n", "  Fast: [fast]\n", `variants: "Fast" is malformed or empty`},
		{"  fast: [fast]\n", "  fast: [slow]\n", `variants: fast names the checkpoint "slow", which is not there`},
		{"  fast: [fast]\n", "  fast: [fast, fast]\n", `variants: fast names the checkpoint "fast" twice`},

		{serve, "", `runtime is "plimsoll", so serve is needed`},
		{"priority: [fast, plain, hub]", "priority: []", "serve.priority is empty"},
		{"priority: [fast, plain, hub]", "priority: [slow]", `serve.priority: there is no checkpoint "slow"`},
		{"priority: [fast, plain, hub]", "priority: [fast, fast]", `serve.priority names "fast" twice`},
		{"supportedRanks: [128]", "supportedRanks: [64, 128]", "serve.supportedRanks: no checkpoint has rank 64"},
		{"defaultRank: 128", "defaultRank: 32", "serve.defaultRank is 32, supportedRanks are [128]"},
		{"defaultSteps: 8", "defaultSteps: 0", "serve: defaultSteps is 0, pixelArea 4096, conditionArea 4096: all must be positive"},
		{"pixelArea: 4096", "pixelArea: -1", "serve: defaultSteps is 8, pixelArea -1, conditionArea 4096: all must be positive"},
		{"conditionArea: 4096", "conditionArea: 0", "serve: defaultSteps is 8, pixelArea 4096, conditionArea 0: all must be positive"},

		{image, "", `runtime is "plimsoll", so image.base must say which libraries it runs on`},
		{"runtime: plimsoll", "runtime: none", `runtime is "none", so image.base has no use`},
		{"suite: trixie", "suite: ../trixie", `image.base.suite is "../trixie", want a Debian release such as trixie`},
		{"packages: [libc6]", "packages: []", "image.base.packages is empty"},
		{"packages: [libc6]", "packages: [libc6, libc6]", `image.base.packages[1]: "libc6" is malformed or there twice`},
		{"packages: [libc6]", "packages: [../libc6]", `image.base.packages[0]: "../libc6" is malformed or there twice`},
		{mirrors, mirrors + "    mirrors: [mirror.example]\n", "image.base.mirrors[0]: want the base address of a server, such as https://host/path"},
		{mirrors, mirrors + "  labels: {'': x}\n", `image.labels: "" or its value is not one line of text`},
		{mirrors, mirrors + "  labels: {a: \"x\\ny\"}\n", `image.labels: "a" or its value is not one line of text`},

		{"    base: [\"**\"]\n", "    weights: [\"**\"]\n", `before.naive: there is no source "weights"`},
		{"    base: [\"**\"]\n", "    base: [\"{a\"]\n", `before.naive.base: "{a" is not a pattern of paths in a repository`},
		{"before:\n", "before:\n  software: [{name: x, bytes: 0, source: s}]\n", `before.software "x": name, bytes and source are needed`},
		{"before:\n", "before:\n  software: [{name: x, bytes: 5, source: ''}]\n", `before.software "x": name, bytes and source are needed`},
	}
	for _, c := range cases {
		t.Run(c.want, func(t *testing.T) {
			m, err := manifests.Parse(edited(t, "testdata/tiny.yaml", c.old, c.new))
			require.EqualError(t, err, c.want)
			require.Equal(t, fault.Usage, fault.KindOf(err))
			require.Nil(t, m)
		})
	}
}

func TestParseValidatesLists(t *testing.T) {
	const head = "apiVersion: plimsoll/v1\nname: n\ntitle: N\nruntime: none\n"
	_, err := manifests.Parse([]byte(head + "sources: []\n"))
	require.EqualError(t, err, "sources is empty")
	source := "sources: [{name: a, title: A, role: base, repo: o/r, revision: main, license: MIT, path: p, rules: []}]\n"
	_, err = manifests.Parse([]byte(head + source))
	require.EqualError(t, err, "sources[0] a: rules is empty")
	source = strings.Replace(source, "rules: []", "rules: [{name: all, keep: ['**'], reason: all of it}]", 1)
	m, err := manifests.Parse([]byte(head + source))
	require.NoError(t, err, "weights alone need neither checkpoints, variants, serve nor a base")
	require.Equal(t, manifests.Size(0), m.PartSize)
	_, err = manifests.Parse([]byte(head + source + "variants: {default: []}\n"))
	require.EqualError(t, err, `variants: "default" is malformed or empty`)
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{
		"a", "a/b", ".gitattributes", "a/.b/c", "...", "a..b", "..a", "a b", "a:b", "ä/日本", "[x]{y}*?", "-rf", "~", "C:",
		strings.Repeat("n", 255), strings.TrimSuffix(strings.Repeat("dir/", 1024), "/"),
	} {
		require.NoError(t, manifests.CheckPath(good), good)
	}
	cases := map[string]string{
		"":                         `"" is not a file name`,
		".":                        `"." is not a file name`,
		"..":                       `".." is not clean or leaves its folder`,
		"../a":                     `"../a" is not clean or leaves its folder`,
		"a/..":                     `"a/.." is not clean or leaves its folder`,
		"a/../b":                   `"a/../b" is not clean or leaves its folder`,
		"a/../../b":                `"a/../../b" is not clean or leaves its folder`,
		"./a":                      `"./a" is not clean or leaves its folder`,
		"a//b":                     `"a//b" is not clean or leaves its folder`,
		"a/":                       `"a/" is not clean or leaves its folder`,
		"/a":                       `"/a" is absolute`,
		"/":                        `"/" is absolute`,
		`a\b`:                      `"a\\b" holds a control character, a backslash or bytes that are not UTF-8`,
		"a\x00b":                   `"a\x00b" holds a control character, a backslash or bytes that are not UTF-8`,
		"a\nb":                     `"a\nb" holds a control character, a backslash or bytes that are not UTF-8`,
		"a\x7f":                    `"a\x7f" holds a control character, a backslash or bytes that are not UTF-8`,
		"a\u009bb":                 `"a\u009bb" holds a control character, a backslash or bytes that are not UTF-8`,
		"a\xffb":                   `"a\xffb" holds a control character, a backslash or bytes that are not UTF-8`,
		strings.Repeat("n", 256):   `"` + strings.Repeat("n", 256) + `" holds a name of 256 bytes, at most 255 are possible`,
		strings.Repeat("n/", 2050): `"` + strings.Repeat("n/", 32) + `"… has 4100 bytes, at most 4096 are possible`,
	}
	for bad, want := range cases {
		require.EqualError(t, manifests.CheckPath(bad), want)
	}
}
