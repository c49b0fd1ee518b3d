package cuda

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
)

// openContext opens a context on a fake's first device.
func openContext(t *testing.T, f *cudatest.Library, o Options) *Context {
	t.Helper()
	c, err := tryContext(t, f, o)
	require.NoError(t, err)
	return c
}

func tryContext(t *testing.T, f *cudatest.Library, o Options) (*Context, error) {
	t.Helper()
	d, err := openFake(t, f)
	require.NoError(t, err)
	devices, err := d.Devices()
	require.NoError(t, err)
	return d.Context(devices[0], o)
}

// scaled is a context with all that it takes to scale numbers.
type scaled struct {
	*Context
	stream *Stream
	scale  *Function
	memory Pointer
	pinned *Pinned
}

func openScaled(t *testing.T, f *cudatest.Library, o Options) *scaled {
	t.Helper()
	s := &scaled{Context: openContext(t, f, o)}
	var err error
	s.stream, err = s.Stream()
	require.NoError(t, err)
	m, err := s.Load("test", []byte(cudatest.PTX))
	require.NoError(t, err)
	s.scale, err = m.Function("scale")
	require.NoError(t, err)
	s.memory, err = s.Alloc(64)
	require.NoError(t, err)
	s.pinned, err = s.Pin(64)
	require.NoError(t, err)
	return s
}

func (s *scaled) launch(factor float32) {
	s.stream.Launch(s.scale, Dim{X: 3, Y: 2}, Dim{X: 32}, 100, Address(s.memory), Int(4), Float(factor))
}

func TestRoundTrip(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	require.Equal(t, "NVIDIA H100 80GB HBM3", s.Device().Name)
	values := unsafe.Slice((*float32)(unsafe.Pointer(&s.pinned.Bytes()[0])), 16)
	copy(values, []float32{1, 2, 3, 4, 5})
	s.stream.CopyToDevice(s.memory, s.pinned, 0, 20)
	s.launch(3)
	s.stream.Copy(s.memory+32, s.memory, 20)
	s.stream.Fill(s.memory+32, 0, 4)
	s.stream.CopyToHost(s.pinned, 40, s.memory+32, 20)
	require.NoError(t, s.stream.Sync())
	require.Equal(t, []float32{0, 6, 9, 12, 5}, values[10:15])
	require.Equal(t, cudatest.Launched{Grid: [3]uintptr{3, 2, 1}, Block: [3]uintptr{32, 1, 1}, Shared: 100}, f.Machine.Last)
	require.NoError(t, s.Close())
}

// Close gives back everything, in a context's own reverse order.
func TestCloseGivesEverythingBack(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	more, err := s.Alloc(1000)
	require.NoError(t, err)
	event, err := s.Event()
	require.NoError(t, err)
	require.NoError(t, s.Free(more))
	require.Panics(t, func() { _ = s.Free(more) })
	require.NoError(t, s.Close())
	require.Empty(t, f.Machine.Live)
	require.Zero(t, f.Retained.Load())
	for h, what := range f.Machine.Made {
		require.Contains(t, what, map[bool]string{true: "function", false: "destroyed "}[what == "function scale"], h)
	}
	require.ErrorIs(t, event.Wait(), errClosed)
	require.ErrorIs(t, s.Close(), errClosed)
}

func TestEvents(t *testing.T) {
	s := openScaled(t, cudatest.TwoDevices(), Options{})
	defer s.Close()
	start, err := s.Event()
	require.NoError(t, err)
	end, err := s.Event()
	require.NoError(t, err)
	s.stream.Record(start)
	s.launch(1)
	s.stream.Record(end)
	d, err := end.Since(start)
	require.NoError(t, err)
	require.Positive(t, d)
	require.Less(t, d, time.Second)
}

func TestMemory(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Depth.Store(1) // memGetInfo wants a context
	c := openContext(t, f, Options{})
	defer c.Close()
	free, total, err := c.Memory()
	require.NoError(t, err)
	require.Equal(t, int64(84_000_000_001), free)
	require.Equal(t, int64(85_899_345_920), total)
}

