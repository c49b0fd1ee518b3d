package report_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

var categories = []manifests.Category{
	manifests.BecausePrecision, manifests.BecauseRank, manifests.BecauseSteps,
	manifests.BecauseReplaced, manifests.BecauseDuplicate, manifests.BecauseDocs,
}

// size draws sizes of all magnitudes.
func size(t *rapid.T, label string) int64 {
	bits := rapid.IntRange(0, 36).Draw(t, label+" bits")
	return rapid.Int64Range(0, 1<<bits).Draw(t, label)
}

// source draws a repository: files, one rule for each, some of them in the naive scope.
func source(t *rapid.T, name string) (manifests.Source, manifests.Listing, []string) {
	s := manifests.Source{
		Name: name, Path: name, Title: rapid.String().Draw(t, "title"),
		Role: rapid.SampledFrom([]manifests.Role{manifests.RoleBase, manifests.RoleCheckpoints}).Draw(t, "role"),
	}
	var l manifests.Listing
	var naive []string
	for i := range rapid.IntRange(0, 8).Draw(t, "files") {
		f := manifests.File{Path: fmt.Sprintf("dir/f%d", i), Size: size(t, "file")}
		l.Files = append(l.Files, f)
		rule := manifests.Rule{Name: fmt.Sprintf("r%d", i), Reason: rapid.String().Draw(t, "reason")}
		if rapid.Bool().Draw(t, "keep") {
			rule.Keep = []string{f.Path}
		} else {
			rule.Drop, rule.Because = []string{f.Path}, rapid.SampledFrom(categories).Draw(t, "because")
		}
		s.Rules = append(s.Rules, rule)
		if rapid.Bool().Draw(t, "naive") {
			naive = append(naive, f.Path)
		}
	}
	return s, l, naive
}

// randomInput draws a manifest, selects with it, cuts the kept files into layers and puts
// other layers on top. One file is always kept, since nothing else can be selected.
func randomInput(t *rapid.T) report.Input {
	m := &manifests.Manifest{Name: "random", Title: rapid.String().Draw(t, "model"), PartSize: 2 * pack.Align}
	if rapid.Bool().Draw(t, "uncut") {
		m.PartSize = 0
	} else if rapid.Bool().Draw(t, "wide") {
		m.PartSize = 9_500_000_000
	}
	m.Before.Naive = map[string][]string{}
	ls := map[string]manifests.Listing{}
	for i := range rapid.IntRange(1, 3).Draw(t, "sources") {
		s, l, naive := source(t, fmt.Sprintf("s%d", i))
		if i == 0 {
			l.Files = append(l.Files, manifests.File{Path: "kept", Size: 1 + size(t, "kept")%1000})
			s.Rules = append(s.Rules, manifests.Rule{Name: "kept", Keep: []string{"kept"}, Reason: "always"})
		}
		m.Sources, ls[s.Name] = append(m.Sources, s), l
		if len(naive) > 0 {
			m.Before.Naive[s.Name] = naive
		}
	}
	if rapid.Bool().Draw(t, "without naive") {
		m.Before.Naive = nil
	}
	capSizes(m, ls)
	s, err := m.Select("", ls)
	require.NoError(t, err)
	in := report.Input{
		Manifest: m, Selection: s, Layers: append(reporttest.Layers(t, m, s), otherLayers(t)...),
		Manifests: 1 + size(t, "manifests"), Note: rapid.String().Draw(t, "note"), Image: reporttest.Digest("random"),
		Limits: []report.Limit{{Registry: rapid.String().Draw(t, "registry"), Layer: 1 + size(t, "limit"), PartSize: 1 << 20}},
	}
	in.Other = &report.Other{Name: rapid.String().Draw(t, "other"), Layers: []report.OtherLayer{{Digest: reporttest.Digest("foreign"), Size: 1}}}
	for _, l := range in.Layers {
		if rapid.Bool().Draw(t, "shared") {
			in.Other.Layers = append(in.Other.Layers, report.OtherLayer{Digest: l.Digest, Size: l.Size})
		}
	}
	return in
}

// capSizes keeps files under the number of parts that pack allows.
func capSizes(m *manifests.Manifest, ls map[string]manifests.Listing) {
	for _, l := range ls {
		for i := range l.Files {
			if m.PartSize == 2*pack.Align {
				l.Files[i].Size %= 90 * pack.Align
			}
		}
	}
	m.Before.Software = []manifests.Software{{Name: "torch", Bytes: 1e9, Source: "a guess"}}
}

// otherLayers draws base, runtime and configuration layers; some share a digest.
func otherLayers(t *rapid.T) []report.Layer {
	var out []report.Layer
	for i := range rapid.IntRange(0, 5).Draw(t, "others") {
		kind := rapid.SampledFrom([]string{report.KindBase, report.KindRuntime, report.KindConfig}).Draw(t, "kind")
		out = append(out, report.Layer{
			Kind: kind, Path: fmt.Sprintf("other/%d", i), Digest: reporttest.Digest(fmt.Sprint("other", i)),
			Size: size(t, "size"), Content: size(t, "content"), Unpacked: size(t, "unpacked"),
		})
		if rapid.Bool().Draw(t, "again") {
			out = append(out, out[len(out)-1])
		}
	}
	return out
}

