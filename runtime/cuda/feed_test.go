package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
)

// pattern is n bytes that no shift by less than 251 makes equal.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7%251) + 1
	}
	return b
}

func copyOf(data []byte) Fill {
	return func(buffer []byte, offset int) error {
		if copy(buffer, data[offset:]) != len(buffer) {
			return errors.New("asked for more than there is")
		}
		return nil
	}
}

// deviceBytes are those of a fake device.
func deviceBytes(p Pointer, n int) []byte { return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), n) }

// Every byte arrives where it belongs, however many pieces there are to a buffer, on a
// device that reads a buffer as late as it may: one that was filled again too early would
// have lost its first bytes.
func TestFeed(t *testing.T) {
	for _, c := range []struct{ threads, buffers, size int }{{1, 1, 64}, {1, 3, 64}, {4, 2, 64}, {8, 2, 4096}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Machine.Late = true
			s := openScaled(t, f, Options{})
			feed := s.Feed(c.threads, c.buffers, c.size)
			for range 3 { // rounds
				batch := feed.Batch(nil)
				want := map[Pointer][]byte{}
				for _, n := range []int{0, 1, 63, 64, 65, 10_000} {
					p, err := s.Alloc(int64(n + 1))
					require.NoError(t, err)
					s.stream.Fill(p, 0, int64(n+1))
					want[p] = pattern(n)
				}
				require.NoError(t, s.stream.Sync())
				for p, data := range want {
					batch.Put("w", p, len(data), copyOf(data))
				}
				require.NoError(t, batch.Wait())
				for p, data := range want {
					require.True(t, bytes.Equal(data, deviceBytes(p, len(data))))
					require.Zero(t, deviceBytes(p, len(data)+1)[len(data)])
				}
			}
			require.NoError(t, feed.Close())
			require.NoError(t, s.Close())
			require.Empty(t, f.Machine.Live, "pinned memory that was not given back")
			for h, what := range f.Machine.Made {
				require.NotContains(t, []string{"stream", "event"}, what, h)
			}
		})
	}
}

// Whatever fails, it sticks, it says of which weight, and what follows is dropped.
func TestFeedFails(t *testing.T) {
	for call, what := range map[string]string{
		"cuCtxSetCurrent": "", "cuStreamCreate": "", "cuMemHostAlloc": "pinning 64 bytes: ", "cuEventCreate": "",
		"cuMemcpyHtoDAsync_v2": "copying w: ", "cuEventRecord": "copying w: ", "cuEventSynchronize": "copying w: ",
	} {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			s := openScaled(t, f, Options{})
			p, err := s.Alloc(1000)
			require.NoError(t, err)
			f.Fail.Set(call, int32(codeOutOfMemory))
			feed := s.Feed(1, 2, 64)
			batch := feed.Batch(nil)
			batch.Put("w", p, 1000, copyOf(pattern(1000)))
			want := "copying to CUDA device 0: " + what + call + ": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"
			require.EqualError(t, batch.Wait(), want)
			require.ErrorIs(t, s.Err(), ErrMemory)
			require.Equal(t, fault.Resource, fault.KindOf(s.Err()))
			batch.Put("w", p, 1000, func([]byte, int) error { t.Error("filled after an error"); return nil })
			require.EqualError(t, feed.Close(), want)
			require.EqualError(t, s.Close(), want)
			require.Empty(t, f.Machine.Live)
		})
	}
}

// A piece that cannot be read is the error, in the middle of others.
func TestFeedCannotRead(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	p, err := s.Alloc(6400)
	require.NoError(t, err)
	gone := errors.New("the disk is gone")
	feed := s.Feed(1, 2, 64)
	batch := feed.Batch(nil)
	var after atomic.Int32
	batch.Put("a", p, 640, copyOf(pattern(640)))
	batch.Put("b", p+640, 640, func(_ []byte, offset int) error {
		if offset == 320 {
			return gone
		}
		return nil
	})
	batch.Put("c", p+1280, 640, func([]byte, int) error { after.Add(1); return nil })
	require.ErrorIs(t, batch.Wait(), gone)
	require.ErrorContains(t, s.Err(), "copying b: the disk is gone")
	require.Zero(t, after.Load())
	require.True(t, bytes.Equal(pattern(640), deviceBytes(p, 640)))
	require.ErrorIs(t, feed.Close(), gone)
	require.ErrorIs(t, s.Close(), gone)
	require.Empty(t, f.Machine.Live)
}

