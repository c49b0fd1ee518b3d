package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// remote are options under which small files take the ways of large ones.
func remote(sources ...Source) RemoteOptions {
	return RemoteOptions{Sources: sources, Window: 64 << 10, Piece: 8 << 10, Limits: quick}
}

func openRemote(t testing.TB, f File, o RemoteOptions) *Remote {
	t.Helper()
	r := OpenRemote(t.Context(), f, o)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// readRemote reads a file from an offset to its end, in odd pieces.
func readRemote(x *RemoteReader, from, to int64) ([]byte, error) {
	return io.ReadAll(struct{ io.Reader }{io.NewSectionReader(x, from, to-from)})
}

// requireRead reads m.bin with two readers of one Remote and compares every byte.
func requireRead(t *testing.T, s *site) {
	t.Helper()
	want := content(t, s.files["m.bin"].Content)
	r := openRemote(t, s.file(t, "m.bin"), remote(s.client(t)))
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			x := r.Reader(modelSize)
			defer x.Close()
			got, err := readRemote(x, 0, modelSize)
			if err != nil || !bytes.Equal(want, got) {
				t.Errorf("reading: %v; right: %t", err, bytes.Equal(want, got))
			}
		})
	}
	wait.Wait()
}

// TestRemoteReadsOnce: readers that stay together cost one request for each piece, and the
// window bounds what is held, however fast one of them is.
func TestRemoteReadsOnce(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	r := openRemote(t, s.file(t, "m.bin"), remote(s.client(t)))
	fast, slow := r.Reader(modelSize), r.Reader(modelSize)
	one := make([]byte, 1)
	_, err := slow.ReadAt(one, 0)
	require.NoError(t, err)
	fast.Hold(0) // however late it begins
	done := make(chan error)
	go func() {
		_, err := readRemote(fast, 0, modelSize)
		fast.Close()
		done <- err
	}()
	for at := int64(1); at < modelSize; at += 100 {
		_, err := slow.ReadAt(one, at)
		require.NoError(t, err)
	}
	require.NoError(t, slow.Close())
	require.NoError(t, <-done)
	require.EqualValues(t, modelSize, s.Sent(""))
	require.EqualValues(t, modelSize, r.Received())
	require.LessOrEqual(t, r.made, r.capacity())
}

// TestRemoteLeavesBehind: one that stands still does not stop the others, and reads again
// what it has missed.
func TestRemoteLeavesBehind(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	want := content(t, s.files["m.bin"].Content)
	o := remote(s.client(t))
	seen := &events{}
	o.Lag, o.Progress = time.Millisecond, seen.File
	r := openRemote(t, s.file(t, "m.bin"), o)
	still, fast := r.Reader(modelSize), r.Reader(modelSize)
	defer still.Close()
	_, err := still.ReadAt(make([]byte, 10), 0)
	require.NoError(t, err)
	got, err := readRemote(fast, 0, modelSize)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	fast.Close()
	got, err = readRemote(still, 10, modelSize)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want[10:], got))
	require.EqualValues(t, r.Received(), seen.sum(Received))
	require.EqualValues(t, r.Received()-modelSize, seen.sum(Discarded))
	require.Greater(t, r.Received(), int64(modelSize*3/2))
}

// TestRemoteFollower: a follower waits for one that stands still, and for one that has not
// begun.
func TestRemoteFollower(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	o := remote(s.client(t))
	o.Lag = 1 // a nanosecond: everybody who is not reading stands still
	r := openRemote(t, s.file(t, "m.bin"), o)
	begun, held, follower := r.Reader(100_000), r.Reader(modelSize), r.Follower(modelSize)
	held.Hold(100_000)
	follower.Hold(0)
	_, err := begun.ReadAt(make([]byte, 10), 0)
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := readRemote(follower, 0, modelSize)
		done <- err
	}()
	for at := int64(10); at < 100_000; at += 10_000 {
		_, err := readRemote(begun, at, min(at+10_000, 100_000))
		require.NoError(t, err)
		time.Sleep(time.Millisecond) // gives the follower the chance to do wrong
	}
	_, err = readRemote(held, 100_000, modelSize)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.EqualValues(t, modelSize, r.Received())
}

