package report_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// small is a weights-only image of one source: one file kept, one dropped.
func small() report.Input {
	m := &manifests.Manifest{
		Name: "small", Runtime: manifests.RuntimeNone,
		Sources: []manifests.Source{{Name: "all", Path: "all", Role: manifests.RoleBase}},
	}
	keep := manifests.Decision{
		Source: "all", File: manifests.File{Path: "a.safetensors", Size: 700}, Keep: true, Rule: "weights",
		Reason: "needed", ImagePath: "app/models/all/a.safetensors",
	}
	drop := manifests.Decision{
		Source: "all", File: manifests.File{Path: "a.bin", Size: 900}, Rule: "copies",
		Because: manifests.BecauseDuplicate, Reason: "the same weights again",
	}
	return report.Input{
		Manifest: m, Manifests: 50,
		Selection: manifests.Selection{Variant: manifests.DefaultVariant, Decisions: []manifests.Decision{drop, keep}},
		Layers: []report.Layer{
			{Kind: report.KindModel, Path: keep.ImagePath, Source: "all", Digest: reporttest.Digest("a"), Size: 2560, Content: 700},
			{Kind: report.KindConfig, Path: "etc/plimsoll/model.json", Digest: reporttest.Digest("c"), Size: 1000, Content: 40},
		},
		Unused: []manifests.ModelUnused{{Path: "all/a.safetensors", Part: "lm_head", Bytes: 70, Reason: "never read"}},
	}
}

func build(t *testing.T, in report.Input) *report.Report {
	t.Helper()
	r, err := report.New(in)
	require.NoError(t, err)
	return r
}

func TestFigures(t *testing.T) {
	r := build(t, small())
	require.Equal(t, report.Image{
		Bytes: 3610, ModelBytes: 700, OutsideBytes: 2910, ManifestBytes: 50, RegistryBytes: 3610, UpdateBytes: 1050, UnpackedBytes: 3610, NodeBytes: 7220, Layers: 2,
	}, r.Image)
	s, ok := r.Scope(report.ScopeNaive)
	require.True(t, ok)
	percent := 56.3
	require.Equal(t, report.Row{Component: "all", Source: "all", Before: 1600, After: 700, Saved: 900, Percent: &percent}, s.Rows[0])
	require.Equal(t, report.Row{Component: "Outside the model files", After: 2910, Saved: -2910}, s.Rows[1])
	require.Equal(t, int64(900), s.SavedBytes)
	require.Equal(t, int64(2910), s.AddedBytes)
	require.Equal(t, int64(-2010), s.Total.Saved)
	require.Equal(t, []report.Addition{
		{Kind: report.KindConfig, Title: "Model configuration", Bytes: 1000},
		{Kind: report.AddedFormat, Title: "Tar around the model files", Bytes: 1860},
		{Kind: report.AddedManifests, Title: "Image config and manifest", Bytes: 50},
	}, s.Additions)
	require.Equal(t, int64(70), r.UnusedBytes)
	require.Equal(t, "small", r.Model.Title)
	_, ok = r.Scope("none")
	require.False(t, ok)
}

// TestWithoutNaive: a manifest that says nothing about a naive image is compared to all
// that is published, once.
func TestWithoutNaive(t *testing.T) {
	r := build(t, small())
	naive, published := r.Scopes[0], r.Scopes[1]
	naive.Name, naive.Title = published.Name, published.Title
	require.Equal(t, published, naive)
	require.Contains(t, r.Text(), "A naive image takes all that is published.")
	require.NotContains(t, r.Text(), "Storage impact: all that is published")
	require.Contains(t, r.Text(), "125.6 % more than a naive image.")
}

// TestKeptOutsideScope: a kept file that a naive image would lack is an addition there,
// and none against all that is published.
func TestKeptOutsideScope(t *testing.T) {
	in := small()
	in.Manifest.Before.Naive = map[string][]string{"all": {"*.bin"}}
	r := build(t, in)
	naive, published := r.Scopes[0], r.Scopes[1]
	require.Equal(t, report.Addition{Kind: report.AddedFiles, Title: "Kept files that were not there before", Bytes: 700}, naive.Additions[3])
	require.Len(t, published.Additions, 3)
	require.Equal(t, int64(2910+700), naive.AddedBytes)
	require.Equal(t, int64(2910), published.AddedBytes)
	require.Equal(t, int64(-200+400), naive.Rows[0].Saved)
	require.Equal(t, int64(2910), r.Image.OutsideBytes)
	require.Contains(t, r.Text(), "Kept files that were not there before")
	require.False(t, r.Files[1].Naive)
	require.True(t, r.Files[0].Naive)
}