// Close drops what was not begun, and does not wait for it.
func TestFeedIsGivenUp(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	p, err := s.Alloc(640)
	require.NoError(t, err)
	begun, on := make(chan struct{}), make(chan struct{})
	var pieces atomic.Int32
	feed := s.Feed(1, 2, 64)
	batch := feed.Batch(nil)
	batch.Put("w", p, 640, func([]byte, int) error {
		if pieces.Add(1) == 1 {
			close(begun)
			<-on
		}
		return nil
	})
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- feed.Close() }()
	for { // until Close has emptied the queue
		feed.mu.Lock()
		n := len(feed.queue)
		feed.mu.Unlock()
		if n == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(on)
	require.NoError(t, <-closed)
	require.Equal(t, int32(1), pieces.Load())
	require.NoError(t, s.Close())
	require.Empty(t, f.Machine.Live)
}

// A thread that hangs in the driver is noticed by whoever waits, and not waited for again.
func TestFeedHangs(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{Patience: 500 * time.Millisecond})
	p, err := s.Alloc(64)
	require.NoError(t, err)
	feed := s.Feed(1, 2, 64)
	batch := feed.Batch(nil)
	on := make(chan struct{})
	batch.Put("w", p, 64, func([]byte, int) error { <-on; return nil })
	require.ErrorIs(t, batch.Wait(), ErrHung)
	require.ErrorIs(t, feed.Close(), ErrHung)
	close(on)
	require.ErrorIs(t, s.Close(), ErrHung)
	feed.threads.Wait() // it calls the library of this test
}

// What cannot be given back is Close's error.
func TestFeedCloseFails(t *testing.T) {
	for _, call := range []string{"cuMemFreeHost", "cuEventDestroy_v2", "cuStreamDestroy_v2"} {
		f := cudatest.TwoDevices()
		s := openScaled(t, f, Options{})
		feed := s.Feed(1, 1, 64)
		batch := feed.Batch(nil)
		batch.Put("w", s.memory, 64, copyOf(pattern(64)))
		require.NoError(t, batch.Wait())
		f.Fail.Set(call, 34)
		require.ErrorContains(t, feed.Close(), call+": CUDA_ERROR_STUB_LIBRARY")
		f.Fail.Clear()
		require.NoError(t, s.Close())
	}
}

// A batch is waited for by itself, and its copies follow the event that it was given.
func TestBatches(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	p, err := s.Alloc(6400)
	require.NoError(t, err)
	passed, err := s.Event()
	require.NoError(t, err)
	require.NoError(t, s.stream.Mark(passed))
	feed := s.Feed(2, 2, 64)
	first, second := feed.Batch(passed), feed.Batch(nil)
	begun, on := make(chan struct{}), make(chan struct{})
	second.Put("b", p+640, 64, func(buffer []byte, offset int) error {
		close(begun)
		<-on
		return copyOf(pattern(64))(buffer, offset)
	})
	<-begun
	first.Put("a", p, 640, copyOf(pattern(640)))
	require.NoError(t, first.Wait())
	require.True(t, bytes.Equal(pattern(640), deviceBytes(p, 640)))
	require.NoError(t, first.Wait(), "twice")
	close(on)
	require.NoError(t, second.Wait())
	require.True(t, bytes.Equal(pattern(64), deviceBytes(p+640, 64)))
	f.Fail.Set("cuStreamWaitEvent", int32(codeOutOfMemory))
	second.Put("c", p, 64, copyOf(pattern(64))) // follows nothing
	require.NoError(t, second.Wait())
	first.Put("d", p, 64, copyOf(pattern(64)))
	require.ErrorContains(t, first.Wait(), "copying d: cuStreamWaitEvent")
	require.Error(t, feed.Close())
	require.Error(t, s.Close())
}