// TestRemoteSeeks: any offset can be read again, and what is asked for ends where the
// reader does.
func TestRemoteSeeks(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	want := content(t, s.files["m.bin"].Content)
	r := openRemote(t, s.file(t, "m.bin"), remote(s.client(t)))
	x := r.Reader(150_000)
	defer x.Close()
	buf := make([]byte, 1000)
	for _, at := range []int64{0, 140_000, 70_001, 3, 149_000, 8191, 8192} {
		n, err := x.ReadAt(buf, at)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[at:at+int64(n)], buf[:n]), "at %d", at)
	}
	n, err := x.ReadAt(buf, 149_500)
	require.Equal(t, 500, n)
	require.ErrorIs(t, err, io.EOF)
	for _, q := range s.Requests() {
		if q.Kind == hubtest.CDN {
			require.NotContains(t, q.Range, "bytes=155648-", "nothing behind the reader's end is asked for")
		}
	}
}

// TestRemoteEnds: a read ends with the file, with the context after its grace, and with the
// sources; the error says why.
func TestRemoteEnds(t *testing.T) {
	silent := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	silent.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: silent.Stall(0)})
	read := func(ctx context.Context, f File, o RemoteOptions, meanwhile func(*Remote)) error {
		r := OpenRemote(ctx, f, o)
		defer r.Close()
		x := r.Reader(f.Size)
		defer x.Close()
		go meanwhile(r)
		_, err := x.ReadAt(make([]byte, 10), 0)
		return err
	}
	f := silent.file(t, "m.bin")
	o := remote(silent.client(t))
	o.Limits.Tries, o.Limits.Wait, o.Limits.MaxWait = 1000, time.Hour, time.Hour
	require.ErrorIs(t, read(t.Context(), f, o, func(r *Remote) { r.Close() }), errClosed)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	require.ErrorIs(t, read(ctx, f, o, func(*Remote) { cancel(reason) }), reason)

	gone := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	f = gone.file(t, "m.bin")
	gone.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.Status(404)})
	err := read(t.Context(), f, remote(gone.client(t)), func(*Remote) {})
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	require.ErrorContains(t, err, "404")
	gone.Calm()
	f.SHA256 = streamedSHA256(t, hubtest.Noise(8, modelSize))
	err = read(t.Context(), f, remote(gone.client(t)), func(*Remote) {})
	require.ErrorContains(t, err, "another file")
	f = gone.file(t, "m.bin")
	f.Size--
	err = read(t.Context(), f, remote(gone.client(t)), func(*Remote) {})
	require.ErrorContains(t, err, "its size is")
}

// TestRemoteTriesTheNextSource: one that is dead is left.
func TestRemoteTriesTheNextSource(t *testing.T) {
	dead := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	good := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	dead.Inject(hubtest.Fault{Kind: hubtest.CDN, Skip: 5, Effect: hubtest.Status(503)})
	r := openRemote(t, good.file(t, "m.bin"), remote(dead.client(t), good.client(t)))
	x := r.Reader(modelSize)
	defer x.Close()
	got, err := readRemote(x, 0, modelSize)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content(t, good.files["m.bin"].Content), got))
	require.Positive(t, good.Sent(""))
	require.Positive(t, dead.Sent(""))
}

// TestRemoteGrace: reads go on for a while after the context has ended.
func TestRemoteGrace(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	o := remote(s.client(t))
	o.Grace = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	r := OpenRemote(ctx, s.file(t, "m.bin"), o)
	defer r.Close()
	cancel()
	x := r.Reader(modelSize)
	defer x.Close()
	_, err := readRemote(x, 0, modelSize)
	require.NoError(t, err)
}

// proved is a file with its layers, cut at 64,000 bytes.
func proved(t testing.TB, data []byte) File {
	t.Helper()
	f := File{Repo: repoName, Commit: "0123456789012345678901234567890123456789", Path: "m.bin", Size: int64(len(data)), SHA256: sha256Of(data)}
	for at := 0; at < len(data); at += 64_000 {
		n := min(64_000, len(data)-at)
		p := pack.Part{Name: pack.PartName("m.bin", at/64_000, 4), Index: at / 64_000, Count: 4, Offset: int64(at), Length: int64(n)}
		f.Layers = append(f.Layers, p)
	}
	return f
}

