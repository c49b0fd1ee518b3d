package schedule_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// The two published schedules.
var (
	baseSchedule      = manifests.Scheduler{BaseShift: 0.5, MaxShift: 0.9, BaseSeqLen: 256, MaxSeqLen: 8192, ShiftTerminal: 0.02}
	lightningSchedule = manifests.Scheduler{BaseShift: math.Log(3), MaxShift: math.Log(3), BaseSeqLen: 256, MaxSeqLen: 8192}
)

func levels(t *testing.T, s manifests.Scheduler, steps, tokens int) (out []float64) {
	t.Helper()
	made, err := schedule.New(s, steps, tokens)
	require.NoError(t, err)
	for i := range steps + 1 {
		out = append(out, float64(made.Sigma(i)))
	}
	return out
}

// TestPublishedValues holds the levels against values worked out by hand from the formulas.
func TestPublishedValues(t *testing.T) {
	require.InDelta(t, 0.693548, schedule.Mu(baseSchedule, 4096), 5e-7)
	require.InDelta(t, 2.0008, math.Exp(schedule.Mu(baseSchedule, 4096)), 5e-5)
	require.InDelta(t, 0.5, schedule.Mu(baseSchedule, 256), 1e-12)
	require.InDelta(t, 0.9, schedule.Mu(baseSchedule, 8192), 1e-12)

	base := levels(t, baseSchedule, 50, 4096)
	require.InDeltaSlice(t, []float64{1, 0.989701, 0.979192, 0.968465}, base[:4], 1e-6)
	require.InDeltaSlice(t, []float64{0.095499, 0.058476, 0.02, 0}, base[47:], 5e-7)
	require.InDeltaSlice(t, []float64{1, .954545, .9, .833333, .75, .642857, .5, .3, 0}, levels(t, lightningSchedule, 8, 4096), 5e-7)
	require.InDeltaSlice(t, []float64{1, .9, .75, .5, 0}, levels(t, lightningSchedule, 4, 4096), 1e-7)
	require.Equal(t, []float64{1, 0}, levels(t, lightningSchedule, 1, 1))
}

// TestLevels: whatever the schedule, levels fall from 1 to 0 and end at the terminal, and
// are near to what float64 makes of the formulas.
func TestLevels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := manifests.Scheduler{
			BaseShift: rapid.Float64Range(-2, 2).Draw(t, "base"), MaxShift: rapid.Float64Range(-2, 2).Draw(t, "max"),
			BaseSeqLen: 256, MaxSeqLen: 8192, ShiftTerminal: rapid.SampledFrom([]float64{0, 0.02, 0.5}).Draw(t, "terminal"),
		}
		steps, tokens := rapid.IntRange(2, 100).Draw(t, "steps"), rapid.IntRange(1, 16384).Draw(t, "tokens")
		made, err := schedule.New(s, steps, tokens)
		require.NoError(t, err)
		require.Equal(t, steps, made.Steps())
		require.Equal(t, float32(1), made.Sigma(0))
		require.Equal(t, float32(0), made.Sigma(steps))
		want, bound := exact(s, steps, tokens), 2e-6
		if s.ShiftTerminal > 0 { // stretching divides what float32 has of distances from 1
			free := s
			free.ShiftTerminal = 0
			bound += 1.2e-7 / (1 - exact(free, steps, tokens)[steps-1])
		}
		for i := range steps {
			require.Greater(t, made.Sigma(i), made.Sigma(i+1))
			require.InDelta(t, want[i], float64(made.Sigma(i)), bound)
			require.InDelta(t, 1000*want[i], float64(made.Timestep(i)), 1000*bound+1e-4)
		}
		if s.ShiftTerminal > 0 {
			require.InDelta(t, s.ShiftTerminal, float64(made.Sigma(steps-1)), 1e-6)
		}
	})
}

// exact is the formulas of the package's comment in float64, level by level.
func exact(s manifests.Scheduler, steps, tokens int) []float64 {
	mu := s.BaseShift + float64(tokens-s.BaseSeqLen)*(s.MaxShift-s.BaseShift)/float64(s.MaxSeqLen-s.BaseSeqLen)
	out := make([]float64, steps)
	for i := range out {
		sigma := 1 - float64(i)/float64(steps)
		out[i] = 1 / (1 + math.Exp(-mu)*(1/sigma-1))
	}
	if last := out[steps-1]; s.ShiftTerminal > 0 {
		for i := range out {
			out[i] = 1 - (1-out[i])*(1-s.ShiftTerminal)/(1-last)
		}
	}
	return out
}