// TestDroppedOutsideScope: what a naive image would not take is saved against all that is
// published only.
func TestDroppedOutsideScope(t *testing.T) {
	in := small()
	in.Manifest.Before.Naive = map[string][]string{"all": {"*.safetensors"}}
	r := build(t, in)
	require.Empty(t, r.Scopes[0].Savings)
	require.Equal(t, int64(900), r.Scopes[1].SavedBytes)
	require.Equal(t, 1, r.Scopes[0].Files)
}

// TestEstimates stay out of every exact figure.
func TestEstimates(t *testing.T) {
	plain := build(t, small())
	in := small()
	in.Manifest.Before.Software = []manifests.Software{
		{Name: "torch", Bytes: 6000, CompressedBytes: 3000, Source: "a wheel"},
		{Name: "ffmpeg", Bytes: 400, Source: "a package"},
	}
	r := build(t, in)
	require.Equal(t, plain.Scopes, r.Scopes)
	require.Equal(t, plain.Image, r.Image)
	require.Nil(t, plain.Estimated)
	require.Equal(t, int64(6400), r.Estimated.Row.Before)
	require.Zero(t, r.Estimated.Row.After)
	require.Equal(t, int64(1600+6400), r.Estimated.Total.Before)
	require.Equal(t, r.Image.Bytes, r.Estimated.Total.After)
	require.NotContains(t, plain.Text(), "~")
	require.Contains(t, r.Text(), "~ estimated: torch, 6.00 kB unpacked, 3.00 kB as pulled. Source: a wheel.")
	require.Contains(t, r.Text(), "~ estimated: ffmpeg, 0.40 kB unpacked. Source: a package.")
}

// TestSharedDigest: the image counts every layer, a registry every blob.
func TestSharedDigest(t *testing.T) {
	in := small()
	in.Layers = append(in.Layers, in.Layers[1])
	r := build(t, in)
	require.Equal(t, int64(4610), r.Image.Bytes)
	require.Equal(t, int64(3610), r.Image.RegistryBytes)
	require.Equal(t, int64(9220), r.Image.NodeBytes)
}

// TestEmptyFile: a file without bytes is aboard if its layer is.
func TestEmptyFile(t *testing.T) {
	in := small()
	in.Selection.Decisions[1].Size, in.Layers[0].Content, in.Unused = 0, 0, nil
	r := build(t, in)
	require.Zero(t, r.Image.ModelBytes)
	require.NotContains(t, r.Text(), "Still aboard")
	require.Contains(t, string(r.JSON()), `"unused": []`)
}

// TestJSONIsReadable: reasons stand in the document as in the manifest.
func TestJSONIsReadable(t *testing.T) {
	in := small()
	in.Selection.Decisions[0].Reason = "a < b & c > d"
	require.Contains(t, string(build(t, in).JSON()), `"reason": "a < b & c > d"`)
}

// TestInputStays: a report does not share slices with its input.
func TestInputStays(t *testing.T) {
	in := reporttest.Real(t, "")
	r := build(t, in)
	before := string(r.JSON())
	for i := range in.Layers {
		in.Layers[i].Size = -1
	}
	in.Selection.Decisions[0].Reason, in.Unused[0].Part = "changed", "changed"
	require.Equal(t, before, string(r.JSON()))
	require.Equal(t, "lm_head.*", r.Unused[0].Part)
}

// TestOrder: rows put checkpoints first, layers and files stay in the image's order.
func TestOrder(t *testing.T) {
	r := build(t, reporttest.Real(t, ""))
	require.Equal(t, "checkpoints", r.Scopes[0].Rows[0].Source)
	require.Equal(t, "checkpoints", r.Kept[0].Source)
	require.Equal(t, "base", r.Files[0].Source)
	require.Equal(t, "base", r.Layers[0].Source)
	require.Equal(t, report.KindConfig, r.Layers[len(r.Layers)-1].Kind)
	require.Less(t, strings.Index(r.Text(), "Nunchaku Models"), strings.Index(r.Text(), "Base Model"))
}

// TestVariant: files that only another variant carries are saved as such.
func TestVariant(t *testing.T) {
	r := build(t, reporttest.Real(t, "lightning"))
	naive, _ := r.Scope(report.ScopeNaive)
	var found *report.Saving
	for _, s := range naive.Savings {
		if s.Because == manifests.BecauseVariant {
			found = &s
		}
	}
	require.NotNil(t, found)
	require.Equal(t, 1, found.Files)
	require.Equal(t, int64(12_654_443_144), found.Bytes)
	require.Equal(t, "variant lightning carries lightning only", found.Rules[0].Reason)
}
