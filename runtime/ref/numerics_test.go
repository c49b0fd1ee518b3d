package ref_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

// inputs are rows of x for a linear.
type inputs struct {
	name    string
	shifted bool
	make    func(rng *rand.Rand, rows int, w *computetest.SVDQ) []float32
}

var allInputs = []inputs{
	{"even", false, func(rng *rand.Rand, rows int, w *computetest.SVDQ) []float32 {
		return smoothed(rng, rows, w, func(int) float64 { return 1 })
	}},
	{"lognormal", false, func(rng *rand.Rand, rows int, w *computetest.SVDQ) []float32 {
		return smoothed(rng, rows, w, lognormal(rng, w.In))
	}},
	{"GELU", true, func(rng *rand.Rand, rows int, w *computetest.SVDQ) []float32 {
		x := smoothed(rng, rows, w, lognormal(rng, w.In))
		for i, v := range x {
			x[i] = float32(0.5 * float64(v) * (1 + math.Tanh(0.79788456*(float64(v)+0.044715*math.Pow(float64(v), 3)))))
		}
		return x
	}},
}

// lognormal is the size of each of n channels.
func lognormal(rng *rand.Rand, n int) func(int) float64 {
	sizes := make([]float64, n)
	for i := range sizes {
		sizes[i] = math.Exp(1.5 * rng.NormFloat64())
	}
	return func(i int) float64 { return sizes[i] }
}

// smoothed is values which have a channel's size after the division by smoothing factors.
// Every fifth row is some hundred times the others, and one is zero.
func smoothed(rng *rand.Rand, rows int, w *computetest.SVDQ, size func(channel int) float64) []float32 {
	x := make([]float32, rows*w.In)
	for i := range x {
		row, channel := i/w.In, i%w.In
		v := rng.NormFloat64() * w.Smooth[channel] * size(channel)
		switch {
		case row == 1:
			v = 0
		case row%5 == 4:
			v *= 300
		}
		x[i] = float32(v)
	}
	return x
}

// run computes a linear of x.
func run(t *testing.T, n ref.Numerics, w *computetest.SVDQ, x []float32) []float32 {
	t.Helper()
	b := ref.New(ref.Options{ArenaBytes: 16 << 20, Numerics: n, Poison: true})
	l, err := b.LoadLinear(w.Spec)
	require.NoError(t, err)
	rows := len(x) / w.In
	in, out := b.Alloc(compute.Act, rows, w.In), b.Alloc(compute.Act, rows, w.Out)
	b.Upload(in, x)
	b.Linear(out, l, in, compute.Pre{}, compute.Post{})
	y := make([]float32, rows*w.Out)
	require.NoError(t, b.Download(y, out))
	require.NoError(t, b.Close())
	return y
}

// TestQuantised holds each numerics against codes taken one by one as its comment says and
// summed in float64.
func TestQuantised(t *testing.T) {
	const rows = 11
	for _, n := range []ref.Numerics{ref.W4A4, ref.Int8, ref.Int8Blocks} {
		for _, in := range allInputs {
			t.Run(fmt.Sprintf("%v, %s", n, in.name), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(7, uint64(n)))
				w := computetest.NewSVDQ(rng, 640, 256, 32, in.shifted)
				x := in.make(rng, rows, w)
				got := run(t, n, w, x)
				for i := range rows {
					want := truth(n, w, x[i*w.In:][:w.In])
					near(t, got[i*w.Out:][:w.Out], want, 3e-6, i)
				}
			})
		}
	}
}

// near holds a row against the truth.
func near(t *testing.T, got []float32, want []float64, tol float64, row int) {
	t.Helper()
	diff, size := 0.0, 0.0
	for i, v := range want {
		diff += math.Pow(float64(got[i])-v, 2)
		size += v * v
	}
	if r := math.Sqrt(diff / size); !(r <= tol) {
		t.Fatalf("row %d is off by %.3g of its size: %v, not %v", row, r, got[:4], want[:4])
	}
}

// truth is one row of Q·(x/s) + U·(D·x) + b with quantised x/s.
func truth(n ref.Numerics, w *computetest.SVDQ, x []float32) []float64 {
	y := make([]float64, w.Out)
	activations := codesOf(n, w, x)
	for o := range y {
		weights := weightsOf(n, w, o)
		y[o] = w.Bias[o]
		for i, a := range activations {
			y[o] += a * weights[i]
			if w.Spec.Shifted && n != ref.W4A4 { // the stored bias has lost it
				y[o] += compute.Shift * float64(w.Codes[o*w.In+i]) * w.Scales[(o*w.In+i)/64] / w.Smooth[i]
			}
		}
		for r := range w.Rank {
			low := 0.0
			for i, v := range x {
				low += float64(v) * w.Down[r*w.In+i]
			}
			y[o] += w.Up[o*w.Rank+r] * low
		}
	}
	return y
}

