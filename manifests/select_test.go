package manifests_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// gigabytes is a size as people write it, in GB with one decimal.
func gigabytes(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e9) }

func sumOf(decisions []manifests.Decision) (n int64) {
	for _, d := range decisions {
		n += d.Size
	}
	return n
}

func TestSelectQwenImageEdit(t *testing.T) {
	m := load(t, "qwen-image-edit.yaml")
	cases := []struct {
		variant string
		files   int
		kept    string
	}{
		{"", 28, "42.2"},
		{"default", 28, "42.2"},
		{"lightning", 27, "29.5"},
		{"plain", 27, "29.5"},
	}
	for _, c := range cases {
		t.Run(c.variant, func(t *testing.T) {
			s, err := m.Select(c.variant, qwenListings())
			require.NoError(t, err)
			kept, dropped := s.Bytes()
			require.Equal(t, c.kept, gigabytes(kept))
			require.Equal(t, "205.4", gigabytes(kept+dropped))
			require.Equal(t, "83.0", gigabytes(sumOf(m.Naive(s))))
			require.Equal(t, 39+14, len(s.Decisions))
			require.Equal(t, c.files, len(s.Kept()))
		})
	}
}

func TestSelectSaysWhy(t *testing.T) {
	s, err := load(t, "qwen-image-edit.yaml").Select("lightning", qwenListings())
	require.NoError(t, err)
	cases := []struct {
		path    string
		rule    string
		because manifests.Category
		image   string
	}{
		{"processor/tokenizer.json", "processor", "", "app/models/Qwen--Qwen-Image-Edit/processor/tokenizer.json"},
		{"transformer/config.json", "base-transformer", manifests.BecauseReplaced, ""},
		{".gitattributes", "docs", manifests.BecauseDocs, ""},
		{"svdq-fp4_r128-qwen-image-edit.safetensors", "fp4", manifests.BecausePrecision, ""},
		{"svdq-fp4_r32-qwen-image-edit-lightningv1.0-4steps.safetensors", "fp4", manifests.BecausePrecision, ""},
		{"svdq-int4_r32-qwen-image-edit.safetensors", "int4-r32", manifests.BecauseRank, ""},
		{"svdq-int4_r128-qwen-image-edit-lightningv1.0-4steps.safetensors", "int4-r128-4steps", manifests.BecauseSteps, ""},
		{"svdq-int4_r128-qwen-image-edit.safetensors", "int4-r128-plain", manifests.BecauseVariant, ""},
		{
			"svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors", "int4-r128-8steps", "",
			"app/models/nunchaku-qwen-image-edit/svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors",
		},
	}
	for _, c := range cases {
		i := slices.IndexFunc(s.Decisions, func(d manifests.Decision) bool { return d.Path == c.path })
		require.GreaterOrEqual(t, i, 0, c.path)
		d := s.Decisions[i]
		require.Equal(t, []any{c.rule, c.because, c.image, c.image != ""}, []any{d.Rule, d.Because, d.ImagePath, d.Keep}, c.path)
		require.NotEmpty(t, d.Reason)
	}
	for _, d := range s.Decisions {
		require.NotEqual(t, "r64", d.Rule, "rank 64 was never published, and its rule is no error")
	}
}

func TestSelectOrdersByLayer(t *testing.T) {
	listings := qwenListings()
	slices.Reverse(listings["base"].Files)
	s, err := load(t, "qwen-image-edit.yaml").Select("", listings)
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(s.Decisions, func(a, b manifests.Decision) int {
		// The manifest's order of sources happens to be the alphabet's.
		return strings.Compare(a.Source+"\x00"+a.Path, b.Source+"\x00"+b.Path)
	}))
}

