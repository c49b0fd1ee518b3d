package report_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func TestGolden(t *testing.T) {
	cases := map[string]report.Input{
		"qwen-image-edit":           reporttest.Real(t, ""),
		"qwen-image-edit-lightning": reporttest.Real(t, "lightning"),
		"demo-scale":                reporttest.Demo(t),
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := report.New(in)
			require.NoError(t, err)
			golden(t, name+".txt", r.Text())
			golden(t, name+"-brief.txt", r.Brief())
			golden(t, name+".json", string(r.JSON()))
		})
	}
}

// golden compares to a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestHeadline holds the figures that the project claims for the real model.
func TestHeadline(t *testing.T) {
	both, err := report.New(reporttest.Real(t, ""))
	require.NoError(t, err)
	one, err := report.New(reporttest.Real(t, "lightning"))
	require.NoError(t, err)
	naive, _ := both.Scope(report.ScopeNaive)
	published, _ := both.Scope(report.ScopePublished)

	require.Equal(t, int64(83_027_665_277), naive.Total.Before)
	require.Equal(t, 83.0, gigabytes(naive.Total.Before))
	require.Equal(t, 42.2, gigabytes(both.Image.ModelBytes))
	require.Equal(t, 29.5, gigabytes(one.Image.ModelBytes))
	require.InDelta(t, 205e9, published.Total.Before, 0.5e9)
	require.Less(t, both.Image.OutsideBytes, int64(25_000_000))

	require.Equal(t, "Nunchaku Models", naive.Rows[0].Component)
	require.Equal(t, int64(2*12_654_443_144), naive.Rows[0].Before)
	require.Zero(t, naive.Rows[0].Saved)
	require.Equal(t, "Base Model", naive.Rows[1].Component)
	require.Equal(t, int64(57_718_778_989), naive.Rows[1].Before)
	require.Equal(t, manifests.BecauseReplaced, naive.Savings[0].Because)
	require.GreaterOrEqual(t, naive.Savings[0].Bytes, int64(40_861_027_880))
}

// gigabytes rounds to one decimal, as the claims do.
func gigabytes(n int64) float64 { return float64((n+5e7)/1e8) / 10 }

// TestShards checks the listing against the published sum of the base transformer.
func TestShards(t *testing.T) {
	sum := int64(0)
	for _, f := range reporttest.Listings(t)["base"].Files {
		if strings.HasPrefix(f.Path, "transformer/") && strings.HasSuffix(f.Path, ".safetensors") {
			sum += f.Size
		}
	}
	require.Equal(t, int64(40_861_027_880), sum)
}

// TestJSONReadsBack keeps the document complete: what the type holds is in the JSON.
func TestJSONReadsBack(t *testing.T) {
	r, err := report.New(reporttest.Real(t, ""))
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(r.JSON())))
	decoder.DisallowUnknownFields()
	var back report.Report
	require.NoError(t, decoder.Decode(&back))
	require.Equal(t, *r, back)
	require.Equal(t, report.SchemaVersion, back.SchemaVersion)
}
