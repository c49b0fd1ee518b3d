package report_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// weighed is a report over 60 MB of a file in two parts, 5 MB of another, and 13 MB outside.
func weighed() *report.Report {
	r := &report.Report{Layers: []report.Layer{
		{Kind: report.KindModel, Path: "app/models/q/w.part-00-of-02", Size: 40_000_000},
		{Kind: report.KindModel, Path: "app/models/q/w.part-01-of-02", Size: 20_000_000},
		{Kind: report.KindModel, Path: "app/models/b/vae", Size: 5_000_000},
		{Kind: report.KindBase, Path: "base: libc6 2.41-12", Size: 2_000_000},
		{Kind: report.KindRuntime, Path: "plimsoll runtime", Size: 11_000_000},
	}}
	r.Image.Bytes, r.Image.OutsideBytes = 78_000_000, 13_000_000
	return r
}

func limit(n manifests.Size) *manifests.Size { return &n }

func budget(t *testing.T, b manifests.Budget, p *report.Published) *report.Budget {
	t.Helper()
	out, err := report.NewBudget(weighed(), &b, p)
	require.NoError(t, err)
	return out
}

func TestBudget(t *testing.T) {
	none, err := report.NewBudget(weighed(), nil, nil)
	require.NoError(t, err)
	require.Nil(t, none)
	require.NoError(t, none.Err())

	exactly := budget(t, manifests.Budget{Image: limit(78_000_000), Outside: limit(13_000_000)}, nil)
	require.False(t, exactly.Over, "a limit may be reached")
	require.NoError(t, exactly.Err())
	require.Zero(t, exactly.Limits[0].Left)

	over := budget(t, manifests.Budget{Image: limit(77_999_999), Outside: limit(12_000_000)}, nil)
	require.True(t, over.Over)
	require.Equal(t, int64(-1_000_000), over.Limits[1].Left)
	require.Equal(t, &report.BudgetShare{Name: "app/models/q/w", Bytes: 60_000_000}, over.Limits[0].Largest, "parts are one file")
	require.Equal(t, &report.BudgetShare{Name: "runtime layer", Bytes: 11_000_000}, over.Limits[1].Largest)
	err = over.Err()
	require.Equal(t, fault.Budget, fault.KindOf(err))
	require.Equal(t, 8, fault.KindOf(err).ExitCode())
	require.ErrorContains(t, err, "checking the budget: the image has 78.00 MB (78,000,000 bytes), 1 B over its limit of 78.00 MB (77,999,999 bytes); most of it is app/models/q/w with 60.00 MB (60,000,000 bytes)")
	require.ErrorContains(t, err, "outside the model files the image has 13.00 MB (13,000,000 bytes), 1.00 MB (1,000,000 bytes) over its limit of 12.00 MB (12,000,000 bytes); most of it is runtime layer with")
	require.Equal(t, "drop what is not needed, or raise budget.image in the manifest", fault.HintOf(err))
}

// TestGrowth names what grew most, whatever is largest.
func TestGrowth(t *testing.T) {
	published := &report.Published{Name: "docker://r/m:1", Digest: "sha256:abc", Bytes: 70_000_000, Layers: weighed().Layers}
	published.Layers[2].Size, published.Layers[3].Path = 1_000_000, "base: libc6 2.41-11"
	b := budget(t, manifests.Budget{Growth: "10%"}, published)
	require.Equal(t, []report.BudgetLimit{{
		Name: report.BudgetGrowth, Title: "Growth", Checked: true, Limit: 7_000_000, Used: 8_000_000, Left: -1_000_000,
		Largest: &report.BudgetShare{Name: "app/models/b/vae", Bytes: 4_000_000}, Against: "docker://r/m:1", AgainstDigest: "sha256:abc", AgainstBytes: 70_000_000,
	}}, b.Limits)
	require.ErrorContains(t, b.Err(), "the image grew by 8.00 MB (8,000,000 bytes) over docker://r/m:1, 1.00 MB (1,000,000 bytes) over its limit of 7.00 MB")

	published.Bytes = 90_000_000
	shrunk := budget(t, manifests.Budget{Growth: "0%"}, published)
	require.NoError(t, shrunk.Err())
	require.Equal(t, int64(12_000_000), shrunk.Limits[0].Left)

	unknown := budget(t, manifests.Budget{Growth: "0%"}, nil)
	require.NoError(t, unknown.Err())
	require.False(t, unknown.Limits[0].Checked)
}
