package picture_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// service are the limits of the service.
var service = picture.Limits{Bytes: 50 << 20, Side: 2048, Pixels: 2048 * 2048}

// expected reads what Pillow saw in the files of a folder that testdata/make.py wrote.
func expected(t testing.TB, dir string) map[string]*picture.RGB {
	t.Helper()
	var all map[string]*picture.RGB
	unmarshal(t, filepath.Join(dir, "expected.json"), &all)
	require.NotEmpty(t, all)
	return all
}

func unmarshal(t testing.TB, path string, to any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, to))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// distance is the largest and the mean difference of two pictures' samples, in levels.
func distance(t testing.TB, a, b *picture.RGB) (most int, mean float64) {
	t.Helper()
	require.Equal(t, a.Size(), b.Size())
	require.Len(t, b.Pix, len(a.Pix))
	sum := 0
	for i := range a.Pix {
		d := int(a.Pix[i]) - int(b.Pix[i])
		d = max(d, -d)
		sum, most = sum+d, max(most, d)
	}
	return most, float64(sum) / float64(len(a.Pix))
}

// compare decodes every file of a folder and holds it against what Pillow saw. What JPEGs
// may differ in is the rounding of the inverse DCT, a level of luma and of chroma.
func compare(t *testing.T, dir string) {
	for name, want := range expected(t, dir) {
		got, err := picture.Decode(read(t, filepath.Join(dir, name)), service)
		require.NoError(t, err, name)
		most, mean := distance(t, want, got)
		if strings.HasSuffix(name, ".jpg") {
			t.Logf("%s: at most %d levels, %.4f in the mean", name, most, mean)
			require.LessOrEqual(t, most, 3, name)
			require.Less(t, mean, 0.15, name)
			continue
		}
		require.Zero(t, most, "%s: %.3f levels in the mean", name, mean)
	}
}

func TestGolden(t *testing.T) { compare(t, filepath.Join("testdata", "golden")) }

// processorGolden is testdata/processor.json.
type processorGolden struct {
	Config  json.RawMessage
	Picture *picture.RGB
	Grid    []int
	Patches string
}

func TestProcessorGolden(t *testing.T) {
	var g processorGolden
	unmarshal(t, filepath.Join("testdata", "processor.json"), &g)
	p, err := picture.ParseProcessor(g.Config)
	require.NoError(t, err)
	got, grid, err := p.Append(nil, g.Picture)
	require.NoError(t, err)
	require.Equal(t, g.Grid, []int{grid.T, grid.H, grid.W})
	require.Len(t, got, grid.Patches()*p.PatchLen())
	data, err := base64.StdEncoding.DecodeString(g.Patches)
	require.NoError(t, err)
	require.Equal(t, floats(data), got, "bit-equal")
}

func floats(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}