func TestSelectRefuses(t *testing.T) {
	const tiny = "testdata/tiny.yaml"
	file := func(source string, f ...manifests.File) func(map[string]manifests.Listing) {
		return func(l map[string]manifests.Listing) {
			listing := l[source]
			listing.Files = append(slices.Clone(listing.Files), f...)
			l[source] = listing
		}
	}
	same := func(map[string]manifests.Listing) {}
	cases := []struct {
		name     string
		old, new string
		change   func(map[string]manifests.Listing)
		want     []string
		hint     string
	}{
		{
			"no rule", "", "", file("base", small("new.bin", 1)),
			[]string{"selecting files of maker/tiny: no rule claims new.bin"}, "every upstream file needs exactly one rule in the manifest",
		},
		{
			"two rules", `drop: [README.md]`, `drop: [README.md, "config.*"]`, same,
			[]string{"selecting files of maker/tiny: 2 rules claim config.json: config, docs"}, "every upstream file needs exactly one rule in the manifest",
		},
		{
			"all problems at once", "", "",
			func(l map[string]manifests.Listing) {
				file("base", small("a.bin", 1), small("b.bin", 1))(l)
				file("checkpoints", small("c.bin", 1))(l)
			},
			[]string{"no rule claims a.bin", "no rule claims b.bin", "packer/tiny-quantised: no rule claims c.bin"}, "every upstream file needs exactly one rule in the manifest",
		},
		{
			"unsafe path", "", "", file("base", small("../x.json", 1)),
			[]string{`selecting files of maker/tiny: "../x.json" is not clean or leaves its folder`}, "every upstream file needs exactly one rule in the manifest",
		},
		{
			"listed twice", "", "", file("base", small("config.json", 1)),
			[]string{"selecting files of maker/tiny: config.json is listed twice"}, "every upstream file needs exactly one rule in the manifest",
		},
		{
			"no listing", "", "", func(l map[string]manifests.Listing) { delete(l, "base") },
			[]string{"selecting files of tiny: there is no listing of source base"}, "",
		},
		{
			"checkpoint not upstream", "file: tiny-r128.safetensors", "file: gone-r128.safetensors", same,
			[]string{"selecting files of tiny: checkpoint plain needs gone-r128.safetensors, which source checkpoints does not have or drops"}, "",
		},
		{
			"checkpoint dropped", "file: tiny-r128.safetensors", "file: tiny-r32.safetensors", same,
			[]string{"checkpoint plain needs tiny-r32.safetensors, which source checkpoints does not have or drops"}, "",
		},
		{
			"nothing kept", "", "", func(l map[string]manifests.Listing) {
				l["base"], l["checkpoints"] = manifests.Listing{Files: []manifests.File{small("README.md", 1)}}, manifests.Listing{}
			},
			[]string{"selecting files of tiny: the rules keep none of 1 files"}, "",
		},
		{
			"a file named like our part", `"*-r128*.safetensors"]`, `"*-r128*.safetensors*"]`,
			file("checkpoints", large("tiny-r128.safetensors.part-01-of-03", 5)),
			[]string{"tiny-r128.safetensors and tiny-r128.safetensors.part-01-of-03 both need app/models/tiny-quantised/tiny-r128.safetensors.part-01-of-03 in the image"}, "",
		},
		{
			"a file that is a folder too", `["*.json"]`, `["*.json", "config.json/*"]`, file("base", small("config.json/x", 1)),
			[]string{"selecting files of tiny: config.json is a file, and a folder for config.json/x"}, "",
		},
		{
			"a name that is too long with its part", `"*-r128*.safetensors"]`, `"*-r128*.safetensors*"]`,
			file("checkpoints", large("x-r128.safetensors"+strings.Repeat("n", 230), 5<<20)),
			[]string{"holds a name of 262 bytes, at most 255 are possible"}, "",
		},
		{
			"too many parts", "", "", file("checkpoints", large("big-r128.safetensors", 300<<20)),
			[]string{"cuts 314572800 bytes into 150 parts, at most 99 are allowed"}, "raise partSize in the manifest",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := manifests.Parse(edited(t, tiny, c.old, c.new))
			require.NoError(t, err)
			listings := tinyListings()
			c.change(listings)
			s, err := m.Select("", listings)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, fault.Usage, fault.KindOf(err))
			require.Equal(t, c.hint, fault.HintOf(err))
			require.Empty(t, s.Decisions)
		})
	}
}

