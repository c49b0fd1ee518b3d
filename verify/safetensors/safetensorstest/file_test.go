package safetensorstest_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

func tensor(name string, d safetensors.DType, fill safetensorstest.Fill, shape ...int64) safetensorstest.Tensor {
	return safetensorstest.Tensor{Spec: safetensors.Spec{Name: name, DType: d, Shape: shape}, Fill: fill}
}

// odd is a file whose tensors begin and end off every block boundary.
func odd(t require.TestingT, seed uint64) *safetensorstest.File {
	f, err := safetensorstest.New(map[string]string{"k": "v"}, []safetensorstest.Tensor{
		tensor("normal", safetensors.BF16, safetensorstest.Normal(0, 0.5), 37, 11),
		tensor("around", safetensors.F32, safetensorstest.Normal(1, 0.1), 41),
		tensor("uniform", safetensors.BF16, safetensorstest.Uniform(0.5, 2), 3),
		tensor("empty", safetensors.F32, safetensorstest.Normal(0, 1), 0, 9),
		tensor("one", safetensors.I64, safetensorstest.Constant(-3), 5),
		tensor("bytes", safetensors.U8, safetensorstest.Bytes([]byte("abcde")), 5),
	}, seed)
	require.NoError(t, err)
	return f
}

func whole(t require.TestingT, f *safetensorstest.File) []byte {
	b := make([]byte, f.Size())
	n, err := f.ReadAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, len(b), n)
	return b
}

func TestFileIsASafetensorsFile(t *testing.T) {
	f := odd(t, 1)
	h, err := safetensors.Read(f, f.Size())
	require.NoError(t, err)
	require.Equal(t, f.Header(), h)
	b := whole(t, f)
	x, _ := h.Tensor("bytes")
	require.Equal(t, "abcde", string(b[h.DataStart+x.Begin:h.DataStart+x.End]))
	x, _ = h.Tensor("one")
	require.EqualValues(t, -3, int64(binary.LittleEndian.Uint64(b[h.DataStart+x.Begin+32:])))
}

// TestAnyRangeEqualsTheWhole: bytes depend on the position alone, not on how they are
// read.
func TestAnyRangeEqualsTheWhole(t *testing.T) {
	f := odd(t, 7)
	all := whole(t, f)
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, len(all)).Draw(t, "from")
		p := make([]byte, rapid.IntRange(0, len(all)+20).Draw(t, "length"))
		n, err := f.ReadAt(p, int64(from))
		want := all[from:min(len(all), from+len(p))]
		require.Equal(t, want, p[:n])
		if len(want) < len(p) {
			require.ErrorIs(t, err, io.EOF)
		} else {
			require.NoError(t, err)
		}
	})
}

func TestReadersSideBySide(t *testing.T) {
	f := odd(t, 3)
	all := whole(t, odd(t, 3))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			if err != nil || !bytes.Equal(got, all) {
				t.Error("a concurrent reader saw other bytes", err)
			}
		})
	}
	wg.Wait()
}

func TestSeedsAndNames(t *testing.T) {
	section := func(f *safetensorstest.File, name string) []byte {
		x, ok := f.Header().Tensor(name)
		require.True(t, ok)
		b, err := io.ReadAll(f.Header().Section(f, x))
		require.NoError(t, err)
		return b
	}
	a, again, other := odd(t, 1), odd(t, 1), odd(t, 2)
	require.Equal(t, whole(t, a), whole(t, again))
	require.NotEqual(t, section(a, "normal"), section(other, "normal"))
	require.Equal(t, section(a, "bytes"), section(other, "bytes"))

	twins, err := safetensorstest.New(nil, []safetensorstest.Tensor{
		tensor("normal", safetensors.BF16, safetensorstest.Normal(0, 0.5), 37, 11),
		tensor("twin", safetensors.BF16, safetensorstest.Normal(0, 0.5), 37, 11),
	}, 1)
	require.NoError(t, err)
	require.Equal(t, section(a, "normal"), section(twins, "normal"), "a tensor does not depend on its neighbours")
	require.NotEqual(t, section(twins, "normal"), section(twins, "twin"))
}