// TestIdentity: in every scope, before - after = saved - added to the byte, where before
// and after are counted here from the input and not from the report.
func TestIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := randomInput(t)
		r, err := report.New(in)
		require.NoError(t, err)
		after, published, naive := count(in)
		require.Equal(t, after, r.Image.Bytes)
		requireWire(t, in, r)
		require.LessOrEqual(t, r.Image.RegistryBytes, after)
		for i, before := range []int64{naive, published} {
			s := r.Scopes[i]
			require.Equal(t, before, s.Total.Before)
			require.Equal(t, after, s.Total.After)
			requireSums(t, s)
			require.Equal(t, before-after, s.SavedBytes-s.AddedBytes)
		}
		requireAdditions(t, r)
	})
}

// requireWire counts what is stored, pulled and shared from the input alone.
func requireWire(t *rapid.T, in report.Input, r *report.Report) {
	unpacked, registry, update, shared := in.Manifests, in.Manifests, in.Manifests, int64(0)
	there, seen, largest := map[string]bool{}, map[string]bool{}, int64(0)
	for _, l := range in.Other.Layers {
		there[l.Digest] = true
	}
	for i, l := range in.Layers {
		require.Equal(t, there[l.Digest], r.Layers[i].Shared)
		unpacked += cmp.Or(l.Unpacked, l.Size)
		largest = max(largest, l.Size)
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		registry += l.Size
		if l.Kind != report.KindModel {
			update += l.Size
		}
		if there[l.Digest] {
			shared += l.Size
		}
	}
	w := r.Image
	require.Equal(t, []int64{unpacked, w.Bytes + unpacked, registry, update}, []int64{w.UnpackedBytes, w.NodeBytes, w.RegistryBytes, w.UpdateBytes})
	require.Equal(t, []int64{shared, registry - shared}, []int64{r.Shared.Bytes, r.Shared.MissingBytes})
	for _, p := range r.Pull {
		require.InDelta(t, float64(registry)*8/float64(p.BitsPerSecond), p.Seconds, 0.0005)
		require.InDelta(t, float64(r.Scopes[0].Total.Before)*8/float64(p.BitsPerSecond), p.BeforeSeconds, 0.0005)
		require.LessOrEqual(t, p.UpdateSeconds, p.Seconds)
		require.LessOrEqual(t, *p.SharedSeconds, p.Seconds)
	}
	for i, limit := range in.Limits {
		h := r.Limits[i]
		require.Equal(t, largest, h.LargestLayer)
		require.Equal(t, limit.Layer-largest, *h.LeftBytes)
		require.Equal(t, largest <= limit.Layer, h.Fits)
		require.Equal(t, h.Fits, h.PartSize == 0)
	}
}

// count adds up image, published files and naive files of an input.
func count(in report.Input) (after, published, naive int64) {
	after = in.Manifests
	for _, l := range in.Layers {
		after += l.Size
	}
	for _, d := range in.Selection.Decisions {
		published += d.Size
		for _, p := range in.Manifest.Before.Naive[d.Source] {
			if p == d.Path {
				naive += d.Size
			}
		}
	}
	if len(in.Manifest.Before.Naive) == 0 {
		naive = published
	}
	return after, published, naive
}

// requireSums checks that rows, savings and additions add up to what the scope says.
func requireSums(t *rapid.T, s report.Scope) {
	var before, after, saved, bySaving, byRule, byAddition int64
	for _, row := range s.Rows {
		before, after, saved = before+row.Before, after+row.After, saved+row.Saved
		require.Equal(t, row.Before-row.After, row.Saved)
		require.Equal(t, row.Before == 0, row.Percent == nil)
	}
	require.Equal(t, []int64{s.Total.Before, s.Total.After, s.Total.Saved}, []int64{before, after, saved})
	for _, v := range s.Savings {
		bySaving += v.Bytes
		for _, g := range v.Rules {
			byRule += g.Bytes
		}
	}
	for _, a := range s.Additions {
		require.GreaterOrEqual(t, a.Bytes, int64(0))
		byAddition += a.Bytes
	}
	require.Equal(t, []int64{s.SavedBytes, s.SavedBytes, s.AddedBytes}, []int64{bySaving, byRule, byAddition})
}

// requireAdditions checks that "outside the model files" is all additions but files.
func requireAdditions(t *rapid.T, r *report.Report) {
	for _, s := range r.Scopes {
		outside := int64(0)
		for _, a := range s.Additions {
			if a.Kind != report.AddedFiles {
				outside += a.Bytes
			}
		}
		require.Equal(t, r.Image.OutsideBytes, outside)
	}
	require.Equal(t, r.Image.Bytes, r.Image.ModelBytes+r.Image.OutsideBytes)
}

// TestTextIsATable: whatever a manifest holds, no line is over 100 columns, nothing moves
// the cursor, and figures end in one column per table.
func TestTextIsATable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := report.New(randomInput(t))
		require.NoError(t, err)
		text := r.Text() + r.Brief()
		require.True(t, utf8.ValidString(text))
		for line := range strings.SplitSeq(text, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), 100, line)
			require.Equal(t, strings.TrimRight(line, " "), line)
			require.NotContains(t, line, "\x1b")
			require.NotContains(t, line, "\r")
		}
	})
}

// TestDeterministic: the same input gives the same bytes.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := randomInput(t)
		a, err := report.New(in)
		require.NoError(t, err)
		b, err := report.New(in)
		require.NoError(t, err)
		require.Equal(t, string(a.JSON()), string(b.JSON()))
		require.Equal(t, a.Text(), b.Text())
	})
}
