package diff_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/image/report/diff"
)

// randomLayer draws one layer of a small world, so that images share layers, archives and
// titles. What a digest stands for is a function of the digest.
func randomLayer(t *rapid.T, diffIDs bool) diff.Layer {
	archive := rapid.IntRange(0, 5).Draw(t, "archive")
	form := rapid.IntRange(0, 2).Draw(t, "form")
	l := diff.Layer{
		Title:  rapid.SampledFrom([]string{"", "COPY", "RUN", "app/f"}).Draw(t, "title"),
		Kind:   rapid.SampledFrom([]string{"", diff.KindModel, "runtime"}).Draw(t, "kind"),
		Digest: fmt.Sprintf("sha256:%d-%d", archive, form), Size: int64(archive*1000 + form), Unpacked: diff.UnknownSize,
	}
	if diffIDs {
		l.DiffID = fmt.Sprintf("sha256:tar-%d", archive)
	}
	if form == 0 {
		l.Unpacked = int64(archive * 2000)
	}
	return l
}

func randomImage(t *rapid.T, name string) diff.Image {
	i := diff.Image{Name: name, Known: diff.Known(rapid.IntRange(0, 2).Draw(t, "known"))}
	diffIDs := rapid.IntRange(0, 9).Draw(t, "diff ids") > 0
	for range rapid.IntRange(0, 8).Draw(t, "layers") {
		i.Layers = append(i.Layers, randomLayer(t, diffIDs))
	}
	for n := range rapid.IntRange(0, 2).Draw(t, "blobs") {
		i.Blobs = append(i.Blobs, diff.Blob{Name: "config", Digest: fmt.Sprintf("sha256:blob-%d", n), Size: int64(n + 1)})
	}
	for n := range rapid.IntRange(0, 5).Draw(t, "files") {
		sum := rapid.IntRange(0, 1).Draw(t, "sum")
		i.Files = append(i.Files, diff.File{Path: fmt.Sprintf("f%d", n), Size: int64(sum + 1), Sum: fmt.Sprintf("sha256:%d", sum),
			Kind: rapid.SampledFrom([]string{"", diff.KindModel}).Draw(t, "file kind")})
	}
	for n := range rapid.IntRange(0, 3).Draw(t, "settings") {
		i.Settings = append(i.Settings, diff.Setting{Kind: diff.SettingConfig, Name: fmt.Sprint(n), Value: rapid.String().Draw(t, "value")})
	}
	return i
}

// TestIdentities holds every pair of images to the sums of the package's comment.
func TestIdentities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := randomImage(t, "a"), randomImage(t, "b")
		there, err := diff.New(a, b)
		require.NoError(t, err)
		back, err := diff.New(b, a)
		require.NoError(t, err)
		require.Equal(t, there.A.Bytes, there.Blobs.Shared.Bytes+there.Blobs.Removed.Bytes)
		require.Equal(t, there.B.Bytes, there.Blobs.Shared.Bytes+there.Blobs.Added.Bytes)
		require.Equal(t, there.Blobs.Added, back.Blobs.Removed)
		require.Equal(t, there.Blobs.Removed, back.Blobs.Added)
		require.Equal(t, there.Blobs.Shared, back.Blobs.Shared)
		require.Equal(t, there.Same, back.Same)
		require.Len(t, back.Settings, len(there.Settings))
		require.LessOrEqual(t, there.Pull.Download.Bytes, there.B.Bytes)
		requireEachOnce(t, there, a, b)
		if there.Files != nil {
			require.Equal(t, there.Files.Added, back.Files.Removed)
			require.Len(t, back.Files.Changes, len(there.Files.Changes))
		}
	})
}

// requireEachOnce: every distinct layer of both sides has one row, or is what one changed.
func requireEachOnce(t require.TestingT, r *diff.Report, a, b diff.Image) {
	want, got := map[string]int{}, map[string]int{}
	for _, l := range append(append([]diff.Layer{}, a.Layers...), b.Layers...) {
		want[l.Digest] = 1
	}
	for _, c := range r.Layers {
		got[c.Digest]++
		if c.Before != nil {
			got[c.Before.Digest]++
		}
	}
	require.Equal(t, want, got)
}

// TestNothingDiffersFromItself: whatever an image holds, it is the same as itself, and a
// pull of it costs nothing.
func TestNothingDiffersFromItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomImage(t, "a")
		r, err := diff.New(a, a)
		require.NoError(t, err)
		require.True(t, r.Same)
		require.Zero(t, r.Pull.Download)
		if r.Pull.Unpack != nil {
			require.Zero(t, r.Pull.Unpack.New.Count.Count+r.Pull.Unpack.Again.Count.Count)
		}
	})
}

// TestPullIsContainerds plays a pull as containerd does it: chain ids over all layers,
// blobs from the first layer without a snapshot on.
func TestPullIsContainerds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := randomImage(t, "a"), randomImage(t, "b")
		r, err := diff.New(a, b)
		require.NoError(t, err)
		if r.Pull.Unpack == nil {
			return
		}
		n := node{blobs: map[string]bool{}, snapshots: map[string]bool{}}
		n.pull(a)
		fetched, unpacked := n.pull(b)
		require.Equal(t, fetched.Count, r.Pull.Download.Count-r.Pull.Spared.Count)
		require.Equal(t, fetched.Bytes, r.Pull.Download.Bytes-r.Pull.Spared.Bytes)
		require.Equal(t, r.Blobs.Added, r.Pull.Download)
		require.Equal(t, unpacked, r.Pull.Unpack.New.Count.Count+r.Pull.Unpack.Again.Count.Count)
	})
}

// node is a machine that pulls images.
type node struct{ blobs, snapshots map[string]bool }

func (n node) fetch(digest string, size int64, count *diff.Count) {
	if !n.blobs[digest] {
		count.Count, count.Bytes = count.Count+1, count.Bytes+size
	}
	n.blobs[digest] = true
}

func (n node) pull(i diff.Image) (fetched diff.Count, unpacked int) {
	for _, b := range i.Blobs {
		n.fetch(b.Digest, b.Size, &fetched)
	}
	chain, missing := "", false
	for _, l := range i.Layers {
		chain = fmt.Sprintf("%x", sha256.Sum256([]byte(chain+" "+l.DiffID)))
		missing = missing || !n.snapshots[chain]
		if missing {
			n.fetch(l.Digest, l.Size, &fetched)
			unpacked++
		}
		n.snapshots[chain] = true
	}
	return fetched, unpacked
}

// TestFormsHoldAnything: no name breaks a line or moves a cursor.
func TestFormsHoldAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := randomImage(t, "a"), randomImage(t, rapid.String().Draw(t, "name"))
		for i := range b.Layers {
			b.Layers[i].Title = rapid.String().Draw(t, "outside")
		}
		r, err := diff.New(a, b)
		require.NoError(t, err)
		for _, form := range []string{r.Text(), r.Markdown()} {
			require.False(t, strings.ContainsFunc(form, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }), form)
		}
	})
}
