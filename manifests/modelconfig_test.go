package manifests_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// tinyConfig is the configuration of the image of testdata/tiny.yaml.
func tinyConfig(t testing.TB, variant string) *manifests.ModelConfig {
	t.Helper()
	m, l := load(t, "testdata/tiny.yaml"), fullLock(t)
	s, err := m.Select(variant, l.Listings())
	require.NoError(t, err)
	slices.Reverse(l.Unused)
	c, err := manifests.NewModelConfig(m, l, s, l.Unused)
	require.NoError(t, err)
	return c
}

func TestModelConfigIsTheGoldenFile(t *testing.T) {
	want, err := os.ReadFile("testdata/tiny.model.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(tinyConfig(t, "").Encode()))
}

func TestModelConfigRoundTrip(t *testing.T) {
	for _, variant := range []string{"", "fast"} {
		c := tinyConfig(t, variant)
		back, err := manifests.DecodeModelConfig(c.Encode())
		require.NoError(t, err)
		require.Equal(t, c, back)
		require.Equal(t, string(c.Encode()), string(back.Encode()))
	}
}

func TestModelConfigOfAVariant(t *testing.T) {
	c := tinyConfig(t, "fast")
	require.Equal(t, "fast", c.Variant)
	require.Len(t, c.Files, 2)
	require.Len(t, c.Checkpoints, 1)
	require.Equal(t, "tiny-quantised/tiny-r128-fast.safetensors", c.Checkpoints[0].Path)
	require.Empty(t, c.Unused, "shares of files that are not aboard are left out")
	require.Equal(t, []string{"fast", "plain", "hub"}, c.Serve.Priority)
}

func TestModelConfigOrdersCheckpointsByPriority(t *testing.T) {
	m, l := load(t, "testdata/tiny.yaml"), fullLock(t)
	s, err := m.Select("", l.Listings())
	require.NoError(t, err)
	names := func(priority ...string) []string {
		m.Serve.Priority = priority
		c, err := manifests.NewModelConfig(m, l, s, nil)
		require.NoError(t, err)
		var out []string
		for _, p := range c.Checkpoints {
			out = append(out, p.Name)
		}
		return out
	}
	require.Equal(t, []string{"plain", "fast"}, names("plain", "hub", "fast"))
	require.Equal(t, []string{"plain", "fast"}, names("hub", "plain"), "those that the list leaves out come last")
	m.Serve = nil
	c, err := manifests.NewModelConfig(m, l, s, nil)
	require.NoError(t, err)
	require.Len(t, c.Checkpoints, 2)
	require.Nil(t, c.Serve)
}

func TestPartPaths(t *testing.T) {
	files := tinyConfig(t, "").Files
	require.Equal(t, []string{"maker--tiny/config.json"}, files[0].PartPaths())
	require.Equal(t, []string{
		"tiny-quantised/tiny-r128-fast.safetensors.part-00-of-03",
		"tiny-quantised/tiny-r128-fast.safetensors.part-01-of-03",
		"tiny-quantised/tiny-r128-fast.safetensors.part-02-of-03",
	}, files[1].PartPaths())
}

func TestNewModelConfigRefuses(t *testing.T) {
	m, l := load(t, "testdata/tiny.yaml"), fullLock(t)
	s, err := m.Select("", l.Listings())
	require.NoError(t, err)
	_, err = manifests.NewModelConfig(m, l, manifests.Selection{}, nil)
	require.EqualError(t, err, "describing tiny: files is empty")
	s.Decisions[1].SHA256 = ""
	_, err = manifests.NewModelConfig(m, l, s, nil)
	require.EqualError(t, err, `describing tiny: file maker--tiny/config.json: size 12 or sha256 "" is malformed`)
	m.PartSize = 1
	_, err = manifests.NewModelConfig(m, l, s, nil)
	require.ErrorContains(t, err, "packing app/models/maker--tiny/config.json: partSize is 1")
}

// Each case breaks one thing in the valid testdata/tiny.model.json.
func TestDecodeModelConfigRefuses(t *testing.T) {
	sum := large("config.json", 0).SHA256
	cases := []struct{ name, old, new, want string }{
		{"unknown key", `"name": "tiny"`, `"name": "tiny", "x": 1`, `json: unknown field "x"`},
		{"unknown key below", `"defaultRank": 128`, `"defaultRank": 128, "x": 1`, `json: unknown field "x"`},
		{"other schema", `"schemaVersion": 1`, `"schemaVersion": 2`, "schemaVersion is 2, this runtime reads 1"},
		{"wrong type", `"schemaVersion": 1`, `"schemaVersion": "1"`, "json: cannot unmarshal string into Go struct field ModelConfig.schemaVersion of type int"},
		{"text behind", "\n}\n", "\n}}", "there is something behind the JSON value"},
		{"second value", "\n}\n", "\n}{}", "there is something behind the JSON value"},
		{"cut", "\n}\n", "", "unexpected EOF"},
		{"relative folder", `"modelsDir": "/app/models"`, `"modelsDir": "app/models"`, `modelsDir is "app/models", want a clean absolute folder`},
		{"unclean folder", `"modelsDir": "/app/models"`, `"modelsDir": "/app/../models"`, `modelsDir is "/app/../models", want a clean absolute folder`},
		{"unsafe source", `"path": "maker--tiny"`, `"path": "../tiny"`, `source base: its name is taken or its path "../tiny" is unsafe`},
		{"source without a name", `"name": "base"`, `"name": ""`, `the source of folder "maker--tiny" has no name`},
		{"source without a title", `"title": "Base"`, `"title": ""`, `source base: title is "", want one line of text`},
		{"title of two lines", `"title": "Base"`, `"title": "Base\nModel"`, `source base: title is "Base\nModel", want one line of text`},
		{"source without a role", `"role": "base",`, ``, `source base: role is "": "base" and "checkpoints" are known`},
		{"unknown role", `"role": "base"`, `"role": "lora"`, `source base: role is "lora": "base" and "checkpoints" are known`},
		{"file outside of its source", `"path": "maker--tiny/config.json"`, `"path": "maker--tinier/config.json"`, `file maker--tinier/config.json: it lies outside of maker--tiny, the folder of its source`},
		{"source twice", `"name": "checkpoints"`, `"name": "base"`, `source base: its name is taken or its path "tiny-quantised" is unsafe`},
		{"unsafe file", `"path": "maker--tiny/config.json"`, `"path": "/etc/passwd"`, `file /etc/passwd: "/etc/passwd" is absolute`},
		{"file twice", `"path": "maker--tiny/config.json"`, `"path": "tiny-quantised/tiny-r128.safetensors"`, `file tiny-quantised/tiny-r128.safetensors: it is there twice or its source "checkpoints" is not`},
		{"unknown source", `"source": "base",`, `"source": "other",`, `file maker--tiny/config.json: it is there twice or its source "other" is not`},
		{"negative size", `"size": 12,`, `"size": -12,`, `file maker--tiny/config.json: size -12 or sha256 "` + sum + `" is malformed`},
		{"bad sum", sum, strings.ToUpper(sum), `file maker--tiny/config.json: size 12 or sha256 "` + strings.ToUpper(sum) + `" is malformed`},
		{"one part", "\"sha256\": \"" + sum + "\"\n", "\"sha256\": \"" + sum + "\", \"parts\": [12]\n", "file maker--tiny/config.json: it has 1 parts, none or 2 to 99 are possible"},
		{"too many parts", "\"sha256\": \"" + sum + "\"\n", "\"sha256\": \"" + sum + "\", \"parts\": [" + strings.Repeat("1,", 99) + "1]\n", "file maker--tiny/config.json: it has 100 parts, none or 2 to 99 are possible"},
		{"parts that do not add up", "        1048576\n", "        1048577\n", "file tiny-quantised/tiny-r128-fast.safetensors: its parts add up to 5242881, its size is 5242880"},
		{"empty part", "        1048576\n", "        0, 1048576\n", "file tiny-quantised/tiny-r128-fast.safetensors: its parts add up to 4194304, its size is 5242880"},
		{"parts that overflow", "        1048576\n", "        9223372036854775807, 9223372036854775807\n", "file tiny-quantised/tiny-r128-fast.safetensors: its parts add up to 4194304, its size is 5242880"},
		{"checkpoint not aboard", `      "path": "tiny-quantised/tiny-r128-fast.safetensors"` + "\n    }", `      "path": "gone"` + "\n    }", "checkpoint fast is in gone, which is not listed"},
		{"checkpoint twice", `"name": "plain"`, `"name": "fast"`, "checkpoint fast is there twice"},
		{"unused of a file not aboard", `"part": "bias",`, `"part": "bias", "path": "gone",`, `unused bias of "gone": 0 bytes of a file that has 0`},
		{"more unused than there is", `"bytes": 4096`, `"bytes": 5242881`, `unused smooth_factor_orig of "tiny-quantised/tiny-r128.safetensors": 5242881 bytes of a file that has 5242880`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			back, err := manifests.DecodeModelConfig(edited(t, "testdata/tiny.model.json", c.old, c.new))
			require.ErrorContains(t, err, "reading model.json: "+c.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Nil(t, back)
		})
	}
}

func TestDecodeModelConfigWithoutFiles(t *testing.T) {
	_, err := manifests.DecodeModelConfig([]byte(`{"schemaVersion":1,"modelsDir":"/m","files":[]}`))
	require.EqualError(t, err, "reading model.json: files is empty")
}

func TestDecodeModelConfigWithoutFolder(t *testing.T) {
	c, err := manifests.DecodeModelConfig(edited(t, "testdata/tiny.model.json", `"modelsDir": "/app/models"`, `"modelsDir": ""`))
	require.NoError(t, err)
	require.Empty(t, c.ModelsDir)
}

func FuzzDecodeModelConfig(f *testing.F) {
	f.Add(tinyConfig(f, "").Encode())
	f.Add(tinyConfig(f, "fast").Encode())
	f.Add([]byte(`{"schemaVersion":1,"modelsDir":"/m","files":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := manifests.DecodeModelConfig(data)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		back, err := manifests.DecodeModelConfig(c.Encode())
		require.NoError(t, err)
		require.Equal(t, string(c.Encode()), string(back.Encode()))
		for _, file := range c.Files {
			for _, path := range file.PartPaths() {
				require.NotContains(t, "/"+path+"/", "/../")
			}
		}
	})
}
