package manifests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// tinySums are sums of tensors for a checkpoint of testdata/tiny.yaml.
func tinySums() manifests.TensorSums {
	return manifests.TensorSums{Path: file, Bytes: 5000, Repeated: 4000, Block: 1000, Lookup: 500, Packed: 2000, Width: 64}
}

func summedLock(t testing.TB) *manifests.Lock {
	t.Helper()
	l := fullLock(t)
	l.SetTensors(source, []manifests.TensorSums{tinySums()})
	return l
}

func TestTensorsInTheLock(t *testing.T) {
	l := summedLock(t)
	const line = `{"kind":"tensors","source":"checkpoints","path":"tiny-r128.safetensors","bytes":5000,"repeated":4000,"block":1000,"lookup":500,"packed":2000,"width":64}` + "\n"
	require.True(t, strings.HasSuffix(string(l.Encode()), line))
	back, err := manifests.DecodeLock(l.Encode())
	require.NoError(t, err)
	require.Equal(t, l.Tensors, back.Tensors)

	require.True(t, l.TensorsKnown(source, file))
	require.False(t, l.TensorsKnown("base", file))
	require.False(t, l.TensorsKnown(source, file+"x"))

	other := tinySums()
	other.Block = 999
	l.SetTensors(source, []manifests.TensorSums{other})
	require.Len(t, l.Tensors, 1, "a newer line replaces the older")
	require.EqualValues(t, 999, l.Tensors[0].Block)
}

func TestTensorsAreChecked(t *testing.T) {
	cases := map[string]struct{ old, new, want string }{
		"other file":      {`"path":"tiny-r128.safetensors","bytes"`, `"path":"other","bytes"`, "no kept file of source checkpoints has this path or lies in this folder"},
		"other source":    {`"kind":"tensors","source":"checkpoints"`, `"kind":"tensors","source":"base"`, "no kept file of source base has this path"},
		"too many bytes":  {`"bytes":5000`, `"bytes":5242881`, "5242881 bytes of tensors in files of 5242880"},
		"negative bytes":  {`"bytes":5000`, `"bytes":-1`, "-1 bytes"},
		"block too large": {`"block":1000`, `"block":4001`, "block is 4001, repeated 4000"},
		"lookup":          {`"lookup":500`, `"lookup":1001`, "lookup is 1001 of 1000 bytes"},
		"packed":          {`"packed":2000`, `"packed":5001`, "packed is 5001 of 5000 bytes"},
		"width":           {`"width":64`, `"width":1048577`, "width is 1048577, want 0 to 1048576"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			text := string(summedLock(t).Encode())
			require.Contains(t, text, c.old)
			_, err := manifests.DecodeLock([]byte(strings.Replace(text, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Lock, fault.KindOf(err))
		})
	}
	text := string(summedLock(t).Encode())
	last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]
	_, err := manifests.DecodeLock([]byte(text + last))
	require.ErrorContains(t, err, "tensors of tiny-r128.safetensors: they are there twice")
}

func TestTensorsAreAdopted(t *testing.T) {
	old, l := summedLock(t), tinyLock(t)
	l.Adopt(old)
	require.Equal(t, old.Tensors, l.Tensors)
	l.Adopt(old)
	require.Len(t, l.Tensors, 1, "what is known stays")

	l = tinyLock(t)
	for i := range l.Files {
		if l.Files[i].Path == file {
			l.Files[i].SHA256 = strings.Repeat("e", 64)
		}
	}
	l.Adopt(old)
	require.Empty(t, l.Tensors, "other bytes, other tensors")

	// A component in a folder: one file more is another component.
	old = summedLock(t)
	old.SetTensors(source, []manifests.TensorSums{{Path: "folder"}})
	l = tinyLock(t)
	for _, lock := range []*manifests.Lock{old, l} {
		f := lock.Files[len(lock.Files)-1]
		f.Path, f.Keep = "folder/1.safetensors", true
		lock.Files = append(lock.Files, f)
	}
	more := l.Files[len(l.Files)-1]
	more.Path = "folder/2.safetensors"
	l.Files = append(l.Files, more)
	l.Adopt(old)
	require.Len(t, l.Tensors, 1)
	require.Equal(t, file, l.Tensors[0].Path)
}

func TestTensorsInTheModelConfig(t *testing.T) {
	m, l := load(t, "testdata/tiny.yaml"), summedLock(t)
	s, err := m.Select("", l.Listings())
	require.NoError(t, err)
	c, err := manifests.NewModelConfig(m, l, s, nil)
	require.NoError(t, err)
	want := tinySums()
	want.Path = "tiny-quantised/" + file
	require.Equal(t, []manifests.TensorSums{want}, c.Tensors)
	back, err := manifests.DecodeModelConfig(c.Encode())
	require.NoError(t, err)
	require.Equal(t, c, back)

	for old, message := range map[string]string{
		`"path": "tiny-quantised/tiny-r128.safetensors",` + "\n      \"bytes\"": `tensors of "nowhere"`,
		`"bytes": 5000`: "tensors of tiny-quantised/tiny-r128.safetensors: -5000 bytes",
	} {
		spoiled := strings.NewReplacer("tiny-quantised/tiny-r128.safetensors", "nowhere", "5000", "-5000").Replace(old)
		require.Contains(t, string(c.Encode()), old)
		_, err := manifests.DecodeModelConfig([]byte(strings.Replace(string(c.Encode()), old, spoiled, 1)))
		require.ErrorContains(t, err, message)
	}

	s, err = m.Select("fast", l.Listings())
	require.NoError(t, err)
	c, err = manifests.NewModelConfig(m, l, s, nil)
	require.NoError(t, err)
	require.Empty(t, c.Tensors, "sums of files that are not aboard are left out")
}
