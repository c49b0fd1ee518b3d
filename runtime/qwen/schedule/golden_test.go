package schedule_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// golden is testdata/golden.json, which testdata/golden.py writes with diffusers. Numbers are
// read as float32 where they were float32, so that they come back exactly.
type golden struct {
	Versions   map[string]string
	Schedules  []goldenSchedule
	Walk       goldenSchedule
	Embeddings []struct {
		Time      float32
		Embedding []float32
	}
}

type goldenSchedule struct {
	Config                        json.RawMessage
	Steps, Tokens                 int
	Mu                            float64
	Sigmas, Timesteps, ModelTimes []float32
	X, V                          [][]float32
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	require.Equal(t, "0.42.1", g.Versions["diffusers"])
	return g
}

// made is the schedule that our code makes of a case's own configuration.
func (g goldenSchedule) made(t testing.TB) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(g.Config)
	require.NoError(t, err)
	out, err := schedule.New(s, g.Steps, g.Tokens)
	require.NoError(t, err)
	return out
}

// TestSchedulesOfDiffusers: every level, timestep and model time is diffusers' own, to the
// last bit.
func TestSchedulesOfDiffusers(t *testing.T) {
	cases := readGolden(t).Schedules
	require.Len(t, cases, 12)
	for _, g := range cases {
		s := g.made(t)
		require.Equal(t, g.Mu, s.Mu(), "%s", g.Config)
		require.Equal(t, g.Steps, s.Steps())
		require.Len(t, g.Sigmas, g.Steps+1)
		for i, sigma := range g.Sigmas {
			require.Equal(t, sigma, s.Sigma(i), "sigma %d of %d, %d tokens, %s", i, g.Steps, g.Tokens, g.Config)
		}
		for i, timestep := range g.Timesteps {
			require.Equal(t, timestep, s.Timestep(i), "timestep %d of %d", i, g.Steps)
			require.Equal(t, g.ModelTimes[i], schedule.ModelTime(s.Timestep(i)), "model time %d of %d", i, g.Steps)
		}
	}
}

// TestWalkOfDiffusers takes every step of a schedule with diffusers' velocities.
func TestWalkOfDiffusers(t *testing.T) {
	g := readGolden(t).Walk
	s := g.made(t)
	x := g.X[0]
	for i := range s.Steps() {
		s.Step(i, x, g.V[i])
		require.Equal(t, g.X[i+1], x, "step %d", i)
	}
}

// TestTimeEmbeddingOfDiffusers: the angles go up to 1000, where one float32's distance to
// the next is 6e-5, and so far apart may be two right sines of angles whose frequency was
// rounded differently.
func TestTimeEmbeddingOfDiffusers(t *testing.T) {
	worst := 0.0
	for _, g := range readGolden(t).Embeddings {
		require.Len(t, g.Embedding, schedule.TimeChannels)
		for i, v := range schedule.TimeEmbedding(g.Time) {
			worst = max(worst, math.Abs(float64(v)-float64(g.Embedding[i])))
		}
	}
	require.Less(t, worst, 1e-4)
	t.Logf("worst distance %.2g", worst)
}
