package modelfiles_test

import (
	"context"
	"errors"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// isContainer tells the files whose values are judged.
func isContainer(name string) bool { return path.Ext(name) == ".safetensors" }

// shuffle lays the codes of one weight of a checkpoint out in rows instead of tiles, and
// describes the result: names, shapes and sums are right.
func (m *model) shuffle(t testing.TB, file string) (tensor string) {
	t.Helper()
	data := append([]byte(nil), m.bytes[file]...)
	h, err := safetensors.Read(strings.NewReader(string(data)), int64(len(data)))
	require.NoError(t, err)
	tensor = "transformer_blocks.0.attn.to_out.0.qweight"
	x, ok := h.Tensor(tensor)
	require.True(t, ok)
	weight := data[h.DataStart+x.Begin : h.DataStart+x.End]
	plain := make([]byte, len(weight))
	require.NoError(t, packing.UnpackNibbles(plain, weight, int(x.Shape[0]), int(2*x.Shape[1])))
	copy(weight, plain)
	m.set(file, data)
	return tensor
}

// TestDeep: values are judged in the read that takes the sums, alike in a stream and in a
// folder with a file in parts, and a shuffled weight is found there and not without it.
func TestDeep(t *testing.T) {
	m := newModel(t)
	tensor := m.shuffle(t, plain)
	m.file(plain).Parts = []int64{1000, 200_001, m.file(plain).Size - 201_001}
	dir := t.TempDir()
	m.write(t, dir)
	s := &stream{model: m, wrap: iotest.HalfReader}
	var reports []*modelfiles.Report
	for _, place := range []modelfiles.Place{s, &countingPlace{Place: modelfiles.Folder(dir, nil)}} {
		require.NoError(t, m.check(t, place, modelfiles.Options{}).Err(), "names, shapes and sums are right")
		s.read.Store(0)
		var done atomic.Int64
		r := m.check(t, place, modelfiles.Options{Deep: true, Progress: func(n int64) { done.Add(n) }})
		require.Equal(t, modelfiles.Total(m.ModelConfig), done.Load())
		require.Equal(t, []string{plain + ": checkpoint-layout"}, codes(r))
		require.Len(t, r.Findings(), 1, "nothing else, and no warning instead")
		require.Contains(t, r.Findings()[0].Message, tensor+" lies in rows, not in tiles")
		for _, f := range r.Files {
			require.Equal(t, isContainer(f.Path), f.Values != nil, f.Path)
		}
		for i := range r.Files {
			r.Files[i].Parts = 0
		}
		reports = append(reports, r)
	}
	require.Equal(t, reports[0], reports[1])
}

// TestDeepReadsOnce: of streams every byte, of what a memo knows the containers.
func TestDeepReadsOnce(t *testing.T) {
	m := newModel(t)
	dir := t.TempDir()
	m.write(t, dir)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	place := &countingPlace{Place: modelfiles.Folder(dir, memo)}
	total, containers := modelfiles.Total(m.ModelConfig), int64(0)
	for _, f := range m.Files {
		if isContainer(f.Path) {
			containers += f.Size
		}
	}
	first := m.check(t, place, modelfiles.Options{Deep: true})
	require.NoError(t, first.Err())
	require.Equal(t, total, place.read.Swap(0))

	var done atomic.Int64
	again := m.check(t, place, modelfiles.Options{Deep: true, Progress: func(n int64) { done.Add(n) }})
	require.NoError(t, again.Err())
	require.Equal(t, total, done.Load())
	require.GreaterOrEqual(t, place.read.Load(), containers)
	require.Less(t, place.read.Load(), total)
	for i, f := range again.Files {
		require.True(t, f.Remembered)
		require.Equal(t, first.Files[i].Values, f.Values)
	}
}

// TestDeepIsCanceled: in the middle of a file, too, nothing stays behind.
func TestDeepIsCanceled(t *testing.T) {
	m := newModel(t)
	m.Files = []manifests.ModelFile{*m.file(plain)}
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{model: m, wrap: func(r io.Reader) io.Reader { return iotest.OneByteReader(r) }}
	var done atomic.Int64
	_, err := modelfiles.Verify(ctx, m.ModelConfig, s, modelfiles.Options{Deep: true, Progress: func(n int64) {
		if done.Add(n) == m.Files[0].Size/2 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, m.Files[0].Size/2, s.read.Load())
	require.Zero(t, s.open.Load())
}

// TestDeepOfBrokenFiles: of a file that is cut or is no container, values say nothing more;
// what cannot be read is not judged.
func TestDeepOfBrokenFiles(t *testing.T) {
	refused := fault.Wrap(fault.Registry, "log in", errors.New("refused"))
	for name, tc := range map[string]struct {
		spoil func(data []byte) []byte
		wrap  func(io.Reader) io.Reader
		codes []string
	}{
		"cut":           {cut(-1), nil, []string{"size"}},
		"cut in header": {cut(1000), nil, []string{"size", "container"}},
		"no container":  {flip(8), nil, []string{"sha256", "container"}},
		"too long":      {func(data []byte) []byte { return append(data, 0) }, nil, []string{"size"}},
		"breaks off": {cut(-1), func(r io.Reader) io.Reader {
			return io.MultiReader(r, iotest.ErrReader(refused))
		}, []string{"unreadable"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			m.Files = []manifests.ModelFile{*m.file(plain)}
			m.bytes[plain] = tc.spoil(append([]byte(nil), m.bytes[plain]...))
			r := m.check(t, &stream{model: m, wrap: tc.wrap}, modelfiles.Options{Deep: true})
			var want []string
			for _, c := range tc.codes {
				want = append(want, plain+": "+c)
			}
			require.Equal(t, want, codes(r))
			require.Equal(t, name == "too long", r.Files[0].Values != nil)
		})
	}
}
