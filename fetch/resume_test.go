package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

var errCut = errors.New("cut")

// TestResume cuts a fetch at random places, many times, and lets it go on each time with
// new connections. It is cut in every way that a process can end: by its context, by the
// network, by a kill (the disk is as it was at that moment), by a loss of power (what no
// record speaks of is gone, and the journal's last line is torn).
func TestResume(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newResumeCase(t, rt)
		defer c.opts.Cache.Close()
		cuts := int64(0)
		for range rapid.IntRange(0, 5).Draw(rt, "cuts") {
			if !c.cut(rt) {
				break // it was done before
			}
			cuts++
		}
		c.src.after = nil
		results, err := Files(t.Context(), c.files, c.opts)
		require.NoError(rt, err)
		for i, r := range results {
			got, err := os.ReadFile(r.Blob)
			require.NoError(rt, err)
			require.True(rt, bytes.Equal(c.data[i], got))
			require.Equal(rt, layerDigest(t, c.files[i].Layers[0], c.data[i]), r.Digests[0])
		}
		most := c.total + cuts*c.opts.Limits.Window
		require.LessOrEqual(rt, c.src.sent, most, "size and one window for each cut, over all files")
	})
}

// resumeCase is some files of random size, to be fetched over random connections.
type resumeCase struct {
	files []File
	data  [][]byte
	blobs []string
	total int64
	src   *shelf
	opts  Options
}

func newResumeCase(t *testing.T, rt *rapid.T) *resumeCase {
	c := &resumeCase{src: &shelf{files: map[string]hubtest.Content{}}}
	dir, err := os.MkdirTemp(t.TempDir(), "")
	require.NoError(rt, err)
	store, err := cache.Open(dir)
	require.NoError(rt, err)
	for i := range rapid.IntRange(1, 3).Draw(rt, "files") {
		size := rapid.Int64Range(1, 150_000).Draw(rt, "size")
		noise := hubtest.Noise(uint64(i), size)
		data := content(t, noise)
		f := File{Repo: repoName, Commit: "0123456789abcdef0123456789abcdef01234567", Path: fmt.Sprint(i), Size: size, SHA256: sha256Of(data)}
		f.Layers = []pack.Part{{Name: f.Path, Count: 1, Length: size}}
		blob, err := store.Blob(repoName, f.SHA256)
		require.NoError(rt, err)
		c.files, c.data, c.blobs = append(c.files, f), append(c.data, data), append(c.blobs, blob)
		c.total += size
		c.src.files[f.Path] = noise
	}
	c.src.piece = rapid.IntRange(1000, 50_000).Draw(rt, "piece")
	c.opts = Options{Sources: []Source{c.src}, Cache: store, Limits: quick, Jobs: rapid.IntRange(1, 5).Draw(rt, "jobs")}
	c.opts.Limits.Window = rapid.Int64Range(8<<10, 128<<10).Draw(rt, "window")
	return c
}

// ways in which a fetch ends.
const (
	byContext = iota
	byNetwork
	byKill
	byPower
)

// cut fetches until some more bytes were sent; false if all was there before.
func (c *resumeCase) cut(rt *rapid.T) bool {
	at := c.src.sent + rapid.Int64Range(0, c.total).Draw(rt, "cut")
	way := rapid.IntRange(byContext, byPower).Draw(rt, "way")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var then []diskState
	var sent int64
	c.src.after = func(n int64) error {
		if n < at {
			return nil
		}
		if then == nil {
			sent, then = n, c.look(rt)
		}
		if way == byContext {
			cancel(errCut)
		}
		return errCut // permanent, as far as a stream can know
	}
	_, err := Files(ctx, c.files, c.opts)
	if err == nil {
		return false
	}
	require.ErrorIs(rt, err, errCut)
	if way == byKill || way == byPower {
		c.src.sent = sent
		c.restore(rt, then, way == byPower)
	}
	c.requireHonest(rt)
	return true
}

// diskState is what is on disk of one file. Both are nil before it is begun; a file that
// is finished is not described.
type diskState struct {
	finished      bool
	journal, part []byte
}

// look reads the journals before the parts: what they speak of is there.
func (c *resumeCase) look(rt *rapid.T) []diskState {
	states := make([]diskState, len(c.files))
	for i, blob := range c.blobs {
		s := &states[i]
		s.journal = readIfThere(rt, blob+".plimsoll.journal")
		s.part = readIfThere(rt, blob+".plimsoll.part")
		_, err := os.Stat(blob)
		s.finished = err == nil
	}
	return states
}

