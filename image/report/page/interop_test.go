package page_test

import (
	"encoding/json"
	"fmt"
	"html"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/picture"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// probe measures a page in frames of some widths; a window of its own is never narrower
// than 500 pixels. What it finds becomes the text of the outer document.
const probe = `<!DOCTYPE html><meta charset="utf-8"><pre id="out"></pre>
<script>
const widths = %s, found = {};
for (const width of widths) {
	const f = document.createElement('iframe');
	f.style = 'border:0;height:1200px;width:' + width + 'px';
	f.src = 'page.html';
	f.onload = () => {
		found[width] = look(f.contentDocument);
		if (Object.keys(found).length == widths.length) document.getElementById('out').textContent = JSON.stringify(found);
	};
	document.body.append(f);
}
function look(d) {
	const out = {problems: []};
	const inside = (a, b) => a.left >= b.left - 0.5 && a.right <= b.right + 0.5 && a.top >= b.top - 0.5 && a.bottom <= b.bottom + 0.5;
	const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
	out.width = d.documentElement.scrollWidth;
	out.active = d.querySelectorAll('script,img,iframe,a,link,object,form').length;
	out.tables = d.querySelectorAll('table').length;
	const pictures = [...d.querySelectorAll('svg[role=img]')].filter(s => s.getBoundingClientRect().width > 0);
	out.pictures = pictures.length;
	out.least = 99;
	for (const s of pictures) {
		const frame = s.getBoundingClientRect();
		const texts = [...s.querySelectorAll('text')], areas = [...s.querySelectorAll('rect.area')];
		texts.forEach((x, i) => {
			const at = x.getBoundingClientRect();
			out.least = Math.min(out.least, parseFloat(getComputedStyle(x).fontSize) * frame.width / s.viewBox.baseVal.width);
			if (!inside(at, frame)) out.problems.push('outside of the picture: ' + x.textContent);
			for (const o of texts.slice(i + 1)) if (meet(at, o.getBoundingClientRect())) out.problems.push(x.textContent + ' meets ' + o.textContent);
			if (x.classList.contains('cargo')) {
				const own = areas.map(a => a.getBoundingClientRect()).filter(a => a.left <= at.left && a.top <= at.top + 4 && a.right > at.left && a.bottom > at.top + 4);
				if (!own.some(a => at.right <= a.right + 0.5 && at.bottom <= a.bottom + 3)) out.problems.push('over its area: ' + x.textContent);
			}
		});
	}
	return out;
}
</script>`

// findings is what probe finds.
type findings struct {
	Width, Active, Tables, Pictures int
	// Least is the size of the smallest text of a picture in pixels of the screen.
	Least    float64
	Problems []string
}

func chromium(t *testing.T, args ...string) string {
	t.Helper()
	return interoptest.Run(t, "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files",
		"--user-data-dir=" + t.TempDir(), "--virtual-time-budget=10000",
	}, args...)...)
}

// measure lays a page out in each width.
func measure(t *testing.T, page string, widths []int) (out map[int]findings) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.html"), []byte(page), 0o644))
	list, err := json.Marshal(widths)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "probe.html"), fmt.Appendf(nil, probe, list), 0o644))
	dom := chromium(t, "--window-size=1400,1300", "--dump-dom", "file://"+filepath.Join(dir, "probe.html"))
	found := regexp.MustCompile(`<pre id="out">(.+)</pre>`).FindStringSubmatch(dom)
	require.NotNil(t, found, "the page was not laid out: %.2000s", dom)
	require.NoError(t, json.Unmarshal([]byte(html.UnescapeString(found[1])), &out))
	return out
}

// TestInteropLayout: in a browser the page is as wide as its window, on a desktop and on a
// phone; every label stays in its area, none meets another, all can be read, and nothing in
// it is active.
func TestInteropLayout(t *testing.T) {
	interoptest.Require(t, "chromium")
	long := strings.Repeat("a-very-long-name/", 12) + "模型文件.safetensors"
	for name, in := range map[string]report.Input{
		"real": reporttest.Real(t, ""), "one checkpoint": reporttest.Real(t, "lightning"), "demo": reporttest.Demo(t),
		"hostile": reporttest.Foreign(t, strings.Join(reporttest.Hostile, " ")), "long": reporttest.Foreign(t, long),
		"wide letters": reporttest.Foreign(t, strings.Repeat("WWWW MMMM ", 20)), "right to left": reporttest.Foreign(t, strings.Repeat("נתונים وزن ", 9)),
	} {
		t.Run(name, func(t *testing.T) {
			least := map[int]float64{1280: 11, 900: 9, 390: 10, 320: 8}
			for width, got := range measure(t, render(t, in), slices.Collect(maps.Keys(least))) {
				require.LessOrEqual(t, got.Width, width, "wider than the window")
				require.Empty(t, got.Problems, width)
				require.Zero(t, got.Active)
				require.Positive(t, got.Pictures)
				require.Positive(t, got.Tables)
				require.GreaterOrEqual(t, got.Least, least[width], "text too small to be read at %d", width)
			}
		})
	}
}

// TestInteropPicture: a browser draws the file of the picture by itself, in light and in
// dark surroundings, in the style sheet's colours.
func TestInteropPicture(t *testing.T) {
	interoptest.Require(t, "chromium")
	r, err := report.New(reporttest.Real(t, ""))
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "line.svg")
	require.NoError(t, os.WriteFile(file, []byte(picture.Standalone(r)), 0o644))
	for theme, want := range map[string][]color.NRGBA{
		"1": {{0x0e, 0x6a, 0x6f, 0xff}, {0x35, 0x51, 0x8f, 0xff}, {0xd9, 0xea, 0xf3, 0xff}, {0xf3, 0xf0, 0xe9, 0xff}},
		"0": {{0x0e, 0x6a, 0x6f, 0xff}, {0x35, 0x51, 0x8f, 0xff}, {0x16, 0x30, 0x3f, 0xff}, {0x1e, 0x26, 0x2d, 0xff}},
	} {
		shot := filepath.Join(dir, theme+".png")
		chromium(t, "--window-size=900,640", "--blink-settings=preferredColorScheme="+theme, "--screenshot="+shot, "file://"+file)
		f, err := os.Open(shot)
		require.NoError(t, err)
		defer f.Close()
		img, err := png.Decode(f)
		require.NoError(t, err)
		seen := map[color.NRGBA]int{}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				seen[color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)]++
			}
		}
		for _, c := range want {
			require.Greater(t, seen[c], 5000, "pixels of %v", c)
		}
	}
}