// codesOf is what is left of x/s, codes times scales.
func codesOf(n ref.Numerics, w *computetest.SVDQ, x []float32) []float64 {
	group := map[ref.Numerics]int{ref.W4A4: 64, ref.Int8: w.In, ref.Int8Blocks: 256}[n]
	s := make([]float64, w.In)
	for from := 0; from < w.In; from += group {
		part := make([]float32, min(group, w.In-from))
		for i := range part {
			v := x[from+i]
			if n == ref.W4A4 && w.Spec.Shifted {
				v += compute.Shift
			}
			part[i] = v / float32(w.Smooth[from+i])
			if n == ref.W4A4 {
				part[i] = bf16.Round(part[i])
			}
		}
		low, high := -127.0, 127.0
		if n == ref.W4A4 {
			low, high = -8, 7
			if w.Spec.Shifted {
				low, high = 0, 15
			}
		}
		copy(s[from:], rounded(part, low, high, n == ref.W4A4))
	}
	return s
}

// weightsOf is what is left of a row of Q.
func weightsOf(n ref.Numerics, w *computetest.SVDQ, o int) []float64 {
	row := make([]float32, w.In)
	exact := make([]float64, w.In)
	for i := range row {
		exact[i] = float64(w.Codes[o*w.In+i]) * w.Scales[(o*w.In+i)/64]
		row[i] = float32(exact[i])
	}
	if n == ref.W4A4 {
		return exact
	}
	return rounded(row, -127, 127, false)
}

// rounded is v as codes between low and high times their scale, which may be a bfloat16.
func rounded(v []float32, low, high float64, short bool) []float64 {
	m := float32(0)
	for _, x := range v {
		m = max(m, float32(math.Abs(float64(x))))
	}
	scale := m * float32(1/high)
	stored := float64(scale)
	if short {
		stored = float64(bf16.Round(scale))
	}
	r := make([]float64, len(v))
	for i, x := range v {
		if scale > 0 {
			code := math.RoundToEven(float64(x * (1 / scale)))
			r[i] = stored * min(max(code, low), high)
		}
	}
	return r
}

// TestDistances bounds how far each numerics is from the true product, and prints the table
// in the comment of Numerics.
func TestDistances(t *testing.T) {
	bounds := map[ref.Numerics][3]float64{
		ref.Dense:      {1e-6, 1e-6, 1e-6},
		ref.W4A4:       {0.12, 0.2, 0.12},
		ref.Int8:       {0.02, 0.05, 0.05},
		ref.Int8Blocks: {0.02, 0.04, 0.04},
	}
	const rows = 16
	for n := ref.Dense; n <= ref.Int8Blocks; n++ {
		for i, in := range allInputs {
			rng := rand.New(rand.NewPCG(11, uint64(i)))
			w := computetest.NewSVDQ(rng, 1024, 128, 32, in.shifted)
			x := in.make(rng, rows, w)
			wide := make([]float64, len(x))
			for j, v := range x {
				wide[j] = float64(v)
			}
			d := distance(run(t, n, w, x), w.Apply(wide), w.Out)
			t.Logf("%-10v %-9s %.2g", n, in.name, d)
			require.Less(t, d, bounds[n][i], "%v, %s", n, in.name)
		}
	}
}

// distance is the mean over rows of ‖got − want‖/‖want‖: rows differ in size.
func distance(got []float32, want []float64, cols int) float64 {
	sum, rows := 0.0, len(want)/cols
	for r := range rows {
		diff, size := 0.0, 0.0
		for i := r * cols; i < (r+1)*cols; i++ {
			diff += math.Pow(float64(got[i])-want[i], 2)
			size += want[i] * want[i]
		}
		sum += math.Sqrt(diff/size) / float64(rows)
	}
	return sum
}

// TestNotFinite: what is no number is not lost in quantisation.
func TestNotFinite(t *testing.T) {
	for n := ref.Dense; n <= ref.Int8Blocks; n++ {
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			rng := rand.New(rand.NewPCG(3, 3))
			w := computetest.NewSVDQ(rng, 128, 128, 16, false)
			x := make([]float32, w.In)
			x[77] = float32(v)
			y := run(t, n, w, x)
			require.False(t, y[5]-y[5] == 0, "%v of %v gives %v", n, v, y[5])
		}
	}
}
