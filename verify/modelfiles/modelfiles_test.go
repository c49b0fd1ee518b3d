package modelfiles_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// TestEachByteIsReadOnce: a model that is right, out of streams and out of a folder.
func TestEachByteIsReadOnce(t *testing.T) {
	m := newModel(t)
	m.file(fast).Parts = []int64{1000, m.file(fast).Size - 1000}
	dir := t.TempDir()
	m.write(t, dir)
	for _, jobs := range []int{0, 1, 7} {
		s := &stream{model: m, wrap: iotest.HalfReader}
		for name, place := range map[string]modelfiles.Place{"stream": s, "folder": modelfiles.Folder(dir, nil)} {
			var done atomic.Int64
			r := m.check(t, place, modelfiles.Options{Jobs: jobs, Progress: func(n int64) { done.Add(n) }})
			require.NoError(t, r.Err(), name)
			require.Empty(t, r.Findings(), name)
			require.Equal(t, modelfiles.Total(m.ModelConfig), done.Load(), name)
			require.Equal(t, done.Load(), r.Bytes(), name)
			require.Equal(t, []modelfiles.SetReport{{Source: "base", OK: true}}, r.Sets, name)
			for i, f := range r.Files {
				require.Equal(t, m.Files[i].Path, f.Path, name)
				require.Equal(t, m.Files[i].SHA256, f.SHA256, name)
				require.True(t, f.OK && !f.Remembered, name)
				require.Equal(t, path.Ext(f.Path) == ".safetensors" && f.Source == "checkpoints", f.Checkpoint != nil, name)
			}
			got := r.Files[len(r.Files)-1].Checkpoint
			require.Equal(t, "variant qwen-image-edit by its sum alone", got.Variant.String())
			require.Equal(t, modelfiles.CheckpointReport{
				Name: strings.TrimSuffix(path.Base(plain), ".safetensors"), Family: "qwen-image", Precision: "int4", Rank: 128, Blocks: 1,
				Variant: modelfiles.VariantReport{Variant: svdq.Checkpoint{Family: svdq.QwenImage}.Variant(plain), Locked: "o/checkpoints@c"},
			}, *got)
		}
		require.Equal(t, modelfiles.Total(m.ModelConfig), s.read.Load())
		require.Zero(t, s.open.Load(), "all are closed")
	}
}

// TestDamage: wherever a stream is spoiled, the file is wrong, by that code.
func TestDamage(t *testing.T) {
	m := newModel(t)
	header := int64(binary.LittleEndian.Uint64(m.bytes[plain]))
	cases := map[string]struct {
		path  string
		spoil func(data []byte) []byte
		codes []string
	}{
		"header length":     {plain, flip(7), []string{"sha256", "container"}},
		"header's JSON":     {plain, flip(8), []string{"sha256", "container"}},
		"first tensor":      {plain, flip(8 + header), []string{"sha256"}},
		"last byte":         {plain, flip(-1), []string{"sha256"}},
		"document":          {index, flip(3), []string{"sha256"}},
		"one byte short":    {plain, cut(-1), []string{"size"}},
		"cut in header":     {plain, cut(8 + header/2), []string{"size", "container"}},
		"cut in length":     {plain, cut(5), []string{"size", "container"}},
		"empty":             {plain, cut(0), []string{"size", "container"}},
		"one byte too long": {plain, func(data []byte) []byte { return append(data, 0) }, []string{"size"}},
		"base weights":      {vae, flip(9), []string{"sha256", "container"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &stream{model: &model{ModelConfig: m.ModelConfig, bytes: map[string][]byte{}}}
			for p, data := range m.bytes {
				s.bytes[p] = data
			}
			s.bytes[tc.path] = tc.spoil(append([]byte(nil), m.bytes[tc.path]...))
			r := m.check(t, s, modelfiles.Options{Hints: map[string]string{"sha256": "fetch", "size": "fetch", "container": "fetch"}})
			var want []string
			for _, c := range tc.codes {
				want = append(want, tc.path+": "+c)
			}
			require.Equal(t, want, codes(r))
			require.EqualError(t, r.Err(), fmt.Sprintf("1 of %d files is wrong", len(m.Files)))
			require.Equal(t, fault.Invalid, fault.KindOf(r.Err()))
			require.Equal(t, "fetch", fault.HintOf(r.Err()))
			require.NotEmpty(t, r.Sets[0].Skipped)
			require.False(t, r.Sets[0].OK)
		})
	}
}