func readIfThere(rt *rapid.T, name string) []byte {
	data, err := os.ReadFile(name)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(rt, err)
	}
	return data
}

// restore makes the disk as it was. After a loss of power only what a record speaks of is
// sure to be there.
func (c *resumeCase) restore(rt *rapid.T, states []diskState, power bool) {
	for i, s := range states {
		if s.finished {
			continue
		}
		if power && s.journal != nil {
			lost := bytes.Repeat([]byte{0xAA}, len(s.part))
			for _, r := range c.recorded(i, s.journal) {
				copy(lost[r.from:r.to], s.part[r.from:r.to])
			}
			s.part = lost
			s.journal = append(s.journal, "0badc0de {\"ranges\":[[0,"...)
		}
		require.NoError(rt, os.RemoveAll(c.blobs[i]))
		for suffix, data := range map[string][]byte{".plimsoll.journal": s.journal, ".plimsoll.part": s.part} {
			require.NoError(rt, os.RemoveAll(c.blobs[i]+suffix))
			if data != nil {
				require.NoError(rt, os.WriteFile(c.blobs[i]+suffix, data, 0o644))
			}
		}
	}
}

// recorded is what a journal calls done; nothing, while it is being made.
func (c *resumeCase) recorded(i int, journal []byte) spans {
	f := c.files[i]
	last, _, _ := parseJournal(journal, identity{journalName, journalVersion, f.SHA256, f.Size})
	have, _ := last.spans(f.Size)
	return have
}

// requireHonest checks that everything that the journals call done is there.
func (c *resumeCase) requireHonest(rt *rapid.T) {
	for i, s := range c.look(rt) {
		for _, r := range c.recorded(i, s.journal) {
			require.Len(rt, s.part, len(c.data[i]), "of full length from the start")
			require.True(rt, bytes.Equal(c.data[i][r.from:r.to], s.part[r.from:r.to]))
		}
	}
}

// TestWindow: streams do not run ahead of a disk that does not get done with syncing.
func TestWindow(t *testing.T) {
	const size, window = 100_000, 20_000
	noise := hubtest.Noise(1, size)
	src := &shelf{files: map[string]hubtest.Content{"m.bin": noise}, piece: 1000}
	f := File{Repo: repoName, Commit: "0123456789abcdef0123456789abcdef01234567", Path: "m.bin", Size: size, SHA256: streamedSHA256(t, noise)}
	opts := Options{Sources: []Source{src}, Cache: newCache(t), Limits: quick, Jobs: 3}
	opts.Limits.Window = window
	list, err := wants([]File{f}, opts.Cache)
	require.NoError(t, err)
	e := newEngine(opts)
	tr, err := e.openTransfer(list[0], 0, new(atomic.Int64))
	require.NoError(t, err)
	defer tr.close()
	var group errgroup.Group
	for range tr.streams {
		group.Go(func() error { return tr.stream(t.Context()) })
	}
	var fresh, most, have int64
	quiet := func() bool { // nothing is in flight, and somebody waits
		e.mu.Lock()
		defer e.mu.Unlock()
		fresh, have = tr.fresh, tr.have.total()
		return have == size || e.blocked > 0 && fresh > 0 && e.unrecorded == fresh
	}
	for have < size { // nobody but this test writes records
		require.Eventually(t, quiet, time.Minute, time.Millisecond)
		require.LessOrEqual(t, fresh, int64(window))
		most = max(most, fresh)
		require.NoError(t, tr.record())
	}
	require.Greater(t, most, int64(window/2), "and do not wait too early")
	require.NoError(t, group.Wait())
	require.EqualValues(t, size, src.sent)
}

