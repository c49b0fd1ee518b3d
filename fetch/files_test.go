package fetch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// TestFiles takes three files of different kinds all the way, twice.
func TestFiles(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{
		"config.json":     {Content: hubtest.Bytes([]byte(`{"a":1}`))},
		"empty":           {Content: hubtest.Bytes(nil)},
		"vae/model.bin":   large(1, 300_001),
		"copy/config.txt": {Content: hubtest.Bytes([]byte(`{"a":1}`))},
	})
	opts := s.options(t)
	opts.Jobs = 1 // no stretch is split: a split sends some bytes that nobody reads
	opts.Refs = map[string]string{repoName: "main"}
	seen := &events{}
	opts.Progress = seen
	paths := []string{"vae/model.bin", "config.json", "empty", "copy/config.txt"}
	var files []File
	for _, p := range paths {
		f := s.file(t, p)
		f.Layers = []pack.Part{{Name: "app/" + p, Count: 1, Length: f.Size}}
		files = append(files, f)
	}
	files[0].Layers = []pack.Part{
		{Name: "m.part-00-of-02", Count: 2, Length: 200_000},
		{Name: "m.part-01-of-02", Index: 1, Count: 2, Offset: 200_000, Length: 100_001},
	}
	results, err := Files(t.Context(), files, opts)
	require.NoError(t, err)
	var downloaded int64
	for i, r := range results {
		data := content(t, s.files[paths[i]].Content)
		got, err := os.ReadFile(r.Blob)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), paths[i])
		require.Equal(t, files[i], r.File)
		require.Equal(t, files[i].SHA256, r.SHA256)
		require.False(t, r.Cached)
		require.Len(t, r.Digests, len(files[i].Layers))
		for j, p := range files[i].Layers {
			require.Equal(t, layerDigest(t, p, data), r.Digests[j])
		}
		linked, err := opts.Cache.Lookup(repoName, s.commit, paths[i])
		require.NoError(t, err)
		require.Equal(t, r.Blob, linked)
		downloaded += r.Downloaded
	}
	require.Equal(t, results[1].Blob, results[3].Blob, "one blob for equal bytes")
	require.EqualValues(t, 300_001+7, downloaded)
	require.EqualValues(t, 300_001+7, s.Sent(""), "each byte is sent once")
	ref, err := opts.Cache.Ref(repoName, "main")
	require.NoError(t, err)
	require.Equal(t, s.commit, ref)
	requireClean(t, opts.Cache)
	require.Equal(t, 1, seen.starts)
	require.Equal(t, 1, seen.dones)
	require.EqualValues(t, 300_008, seen.sum(Received))
	require.Equal(t, 3, seen.count(Finished))
	require.Equal(t, Need{Files: 4, Blobs: 3, Total: 300_008, Download: 300_008, Disk: 300_008, Free: seen.need.Free}, seen.need)

	t.Run("again", func(t *testing.T) { again(t, s, files, results, opts) })
}

// again fetches what is there: without one request, and without a source at all.
func again(t *testing.T, s *site, files []File, first []Result, opts Options) {
	s.Reset()
	seen := &events{}
	opts.Offline, opts.Sources, opts.Progress = true, nil, seen
	results, err := Files(t.Context(), files, opts)
	require.NoError(t, err)
	for i, r := range results {
		require.True(t, r.Cached)
		require.Zero(t, r.Downloaded)
		require.Equal(t, first[i].Digests, r.Digests, "layers are asked for: the blob is read")
		require.Equal(t, first[i].SHA256, r.SHA256)
	}
	require.EqualValues(t, 300_008, seen.sum(Checked))

	for i := range files {
		files[i].Layers = nil
	}
	seen = &events{}
	opts.Progress = seen
	results, err = Files(t.Context(), files, opts)
	require.NoError(t, err)
	require.Zero(t, seen.sum(Checked), "the memo knows them")
	require.EqualValues(t, 300_008, seen.need.Cached)
	require.Equal(t, first[0].SHA256, results[0].SHA256)
	require.Empty(t, s.Requests())
}