func flip(at int64) func([]byte) []byte {
	return func(data []byte) []byte {
		data[(at+int64(len(data)))%int64(len(data))] ^= 1
		return data
	}
}

func cut(to int64) func([]byte) []byte {
	return func(data []byte) []byte {
		if to < 0 {
			to += int64(len(data))
		}
		return data[:to]
	}
}

// TestClaims: description and file name are held against the tensors.
func TestClaims(t *testing.T) {
	m := newModel(t)
	m.Checkpoints[0].Rank, m.Checkpoints[0].Precision = 64, "nvfp4"
	lie := strings.Replace(plain, "int4_r128", "fp4_r32", 1)
	m.bytes[lie] = m.bytes[plain]
	m.file(plain).Path, m.Checkpoints[1].Path = lie, lie
	r := m.check(t, &stream{model: m}, modelfiles.Options{})
	require.Equal(t, []string{
		fast + ": precision", fast + ": rank", lie + ": checkpoint-name", lie + ": checkpoint-name",
	}, codes(r))
	require.Equal(t, "tensors are int4, claimed is nvfp4", r.Files[len(r.Files)-2].Findings[0].Message)
	require.Contains(t, r.Findings().Err().Error(), "r32 in the name, 128 in the tensors")

	m = newModel(t)
	m.Checkpoints[0].Path = config
	m.Checkpoints[1].Path = vae
	r = m.check(t, &stream{model: m}, modelfiles.Options{})
	require.Equal(t, []string{config + ": checkpoint", vae + ": checkpoint"}, codes(r))
}

// TestSets: files that are right one by one may still be no model.
func TestSets(t *testing.T) {
	m := newModel(t)
	m.replace(t, config, `"hidden_size": 64`, `"hidden_size": 65`)
	r := m.check(t, &stream{model: m}, modelfiles.Options{Hints: map[string]string{"dimension": "take another"}})
	require.Empty(t, r.Wrong())
	require.NotEmpty(t, codes(r))
	require.EqualError(t, r.Err(), "the files of source base do not fit together")
	require.Equal(t, "take another", fault.HintOf(r.Err()))
	for _, f := range r.Sets[0].Findings {
		require.True(t, strings.HasPrefix(f.Object, "base/"), f.Object)
	}

	m = newModel(t)
	m.Checkpoints = nil
	r = m.check(t, &stream{model: m}, modelfiles.Options{})
	require.Equal(t, []string{"base/transformer: component"}, codes(r), "nothing stands for the transformer")

	m = newModel(t)
	m.Sources[0].Role = manifests.RoleCheckpoints
	require.Empty(t, m.check(t, &stream{model: m}, modelfiles.Options{}).Sets)
}

// TestCheckpointsThatDiffer: the set is held against each checkpoint, not the first alone.
func TestCheckpointsThatDiffer(t *testing.T) {
	m := newModel(t)
	wide, err := svdqtest.New(svdqtest.Params{
		Precision: svdqtest.Int4, Rank: 128, Blocks: 1, Heads: 4, HeadDim: 32, JointDim: 128, InChannels: 64, OutChannels: 16, Seed: 1,
	})
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(wide, 0, wide.Size()))
	require.NoError(t, err)
	m.set(plain, data)
	r := m.check(t, &stream{model: m}, modelfiles.Options{})
	require.Empty(t, r.Wrong())
	require.Equal(t, []string{"base/transformer (replaced): dimension"}, codes(r))
	require.Contains(t, r.Sets[0].Findings[0].Message, "joint_attention_dim is 128")

	m.Checkpoints = m.Checkpoints[:1] // the wide one is no checkpoint any more
	require.NoError(t, m.check(t, &stream{model: m}, modelfiles.Options{}).Err())
}