func TestNewRefuses(t *testing.T) {
	cases := []struct {
		name string
		in   safetensorstest.Tensor
		want string
	}{
		{"no fill", tensor("a", safetensors.BF16, nil, 1), `tensor "a": no fill given`},
		{"normal integers", tensor("a", safetensors.I32, safetensorstest.Normal(0, 1), 1), "need BF16 or F32, not I32"},
		{"constant of a packed dtype", tensor("a", safetensors.F4, safetensorstest.Constant(1), 2), "dtype F4 cannot be generated"},
		{"bytes of another length", tensor("a", safetensors.U8, safetensorstest.Bytes([]byte("ab")), 3), "2 bytes given, U8 [3] takes 3"},
		{"bad spec", tensor("a", "X", safetensorstest.Constant(1), 2), `unknown dtype "X"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := safetensorstest.New(nil, []safetensorstest.Tensor{c.in}, 0)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestReadAtNegativeOffset(t *testing.T) {
	_, err := odd(t, 1).ReadAt(make([]byte, 1), -1)
	require.ErrorContains(t, err, "negative offset")
}

func TestLargeFileNeedsNoMemory(t *testing.T) {
	f, err := safetensorstest.New(nil, []safetensorstest.Tensor{
		tensor("a", safetensors.BF16, safetensorstest.Normal(0, 1), 1<<33, 1<<9),
		tensor("b", safetensors.I8, safetensorstest.Constant(5), 1<<40),
	}, 0)
	require.NoError(t, err)
	p := make([]byte, 3)
	_, err = f.ReadAt(p, f.Size()-3)
	require.NoError(t, err)
	require.Equal(t, []byte{5, 5, 5}, p)
	_, err = f.ReadAt(p, f.Header().DataStart+1<<42)
	require.NoError(t, err)
}

// values decodes a BF16 or F32 tensor.
func values(t *testing.T, d safetensors.DType, fill safetensorstest.Fill, n int64) []float64 {
	f, err := safetensorstest.New(nil, []safetensorstest.Tensor{tensor("x", d, fill, n)}, 11)
	require.NoError(t, err)
	b := whole(t, f)[f.Header().DataStart:]
	out := make([]float64, n)
	for i := range out {
		if d == safetensors.BF16 {
			out[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16))
		} else {
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return out
}

func moments(v []float64) (mean, std, kurtosis float64) {
	n := float64(len(v))
	for _, x := range v {
		mean += x / n
	}
	var m2, m4 float64
	for _, x := range v {
		d := (x - mean) * (x - mean)
		m2 += d / n
		m4 += d * d / n
	}
	return mean, math.Sqrt(m2), m4 / (m2 * m2)
}

func TestDistributions(t *testing.T) {
	const n = 1 << 18
	for _, d := range []safetensors.DType{safetensors.BF16, safetensors.F32} {
		for _, c := range []struct {
			fill                safetensorstest.Fill
			mean, std, kurtosis float64
		}{
			{safetensorstest.Normal(0, 0.02), 0, 0.02, 3},
			{safetensorstest.Normal(1, 0.1), 1, 0.1, 3},
			{safetensorstest.Uniform(-1, 3), 1, 4 / math.Sqrt(12), 1.8},
		} {
			v := values(t, d, c.fill, n)
			mean, std, kurtosis := moments(v)
			require.InDelta(t, c.mean, mean, c.std*0.01)
			require.InEpsilon(t, c.std, std, 0.01)
			require.InEpsilon(t, c.kurtosis, kurtosis, 0.03)
			require.Less(t, math.Abs(correlation(v)), 0.03, "neighbours share one of 4096 words, no more")
		}
	}
}

// correlation is the correlation of each value with the next.
func correlation(v []float64) float64 {
	mean, std, _ := moments(v)
	sum := 0.0
	for i := 1; i < len(v); i++ {
		sum += (v[i] - mean) * (v[i-1] - mean)
	}
	return sum / float64(len(v)) / (std * std)
}

func TestBF16RoundsToNearestEven(t *testing.T) {
	for v, want := range map[float64]uint16{
		0: 0, 1: 0x3f80, -2: 0xc000, 1 + 1.0/256: 0x3f80, 1 + 3.0/256: 0x3f82, 1 + 1.01/256: 0x3f81, 0.1: 0x3dcd,
	} {
		require.Equal(t, want, safetensorstest.BF16(v), "%v", v)
	}
}

func BenchmarkNormalBF16(b *testing.B) {
	f, err := safetensorstest.New(nil, []safetensorstest.Tensor{tensor("x", safetensors.BF16, safetensorstest.Normal(0, 1), 1<<40)}, 0)
	require.NoError(b, err)
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	for i := range b.N {
		_, err := f.ReadAt(p, 1000+int64(i)<<20)
		require.NoError(b, err)
	}
}
