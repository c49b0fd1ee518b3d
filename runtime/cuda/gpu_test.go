package cuda

import (
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// testPTX has scale(float *x, int n, float factor) and spin(u64 ns).
const testPTX = `.version 7.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 x, .param .u32 n, .param .f32 factor)
{
	.reg .pred %p<2>;
	.reg .b32 %r<6>;
	.reg .f32 %f<4>;
	.reg .b64 %rd<5>;
	ld.param.u32 %r1, [n];
	mov.u32 %r2, %ctaid.x;
	mov.u32 %r3, %ntid.x;
	mov.u32 %r4, %tid.x;
	mad.lo.s32 %r5, %r2, %r3, %r4;
	setp.ge.s32 %p1, %r5, %r1;
	@%p1 bra $end;
	ld.param.f32 %f1, [factor];
	ld.param.u64 %rd2, [x];
	cvta.to.global.u64 %rd3, %rd2;
	mul.wide.u32 %rd4, %r5, 4;
	add.s64 %rd1, %rd3, %rd4;
	ld.global.f32 %f2, [%rd1];
	mul.f32 %f3, %f2, %f1;
	st.global.f32 [%rd1], %f3;
$end:
	ret;
}
.visible .entry spin(.param .u64 ns)
{
	.reg .pred %p<2>;
	.reg .b64 %rd<6>;
	ld.param.u64 %rd2, [ns];
	mov.u64 %rd3, %globaltimer;
$again:
	mov.u64 %rd4, %globaltimer;
	sub.s64 %rd5, %rd4, %rd3;
	setp.lt.u64 %p1, %rd5, %rd2;
	@%p1 bra $again;
	ret;
}
`

// gpu is a context on the first real device. Without one the test is skipped, and the log
// says why; PLIMSOLL_GPU=1 makes that a failure.
func gpu(t testing.TB, o Options) (c *Context, s *Stream, scale, spin *Function) {
	t.Helper()
	d, err := Open()
	if err != nil {
		if os.Getenv("PLIMSOLL_GPU") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs a GPU: %v", err)
	}
	devices, err := d.Devices()
	require.NoError(t, err)
	c, err = d.Context(devices[0], o)
	require.NoError(t, err)
	s, err = c.Stream()
	require.NoError(t, err)
	m, err := c.Load("test", []byte(testPTX))
	require.NoError(t, err)
	scale, err = m.Function("scale")
	require.NoError(t, err)
	spin, err = m.Function("spin")
	require.NoError(t, err)
	return c, s, scale, spin
}

// alone runs the test again in a process of its own, which it may spoil.
func alone(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	const mark = "PLIMSOLL_GPU_ALONE"
	if os.Getenv(mark) == t.Name() {
		f(t)
		return
	}
	if _, err := Open(); err != nil {
		gpu(t, Options{}) // skips or fails
	}
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
}

func TestGPURoundTrip(t *testing.T) {
	c, s, scale, _ := gpu(t, Options{})
	const n = 100_003
	free, total, err := c.Memory()
	require.NoError(t, err)
	require.Less(t, free, total)
	p, err := c.Alloc(4 * n)
	require.NoError(t, err)
	require.Zero(t, p%256)
	ring, err := s.Staging(3, 64<<10)
	require.NoError(t, err)
	require.NoError(t, ring.Write(p, 4*n, func(piece []byte, offset int) {
		for i := 0; i < len(piece); i += 4 {
			binary.LittleEndian.PutUint32(piece[i:], math.Float32bits(float32((offset+i)/4)))
		}
	}))
	s.Launch(scale, Dim{X: (n + 255) / 256}, Dim{X: 256}, 0, Address(p), Int(n-1), Float(-1.5))
	seen := 0
	require.NoError(t, ring.Read(p, 4*n, func(piece []byte, offset int) {
		for i := 0; i < len(piece); i += 4 {
			at := (offset + i) / 4
			want := float32(at) * -1.5
			if at == n-1 {
				want = float32(at) // beyond what the kernel was told
			}
			if got := math.Float32frombits(binary.LittleEndian.Uint32(piece[i:])); got != want {
				t.Fatalf("value %d is %v, not %v", at, got, want)
			}
			seen++
		}
	}))
	require.Equal(t, n, seen)
	require.NoError(t, c.Close())
}

func TestGPUEvents(t *testing.T) {
	c, s, _, spin := gpu(t, Options{})
	start, err := c.Event()
	require.NoError(t, err)
	end, err := c.Event()
	require.NoError(t, err)
	s.Record(start)
	s.Launch(spin, Dim{}, Dim{}, 0, Int(20_000_000))
	s.Record(end)
	d, err := end.Since(start)
	require.NoError(t, err)
	require.InDelta(t, 20, d.Seconds()*1000, 5, "milliseconds")
	require.NoError(t, c.Close())
}

func TestGPUErrorsThatLeaveItUsable(t *testing.T) {
	c, s, scale, _ := gpu(t, Options{})
	_, err := c.Alloc(1 << 50)
	require.ErrorIs(t, err, ErrMemory)
	t.Log(err)
	_, err = c.Load("bad", []byte(".version 7.0\n.target sm_80\n.visible .entry bad() { nonsense; }"))
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.ErrorContains(t, err, "ptxas", "what the compiler says")
	t.Log(err)
	_, err = c.Load("future", []byte(".version 99.0\n.target sm_80\n.address_size 64\n"))
	require.Error(t, err)
	t.Log(err)
	require.Error(t, scale.AllowShared(1<<20))
	require.NoError(t, s.Sync())

	s.Launch(scale, Dim{}, Dim{X: 2048}, 0, Address(0), Int(0), Float(0))
	err = s.Sync()
	require.ErrorContains(t, err, "launching kernel scale on")
	require.NotErrorIs(t, err, ErrLost)
	t.Log(err)
	require.ErrorContains(t, c.Close(), "launching kernel scale on")
}

func TestGPULost(t *testing.T) {
	alone(t, func(t *testing.T) {
		c, s, scale, _ := gpu(t, Options{})
		s.Launch(scale, Dim{}, Dim{X: 32}, 0, Address(64), Int(32), Float(1)) // no such address
		err := s.Sync()
		t.Log(err)
		require.ErrorIs(t, err, ErrLost)
		require.NotErrorIs(t, err, ErrHung)
		_, err = c.Alloc(1)
		require.ErrorIs(t, err, ErrLost)
		require.ErrorIs(t, c.Close(), ErrLost)
	})
}

func TestGPUHung(t *testing.T) {
	alone(t, func(t *testing.T) {
		c, s, _, spin := gpu(t, Options{Patience: 200 * time.Millisecond})
		s.Launch(spin, Dim{}, Dim{}, 0, Int(1_500_000_000))
		start := time.Now()
		err := s.Sync()
		t.Log(time.Since(start), err)
		require.ErrorIs(t, err, ErrHung)
		require.Less(t, time.Since(start), time.Second)
		require.ErrorIs(t, c.Close(), ErrHung)
		time.Sleep(1500 * time.Millisecond) // let the device finish before the process ends
	})
}

// BenchmarkGPULaunch is what a launch takes, from the call until it has run.
func BenchmarkGPULaunch(b *testing.B) {
	c, s, scale, _ := gpu(b, Options{})
	for b.Loop() {
		s.Launch(scale, Dim{}, Dim{X: 32}, 0, Address(0), Int(0), Float(1))
	}
	require.NoError(b, s.Sync())
	require.NoError(b, c.Close())
}

// BenchmarkGPUWrite is a copy from Go's memory, one thread filling.
func BenchmarkGPUWrite(b *testing.B) {
	const n = 256 << 20
	c, s, _, _ := gpu(b, Options{})
	p, err := c.Alloc(n)
	require.NoError(b, err)
	ring, err := s.Staging(8, 4<<20)
	require.NoError(b, err)
	data := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		data[i] = 1
	}
	b.SetBytes(n)
	for b.Loop() {
		require.NoError(b, ring.Write(p, n, func(piece []byte, offset int) { copy(piece, data[offset:]) }))
		require.NoError(b, s.Sync())
	}
	require.NoError(b, c.Close())
}
