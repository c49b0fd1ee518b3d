package picture_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// python runs code with Pillow, numpy and transformers, on standard input.
func python(t *testing.T, code string, input []byte, args ...string) []byte {
	t.Helper()
	c := interoptest.ScriptWith(t, interoptest.Pictures, code, args, "HF_HUB_OFFLINE=1", "PYTHONWARNINGS=ignore")
	c.Stdin = bytes.NewReader(input)
	return []byte(interoptest.Output(t, c))
}

// script runs testdata/make.py.
func script(t *testing.T, args ...string) {
	t.Helper()
	python(t, string(read(t, filepath.Join("testdata", "make.py"))), nil, args...)
}

// TestInteropGolden: the committed files are what the script makes.
func TestInteropGolden(t *testing.T) {
	interoptest.Require(t, "python3")
	dir := t.TempDir()
	script(t, "files", filepath.Join(dir, "golden"), "17x13")
	script(t, "resized", filepath.Join(dir, "resized.json"))
	script(t, "processor", filepath.Join(dir, "processor.json"))
	made, err := filepath.Glob(filepath.Join(dir, "golden", "*"))
	require.NoError(t, err)
	committed, err := filepath.Glob(filepath.Join("testdata", "golden", "*"))
	require.NoError(t, err)
	require.Len(t, made, len(committed))
	for _, path := range append(made, filepath.Join(dir, "resized.json"), filepath.Join(dir, "processor.json")) {
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(read(t, filepath.Join("testdata", name)), read(t, path)), name)
	}
}

// TestInteropDecode reads every kind of file at sizes around those of codecs' blocks.
func TestInteropDecode(t *testing.T) {
	interoptest.Require(t, "python3")
	dir := t.TempDir()
	script(t, "files", dir, "1x1", "2x3", "5x4", "16x16", "33x7", "7x34", "203x157", "640x481")
	compare(t, dir)
}

// TestInteropResize holds every byte against Pillow's: enlarged, reduced, one side kept,
// sides of one pixel and large ratios.
func TestInteropResize(t *testing.T) {
	interoptest.Require(t, "python3")
	r := rand.New(rand.NewPCG(3, 4))
	type job struct{ W, H, ToW, ToH, Filter int }
	jobs := []job{{1, 1, 9, 9, 1}, {1, 300, 7, 2, 1}, {2000, 1, 1, 5, 3}, {1, 1, 1, 1, 3}, {2048, 900, 1024, 450, 1}, {97, 64, 1024, 1024, 3}, {1500, 40, 3, 800, 1}}
	for range 150 {
		j := job{1 + r.IntN(130), 1 + r.IntN(130), 1 + r.IntN(260), 1 + r.IntN(260), []int{1, 3}[r.IntN(2)]} // Pillow's codes
		switch r.IntN(8) {
		case 0:
			j.ToW = j.W
		case 1:
			j.ToH = j.H
		case 2:
			j.W = 1
		case 3:
			j.H = 1
		}
		jobs = append(jobs, j)
	}
	var input bytes.Buffer
	pictures := make([]*picture.RGB, len(jobs))
	for i, j := range jobs {
		pictures[i] = noise(r, j.W, j.H)
		input.Write(pictures[i].Pix)
	}
	list, err := json.Marshal(jobs)
	require.NoError(t, err)
	out := python(t, `
import json, sys
from PIL import Image
for j in json.loads(sys.argv[1]):
    im = Image.frombytes("RGB", (j["W"], j["H"]), sys.stdin.buffer.read(3 * j["W"] * j["H"]))
    sys.stdout.buffer.write(im.resize((j["ToW"], j["ToH"]), j["Filter"]).tobytes())
`, input.Bytes(), string(list))
	for i, j := range jobs {
		got, err := picture.Resize(pictures[i], j.ToW, j.ToH, map[int]picture.Filter{1: picture.Lanczos, 3: picture.Bicubic}[j.Filter])
		require.NoError(t, err)
		require.True(t, bytes.Equal(out[:len(got.Pix)], got.Pix), "%+v", j)
		out = out[len(got.Pix):]
	}
	require.Empty(t, out)
}

