package manifests_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Each case breaks one thing in the valid lock testdata/tiny.lock.
func TestDecodeLockRefuses(t *testing.T) {
	const (
		header   = `{"kind":"plimsoll.lock","version":1,"manifest":"tiny","pack":1,"partSize":3145728}` + "\n"
		notOurs  = "it is not written as plimsoll writes it: a key is missing, there twice or out of order"
		layer0   = `"part":0,"offset":0,"length":12,"digest":"sha256:`
		one      = "1111111111111111111111111111111111111111"
		readme   = `"path":"README.md","size":7,`
		config   = "file config.json of base: "
		checkpnt = `"path":"tiny-r128-fast.safetensors","size":5242880`
	)
	c64 := strings.Repeat("c", 64)
	cases := []struct{ name, old, new, want string }{
		{"other version", `"version":1`, `"version":2`, "the lock's version is 2, this plimsoll reads 1"},
		{"bad manifest name", `"manifest":"tiny"`, `"manifest":"../tiny"`, `the lock's manifest is "../tiny": ` + nameRule},
		{"pack 0", `"pack":1`, `"pack":0`, "the lock's pack version is 0 and its partSize 3145728"},
		{"negative partSize", `"partSize":3145728`, `"partSize":-1`, "the lock's pack version is 1 and its partSize -1"},
		{"no header", header, "", `line 1: kind is "file": the header, kind "plimsoll.lock", must be the first line and no other`},
		{"two headers", header, header + header, `line 2: kind is "plimsoll.lock": the header, kind "plimsoll.lock", must be the first line and no other`},
		{"unknown kind", `{"kind":"package"`, `{"kind":"wheel"`, `line 7: kind is "wheel", which this plimsoll does not know`},
		{"kind of another type", `{"kind":"package"`, `{"kind":7`, "line 7: json: cannot unmarshal number into Go struct field .kind of type string"},
		{"unknown key", `"rule":"docs"`, `"rule":"docs","x":1`, `line 2: json: unknown field "x"`},
		{"key of another kind", `"rule":"docs"`, `"rule":"docs","digest":"x"`, `line 2: json: unknown field "digest"`},
		{"missing key", `"keep":false,"rule":"docs"`, `"rule":"docs"`, "line 2: " + notOurs},
		{"key twice", `"keep":false,"rule":"docs"`, `"keep":true,"keep":false,"rule":"docs"`, "line 2: " + notOurs},
		{"key in other case", `"keep":false,"rule":"docs"`, `"Keep":false,"rule":"docs"`, "line 2: " + notOurs},
		{"keys out of order", `"keep":false,"rule":"docs"`, `"rule":"docs","keep":false`, "line 2: " + notOurs},
		{"blanks", `"keep":false`, `"keep": false`, "line 2: " + notOurs},
		{"number as a fraction", readme, `"path":"README.md","size":7.0,`, "line 2: json: cannot unmarshal number 7.0 into Go struct field"},
		{"text for a number", readme, `"path":"README.md","size":"7",`, "line 2: json: cannot unmarshal string into Go struct field"},
		{"more than one value", `"rule":"docs"}`, `"rule":"docs"}{}`, "line 2: invalid character '{' after top-level value"},
		{"cut line", `"rule":"docs"}`, `"ru`, "line 2: unexpected end of JSON input"},
		{"empty line", header, header + "\n", "line 2: unexpected end of JSON input"},
		{"conflict marker", header, header + "<<<<<<< HEAD\n", "line 2: invalid character '<' looking for beginning of value"},
		{"long line", `"rule":"docs"`, `"rule":"` + strings.Repeat("d", 1<<20) + `"`, "line 2: bufio.Scanner: token too long"},

		{"file twice", `"path":"README.md"`, `"path":"config.json"`, config + "it is there twice"},
		{"unsafe path", `"path":"README.md"`, `"path":"../README.md"`, `file ../README.md of base: "../README.md" is not clean or leaves its folder`},
		{"bad source", `{"kind":"file","source":"base"`, `{"kind":"file","source":""`, `file README.md of : source "" or rule "docs" is malformed`},
		{"bad rule", `"rule":"docs"`, `"rule":""`, `file README.md of base: source "base" or rule "" is malformed`},
		{"bad repo", `"repo":"maker/tiny"`, `"repo":"maker"`, `file README.md of base: repo "maker" is malformed`},
		{"bad revision", `"revision":"` + one + `"`, `"revision":"../x"`, `file README.md of base: revision "../x" is malformed`},
		{"bad commit", `"commit":"` + one + `"`, `"commit":"main"`, `file README.md of base: commit "main" is not 40 hex digits`},
		{"upper-case commit", `"commit":"2222222222222222222222222222222222222222"`, `"commit":"` + strings.Repeat("A", 40) + `"`, `commit "` + strings.Repeat("A", 40) + `" is not 40 hex digits`},
		{"negative size", readme, `"path":"README.md","size":-7,`, "file README.md of base: size is -7"},
		{"huge size", readme, `"path":"README.md","size":9223372036854775807,`, "file README.md of base: size is 9223372036854775807"},
		{"bad sha1", `"sha1":"8ec9a00bfd09b3190ac6b22251dbb1aa95a0579d"`, `"sha1":"8ec9"`, `file README.md of base: sha256 "" or sha1 "8ec9" is malformed`},
		{"bad sha256", `"sha256":"587cb980`, `"sha256":"X87cb980`, config + `sha256 "X87cb980`},
		{"kept file without sha256", `"sha256":"587cb980af76fdc7e52369fd0b9d926dff266976b6f8ac631e358fecc49ff8cf",`, "", config + "its sum is missing"},
		{"dropped file without a sum", `,"sha1":"8ec9a00bfd09b3190ac6b22251dbb1aa95a0579d"`, "", "file README.md of base: its sum is missing"},
		{"two commits of one source", `"revision":"main","commit":"2222222222222222222222222222222222222222"`, `"revision":"main","commit":"3333333333333333333333333333333333333333"`, "file tiny-r128.safetensors of checkpoints: it is at packer/tiny-quantised main 2222222222222222222222222222222222222222, the file before at packer/tiny-quantised main 3333333333333333333333333333333333333333"},
		{"two repositories of one source", `"repo":"packer/tiny-quantised"`, `"repo":"other/tiny-quantised"`, "file tiny-r128.safetensors of checkpoints: it is at packer/"},

		{"package name", `"name":"libc6"`, `"name":"LIBC"`, `package LIBC: version "2.41-12", architecture "amd64" or suite "trixie" is malformed`},
		{"package path", `"path":"pool/`, `"path":"/pool/`, `package libc6: path "/pool/main/g/glibc/libc6_2.41-12_amd64.deb", size 2847000 or sha256 "` + c64 + `" is malformed`},
		{"package size", `"size":2847000`, `"size":0`, "size 0 or sha256"},
		{"package sum", c64 + "\"}\n{\"kind\":\"layer\"", c64[1:] + "\"}\n{\"kind\":\"layer\"", `or sha256 "` + c64[1:] + `" is malformed`},

		{"digest without its algorithm", layer0 + c64, `"part":0,"offset":0,"length":12,"digest":"` + c64, `layer 0 of config.json: its digest is "` + c64 + `", want sha256: and 64 hex digits`},
		{"short digest", layer0 + c64, layer0 + c64[1:], `layer 0 of config.json: its digest is "sha256:` + c64[1:] + `", want sha256: and 64 hex digits`},
		{"layer of an unknown file", `{"kind":"layer","source":"base","path":"config.json"`, `{"kind":"layer","source":"base","path":"gone.json"`, "layer 0 of gone.json: no kept file of source base has this path"},
		{"layer of a dropped file", `{"kind":"layer","source":"base","path":"config.json"`, `{"kind":"layer","source":"base","path":"README.md"`, "layer 0 of README.md: no kept file of source base has this path"},
		{"layer with an unsafe entry", `"entry":"app/models/maker--tiny/config.json"`, `"entry":"/app/models/maker--tiny/config.json"`, `layer 0 of config.json: entry: "/app/models/maker--tiny/config.json" is absolute`},
		{"layer twice", `"part":1,"offset":2097152`, `"part":0,"offset":2097152`, "layer 0 of tiny-r128-fast.safetensors: it is there twice"},
		{"layer beyond the file", `"part":0,"offset":0,"length":12,`, `"part":0,"offset":1,"length":12,`, "layer 0 of config.json: offset 1, length 12 and size 2048 do not fit a file of 12 bytes"},
		{"layer with an overflow", `"part":0,"offset":0,"length":12,`, `"part":0,"offset":12,"length":9223372036854775807,`, "layer 0 of config.json: offset 12, length 9223372036854775807 and size 2048 do not fit a file of 12 bytes"},
		{"negative part", `"part":0,"offset":0,"length":12,`, `"part":-1,"offset":0,"length":12,`, "layer -1 of config.json: offset 0"},
		{"layer no larger than its content", `"size":2048`, `"size":12`, "layer 0 of config.json: offset 0, length 12 and size 12 do not fit a file of 12 bytes"},
		{"file smaller than its layers", checkpnt, `"path":"tiny-r128-fast.safetensors","size":5242879`, "layer 2 of tiny-r128-fast.safetensors: offset 4194304, length 1048576 and size 1050112 do not fit a file of 5242879 bytes"},

		{"unused share of an unknown file", `{"kind":"unused","source":"checkpoints","path":"tiny-r128.safetensors"`, `{"kind":"unused","source":"checkpoints","path":"tiny-r32.safetensors"`, "unused bias of tiny-r32.safetensors: no kept file of source checkpoints has this path"},
		{"unused share without a reason", `"reason":"all zeros"`, `"reason":""`, `unused "bias" of tiny-r128.safetensors: part or reason "" is missing or malformed`},
		{"unused share twice", `"part":"smooth_factor_orig"`, `"part":"bias"`, "unused bias of tiny-r128.safetensors: it is there twice"},
		{"unused shares over the file", `"part":"bias","bytes":0`, `"part":"bias","bytes":5242880`, "unused smooth_factor_orig of tiny-r128.safetensors: 4096 bytes, the file has 5242880"},
		{"negative unused share", `"part":"bias","bytes":0`, `"part":"bias","bytes":-1`, "unused bias of tiny-r128.safetensors: -1 bytes, the file has 5242880"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, err := manifests.DecodeLock(edited(t, "testdata/tiny.lock", c.old, c.new))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Lock, fault.KindOf(err))
			require.Nil(t, l)
		})
	}
}

func TestDecodeLockRefusesNothing(t *testing.T) {
	_, err := manifests.DecodeLock(nil)
	require.EqualError(t, err, "the lock is empty")
	require.Equal(t, fault.Lock, fault.KindOf(err))
}

// A lock of another pack version is read: only its digests are void.
func TestDecodeLockReadsOtherPackVersions(t *testing.T) {
	l, err := manifests.DecodeLock(edited(t, "testdata/tiny.lock", `"pack":1`, `"pack":9`))
	require.NoError(t, err)
	require.Empty(t, l.Stale(load(t, "testdata/tiny.yaml")))
	data, err := os.ReadFile("testdata/tiny.lock")
	require.NoError(t, err)
	require.NotEqual(t, string(data), string(l.Encode()))
}