func TestAllowShared(t *testing.T) {
	s := openScaled(t, cudatest.TwoDevices(), Options{})
	defer s.Close()
	require.NoError(t, s.scale.AllowShared(99<<10))
	s.stream.Launch(s.scale, Dim{}, Dim{}, 99<<10, Address(s.memory), Int(1), Float(1))
	require.NoError(t, s.stream.Sync())
	err := s.scale.AllowShared(1 << 20)
	require.EqualError(t, err, "allowing kernel scale 1048576 bytes of shared memory: cuFuncSetAttribute: CUDA error 1")
	require.NoError(t, s.Err(), "an error of a call that waits does not stick")
}

// Every call that opens, makes or waits is checked: whichever fails, the error names it,
// what was asked for, and nothing sticks.
func TestEveryCallIsChecked(t *testing.T) {
	const oom = ": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"
	cases := map[string]struct {
		want string
		call func(s *scaled) error
	}{
		"cuStreamCreate":      {"making a CUDA stream: ", func(s *scaled) error { _, err := s.Stream(); return err }},
		"cuStreamSynchronize": {"", func(s *scaled) error { return s.stream.Sync() }},
		"cuEventCreate":       {"making a CUDA event: ", func(s *scaled) error { _, err := s.Event(); return err }},
		"cuEventSynchronize":  {"", func(s *scaled) error { return (&Event{context: s.Context}).Wait() }},
		"cuEventElapsedTime": {"", func(s *scaled) error {
			e, err := s.Event()
			return errors.Join(err, onlyError(e.Since(e)))
		}},
		"cuLinkCreate_v2":     {"loading CUDA module x: ", func(s *scaled) error { _, err := s.Load("x", []byte(cudatest.PTX)); return err }},
		"cuLinkAddData_v2":    {"loading CUDA module x: ", func(s *scaled) error { _, err := s.Load("x", []byte(cudatest.PTX)); return err }},
		"cuLinkComplete":      {"loading CUDA module x: ", func(s *scaled) error { _, err := s.Load("x", []byte(cudatest.PTX)); return err }},
		"cuLinkDestroy":       {"loading CUDA module x: ", func(s *scaled) error { _, err := s.Load("x", []byte(cudatest.PTX)); return err }},
		"cuModuleLoadData":    {"loading CUDA module x: ", func(s *scaled) error { _, err := s.Load("x", []byte(cudatest.PTX)); return err }},
		"cuModuleGetFunction": {"finding kernel y in CUDA module z: ", func(s *scaled) error { _, err := (&Module{context: s.Context, name: "z"}).Function("y"); return err }},
		"cuFuncSetAttribute":  {"allowing kernel scale 5 bytes of shared memory: ", func(s *scaled) error { return s.scale.AllowShared(5) }},
		"cuMemAlloc_v2":       {"allocating 70 bytes on CUDA device 0: ", func(s *scaled) error { _, err := s.Alloc(70); return err }},
		"cuMemFree_v2":        {"", func(s *scaled) error { return s.Free(s.memory) }},
		"cuMemHostAlloc":      {"pinning 8 bytes: ", func(s *scaled) error { _, err := s.Pin(8); return err }},
		"cuMemGetInfo_v2":     {"reading free memory of CUDA device 0: ", func(s *scaled) error { _, _, err := s.Memory(); return err }},
	}
	for call, c := range cases {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			s := openScaled(t, f, Options{})
			f.Fail.Set(call, int32(codeOutOfMemory))
			err := c.call(s)
			require.EqualError(t, err, c.want+call+oom)
			require.ErrorIs(t, err, ErrMemory)
			require.NotErrorIs(t, err, ErrLost)
			require.Equal(t, fault.Resource, kindOf(err, call))
			require.NoError(t, s.Err())
			f.Fail.Clear()
			require.NoError(t, s.stream.Sync())
			require.NoError(t, s.Close())
		})
	}
}

func onlyError(_ time.Duration, err error) error { return err }

// kindOf leaves aside that a kernel which cannot be found is always a defect.
func kindOf(err error, call string) fault.Kind {
	if call == "cuModuleGetFunction" {
		return fault.Resource
	}
	return fault.KindOf(err)
}