// TestInteropProcessor holds patches against transformers', with the real model's numbers.
func TestInteropProcessor(t *testing.T) {
	interoptest.Require(t, "python3")
	config := string(read(t, filepath.Join("testdata", "preprocessor_config.json")))
	p, err := picture.ParseProcessor([]byte(config))
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range []picture.Size{{W: 31, H: 70}, {W: 384, H: 384}, {W: 200, H: 5}, {W: 333, H: 517}} {
		src := noise(r, s.W, s.H)
		file := filepath.Join(t.TempDir(), "patches")
		grid := python(t, `
import json, sys
import numpy as np
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
config = json.loads(sys.argv[1])
im = Image.frombytes("RGB", (int(sys.argv[2]), int(sys.argv[3])), sys.stdin.buffer.read())
out = Qwen2VLImageProcessor(**config).preprocess(im, return_tensors="np")
np.ascontiguousarray(out["pixel_values"], dtype="<f4").tofile(sys.argv[4])
print(*out["image_grid_thw"][0])
`, src.Pix, config, fmt.Sprint(s.W), fmt.Sprint(s.H), file)
		got, g, err := p.Append(nil, src)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(string(grid)), fmt.Sprint(g.T, g.H, g.W), s)
		want := floats(read(t, file))
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i], "%v: value %d", s, i) // bit-equal
		}
	}
}

// TestInteropSizes holds the rules of sizes against Python's arithmetic and transformers'.
func TestInteropSizes(t *testing.T) {
	interoptest.Require(t, "python3")
	type answer struct{ Area, Smart []int }
	var answers []answer
	r := rand.New(rand.NewPCG(7, 8))
	jobs := make([][3]int, 4000)
	for i := range jobs {
		jobs[i] = [3]int{1 + r.IntN(2048), 1 + r.IntN(2048), []int{1024 * 1024, 384 * 384, 128 * 128}[r.IntN(3)]}
		if i%4 == 0 { // halves: multiples of 14, 16 and 32
			jobs[i][0], jobs[i][1] = 14*(1+r.IntN(140)), 14*(1+r.IntN(140))
		}
	}
	list, err := json.Marshal(jobs)
	require.NoError(t, err)
	out := python(t, `
import json, math, sys
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
def answer(w, h, area):
    ratio = w / h
    width = math.sqrt(area * ratio)
    sides = [round(width / 32) * 32, round(width / ratio / 32) * 32]
    try:
        height, width = smart_resize(h, w, 28, 3136, area)
        return {"Area": sides, "Smart": [width, height]}
    except ValueError:
        return {"Area": sides, "Smart": None}
json.dump([answer(*j) for j in json.load(sys.stdin)], sys.stdout)
`, list)
	require.NoError(t, json.Unmarshal(out, &answers))
	for i, j := range jobs {
		of := picture.Size{W: j[0], H: j[1]}
		got, err := picture.ForArea(j[2], of)
		if min(answers[i].Area[0], answers[i].Area[1]) == 0 {
			require.Error(t, err, j)
		} else {
			require.NoError(t, err)
			require.Equal(t, answers[i].Area, []int{got.W, got.H}, j)
		}
		got, err = picture.SmartResize(of, 28, 3136, j[2])
		if answers[i].Smart == nil {
			require.Error(t, err, j)
			continue
		}
		if min(answers[i].Smart[0], answers[i].Smart[1]) == 0 {
			require.Error(t, err, j)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, answers[i].Smart, []int{got.W, got.H}, j)
	}
}

// TestInteropEncode: Pillow reads what the encoders write.
func TestInteropEncode(t *testing.T) {
	interoptest.Require(t, "python3")
	var golden processorGolden
	unmarshal(t, filepath.Join("testdata", "processor.json"), &golden)
	dir := t.TempDir()
	for name, encode := range map[string]func() ([]byte, error){"a.png": golden.Picture.PNG, "a.jpg": golden.Picture.JPEG} {
		data, err := encode()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	out := python(t, `
import io, sys
from PIL import Image
png, jpeg = (Image.open(sys.argv[1] + "/a." + e) for e in ("png", "jpg"))
b = io.BytesIO()
png.save(b, "JPEG", quality=95)
own = Image.open(io.BytesIO(b.getvalue()))
print(png.mode, jpeg.mode, jpeg.quantization == own.quantization, [c[1:3] for c in jpeg.layer] == [c[1:3] for c in own.layer], flush=True)
sys.stdout.buffer.write(png.tobytes())
`, nil, dir)
	line, pix, _ := bytes.Cut(out, []byte("\n"))
	require.Equal(t, "RGB RGB True True", string(line))
	require.Equal(t, golden.Picture.Pix, pix)
}
