package picture_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

type size = picture.Size

const million, small = 1024 * 1024, 384 * 384

func TestForArea(t *testing.T) {
	for _, c := range []struct {
		area     int
		of, want size
	}{ // by Python: sqrt, division, round
		{million, size{W: 1024, H: 1024}, size{W: 1024, H: 1024}},
		{million, size{W: 1920, H: 1080}, size{W: 1376, H: 768}},
		{million, size{W: 1080, H: 1920}, size{W: 768, H: 1376}},
		{million, size{W: 3, H: 2}, size{W: 1248, H: 832}},
		{million, size{W: 2048, H: 1}, size{W: 46336, H: 32}},
		{small, size{W: 640, H: 480}, size{W: 448, H: 320}},
		{small, size{W: 1, H: 1}, size{W: 384, H: 384}},
		{48 * 48, size{W: 5, H: 5}, size{W: 64, H: 64}}, // 1.5 steps: to the even two
		{80 * 80, size{W: 5, H: 5}, size{W: 64, H: 64}}, // 2.5 steps: to the even two
	} {
		got, err := picture.ForArea(c.area, c.of)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%d pixels of %v", c.area, c.of)
	}
	_, err := picture.ForArea(small, size{W: 2048, H: 1})
	require.EqualError(t, err, "choosing a size of 147456 pixels with the ratio of 2048×1: 17376×0 is the nearest, a side is 32 to 65536")
	_, err = picture.ForArea(small, size{W: 2048})
	require.EqualError(t, err, "choosing a size of 147456 pixels with the ratio of 2048×0: all have to be positive")
}

// TestForAreaProperties: sides are multiples of 32, each at most half a step from the exact.
func TestForAreaProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := size{W: rapid.IntRange(1, 2048).Draw(t, "w"), H: rapid.IntRange(1, 2048).Draw(t, "h")}
		area := rapid.IntRange(64*64, 2048*2048).Draw(t, "area")
		ratio := float64(of.W) / float64(of.H)
		w, h := math.Sqrt(float64(area)*ratio), math.Sqrt(float64(area)/ratio)
		got, err := picture.ForArea(area, of)
		if min(w, h) < 15.9 {
			require.Error(t, err)
		}
		if err != nil {
			require.True(t, min(w, h) < 16.1 || max(w, h) > 65535, "%v", err)
			return
		}
		require.Zero(t, got.W%32+got.H%32)
		require.InDelta(t, w, float64(got.W), 16.001)
		require.InDelta(t, h, float64(got.H), 16.001)
	})
}

func TestPlanEdit(t *testing.T) {
	got, err := picture.PlanEdit(million, size{W: 1920, H: 1080}, size{})
	require.NoError(t, err)
	both := size{W: 1376, H: 768}
	require.Equal(t, picture.Plan{Output: both, References: []picture.Reference{{Condition: both, VAE: both}}}, got)
	got, err = picture.PlanEdit(million, size{W: 1920, H: 1080}, size{W: 1000, H: 799})
	require.NoError(t, err)
	require.Equal(t, size{W: 992, H: 784}, got.Output)
	require.Equal(t, both, got.References[0].VAE)
	got, err = picture.PlanEdit(million, size{W: 1920, H: 1080}, size{H: 100})
	require.NoError(t, err)
	require.Equal(t, size{W: 1376, H: 96}, got.Output)
	_, err = picture.PlanEdit(million, size{W: 1, H: 1}, size{W: 15})
	require.EqualError(t, err, "choosing the output's size: 15×1024 floored to multiples of 16 is 0×1024, a side is 16 to 65536")
	_, err = picture.PlanEdit(million, size{W: 1, H: 1}, size{W: -64, H: 64})
	require.ErrorContains(t, err, "-64×64")
	_, err = picture.PlanEdit(million, size{W: 1, H: 5000}, size{})
	require.Error(t, err)
}

func TestPlanEditPlus(t *testing.T) {
	got, err := picture.PlanEditPlus(small, million, []size{{W: 500, H: 500}, {W: 640, H: 480}}, size{})
	require.NoError(t, err)
	require.Equal(t, picture.Plan{
		Output: size{W: 1184, H: 896},
		References: []picture.Reference{
			{Condition: size{W: 384, H: 384}, VAE: size{W: 1024, H: 1024}},
			{Condition: size{W: 448, H: 320}, VAE: size{W: 1184, H: 896}},
		},
	}, got)
	_, err = picture.PlanEditPlus(small, million, nil, size{})
	require.EqualError(t, err, "choosing the sizes of an edit: no reference picture is given, at least 1 is needed")
	_, err = picture.PlanEditPlus(small, million, []size{{W: 1, H: 1}, {W: 1, H: 2000}}, size{})
	require.ErrorContains(t, err, "picture 2: choosing a size of 147456 pixels")
}

func TestSmartResize(t *testing.T) {
	const least, most = 3136, 12845056
	for of, want := range map[size]size{
		{W: 1024, H: 1024}: {W: 1036, H: 1036},
		{W: 384, H: 384}:   {W: 392, H: 392},
		{W: 1, H: 1}:       {W: 56, H: 56},
		{W: 200, H: 1}:     {W: 812, H: 28}, // by transformers 4.57
		{W: 70, H: 70}:     {W: 56, H: 56},  // 2.5 factors: to the even two
		{W: 98, H: 98}:     {W: 112, H: 112},
		{W: 5000, H: 4000}: {W: 4004, H: 3192},
	} {
		got, err := picture.SmartResize(of, 28, least, most)
		require.NoError(t, err)
		require.Equal(t, want, got, of)
	}
	_, err := picture.SmartResize(size{W: 2, H: 401}, 28, least, most)
	require.EqualError(t, err, "choosing the VL processor's size of 2×401: the ratio of its sides is 200.5, at most 200")
	_, err = picture.SmartResize(size{W: 2, H: 4}, 28, most, least)
	require.EqualError(t, err, "choosing the VL processor's size of 2×4: factor 28 and 12845056 to 3136 pixels are no rule")
	got, err := picture.SmartResize(size{W: 20, H: 1000}, 28, 1, 28*28*2)
	require.NoError(t, err)
	require.Equal(t, size{W: 28, H: 280}, got, "a side is at least one factor, even above the most pixels")
}

// TestSmartResizeProperties: multiples of the factor; areas within the bounds but for sides
// of one factor.
func TestSmartResizeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := size{W: rapid.IntRange(1, 2048).Draw(t, "w"), H: rapid.IntRange(1, 2048).Draw(t, "h")}
		factor := rapid.IntRange(1, 32).Draw(t, "factor")
		least := rapid.IntRange(1, 1<<16).Draw(t, "least")
		most := rapid.IntRange(max(least, factor*factor)*5, 1<<24).Draw(t, "most")
		got, err := picture.SmartResize(of, factor, least, most)
		if err != nil {
			ratio := float64(max(of.W, of.H)) / float64(min(of.W, of.H))
			rounded := min(math.RoundToEven(float64(of.W)/float64(factor)), math.RoundToEven(float64(of.H)/float64(factor)))
			require.True(t, ratio > 200 || rounded == 0, "%v", err)
			return
		}
		require.Zero(t, got.W%factor+got.H%factor)
		require.GreaterOrEqual(t, got.W*got.H, least)
		if min(got.W, got.H) > factor {
			require.LessOrEqual(t, got.W*got.H, most)
		}
	})
}