// What runs behind and fails sticks: nothing runs after it, and every wait returns it.
func TestErrorsThatStick(t *testing.T) {
	cases := map[string]struct {
		want string
		call func(s *scaled)
	}{
		"cuLaunchKernel": {
			"launching kernel scale on {3 2 0} blocks of {32 0 0} threads with 100 bytes of shared memory: ", func(s *scaled) { s.launch(2) },
		},
		"cuEventRecord":        {"", func(s *scaled) { s.stream.Record(&Event{context: s.Context}) }},
		"cuMemcpyHtoDAsync_v2": {"copying 9 bytes: ", func(s *scaled) { s.stream.CopyToDevice(s.memory, s.pinned, 0, 9) }},
		"cuMemcpyDtoHAsync_v2": {"copying 9 bytes: ", func(s *scaled) { s.stream.CopyToHost(s.pinned, 0, s.memory, 9) }},
		"cuMemcpyDtoDAsync_v2": {"copying 9 bytes: ", func(s *scaled) { s.stream.Copy(s.memory, s.memory+32, 9) }},
		"cuMemsetD8Async":      {"copying 9 bytes: ", func(s *scaled) { s.stream.Fill(s.memory, 1, 9) }},
	}
	for call, c := range cases {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			s := openScaled(t, f, Options{})
			f.Fail.Set(call, 34)
			c.call(s)
			want := "running on CUDA device 0: " + c.want + call + ": CUDA_ERROR_STUB_LIBRARY (34): CUDA driver is a stub library"
			require.EqualError(t, s.stream.Sync(), want)
			f.Fail.Clear()
			s.stream.Fill(s.memory, 1, 16)
			_, err := s.Alloc(1)
			require.EqualError(t, err, "allocating 1 bytes on CUDA device 0: "+want)
			require.EqualError(t, s.Err(), want)
			require.NotErrorIs(t, err, ErrLost)
			require.Equal(t, fault.Resource, fault.KindOf(err))
			require.Equal(t, make([]byte, 16), unsafe.Slice(*(**byte)(unsafe.Pointer(&s.memory)), 16), "something ran after an error")
			require.EqualError(t, s.Close(), want)
			require.Empty(t, f.Machine.Live, "what is not lost is given back")
		})
	}
}

// A device that is lost is so for every call, and the way out is to start again.
func TestLostDevice(t *testing.T) {
	for _, code := range lostCodes {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			f := cudatest.TwoDevices()
			s := openScaled(t, f, Options{})
			f.Fail.Set("cuStreamSynchronize", int32(code))
			err := s.stream.Sync()
			require.ErrorIs(t, err, ErrLost)
			require.NotErrorIs(t, err, ErrHung)
			require.ErrorContains(t, err, "running on CUDA device 0: cuStreamSynchronize: ")
			require.Contains(t, fault.HintOf(err), "start the program again")
			require.Equal(t, fault.Resource, fault.KindOf(err))
			_, err = s.Alloc(1)
			require.ErrorIs(t, err, ErrLost)
			require.ErrorIs(t, s.Close(), ErrLost)
		})
	}
}

func TestSynchronousNamesTheKernel(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{Synchronous: true})
	f.Fail.Set("cuStreamSynchronize", 700)
	s.launch(1)
	s.launch(2)
	require.ErrorContains(t, s.stream.Sync(), "launching kernel scale on")
	require.ErrorIs(t, s.Close(), ErrLost)
}

// A hung device is noticed by whoever waits for it, and by who finds the queue full.
func TestHungDevice(t *testing.T) {
	waits := map[string]func(f *cudatest.Library, s *scaled) error{
		"sync": func(_ *cudatest.Library, s *scaled) error { return s.stream.Sync() },
		"full queue": func(_ *cudatest.Library, s *scaled) error {
			go s.stream.Sync()
			for s.Err() == nil {
				s.launch(1)
			}
			return s.Err()
		},
		"close": func(f *cudatest.Library, s *scaled) error {
			go s.stream.Sync()
			<-f.Machine.Hung
			return s.Close()
		},
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Machine.Hang, f.Machine.Hung = make(chan struct{}), make(chan struct{}, 1)
			s := openScaled(t, f, Options{Patience: 30 * time.Millisecond})
			err := wait(f, s)
			require.ErrorIs(t, err, ErrHung)
			require.ErrorIs(t, err, ErrLost)
			require.ErrorContains(t, err, "waiting for CUDA device 0: the CUDA device is lost to this process: it gets no further: nothing was finished in 30ms")
			require.Contains(t, fault.HintOf(err), "start the program again")
			require.ErrorIs(t, s.Close(), ErrHung, "which does not wait again")
			close(f.Machine.Hang)
			for name == "close" && f.Retained.Load() > 0 {
				time.Sleep(time.Millisecond) // the thread gives back after all, from the library of this test
			}
		})
	}
}