// TestOtherJournals: what cannot be gone on with is begun anew, and comes out right.
func TestOtherJournals(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	f := s.file(t, "m.bin")
	for name, spoil := range map[string]func(t *testing.T, part, journal string){
		"no journal":     func(t *testing.T, _, journal string) { require.NoError(t, os.Remove(journal)) },
		"no part":        func(t *testing.T, part, _ string) { require.NoError(t, os.Remove(part)) },
		"empty journal":  func(t *testing.T, _, journal string) { require.NoError(t, os.Truncate(journal, 0)) },
		"part too short": func(t *testing.T, part, _ string) { require.NoError(t, os.Truncate(part, f.Size-1)) },
		"part too long":  func(t *testing.T, part, _ string) { require.NoError(t, os.Truncate(part, f.Size+1)) },
		"garbage": func(t *testing.T, _, journal string) {
			require.NoError(t, os.WriteFile(journal, []byte("x\ny\n"), 0o644))
		},
		"of another blob": func(t *testing.T, _, journal string) { replaceIn(t, journal, f.SHA256, sha256Of(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			opts, part, journal := interrupted(t, s, f)
			spoil(t, part, journal)
			seen := &events{}
			opts.Progress = seen
			requireFetched(t, s, opts)
			require.Zero(t, seen.sum(Began), "nothing is gone on with")
		})
	}
}

// interrupted leaves a partial of about half of the file.
func interrupted(t *testing.T, s *site, f File) (opts Options, part, journal string) {
	t.Helper()
	opts = s.options(t)
	opts.Jobs = 1
	s.Calm()
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: hubtest.Cut(f.Size / 2)}, hubtest.Fault{Kind: hubtest.CDN, Skip: 1, Effect: hubtest.Status(410)})
	_, err := Files(t.Context(), []File{f}, opts)
	require.Error(t, err)
	s.Calm()
	blob, err := opts.Cache.Blob(f.Repo, etag(f))
	require.NoError(t, err)
	return opts, blob + ".plimsoll.part", blob + ".plimsoll.journal"
}

func replaceIn(t *testing.T, file, old, text string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	line, err := encodeLine(identity{journalName, journalVersion, text, modelSize})
	require.NoError(t, err)
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	require.Contains(t, string(data), old)
	require.NoError(t, os.WriteFile(file, append(line, rest...), 0o644))
}

// TestGoesOn: the second process asks for the rest only, and hashes nothing twice.
func TestGoesOn(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	f := s.file(t, "m.bin")
	opts, part, _ := interrupted(t, s, f)
	need, err := Plan(t.Context(), []File{f}, opts)
	require.NoError(t, err)
	require.EqualValues(t, f.Size/2, need.Partial)
	require.EqualValues(t, f.Size-f.Size/2, need.Download)
	info, err := os.Stat(part)
	require.NoError(t, err)
	require.Equal(t, max(0, f.Size-cache.DiskSize(info)), need.Disk, "what is reserved already is not needed again")

	// The hash states cover what is there: were it read again, the change would show.
	damage(t, part)
	s.Reset()
	seen := &events{}
	opts.Progress = seen
	results, err := Files(t.Context(), []File{f}, opts)
	require.NoError(t, err)
	require.EqualValues(t, f.Size/2, seen.sum(Began))
	require.EqualValues(t, f.Size-f.Size/2, results[0].Downloaded)
	require.EqualValues(t, f.Size-f.Size/2, s.Sent("m.bin"))
	for _, r := range s.Requests() {
		require.Equal(t, fmt.Sprintf("bytes=%d-", f.Size/2), r.Range)
	}
}

// TestOtherSums: when other sums are wanted than those in the journal, the bytes that are
// there are hashed from disk and not downloaded again.
func TestOtherSums(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	f := s.file(t, "m.bin")
	opts, _, _ := interrupted(t, s, f)
	f.Layers = []pack.Part{{Name: "m.bin", Count: 1, Length: f.Size}}
	results, err := Files(t.Context(), []File{f}, opts)
	require.NoError(t, err)
	require.EqualValues(t, f.Size-f.Size/2, results[0].Downloaded)
	require.Equal(t, layerDigest(t, f.Layers[0], content(t, s.files["m.bin"].Content)), results[0].Digests[0])
}

// TestDamagedPartial: bytes that were changed under the journal are found by the sums.
func TestDamagedPartial(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	f := s.file(t, "m.bin")
	opts, part, _ := interrupted(t, s, f)
	damage(t, part)
	f.Layers = []pack.Part{{Name: "m.bin", Count: 1, Length: f.Size}} // makes it read them
	results, err := Files(t.Context(), []File{f}, opts)
	require.NoError(t, err)
	got, err := os.ReadFile(results[0].Blob)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content(t, s.files["m.bin"].Content), got))
}

// damage flips the first byte.
func damage(t *testing.T, part string) {
	t.Helper()
	file, err := os.OpenFile(part, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = file.ReadAt(b, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte{^b[0]}, 0)
	require.NoError(t, errors.Join(err, file.Close()))
}
