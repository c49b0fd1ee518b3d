package fetch

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// smallDisk is a cache on a file system of its own of 1 MiB. Making one takes root.
func smallDisk(t *testing.T) (*cache.Cache, string) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	c, err := cache.Open(filepath.Join(dir, "hub"))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, unix.Unmount(dir, 0))
	})
	return c, dir
}

// filler fills a disk when something happens.
type filler struct {
	events
	t   *testing.T
	dir string
	at  func(Event) bool // nil: at the start
}

func (f *filler) fill() {
	file, err := os.Create(filepath.Join(f.dir, "filler"))
	require.NoError(f.t, err)
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	require.ErrorIs(f.t, err, syscall.ENOSPC)
	require.NoError(f.t, file.Close())
}

func (f *filler) Start(n Need) {
	if f.at == nil {
		f.fill()
	}
	f.events.Start(n)
}

func (f *filler) File(e Event) {
	if f.at != nil && f.at(e) {
		f.fill()
		f.at = func(Event) bool { return false }
	}
	f.events.File(e)
}

// TestFullDisk: a disk that is full before, or fills up meanwhile, is a clear error; what
// could be written is kept, and gone on with when there is room.
func TestFullDisk(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, 600_000), "big.bin": large(8, 2<<20)})
	f := s.file(t, "m.bin")
	t.Run("known before", func(t *testing.T) {
		opts := s.options(t)
		opts.Cache, _ = smallDisk(t)
		_, err := Files(t.Context(), []File{s.file(t, "big.bin")}, opts)
		require.Equal(t, fault.Resource, fault.KindOf(err))
		require.ErrorContains(t, err, "2097152 and")
	})
	t.Run("when reserving", func(t *testing.T) {
		opts := s.options(t)
		c, dir := smallDisk(t)
		opts.Cache, opts.Progress = c, &filler{t: t, dir: dir}
		_, err := Files(t.Context(), []File{f}, opts)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, fault.Resource, fault.KindOf(err))
		require.NotEmpty(t, fault.HintOf(err))
		requireClean(t, c)
	})
	t.Run("in the middle", func(t *testing.T) {
		opts := s.options(t)
		opts.Jobs, opts.Limits.Window = 1, 8<<10 // so many records need more than one block
		c, dir := smallDisk(t)
		opts.Cache = c
		opts.Progress = &filler{t: t, dir: dir, at: func(e Event) bool { return e.Kind == Received }}
		_, err := Files(t.Context(), []File{f}, opts)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, fault.Resource, fault.KindOf(err))
		_, err = c.Lookup(repoName, s.commit, "m.bin")
		require.ErrorIs(t, err, os.ErrNotExist)

		require.NoError(t, os.Remove(filepath.Join(dir, "filler")))
		opts.Progress = nil
		requireFetched(t, s, opts)
	})
}

// TestReadOnly: what is in a cache that cannot be written is used; what is not is an error.
func TestReadOnly(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, 1000), "other.bin": large(8, 1000)})
	opts := s.options(t)
	c, dir := smallDisk(t)
	opts.Cache = c
	requireFetched(t, s, opts)
	require.NoError(t, c.Close())
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))

	require.True(t, requireFetched(t, s, opts).Cached)
	_, err := Files(t.Context(), []File{s.file(t, "other.bin")}, opts)
	require.ErrorIs(t, err, syscall.EROFS)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "HF_HUB_CACHE")
	require.Zero(t, s.Sent("other.bin"))
}

func TestPreallocate(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, preallocate(f, 1<<20))
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, info.Size())
	if taken := cache.DiskSize(info); taken != 0 { // 0: the file system cannot reserve
		require.GreaterOrEqual(t, taken, int64(1<<20), "the space is taken at once")
	}
	require.NoError(t, preallocate(f, 0))
	require.NoError(t, datasync(f))
}