// TestProof: cut anywhere, and any number of times, the digests are those of the
// definition, and no byte is asked for twice.
func TestProof(t *testing.T) {
	data := content(t, hubtest.Noise(3, modelSize))
	f := proved(t, data)
	path := filepath.Join(t.TempDir(), "streams", "journal")
	var digests []string
	read := &cutReader{data: data}
	for cut := int64(10_000); digests == nil; cut += 70_000 {
		p, err := OpenProof(f, data[:777], path)
		require.NoError(t, err)
		require.Equal(t, read.at, p.Offset())
		for i, l := range f.Layers[:3] {
			digest, ok := p.Known(i)
			require.Equal(t, l.Offset+l.Length <= read.at, ok)
			require.True(t, !ok || digest == layerDigest(t, l, data), "what has passed is known in the next process")
		}
		read.until = cut
		if err = p.Read(t.Context(), read); err == nil {
			digests = p.Digests()
			p.Forget()
		} else {
			require.ErrorIs(t, err, errEarly)
			p.Close()
		}
	}
	for i, l := range f.Layers {
		require.Equal(t, layerDigest(t, l, data), digests[i])
	}
	require.EqualValues(t, modelSize, read.total)
	require.NoFileExists(t, path)
}

// cutReader reads in order, up to a place.
type cutReader struct {
	data             []byte
	at, until, total int64
}

func (r *cutReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.until && r.until < int64(len(r.data)) {
		return 0, errEarly
	}
	n := copy(p, r.data[off:min(r.until, int64(len(r.data)))])
	r.at, r.total = off+int64(n), r.total+int64(n)
	return n, nil
}

// TestProofTellsLayers: the digest of a layer is known as soon as its bytes have passed,
// that of the last one when the file is found sound.
func TestProofTellsLayers(t *testing.T) {
	data := content(t, hubtest.Noise(3, modelSize))
	f := proved(t, data)
	p, err := OpenProof(f, nil, "")
	require.NoError(t, err)
	err = p.Read(t.Context(), &cutReader{data: data, until: 130_000})
	require.ErrorIs(t, err, errEarly)
	for i := range 2 {
		got, err := p.Layer(t.Context(), i)
		require.NoError(t, err)
		require.Equal(t, layerDigest(t, f.Layers[i], data), got)
	}
	for i := 2; i < 4; i++ {
		_, err = p.Layer(t.Context(), i)
		require.ErrorIs(t, err, errEarly)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q, err := OpenProof(f, nil, "")
	require.NoError(t, err)
	_, err = q.Layer(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, q.Sound(ctx), context.Canceled)
}

// TestProofOfWrongBytes: they are never sound, and the next proof begins anew.
func TestProofOfWrongBytes(t *testing.T) {
	data := content(t, hubtest.Noise(3, modelSize))
	wrong := bytes.Clone(data)
	wrong[150_000] ^= 1
	f := proved(t, data)
	path := filepath.Join(t.TempDir(), "journal")
	for name, c := range map[string]struct{ bytes, head []byte }{
		"file": {wrong, nil}, "head": {data, wrong[149_000:150_000]},
	} {
		p, err := OpenProof(f, c.head, path)
		require.NoError(t, err, name)
		err = p.Read(t.Context(), bytes.NewReader(c.bytes))
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
		require.NotEmpty(t, fault.HintOf(err), name)
		_, again := p.Layer(t.Context(), 3)
		require.Equal(t, err, again, name)
		require.NoFileExists(t, path, name)
	}
	_, err := OpenProof(File{Size: 3}, nil, "")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// FuzzProofJournal: whatever lies where the journal should be, the proof is right.
func FuzzProofJournal(f *testing.F) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20)
	file := File{Repo: repoName, Commit: "0123456789012345678901234567890123456789", Path: "m.bin", Size: int64(len(data)), SHA256: sha256Of(data)}
	path := filepath.Join(f.TempDir(), "seed")
	p, err := OpenProof(file, nil, path)
	require.NoError(f, err)
	require.Error(f, p.Read(f.Context(), &cutReader{data: data, until: 100}))
	p.Close()
	seed, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(seed)
	f.Add(seed[:len(seed)-7])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, journal []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		require.NoError(t, os.WriteFile(path, journal, 0o600))
		p, err := OpenProof(file, nil, path)
		require.NoError(t, err)
		defer p.Close()
		if err := p.Read(t.Context(), bytes.NewReader(data)); err != nil {
			// A state with a right checksum that is not of these bytes is found wrong, and the
			// next proof begins anew.
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.NoFileExists(t, path)
			return
		}
		require.Equal(t, file.Size, p.Offset())
	})
}