func TestSelectNamesTheVariants(t *testing.T) {
	_, err := load(t, "qwen-image-edit.yaml").Select("turbo", qwenListings())
	require.EqualError(t, err, `selecting files of qwen-image-edit: there is no variant "turbo"`)
	require.Equal(t, "known variants: default, lightning, plain", fault.HintOf(err))
	require.Equal(t, fault.Usage, fault.KindOf(err))
}

// What a variant carries is what its selection keeps of what the rules keep.
func TestCarries(t *testing.T) {
	m := load(t, "qwen-image-edit.yaml")
	whole, err := m.Select("", qwenListings())
	require.NoError(t, err)
	for _, variant := range []string{"", "default", "lightning", "plain"} {
		carries, err := m.Carries(variant)
		require.NoError(t, err)
		narrow, err := m.Select(variant, qwenListings())
		require.NoError(t, err)
		var want, got []string
		for _, d := range whole.Kept() {
			if carries(d.Source, d.Path) {
				got = append(got, d.Source+"/"+d.Path)
			}
		}
		for _, d := range narrow.Kept() {
			want = append(want, d.Source+"/"+d.Path)
		}
		require.Equal(t, want, got, variant)
		require.Equal(t, variant == "lightning" || variant == "plain", len(got) < len(whole.Kept()), variant)
	}
	_, err = m.Carries("turbo")
	require.Equal(t, fault.Usage, fault.KindOf(err))
}

// The real model's manifest is total for what is published, and says so when more is.
func TestSelectReportsNewUpstreamFiles(t *testing.T) {
	m := load(t, "qwen-image-edit.yaml")
	for _, name := range []string{"svdq-int4_r128-qwen-image-edit-lightningv2.0-8steps.safetensors", "svdq-int8_r128-qwen-image-edit.safetensors", "config.json"} {
		listings := qwenListings()
		l := listings["checkpoints"]
		l.Files = append(l.Files, large(name, 1))
		listings["checkpoints"] = l
		_, err := m.Select("", listings)
		require.EqualError(t, err, "selecting files of nunchaku-ai/nunchaku-qwen-image-edit: no rule claims "+name)
	}
}

// Whatever the listing: each file is decided once, by the rule that claims it, and the
// sizes of kept and dropped files add up to all.
func TestSelectPartitionsTheListing(t *testing.T) {
	m, err := manifests.Parse([]byte(`
apiVersion: plimsoll/v1
name: any
title: Any
runtime: none
sources:
  - {name: model, title: Model, role: base, repo: a/b, revision: main, license: MIT, path: m, rules: [
      {name: keep, keep: ["k/**"], reason: kept}, {name: drop, drop: ["d/**"], because: docs, reason: dropped}]}
`))
	require.NoError(t, err)
	name := rapid.StringMatching(`[kd](/[a-z*?\[\]{}!., ~-]{1,8}){1,3}`)
	rapid.Check(t, func(t *rapid.T) {
		var l manifests.Listing
		total := int64(0)
		for _, path := range rapid.SliceOfDistinct(name, rapid.ID).Draw(t, "paths") {
			size := rapid.Int64Range(0, 1<<40).Draw(t, "size")
			l.Files = append(l.Files, large(path, size))
			total += size
		}
		s, err := m.Select("", map[string]manifests.Listing{"model": l})
		if err != nil {
			require.Regexp(t, "keep none of|is a file, and a folder|not clean", err.Error())
			return
		}
		kept, dropped := s.Bytes()
		require.Equal(t, total, kept+dropped)
		require.Equal(t, kept, sumOf(s.Kept()))
		require.Equal(t, len(l.Files), len(s.Decisions))
		for _, d := range s.Decisions {
			require.Equal(t, d.Path[0] == 'k', d.Keep)
			require.Equal(t, d.Keep, d.ImagePath == "app/models/m/"+d.Path)
			require.Equal(t, d.Keep, d.Because == "")
			require.Contains(t, l.Files, d.File)
		}
	})
}