// A device that is slow, but finishes one thing after the other, is not hung.
func TestSlowDevice(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Machine.Hang, f.Machine.Hung = make(chan struct{}), make(chan struct{}, 100)
	s := openScaled(t, f, Options{Patience: 200 * time.Millisecond, Synchronous: true})
	go func() {
		for range 11 {
			time.Sleep(40 * time.Millisecond)
			f.Machine.Hang <- struct{}{}
		}
		close(f.Machine.Hang)
	}()
	for range 10 {
		s.launch(1)
	}
	require.NoError(t, s.stream.Sync())
	require.NoError(t, s.Close())
}

// Tiled matrices come first, by value; everything that describes one reaches the driver.
func TestTiledMatrices(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	m, err := s.Load("tiles", []byte(cudatest.PTX))
	require.NoError(t, err)
	tiled, err := m.Function("tiled")
	require.NoError(t, err)
	a, b := Matrix{P: 4096, Rows: 300, Cols: 72, TileRows: 128, TileCols: 64}, Matrix{P: 8192, Rows: 7, Cols: 8, TileRows: 256, TileCols: 64}
	s.stream.LaunchTiled(tiled, Dim{X: 5}, Dim{X: 384}, 0, []Matrix{a, b}, Int(77))
	require.NoError(t, s.stream.Sync())
	require.Equal(t, cudatest.TensorMap{9, 2, 4096, 72, 300, 144, 64, 128, 0, 3, 3, 0}, f.Machine.Last.Tiled[0])
	require.Equal(t, cudatest.TensorMap{9, 2, 8192, 8, 7, 16, 64, 256, 0, 3, 3, 0}, f.Machine.Last.Tiled[1])
	require.Equal(t, uint64(77), f.Machine.Last.Word)

	f.Fail.Set("cuTensorMapEncodeTiled", 34)
	s.stream.LaunchTiled(tiled, Dim{X: 5}, Dim{X: 384}, 0, []Matrix{a, b}, Int(77))
	require.ErrorContains(t, s.stream.Sync(), "launching kernel tiled on {5 0 0} blocks of {384 0 0} threads with 0 bytes of shared memory: cuTensorMapEncodeTiled: CUDA_ERROR_STUB_LIBRARY")
	require.Error(t, s.Close())
}

func TestDriverWithoutTiledMatrices(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Absent = "cuTensorMapEncodeTiled"
	s := openScaled(t, f, Options{})
	s.stream.LaunchTiled(s.scale, Dim{}, Dim{}, 0, []Matrix{{}})
	require.ErrorIs(t, s.stream.Sync(), errNoTensorMaps)
	require.Error(t, s.Close())
}

func TestLaunchIsAbsent(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Absent = "cuLaunchKernel"
	_, err := openFake(t, f)
	require.EqualError(t, err, "binding libcuda.so.1: function cuLaunchKernel: undefined symbol: cuLaunchKernel")
}

func TestContextFails(t *testing.T) {
	for _, call := range []string{"cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemHostAlloc"} {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Fail.Set(call, int32(codeOutOfMemory))
			_, err := tryContext(t, f, Options{})
			require.EqualError(t, err, "opening CUDA device 0, NVIDIA H100 80GB HBM3: "+call+": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory")
			require.ErrorIs(t, err, ErrMemory)
			require.Contains(t, fault.HintOf(err), "nvidia-smi")
			require.Zero(t, f.Retained.Load())
		})
	}
}

func TestCloseFails(t *testing.T) {
	for _, call := range []string{
		"cuMemFreeHost", "cuDevicePrimaryCtxRelease_v2", "cuMemFree_v2", "cuModuleUnload", "cuStreamDestroy_v2",
	} {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			s := openScaled(t, f, Options{})
			f.Fail.Set(call, 34)
			require.ErrorContains(t, s.Close(), "closing CUDA device 0: "+call+": CUDA_ERROR_STUB_LIBRARY")
		})
	}
}