// TestForeign: what another tool left in the cache is hashed once; if it is not what it is
// called, it is replaced online and an error offline.
func TestForeign(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(1, 100_000)})
	f := s.file(t, "m.bin")
	data := content(t, s.files["m.bin"].Content)
	put := func(t *testing.T, opts Options, data []byte) {
		blob, err := opts.Cache.Blob(repoName, f.SHA256)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(blob), 0o755))
		require.NoError(t, os.WriteFile(blob, data, 0o644))
		require.NoError(t, os.WriteFile(blob+".incomplete", data, 0o644))
	}
	t.Run("right", func(t *testing.T) {
		opts := s.options(t)
		put(t, opts, data)
		need, err := Plan(t.Context(), []File{f}, opts)
		require.NoError(t, err)
		require.EqualValues(t, len(data), need.Unchecked)
		s.Reset()
		for _, read := range []int{len(data), 0} {
			seen := &events{}
			opts.Progress = seen
			results, err := Files(t.Context(), []File{f}, opts)
			require.NoError(t, err)
			require.True(t, results[0].Cached)
			require.EqualValues(t, read, seen.sum(Checked))
		}
		require.Empty(t, s.Requests())
	})
	bad := bytes.Clone(data)
	bad[99_999] ^= 1
	for name, wrong := range map[string][]byte{"wrong bytes": bad, "too short": data[:99_999]} {
		t.Run(name, func(t *testing.T) {
			opts := s.options(t)
			put(t, opts, wrong)
			opts.Offline = true
			_, err := Files(t.Context(), []File{f}, opts)
			require.Error(t, err)
			opts.Offline = false
			results, err := Files(t.Context(), []File{f}, opts)
			require.NoError(t, err)
			require.False(t, results[0].Cached)
			got, err := os.ReadFile(results[0].Blob)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			require.FileExists(t, results[0].Blob+".incomplete", "a foreign partial is left alone")
		})
	}
}

func TestOffline(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"a": large(1, 10), "b": large(2, 10)})
	opts := s.options(t)
	opts.Offline = true
	_, err := Files(t.Context(), []File{s.file(t, "a"), s.file(t, "b")}, opts)
	require.ErrorIs(t, err, errMissing)
	require.ErrorContains(t, err, "2 files are missing")
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "HF_HUB_OFFLINE")
	require.Empty(t, s.Requests())
}

// TestRefused: names and sums that cannot be are refused before anything is touched.
func TestRefused(t *testing.T) {
	good := File{Repo: repoName, Commit: strings.Repeat("a", 40), Path: "x", Size: 1, SHA256: strings.Repeat("b", 64)}
	for name, change := range map[string]func(*File){
		"repo upwards":   func(f *File) { f.Repo = "../x" },
		"path upwards":   func(f *File) { f.Path = "a/../../x" },
		"absolute path":  func(f *File) { f.Path = "/etc/passwd" },
		"NUL":            func(f *File) { f.Path = "a\x00b" },
		"backslash":      func(f *File) { f.Path = `a\b` },
		"branch":         func(f *File) { f.Commit = "main" },
		"negative size":  func(f *File) { f.Size = -1 },
		"no sum":         func(f *File) { f.SHA256 = "" },
		"short sum":      func(f *File) { f.SHA256 = "ab" },
		"sum with slash": func(f *File) { f.SHA256 = "../" + f.SHA256[3:] },
		"bad git id":     func(f *File) { f.SHA1 = f.SHA256 },
	} {
		t.Run(name, func(t *testing.T) {
			f := good
			change(&f)
			opts := Options{Cache: newCache(t), Sources: []Source{&shelf{}}}
			for _, call := range []func() error{
				func() error { _, err := Files(t.Context(), []File{f}, opts); return err },
				func() error { _, err := Plan(t.Context(), []File{f}, opts); return err },
			} {
				err := call()
				require.Error(t, err)
				require.Equal(t, fault.Invalid, fault.KindOf(err))
			}
			require.NoDirExists(t, opts.Cache.Dir())
		})
	}
}