// TestRemembered: what a memo knows is opened for its header only, unless that is refused,
// which corrects a memo that is wrong.
func TestRemembered(t *testing.T) {
	m := newModel(t)
	dir := t.TempDir()
	m.write(t, dir)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	place := &countingPlace{Place: modelfiles.Folder(dir, memo)}
	require.NoError(t, m.check(t, place, modelfiles.Options{}).Err())
	require.Equal(t, modelfiles.Total(m.ModelConfig), place.read.Swap(0))

	var done atomic.Int64
	r := m.check(t, place, modelfiles.Options{Progress: func(n int64) { done.Add(n) }})
	require.NoError(t, r.Err())
	require.Equal(t, modelfiles.Total(m.ModelConfig), done.Load())
	require.Less(t, place.read.Load(), modelfiles.Total(m.ModelConfig)/2)
	require.NotNil(t, r.Files[len(r.Files)-1].Checkpoint)
	for _, f := range r.Files {
		require.True(t, f.Remembered)
	}

	target := filepath.Join(dir, plain)
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(target, flip(-1)(data), 0o644))
	require.Equal(t, []string{plain + ": sha256"}, codes(m.check(t, place, modelfiles.Options{})))
	require.Equal(t, []string{plain + ": sha256"}, codes(m.check(t, place, modelfiles.Options{})), "what is wrong is not remembered as right")

	require.NoError(t, memo.Remember(target, m.file(plain).SHA256))
	require.NoError(t, m.check(t, place, modelfiles.Options{}).Err(), "the memo is wrong")
	for _, force := range []bool{true, false} {
		require.Equal(t, []string{plain + ": sha256"}, codes(m.check(t, place, modelfiles.Options{Force: force})))
	}
}

// countingPlace counts what is read from a place.
type countingPlace struct {
	modelfiles.Place
	read, open atomic.Int64
}

func (p *countingPlace) Open(ctx context.Context, file manifests.ModelFile) (*modelfiles.Content, verify.Findings, error) {
	c, found, err := p.Place.Open(ctx, file)
	if c != nil {
		c.ReadCloser = &counted{Reader: c.ReadCloser, read: &p.read, open: &p.open}
	}
	return c, found, err
}

// TestUnreadable: a file that cannot be read proves nothing, and the kind of the reason
// goes up.
func TestUnreadable(t *testing.T) {
	refused := fault.Wrap(fault.Registry, "log in", errors.New("refused"))
	m := newModel(t)
	s := &stream{model: m, wrap: func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, 5), iotest.ErrReader(refused)) }}
	r := m.check(t, s, modelfiles.Options{})
	require.Len(t, r.Wrong(), len(m.Files))
	require.Equal(t, "unreadable", r.Files[0].Findings[0].Code)
	require.Empty(t, r.Files[0].SHA256)
	require.Equal(t, fault.Registry, fault.KindOf(r.Err()))
	require.Equal(t, "log in", fault.HintOf(r.Err()))

	delete(m.bytes, index)
	s.wrap = nil
	r = m.check(t, s, modelfiles.Options{})
	require.Equal(t, []string{index + ": unreadable"}, codes(r))
	require.Equal(t, fault.Resource, fault.KindOf(r.Err()))
	s.bytes[vae] = flip(-1)(s.bytes[vae])
	require.Equal(t, fault.Invalid, fault.KindOf(m.check(t, s, modelfiles.Options{}).Err()), "wrong bytes weigh more")
}

// TestAround: what a place saw around the bytes counts as much as the bytes.
func TestAround(t *testing.T) {
	m := newModel(t)
	s := &stream{model: m}
	s.around.Add(verify.Error, "layer", "piece", "its digest is another")
	r := m.check(t, s, modelfiles.Options{})
	require.Len(t, r.Wrong(), len(m.Files))
	require.Equal(t, "piece", r.Files[0].Findings[0].Object)
}

