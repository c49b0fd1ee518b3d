package report_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// parts returns two layers that hold the kept file of small in parts.
func parts(first, second int64) []report.Layer {
	name := "app/models/all/a.safetensors"
	return []report.Layer{
		{Kind: report.KindModel, Path: name + ".part-00-of-02", Source: "all", Digest: reporttest.Digest("0"), Size: 4000, Content: first},
		{Kind: report.KindModel, Path: name + ".part-01-of-02", Source: "all", Digest: reporttest.Digest("1"), Size: 4000, Content: second},
	}
}

func TestParts(t *testing.T) {
	in := small()
	in.Layers = parts(400, 300)
	require.Equal(t, int64(700), build(t, in).Image.ModelBytes)
}

// TestPartLikeName: a file may be called as a part would be.
func TestPartLikeName(t *testing.T) {
	in := small()
	name := "app/models/all/a.part-00-of-02"
	in.Selection.Decisions[1].Path, in.Selection.Decisions[1].ImagePath = "a.part-00-of-02", name
	in.Layers[0].Path, in.Unused = name, nil
	require.Equal(t, int64(700), build(t, in).Image.ModelBytes)
}

// TestContradictions: each case breaks one thing of a good input.
func TestContradictions(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*report.Input)
		kind  fault.Kind
		text  string
	}{
		{"no manifest", func(in *report.Input) { in.Manifest = nil }, fault.Internal, "its manifest is missing"},
		{"file of a foreign source", func(in *report.Input) { in.Selection.Decisions[0].Source = "x" }, fault.Internal, `file a.bin: there is no source "x"`},
		{"negative file", func(in *report.Input) { in.Selection.Decisions[0].Size = -9 }, fault.Internal, "file a.bin of all: its size is -9"},
		{"file twice", func(in *report.Input) {
			in.Selection.Decisions = append(in.Selection.Decisions, in.Selection.Decisions[0])
		}, fault.Internal, "file a.bin of all: it is there twice"},
		{"kept without a path", func(in *report.Input) { in.Selection.Decisions[1].ImagePath = "" }, fault.Internal, `keep is true and its image path ""`},
		{"dropped with a path", func(in *report.Input) { in.Selection.Decisions[0].ImagePath = "p" }, fault.Internal, `keep is false and its image path "p"`},
		{"unknown category", func(in *report.Input) { in.Selection.Decisions[0].Because = "mood" }, fault.Internal, `dropped because of "mood"`},
		{"layer of a foreign source", func(in *report.Input) { in.Layers[0].Source = "x" }, fault.Internal, `there is no source "x" in the manifest`},
		{"unknown kind", func(in *report.Input) { in.Layers[1].Kind = "format" }, fault.Internal, `its kind is "format", known are [model base runtime config]`},
		{"source of another kind", func(in *report.Input) { in.Layers[1].Source = "all" }, fault.Internal, `its kind is "config", but it names the source "all"`},
		{"no digest", func(in *report.Input) { in.Layers[0].Digest = "" }, fault.Internal, "its digest is missing"},
		{"negative layer", func(in *report.Input) { in.Layers[1].Size = -1 }, fault.Internal, "its size is -1, unpacked 0, and its content 40"},
		{"negative content", func(in *report.Input) { in.Layers[1].Content = -1 }, fault.Internal, "its size is 1000, unpacked 0, and its content -1"},
		{"negative archive", func(in *report.Input) { in.Layers[1].Unpacked = -1 }, fault.Internal, "its size is 1000, unpacked -1"},
		{"another size in another image", func(in *report.Input) {
			in.Other = &report.Other{Name: "other", Layers: []report.OtherLayer{{Digest: in.Layers[0].Digest, Size: 7}}}
		}, fault.Internal, "of other: its size is 7, in the image it is 2560"},
		{"negative limit", func(in *report.Input) { in.Limits = []report.Limit{{Registry: "r", Layer: -1}} }, fault.Internal, "limits of r: a layer of -1 bytes"},
		{"layer below content", func(in *report.Input) { in.Layers[0].Size = 699 }, fault.Internal, "its size is 699, less than its content of 700"},
		{"one digest, two sizes", func(in *report.Input) { in.Layers[1].Digest = in.Layers[0].Digest }, fault.Internal, "its size is 1000, another layer of digest " + reporttest.Digest("a") + " has 2560"},
		{"layer of a dropped file", func(in *report.Input) { in.Layers[0].Path = "app/models/all/a.bin" }, fault.Invalid, "source all keeps no such file"},
		{"layer twice", func(in *report.Input) { in.Layers = append(in.Layers, in.Layers[0]) }, fault.Invalid, "it is there twice"},
		{"kept file without a layer", func(in *report.Input) { in.Layers = in.Layers[1:] }, fault.Invalid, "it is kept, but no layer holds it"},
		{"fewer bytes than the file", func(in *report.Input) { in.Layers[0].Content-- }, fault.Invalid, "its layers hold 699 bytes, its size is 700"},
		{"more bytes than the file", func(in *report.Input) { in.Layers[0].Content++ }, fault.Invalid, "its layers hold 701 bytes, its size is 700"},
		{"a part is missing", func(in *report.Input) { in.Layers = parts(400, 300)[:1] }, fault.Invalid, "its layers hold 400 bytes, its size is 700"},
		{"unused of a file that is not aboard", func(in *report.Input) { in.Unused[0].Path = "all/a.bin" }, fault.Invalid, "unused lm_head: the file all/a.bin is not aboard"},
		{"unused below zero", func(in *report.Input) { in.Unused[0].Bytes = -1 }, fault.Internal, "unused lm_head: it is -1 bytes, of all/a.safetensors there are 700"},
		{"unused over the file", func(in *report.Input) {
			in.Unused = append(in.Unused, manifests.ModelUnused{Path: "all/a.safetensors", Part: "more", Bytes: 631})
		}, fault.Internal, "unused more: it is 631 bytes, of all/a.safetensors there are 630"},
		{"no manifests", func(in *report.Input) { in.Manifests = 0 }, fault.Internal, "the config and manifest blobs have 0 bytes"},
		{"negative software", func(in *report.Input) {
			in.Manifest.Before.Software = []manifests.Software{{Name: "torch", Bytes: -5}}
		}, fault.Internal, "software torch: its size is -5, compressed 0"},
		{"one size over the bound", func(in *report.Input) { in.Selection.Decisions[0].Size = 1<<63 - 1 }, fault.Internal, "over 36028797018963968 bytes"},
		{"sum over the bound", func(in *report.Input) {
			in.Selection.Decisions[0].Size, in.Layers[1].Size = 1<<54, 1<<54
		}, fault.Internal, "over 36028797018963968 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := small()
			_, err := report.New(in)
			require.NoError(t, err)
			c.spoil(&in)
			r, err := report.New(in)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, "reporting on ")
			require.Nil(t, r)
			require.Equal(t, c.kind, fault.KindOf(err))
			require.Equal(t, c.kind == fault.Invalid, fault.HintOf(err) != "")
		})
	}
}

// TestOtherVariant: the image of one variant with the selection of another is refused.
func TestOtherVariant(t *testing.T) {
	in := reporttest.Real(t, "lightning")
	in.Selection = reporttest.Real(t, "").Selection
	_, err := report.New(in)
	require.ErrorContains(t, err, "reporting on qwen-image-edit: file svdq-int4_r128-qwen-image-edit.safetensors of checkpoints: it is kept, but no layer holds it")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