func TestContradiction(t *testing.T) {
	a := File{Repo: repoName, Commit: strings.Repeat("a", 40), Path: "x", Size: 1, SHA1: strings.Repeat("c", 40)}
	size, sum := a, a
	size.Size = 2
	a.SHA256, sum.SHA256 = strings.Repeat("1", 64), strings.Repeat("2", 64)
	for _, b := range []File{size, sum} {
		_, err := Files(t.Context(), []File{a, b}, Options{Cache: newCache(t)})
		require.ErrorContains(t, err, "both name blob")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestNoSource(t *testing.T) {
	f := File{Repo: repoName, Commit: strings.Repeat("a", 40), Path: "x", Size: 1, SHA256: strings.Repeat("b", 64)}
	_, err := Files(t.Context(), []File{f}, Options{Cache: newCache(t)})
	require.ErrorContains(t, err, "no source")
}

// TestTooLarge: a disk that cannot hold the files is an error before the first byte.
func TestTooLarge(t *testing.T) {
	f := File{Repo: repoName, Commit: strings.Repeat("a", 40), Path: "x", Size: 1 << 60, SHA256: strings.Repeat("b", 64)}
	src := &shelf{}
	opts := Options{Cache: newCache(t), Sources: []Source{src}}
	_, err := Files(t.Context(), []File{f}, opts)
	require.Error(t, err)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.ErrorContains(t, err, "1152921504606846976")
	require.Contains(t, fault.HintOf(err), "HF_HUB_CACHE")
	require.Zero(t, src.opens.Load())
	require.NoDirExists(t, opts.Cache.Dir())
}

// TestTwoAtOnce: two fetches of one cache download once.
func TestTwoAtOnce(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(3, 2_000_000)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Throttle(20_000_000)})
	f := s.file(t, "m.bin")
	opts := s.options(t)
	type outcome struct {
		results []Result
		err     error
	}
	done := make(chan outcome)
	watch := []*events{{}, {}}
	for _, w := range watch {
		opts.Progress = w
		go func(opts Options) {
			results, err := Files(context.Background(), []File{f}, opts)
			done <- outcome{results, err}
		}(opts)
	}
	var downloaded int64
	for range watch {
		o := <-done
		require.NoError(t, o.err)
		downloaded += o.results[0].Downloaded
	}
	require.EqualValues(t, f.Size, downloaded)
	require.Less(t, s.Sent("m.bin"), f.Size*3/2)
	requireClean(t, opts.Cache)
}

// TestTwoCommits: one blob of two commits.
func TestTwoCommits(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(3, 1000)})
	second, err := s.Add(hubtest.Repo{Name: repoName, Files: map[string]hubtest.File{"m.bin": large(3, 1000), "n": large(4, 5)}})
	require.NoError(t, err)
	f := s.file(t, "m.bin")
	g := f
	g.Commit = second
	opts := s.options(t)
	results, err := Files(t.Context(), []File{f, g}, opts)
	require.NoError(t, err)
	require.EqualValues(t, 1000, results[0].Downloaded)
	require.Zero(t, results[1].Downloaded)
	for _, commit := range []string{s.commit, second} {
		_, err := opts.Cache.Lookup(repoName, commit, "m.bin")
		require.NoError(t, err)
	}
}

// TestUnwritableMemo: a memo that cannot keep anything costs a hash, no error.
func TestUnwritableMemo(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(3, 1000)})
	opts := s.options(t)
	opts.Memo = forgetful{}
	for range 2 {
		_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
		require.NoError(t, err)
	}
}

type forgetful struct{}

func (forgetful) Lookup(string) (string, bool)  { return "", false }
func (forgetful) Remember(string, string) error { return errors.New("cannot write") }