func TestNewRefuses(t *testing.T) {
	with := func(change func(*manifests.Scheduler)) manifests.Scheduler {
		s := baseSchedule
		change(&s)
		return s
	}
	cases := map[string]struct {
		s             manifests.Scheduler
		steps, tokens int
		kind          fault.Kind
		want          string
	}{
		"no steps":               {baseSchedule, 0, 1, fault.Usage, "making a schedule of 0 steps for 1 tokens: want 1 to 1000 steps"},
		"too many":               {baseSchedule, 1001, 1, fault.Usage, "1001 steps"},
		"no tokens":              {baseSchedule, 1, 0, fault.Usage, "0 tokens"},
		"no scheduler":           {manifests.Scheduler{}, 1, 1, fault.Invalid, "want a rising range"},
		"terminal 1":             {with(func(s *manifests.Scheduler) { s.ShiftTerminal = 1 }), 2, 1, fault.Invalid, "shiftTerminal is 1"},
		"one step to a terminal": {baseSchedule, 1, 4096, fault.Usage, "schedule of 1 step"},
		"shift over float32":     {with(func(s *manifests.Scheduler) { s.BaseShift, s.MaxShift = 100, 100 }), 2, 1, fault.Invalid, "sigma 0 is NaN"},
		"shift below float32":    {with(func(s *manifests.Scheduler) { s.BaseShift, s.MaxShift = -200, -200 }), 2, 1, fault.Invalid, "sigma 0 is NaN"},
		"shift that flattens":    {with(func(s *manifests.Scheduler) { s.BaseShift, s.MaxShift = 40, 40 }), 2, 1, fault.Invalid, "sigma"},
		"shift of NaN":           {with(func(s *manifests.Scheduler) { s.BaseShift = math.NaN() }), 2, 1, fault.Invalid, "sigma 0 is NaN"},
		"terminal of NaN":        {with(func(s *manifests.Scheduler) { s.ShiftTerminal = math.NaN() }), 2, 1, fault.Invalid, "NaN"},
	}
	for name, tc := range cases {
		_, err := schedule.New(tc.s, tc.steps, tc.tokens)
		require.ErrorContains(t, err, tc.want, name)
		require.Equal(t, tc.kind, fault.KindOf(err), name)
	}
}

// TestStepsOfARightModel: a velocity that is right all the way leads to the picture, however
// many steps there are.
func TestStepsOfARightModel(t *testing.T) {
	for _, steps := range []int{2, 8, 50} {
		s, err := schedule.New(baseSchedule, steps, 100)
		require.NoError(t, err)
		noise, picture := []float32{0.5, -1.25, 3}, []float32{0.125, 2, -0.75}
		x, v := append([]float32{}, noise...), make([]float32, 3)
		for i := range v {
			v[i] = noise[i] - picture[i] // x = σ·noise + (1−σ)·picture
		}
		for i := range s.Steps() {
			s.Step(i, x, v)
		}
		for i := range x {
			require.InDelta(t, picture[i], x[i], 2e-6)
		}
	}
}

func TestStepPanics(t *testing.T) {
	s, err := schedule.New(lightningSchedule, 4, 1)
	require.NoError(t, err)
	require.PanicsWithValue(t, "schedule: a step of 2 values with 3 velocities", func() { s.Step(0, make([]float32, 2), make([]float32, 3)) })
	require.Panics(t, func() { s.Step(4, nil, nil) }, "there is no step behind the last level")
	require.Zero(t, schedule.Schedule{}.Steps())
}

// TestModelTime: CUDA multiplies by the reciprocal where the CPU divides; for every bfloat16
// in the range both are one.
func TestModelTime(t *testing.T) {
	require.Equal(t, float32(1), schedule.ModelTime(1000))
	require.Equal(t, float32(0), schedule.ModelTime(0))
	reciprocal := float32(1) / schedule.TrainTimesteps
	for bits := range bf16.Bits(1000) + 1 {
		timestep := bf16.Value(bits)
		require.Equal(t, bf16.Round(timestep*reciprocal), schedule.ModelTime(timestep), "%g", timestep)
	}
}

func TestTimeEmbedding(t *testing.T) {
	for i, v := range schedule.TimeEmbedding(0) {
		require.Equal(t, i < schedule.TimeChannels/2, v == 1, "channel %d is %g: cosines of 0, then sines", i, v)
	}
	e := schedule.TimeEmbedding(0.25)
	require.InDelta(t, math.Cos(250), e[0], 1e-6)
	require.InDelta(t, math.Sin(250), e[128], 1e-6)
	require.InDelta(t, math.Cos(250*math.Pow(10000, -0.5)), e[64], 1e-6)
	require.InDelta(t, math.Sin(250*math.Pow(10000, -127.0/128)), e[255], 1e-6)
}

// BenchmarkStep is one step of the largest picture that is common, 2048².
func BenchmarkStep(b *testing.B) {
	const n = 16 * 256 * 256
	s, err := schedule.New(lightningSchedule, 4, n/64)
	require.NoError(b, err)
	x, v := make([]float32, n), make([]float32, n)
	b.SetBytes(4 * n)
	for b.Loop() {
		s.Step(0, x, v)
	}
}

func ExampleNew() {
	s, err := schedule.New(lightningSchedule, 4, 4096)
	if err != nil {
		panic(err)
	}
	for i := range s.Steps() {
		fmt.Printf("%.2f ", s.Sigma(i))
	}
	fmt.Println(s.Sigma(s.Steps()))
	// Output: 1.00 0.90 0.75 0.50 0
}
