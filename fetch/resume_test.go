package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
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
		defer c.store.Close()
		cuts := 0
		for range rapid.IntRange(0, 6).Draw(rt, "cuts") {
			if !c.cut(rt) {
				break // it was done before
			}
			cuts++
		}
		c.src.after = nil
		results, err := Files(t.Context(), []File{c.file}, c.opts)
		require.NoError(rt, err)
		got, err := os.ReadFile(results[0].Blob)
		require.NoError(rt, err)
		require.True(rt, bytes.Equal(c.data, got))
		require.Equal(rt, layerDigest(t, c.file.Layers[0], c.data), results[0].Digests[0])
		most := c.file.Size + int64(cuts)*c.opts.Limits.Window
		require.LessOrEqual(rt, c.src.sent, most, "size and one window for each cut")
	})
}

// resumeCase is one file of random size, to be fetched over random connections.
type resumeCase struct {
	data  []byte
	file  File
	store *cache.Cache
	src   *shelf
	opts  Options
	blob  string
}

func newResumeCase(t *testing.T, rt *rapid.T) *resumeCase {
	size := rapid.Int64Range(1, 200_000).Draw(rt, "size")
	noise := hubtest.Noise(uint64(size), size)
	c := &resumeCase{data: content(t, noise)}
	c.file = File{Repo: repoName, Commit: "0123456789abcdef0123456789abcdef01234567", Path: "m.bin", Size: size, SHA256: sha256Of(c.data)}
	c.file.Layers = []pack.Part{{Name: "m.bin", Count: 1, Length: size}}
	dir, err := os.MkdirTemp(t.TempDir(), "")
	require.NoError(rt, err)
	c.store, err = cache.Open(dir)
	require.NoError(rt, err)
	c.blob, err = c.store.Blob(repoName, c.file.SHA256)
	require.NoError(rt, err)
	c.src = &shelf{files: map[string]hubtest.Content{"m.bin": noise}, piece: rapid.IntRange(1000, 50_000).Draw(rt, "piece")}
	c.opts = Options{Sources: []Source{c.src}, Cache: c.store, Limits: quick, Jobs: rapid.IntRange(1, 5).Draw(rt, "jobs")}
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
	at := c.src.sent + rapid.Int64Range(0, c.file.Size).Draw(rt, "cut")
	way := rapid.IntRange(byContext, byPower).Draw(rt, "way")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var then *diskState
	c.src.after = func(sent int64) error {
		if sent < at {
			return nil
		}
		if then == nil {
			then = c.look(rt, sent)
		}
		if way == byContext {
			cancel(errCut)
		}
		return errCut // permanent, as far as a stream can know
	}
	_, err := Files(ctx, []File{c.file}, c.opts)
	if err == nil {
		return false
	}
	require.ErrorIs(rt, err, errCut)
	if way == byKill || way == byPower {
		then.restore(rt, c, way == byPower)
	}
	c.requireHonest(rt)
	return true
}

// diskState is what was on disk when so many bytes had been sent.
type diskState struct {
	sent          int64
	journal, part []byte
}

// look reads the journal before the part: what it speaks of is there.
func (c *resumeCase) look(rt *rapid.T, sent int64) *diskState {
	journal, err := os.ReadFile(c.blob + ".plimsoll.journal")
	require.NoError(rt, err)
	part, err := os.ReadFile(c.blob + ".plimsoll.part")
	require.NoError(rt, err)
	return &diskState{sent, journal, part}
}

// restore makes the disk as it was. After a loss of power only what a record speaks of is
// sure to be there.
func (d *diskState) restore(rt *rapid.T, c *resumeCase, power bool) {
	c.src.sent = d.sent
	if power {
		lost := bytes.Repeat([]byte{0xAA}, len(d.part))
		for _, s := range c.recorded(rt, d.journal) {
			copy(lost[s.from:s.to], d.part[s.from:s.to])
		}
		d.part = lost
		d.journal = append(d.journal, "0badc0de {\"ranges\":[[0,"...)
	}
	require.NoError(rt, os.WriteFile(c.blob+".plimsoll.journal", d.journal, 0o644))
	require.NoError(rt, os.WriteFile(c.blob+".plimsoll.part", d.part, 0o644))
}

// recorded is what a journal calls done.
func (c *resumeCase) recorded(rt *rapid.T, journal []byte) spans {
	last, _, ok := parseJournal(journal, identity{journalName, journalVersion, c.file.SHA256, c.file.Size})
	require.True(rt, ok)
	have, _ := last.spans(c.file.Size)
	return have
}

// requireHonest checks that everything that the journal calls done is there, and that no
// more than a window of what was sent is not.
func (c *resumeCase) requireHonest(rt *rapid.T) {
	now := c.look(rt, 0)
	require.Len(rt, now.part, len(c.data), "of full length from the start")
	for _, s := range c.recorded(rt, now.journal) {
		require.True(rt, bytes.Equal(c.data[s.from:s.to], now.part[s.from:s.to]))
	}
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
	require.Less(t, need.Disk, f.Size/10, "the space is taken already")

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
