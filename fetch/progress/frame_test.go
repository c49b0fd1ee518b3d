package progress

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func sampleRows() []row {
	return []row{
		{name: "fetch", done: 12_000_000_000, total: 42_200_000_000, rate: 103e6, known: true},
		{name: "  text_encoder/model-00001-of-00004.safetensors", done: 2_300_000_000, total: 4_968_243_304, known: true},
		{name: "  vae/model.safetensors", done: 0, total: 253_806_966},
		{name: "  done.json", done: 100, total: 100, rate: 100, known: true},
	}
}

// TestFrame: what is shown at a width. The narrower, the less.
func TestFrame(t *testing.T) {
	for cols, want := range map[int]string{
		120: `
fetch                                     28% [=======>......................] 12 GB of 42 GB, 103 MB/s, 4m53s left
…coder/model-00001-of-00004.safetensors   46% [============>.................] 2.3 GB of 5.0 GB, 0 B/s, stalled
  vae/model.safetensors                    0% [..............................] 0 B of 254 MB
  done.json                              100% [==============================] 100 B of 100 B
`,
		80: `
fetch                        28% [==>...........] 12 GB, 103 MB/s, 4m53s left
…0001-of-00004.safetensors   46% [=====>........] 2.3 GB, 0 B/s, stalled
  vae/model.safetensors       0% [..............] 0 B
  done.json                 100% [==============] 100 B
`,
		60: `
fetch                 28% [=>.......] 103 MB/s, 4m53s left
…-00004.safetensors   46% [===>.....] 0 B/s, stalled
…/model.safetensors    0% [.........]
  done.json          100% [=========]
`,
		45: `
fetch            28% [=>.......] 4m53s left
…4.safetensors   46% [===>.....] stalled
…l.safetensors    0% [.........]
  done.json     100% [=========]
`,
		20: `
fetch      28%
…tensors   46%
…tensors    0%
…ne.json  100%
`,
		6: `
fetch
…tens
…tens
…ne.j
`,
	} {
		got := frame(cols, 24, sampleRows())
		require.Equal(t, strings.TrimPrefix(want, "\n"), strings.Join(got, "\n")+"\n", "%d columns", cols)
	}
}

// TestFrameHeight: what does not fit is counted.
func TestFrameHeight(t *testing.T) {
	rows := sampleRows()
	for len(rows) < 20 {
		rows = append(rows, row{name: "  more", total: 10})
	}
	last := func(height int) (n int, text string) {
		got := frame(80, height, rows)
		return len(got), got[len(got)-1]
	}
	for height, want := range map[int]string{100: "and 12 more", 6: "and 16 more", 4: "and 18 more"} {
		n, text := last(height)
		require.Less(t, n, height)
		require.Equal(t, want, text)
	}
	n, text := last(1)
	require.Equal(t, 1, n)
	require.Contains(t, text, "fetch")
	require.Len(t, frame(80, 100, rows), maxRows)
}

// TestFrameFits: whatever the names, numbers and sizes, no line is as wide as the terminal.
func TestFrameFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cols, height := rapid.IntRange(1, 200).Draw(rt, "columns"), rapid.IntRange(1, 40).Draw(rt, "lines")
		var rows []row
		for range rapid.IntRange(1, 12).Draw(rt, "rows") {
			total := rapid.Int64Range(0, 1<<50).Draw(rt, "total")
			rows = append(rows, row{
				name: rapid.String().Draw(rt, "name"), total: total, done: rapid.Int64Range(0, total).Draw(rt, "done"),
				rate: rapid.Float64Range(0, 1e12).Draw(rt, "rate"), known: rapid.Bool().Draw(rt, "known"),
			})
		}
		lines := frame(cols, height, rows)
		require.NotEmpty(rt, lines)
		require.LessOrEqual(rt, len(lines), max(1, height-1))
		for _, l := range lines {
			require.Less(rt, columns(l), max(cols, 2), "%q", l)
			require.NotContains(rt, l, "\n")
			require.NotContains(rt, l, "\x1b")
		}
	})
}

// TestTail: the end of a name is what tells it from others; wide characters count twice.
func TestTail(t *testing.T) {
	require.Equal(t, "model.bin", tail("model.bin", 9))
	require.Equal(t, "…el.bin", tail("model.bin", 7))
	require.Equal(t, "…型.bin", tail("模型.bin", 7))
	require.Equal(t, 8, columns("模型.bin"))
	require.Equal(t, "模", cut("模型.bin", 3))
}
