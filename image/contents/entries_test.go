package contents

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// archiveOf is a small archive with a file, a link and a folder.
func archiveOf(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/a", Typeflag: tar.TypeReg, Size: 5, Mode: 0o644},
		{Name: "etc/b", Typeflag: tar.TypeSymlink, Linkname: "a"},
	} {
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("hello"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// compressed is the archive in every form.
func compressed(t testing.TB, archive []byte) map[string][]byte {
	t.Helper()
	var g bytes.Buffer
	w := gzip.NewWriter(&g)
	_, err := w.Write(archive)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return map[string][]byte{"none": archive, "gzip": g.Bytes(), "zstd": z.EncodeAll(archive, nil)}
}

func TestEntries(t *testing.T) {
	archive := archiveOf(t)
	for form, blob := range compressed(t, archive) {
		t.Run(form, func(t *testing.T) {
			img := describeBlob("", "", blob, blob)
			img.Config.RootFS.DiffIDs[0] = hashOf(archive)
			var got []Entry
			n, err := img.Entries(t.Context(), 0, func(e Entry) error { got = append(got, e); return nil })
			require.NoError(t, err)
			require.EqualValues(t, len(archive), n)
			sum := sha256.Sum256([]byte("hello"))
			require.Equal(t, []Entry{
				{Name: "etc/", Type: tar.TypeDir},
				{Name: "etc/a", Type: tar.TypeReg, Size: 5, Sum: hex.EncodeToString(sum[:])},
				{Name: "etc/b", Type: tar.TypeSymlink, Link: "a"},
			}, got)
			img.Config.RootFS.DiffIDs[0] = hashOf(nil)
			_, err = img.Entries(t.Context(), 0, func(Entry) error { return nil })
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.ErrorContains(t, err, "the config says")
		})
	}
}

func hashOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// TestEntriesRefusesLongNames: names are kept in memory.
func TestEntriesRefusesLongNames(t *testing.T) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: strings.Repeat("a/", maxName), Mode: 0o644}))
	require.NoError(t, w.Close())
	_, err := describeBlob("", "", out.Bytes(), out.Bytes()).Entries(t.Context(), 0, func(Entry) error { return nil })
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "longer than")
}

// sparse is an archive of some bytes whose one file has a size of a user's choice, all of it
// a hole (pax, GNU.sparse 1.0).
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	field := func(key, value string) string { // its length counts itself
		n := len(key) + len(value) + 3
		for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
			n = len(fmt.Sprint(n)) + len(key) + len(value) + 3
		}
		return fmt.Sprintf("%d %s=%s\n", n, key, value)
	}
	records := field("GNU.sparse.major", "1") + field("GNU.sparse.minor", "0") +
		field("GNU.sparse.name", "hole") + field("GNU.sparse.realsize", fmt.Sprint(size))
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: int64(len(records))}))
	_, err := io.WriteString(w, records)
	require.NoError(t, err)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "hole", Typeflag: tar.TypeReg, Size: 512}))
	_, err = w.Write(append([]byte("0\n"), make([]byte, 510)...)) // no data at all
	require.NoError(t, err)
	require.NoError(t, w.Close())
	archive := out.Bytes()
	archive[156] = tar.TypeXHeader // the writer makes no sparse files: type and checksum are set here
	sum := 8 * int(' ')
	for i, b := range archive[:512] {
		if i < 148 || i >= 156 {
			sum += int(b)
		}
	}
	copy(archive[148:], fmt.Sprintf("%06o\x00 ", sum))
	return archive
}

// TestEntriesOfHoles: a hole costs an archive nothing, but whoever reads it.
func TestEntriesOfHoles(t *testing.T) {
	blob := sparse(t, 1<<20)
	var got []Entry
	_, err := describeBlob("", "", blob, blob).Entries(t.Context(), 0, func(e Entry) error { got = append(got, e); return nil })
	require.NoError(t, err)
	sum := sha256.Sum256(make([]byte, 1<<20))
	require.Equal(t, []Entry{{Name: "hole", Type: tar.TypeReg, Size: 1 << 20, Sum: hex.EncodeToString(sum[:])}}, got)

	blob = sparse(t, maxUnpacked+1)
	_, err = describeBlob("", "", blob, blob).Entries(t.Context(), 0, func(Entry) error { return nil })
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "the files in its archive have more than")
}

// FuzzEntries: whatever a layer holds, reading it ends; what differs from the manifest is
// never taken for right.
func FuzzEntries(f *testing.F) {
	archive := archiveOf(f)
	for _, blob := range compressed(f, archive) {
		f.Add(blob, true)
		f.Add(blob[:len(blob)/2], true)
		f.Add(append(bytes.Clone(blob), 0), false)
	}
	f.Fuzz(func(t *testing.T, blob []byte, honest bool) {
		claimed := blob
		if !honest {
			claimed = archive
		}
		img := describeBlob(image.KindBase, "base", claimed, blob)
		img.Config.RootFS.DiffIDs = nil
		_, err := img.Entries(t.Context(), 0, func(Entry) error { return nil })
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
		}
		require.True(t, honest || err != nil || bytes.Equal(blob, archive))
	})
}
