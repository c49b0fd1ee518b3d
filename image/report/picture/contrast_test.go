package picture

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// luminance is the relative luminance of WCAG 2.
func luminance(t *testing.T, color string) float64 {
	t.Helper()
	if len(color) == 4 {
		color = fmt.Sprintf("#%[1]c%[1]c%[2]c%[2]c%[3]c%[3]c", color[1], color[2], color[3])
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		require.NoError(t, err)
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(t *testing.T, a, b string) float64 {
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestContrast holds text against what it stands on: 4.5 to 1, level AA of WCAG 2, in light
// and in dark surroundings.
func TestContrast(t *testing.T) {
	variables := regexp.MustCompile(`--([a-z]+):(#[0-9a-f]+)`)
	light, dark, _ := strings.Cut(Style, "@media (prefers-color-scheme:dark)")
	dark, _, _ = strings.Cut(dark, "@media print")
	colors := map[string]string{}
	for _, theme := range []string{light, dark} {
		for _, m := range variables.FindAllStringSubmatch(theme, -1) {
			colors[m[1]] = m[2]
		}
		for _, pair := range [][2]string{{"ink", "sky"}, {"soft", "sky"}, {"ink", "hold"}, {"soft", "hold"}, {"ink", "sea"}, {"goes", "ground"}} {
			require.GreaterOrEqual(t, contrast(t, colors[pair[0]], colors[pair[1]]), 4.5, pair)
		}
		require.GreaterOrEqual(t, contrast(t, "#fff", colors["top"]), 4.5)
		require.GreaterOrEqual(t, contrast(t, "#fff", colors["boot"]), 4.5)
	}
	fills := regexp.MustCompile(`\.(hue[0-9]|outside)\{fill:(#[0-9a-f]+)\}`).FindAllStringSubmatch(Style, -1)
	require.Len(t, fills, hues+1)
	for _, m := range fills {
		require.GreaterOrEqual(t, contrast(t, "#fff", m[2]), 4.5, m[1])
	}
}