func TestCanceled(t *testing.T) {
	m := newModel(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{model: m}
	r, err := modelfiles.Verify(ctx, m.ModelConfig, s, modelfiles.Options{Progress: func(int64) { cancel() }})
	require.Nil(t, r)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Zero(t, s.open.Load())
}

// zeros is a container of one tensor of n zero bytes, made while it is read.
func zeros(n int64) (head string, size int64) {
	json := fmt.Sprintf(`{"w":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}`, n/2, n)
	head = string(binary.LittleEndian.AppendUint64(nil, uint64(len(json)))) + json
	return head, int64(len(head)) + n
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestMemoryIsFlat: what is allocated does not grow with a file.
func TestMemoryIsFlat(t *testing.T) {
	for _, deep := range []bool{false, true} {
		small, large := allocated(t, 1<<20, deep), allocated(t, 300<<20, deep)
		require.Less(t, large, small+5<<20, "deep: %v", deep)
	}
}

// allocated is what checking a container of n bytes allocates in all.
func allocated(t *testing.T, n int64, deep bool) uint64 {
	head, size := zeros(n)
	m := &model{ModelConfig: &manifests.ModelConfig{Files: []manifests.ModelFile{{Path: "w.safetensors", Size: size, SHA256: strings.Repeat("0", 64)}}}, bytes: map[string][]byte{"w.safetensors": nil}}
	s := &stream{model: m, wrap: func(io.Reader) io.Reader {
		return io.LimitReader(io.MultiReader(strings.NewReader(head), zeroReader{}), size)
	}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := m.check(t, s, modelfiles.Options{Jobs: 1, Deep: deep})
	runtime.ReadMemStats(&after)
	require.Equal(t, []string{"w.safetensors: sha256"}, codes(r), "the container itself is sound")
	require.Equal(t, deep, r.Files[0].Values != nil)
	return after.TotalAlloc - before.TotalAlloc
}

// TestUnknownSum: a file whose sum nobody knows is checked as far as it shows, and that no
// sum was compared is said; its bytes are not read for nothing.
func TestUnknownSum(t *testing.T) {
	m := newModel(t)
	for i := range m.Files {
		m.Files[i].SHA256 = ""
	}
	r := m.check(t, &stream{model: m}, modelfiles.Options{})
	require.NoError(t, r.Err())
	for _, f := range r.Files {
		require.Empty(t, f.SHA256)
		require.Len(t, f.Findings, 1, f.Path)
		require.Equal(t, "no-sum", f.Findings[0].Code)
		require.Equal(t, verify.Warning, f.Findings[0].Severity)
	}
}

// TestReportAsJSON: lists are lists, and optional values stay away.
func TestReportAsJSON(t *testing.T) {
	m := newModel(t)
	delete(m.bytes, index)
	data, err := json.Marshal(m.check(t, &stream{model: m}, modelfiles.Options{}))
	require.NoError(t, err)
	var v struct {
		Files []map[string]any
		Sets  []map[string]any
	}
	require.NoError(t, json.Unmarshal(data, &v))
	require.Len(t, v.Files, len(m.Files))
	for i, f := range v.Files {
		require.Equal(t, m.Files[i].Path != index, f["ok"])
		require.IsType(t, []any{}, f["findings"])
	}
	require.Equal(t, []map[string]any{{"source": "base", "ok": false, "skipped": v.Sets[0]["skipped"], "findings": []any{}}}, v.Sets)
}

// TestAnotherFileUnderTheName: a whole checkpoint of another rank is no damaged one, and the
// first thing that is said of it is what it is; a cut one is damaged, and nothing else.
func TestAnotherFileUnderTheName(t *testing.T) {
	m := newModel(t)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	other := checkpoints["svdq-int4_r32-qwen-image-edit.safetensors"].Content
	data, err := io.ReadAll(io.NewSectionReader(other, 0, other.Size()))
	require.NoError(t, err)
	dir := t.TempDir()
	m.write(t, dir)
	name := filepath.Join(dir, plain)
	require.NoError(t, os.WriteFile(name, data, 0o644))
	r := m.check(t, modelfiles.Folder(dir, nil), modelfiles.Options{Hints: map[string]string{"size": "copy it again"}})
	require.Equal(t, []string{plain + ": checkpoint-name", plain + ": rank", plain + ": size"}, codes(r))
	require.Equal(t, "r128 in the name, 32 in the tensors", r.Wrong()[0].Findings[0].Message)
	require.Contains(t, fault.HintOf(r.Err()), "the tensors decide, not the name")
	require.Equal(t, 32, r.Wrong()[0].Checkpoint.Rank)
	require.Empty(t, r.Wrong()[0].Checkpoint.Variant.Locked)

	for _, bytes := range [][]byte{data[:len(data)-1], data[:9], {}} {
		require.NoError(t, os.WriteFile(name, bytes, 0o644))
		require.Equal(t, []string{plain + ": size"}, codes(m.check(t, modelfiles.Folder(dir, nil), modelfiles.Options{})))
	}
	m.file(plain).Parts = []int64{5, m.file(plain).Size - 5}
	m.write(t, dir)
	require.NoError(t, os.WriteFile(name+".part-01-of-02", data, 0o644))
	require.Equal(t, []string{plain + ".part-01-of-02: size"}, codes(m.check(t, modelfiles.Folder(dir, nil), modelfiles.Options{})))
}