func TestModulesThatDoNotLoad(t *testing.T) {
	f := cudatest.TwoDevices()
	c := openContext(t, f, Options{})
	defer c.Close()
	_, err := c.Load("norms", []byte("nonsense"))
	require.EqualError(t, err, "loading CUDA module norms: cuLinkAddData_v2: CUDA error 218: ptxas norms: syntax error")
	require.Equal(t, fault.Internal, fault.KindOf(err))

	f.Fail.Set("cuLinkAddData_v2", int32(codeNewPTX))
	_, err = c.Load("norms", []byte(cudatest.PTX))
	require.ErrorContains(t, err, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)")
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "update the NVIDIA driver")

	f.Fail.Set("cuLinkAddData_v2", int32(codeNoBinary))
	_, err = c.Load("norms", []byte(cudatest.PTX))
	require.Contains(t, fault.HintOf(err), "compute capability 8.0")
	f.Fail.Clear()

	m, err := c.Load("norms", []byte(cudatest.PTX))
	require.NoError(t, err)
	_, err = m.Function("twist")
	require.EqualError(t, err, "finding kernel twist in CUDA module norms: cuModuleGetFunction: CUDA error 500")
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.NoError(t, c.Err())
}

// Machine code is loaded as it is, and nothing compiled.
func TestMachineCode(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Fail.Set("cuLinkCreate_v2", 1)
	c := openContext(t, f, Options{})
	defer c.Close()
	m, err := c.Load("scale", []byte(cudatest.Code))
	require.NoError(t, err)
	_, err = m.Function("scale")
	require.NoError(t, err)
	_, err = c.Load("strange", []byte("\x7fELF of something else\x00"))
	require.EqualError(t, err, "loading CUDA module strange: cuModuleLoadData: CUDA error 200")
}

func TestStaging(t *testing.T) {
	f := cudatest.TwoDevices()
	s := openScaled(t, f, Options{})
	g, err := s.stream.Staging(3, 8)
	require.NoError(t, err)
	p, err := s.Alloc(100)
	require.NoError(t, err)
	for _, n := range []int{1, 8, 23, 24, 25, 99} {
		require.NoError(t, g.Write(p, n, func(piece []byte, offset int) {
			for i := range piece {
				piece[i] = byte(n + offset + i)
			}
		}))
		got := make([]byte, n)
		require.NoError(t, g.Read(p, n, func(piece []byte, offset int) { copy(got[offset:], piece) }))
		for i, b := range got {
			require.Equal(t, byte(n+i), b, "%d of %d", i, n)
		}
	}
	f.Fail.Set("cuEventSynchronize", 700)
	require.ErrorIs(t, g.Read(p, 99, func([]byte, int) {}), ErrLost)
	require.ErrorIs(t, g.Write(p, 99, func([]byte, int) {}), ErrLost)
	require.ErrorIs(t, s.Close(), ErrLost)
}

func TestStagingThatDoesNotFit(t *testing.T) {
	s := openScaled(t, cudatest.TwoDevices(), Options{})
	defer s.Close()
	_, err := s.stream.Staging(2, cudatest.Memory+1)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "making a ring of 2 pinned buffers: pinning 1048577 bytes: ")
}

func TestDefects(t *testing.T) {
	s := openScaled(t, cudatest.TwoDevices(), Options{})
	defer s.Close()
	require.PanicsWithValue(t, "cuda: launching scale with 0 matrices and 65 parameters", func() {
		s.stream.Launch(s.scale, Dim{}, Dim{}, 0, make([]Parameter, 65)...)
	})
	for _, at := range [][2]int{{-1, 2}, {0, 65}, {60, 5}, {1, -1}} {
		require.Panics(t, func() { s.stream.CopyToDevice(s.memory, s.pinned, at[0], at[1]) }, at)
	}
}

func TestParameters(t *testing.T) {
	require.Equal(t, Parameter(math.MaxUint64), Int(-1))
	require.Equal(t, Parameter(0x3f800000), Float(1))
	require.Equal(t, []Parameter{1, 0}, []Parameter{Bool(true), Bool(false)})
}

// BenchmarkLaunch is what a launch costs its caller, and what it costs until it has run.
func BenchmarkLaunch(b *testing.B) {
	t := &testing.T{}
	s := openScaled(t, cudatest.TwoDevices(), Options{})
	defer s.Close()
	for b.Loop() {
		s.launch(1)
	}
	require.NoError(t, s.stream.Sync())
}
