package manifests_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

const (
	source = "checkpoints"
	file   = "tiny-r128.safetensors"
	entry  = "app/models/tiny-quantised/" + file
)

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// cut is the file's parts at a partSize.
func cut(t *testing.T, name string, partSize int64) []pack.Part {
	t.Helper()
	parts, err := pack.Parts(name, 5<<20, partSize)
	require.NoError(t, err)
	return parts
}

// linesOf are the lock's layer lines of the file.
func linesOf(l *manifests.Lock) []manifests.LockLayer {
	return slices.DeleteFunc(slices.Clone(l.Layers), func(o manifests.LockLayer) bool { return o.Path != file })
}

func TestLayerFindsExactlyThePart(t *testing.T) {
	l := fullLock(t)
	parts := cut(t, entry, 3<<20)
	line, ok := l.Layer(source, file, parts[1])
	require.True(t, ok)
	require.Equal(t, manifests.LockLayer{
		Kind: "layer", Source: source, Path: file, Entry: entry + ".part-01-of-03", Part: 1,
		Offset: 2 << 20, Length: 2 << 20, Digest: digest("a"), Size: 2<<20 + 512 + 1024,
	}, line)

	for name, p := range map[string]pack.Part{
		"whole":             cut(t, entry, 0)[0],
		"other cut":         cut(t, entry, 2<<20)[1],
		"other place":       cut(t, "app/models/elsewhere/"+file, 3<<20)[1],
		"other file's part": {},
	} {
		_, ok := l.Layer(source, file, p)
		require.False(t, ok, name)
	}
	_, ok = l.Layer("base", file, parts[1])
	require.False(t, ok)
	l.Header.Pack++
	_, ok = l.Layer(source, file, parts[1])
	require.False(t, ok, "a digest of another pack version is void")
}

func TestSetLayerReplaces(t *testing.T) {
	l := fullLock(t)
	others := len(l.Layers) - 3
	parts := cut(t, entry, 3<<20)

	l.SetLayer(source, file, parts[1], digest("f"))
	line, ok := l.Layer(source, file, parts[1])
	require.True(t, ok)
	require.Equal(t, digest("f"), line.Digest)
	require.Len(t, linesOf(l), 3, "the other parts of the cut stay")

	l.SetLayer(source, file, cut(t, entry, 2<<20)[4], digest("e"))
	require.Len(t, linesOf(l), 1, "lines of another cut go")
	l.SetLayer(source, file, cut(t, entry, 0)[0], digest("d"))
	require.Len(t, linesOf(l), 1)
	moved := cut(t, "app/models/elsewhere/"+file, 0)[0]
	l.SetLayer(source, file, moved, digest("c"))
	require.Len(t, linesOf(l), 1, "lines of another place go")
	require.Len(t, l.Layers, others+1)
	_, err := manifests.DecodeLock(l.Encode())
	require.NoError(t, err)

	l.Header.Pack++
	l.SetLayer(source, file, moved, digest("b"))
	require.Equal(t, pack.Version, l.Header.Pack)
	require.Len(t, l.Layers, 1, "lines of another pack version go")
}

func TestSetUnusedReplaces(t *testing.T) {
	l := fullLock(t)
	l.SetUnused("base", "config.json", []manifests.Unused{{Part: "blanks", Bytes: 1, Reason: "r"}})
	l.SetUnused(source, file, []manifests.Unused{{Part: "lm_head", Bytes: 2, Reason: "r"}})
	require.ElementsMatch(t, []manifests.Unused{
		{Kind: "unused", Source: "base", Path: "config.json", Part: "blanks", Bytes: 1, Reason: "r"},
		{Kind: "unused", Source: source, Path: file, Part: "lm_head", Bytes: 2, Reason: "r"},
	}, l.Unused)
	l.SetUnused(source, file, nil)
	require.Len(t, l.Unused, 1)
}

func TestComplete(t *testing.T) {
	m := load(t, "testdata/tiny.yaml")
	selection := func(variant string) manifests.Selection {
		s, err := m.Select(variant, tinyListings())
		require.NoError(t, err)
		return s
	}
	require.True(t, fullLock(t).Complete(m, selection("")))
	require.False(t, tinyLock(t).Complete(m, selection("")))

	l := fullLock(t)
	l.Layers = slices.DeleteFunc(l.Layers, func(o manifests.LockLayer) bool { return o.Path == file && o.Part == 2 })
	require.False(t, l.Complete(m, selection("")))
	require.True(t, l.Complete(m, selection("fast")), "the variant does not carry the file")

	moved := *m
	moved.Sources = slices.Clone(m.Sources)
	moved.Sources[1].Path = "elsewhere"
	require.False(t, fullLock(t).Complete(&moved, selection("")), "the digests are of another name in the image")
	recut := *m
	recut.PartSize = 0
	require.False(t, fullLock(t).Complete(&recut, selection("")))
	gone := *m
	gone.Sources = m.Sources[:1]
	require.False(t, fullLock(t).Complete(&gone, selection("")))
}

func TestAdopt(t *testing.T) {
	t.Run("everything", func(t *testing.T) {
		l := tinyLock(t)
		l.Adopt(fullLock(t))
		require.Equal(t, string(fullLock(t).Encode()), string(l.Encode()))
		l.Adopt(fullLock(t))
		require.Equal(t, string(fullLock(t).Encode()), string(l.Encode()), "a second time changes nothing")
	})
	t.Run("not of changed bytes", func(t *testing.T) {
		l := tinyLock(t)
		i := slices.IndexFunc(l.Files, func(f manifests.LockFile) bool { return f.Path == file })
		l.Files[i].SHA256 = strings.Repeat("0", 64)
		l.Adopt(fullLock(t))
		require.Empty(t, linesOf(l))
		require.Empty(t, l.Unused)
		require.Len(t, l.Layers, 4)
	})
	t.Run("what is known stays", func(t *testing.T) {
		l := tinyLock(t)
		whole := cut(t, entry, 0)[0]
		l.SetLayer(source, file, whole, digest("9"))
		l.SetUnused(source, file, []manifests.Unused{{Part: "lm_head", Bytes: 2, Reason: "r"}})
		l.Adopt(fullLock(t))
		require.Len(t, linesOf(l), 1)
		require.Len(t, l.Unused, 1)
		require.Len(t, l.Layers, 5)
	})
	t.Run("another cut", func(t *testing.T) {
		l := tinyLock(t)
		l.Header.PartSize = 0
		l.Adopt(fullLock(t))
		require.Empty(t, l.Layers)
		require.Len(t, l.Unused, 2, "what inference never reads does not depend on the cut")
	})
	t.Run("another pack version", func(t *testing.T) {
		other := fullLock(t)
		other.Header.Pack++
		l := tinyLock(t)
		l.Adopt(other)
		require.Empty(t, l.Layers)
		other.Adopt(fullLock(t))
		require.Equal(t, string(fullLock(t).Encode()), string(other.Encode()), "its own void digests go")
	})
}
