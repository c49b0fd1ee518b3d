package transformer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// fullDir names the folder that testdata/full.py wrote.
const fullDir = "PLIMSOLL_FULL"

// full is full.safetensors: PyTorch's results with the weights of a checkpoint of any size.
type full struct {
	golden
	Checkpoint string
	Time       float32
	// Distances are those of PyTorch in bfloat16 from float32.
	Distances map[string]struct {
		V      float64
		Blocks []map[string][2]float64 // by stream: of the stream, and of what the block adds
	}
}

func readFull(t *testing.T) (f full) {
	t.Helper()
	dir := os.Getenv(fullDir)
	if dir == "" {
		t.Skip("needs " + fullDir + ", the folder that testdata/full.py writes on a GPU")
	}
	f.set = mapSet(t, filepath.Join(dir, "full.safetensors"))
	require.NoError(t, json.Unmarshal([]byte(f.set.Metadata()["full"]), &f))
	require.Equal(t, "0.42.1", f.Versions["diffusers"])
	return f
}

// mapSet maps one file.
func mapSet(t *testing.T, name string) *weights.Set {
	t.Helper()
	info, err := os.Stat(name)
	require.NoError(t, err)
	place := modelfiles.Folder(filepath.Dir(name), nil)
	content, findings, err := place.OpenLocal(manifests.ModelFile{Path: filepath.Base(name), Size: info.Size()})
	require.NoError(t, err)
	require.Empty(t, findings)
	set, err := weights.Open(content)
	require.NoError(t, err)
	require.NoError(t, content.Close()) // the mapping stays
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return set
}

// machine is a backend to hold against PyTorch.
type machine struct {
	name string
	// bound is how far the streams behind a block may be from float32's, by their norms, and
	// factor how many times as far as PyTorch's in bfloat16 the prediction may be.
	bound, factor float64
	open          func() (compute.Backend, error)
}

// arena holds an edit's modulations and a forward of 9,598 tokens.
const arena = 4 << 30

const eightBits = "eight bits"

// machines are the first GPU with each way to hold weights, or the CPU where there is none.
func machines(t *testing.T) []machine {
	t.Helper()
	driver, err := cuda.Open()
	if errors.Is(err, cuda.ErrNoDriver) || errors.Is(err, cuda.ErrNoDevice) {
		return []machine{{"CPU", 1e-5, 1, func() (compute.Backend, error) { return ref.New(ref.Options{ArenaBytes: arena, Poison: true}), nil }}}
	}
	require.NoError(t, err)
	devices, err := driver.Devices()
	require.NoError(t, err)
	on := func(held kernels.Held) func() (compute.Backend, error) {
		return func() (compute.Backend, error) {
			return kernels.New(driver, devices[0], kernels.Options{ArenaBytes: arena, Poison: true, Held: held})
		}
	}
	return []machine{
		{"packed", 1e-2, 2, on(kernels.Packed)},
		{"whole", 1e-2, 2, on(kernels.Whole)},
		{eightBits, 3e-2, 8, on(kernels.EightBits)}, // its products are off by 1 to 2 %
	}
}

// TestFull: with a checkpoint of the published size, every block makes of PyTorch's streams
// what PyTorch's block makes of them in float32, and the predictions behind all of them stay as
// near to float32's as PyTorch's own in bfloat16.
func TestFull(t *testing.T) {
	f := readFull(t)
	set := mapSet(t, f.Checkpoint)
	for _, on := range machines(t) {
		t.Run(on.name, func(t *testing.T) {
			b, err := on.open()
			if on.name == eightBits && fault.KindOf(err) == fault.Resource {
				t.Skip(err) // only Hopper has the products
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			began := time.Now()
			m, err := New(b, set)
			require.NoError(t, err)
			require.NoError(t, b.Sync())
			t.Logf("%d blocks loaded in %v", m.dims.Blocks, time.Since(began).Round(time.Millisecond))
			for name := range f.Pictures {
				c := &comparison{t: t, full: f, on: on, backend: b, model: m, name: name}
				c.predict()
				if len(f.Distances[name].Blocks) > 0 {
					c.blocks()
				}
			}
		})
	}
}

// comparison is a case on one backend.
type comparison struct {
	full
	t       *testing.T
	on      machine
	backend compute.Backend
	model   *Model
	name    string
}

// begin begins the case's edit.
func (c *comparison) begin() (in inputs) {
	c.t.Helper()
	target, references := c.pictures(c.name)
	var err error
	in.run, err = c.model.Begin(Edit{Target: target, References: references, Times: []float32{c.Time}})
	require.NoError(c.t, err)
	tokens := c.upload(c.name + ".x")
	in.x, in.refs = tokens.Slice(0, target.Tokens()), tokens.Slice(target.Tokens(), tokens.Rows)
	in.text, err = in.run.Text(c.upload(c.name + ".text"))
	require.NoError(c.t, err)
	return in
}

func (c *comparison) upload(name string) compute.Tensor {
	values, columns := c.values(c.t, name)
	out := c.backend.Alloc(compute.Act, len(values)/columns, columns)
	c.backend.Upload(out, values)
	return out
}

func (c *comparison) download(x compute.Tensor) []float32 {
	c.t.Helper()
	out := make([]float32, x.Len())
	require.NoError(c.t, c.backend.Download(out, x))
	return out
}

// predict compares the prediction.
func (c *comparison) predict() {
	defer c.backend.Reset(c.backend.Mark())
	in := c.begin()
	v, err := in.run.Forward(c.t.Context(), 0, in.x, in.refs, in.text)
	require.NoError(c.t, err)
	got := c.download(v)
	want, _ := c.values(c.t, c.name+".v")
	ours, theirs := norms(got, want, nil), c.Distances[c.name].V
	c.t.Logf("%s: the prediction is off by %.2e, PyTorch's in bfloat16 by %.2e", c.name, ours, theirs)
	require.LessOrEqual(c.t, ours, c.on.factor*theirs)
}

// blocks puts PyTorch's streams through each block.
func (c *comparison) blocks() {
	defer c.backend.Reset(c.backend.Mark())
	in := c.begin()
	p := in.run.embed(0, in.x, in.refs, in.text)
	most := map[string][4]float64{}
	for i := range c.model.blocks {
		for stream, x := range map[string]compute.Tensor{"image": p.image, "text": p.text} {
			values, _ := c.values(c.t, fmt.Sprintf("%s.block.%d.%s.in", c.name, i, stream))
			c.backend.Upload(x, values)
		}
		p.block(i)
		last := i == len(c.model.blocks)-1
		image := p.image
		if last {
			image = image.Slice(0, in.x.Rows)
		}
		c.block(i, "image", image, most)
		if !last {
			c.block(i, "text", p.text, most)
		}
	}
	for stream, d := range most {
		c.t.Logf("%s: the %s stream behind a block is off by %.2e at most, PyTorch's in bfloat16 by %.2e; what a block adds by %.2e and %.2e", c.name, stream, d[0], d[1], d[2], d[3])
	}
}

// block compares one stream behind a block.
func (c *comparison) block(i int, stream string, x compute.Tensor, most map[string][4]float64) {
	c.t.Helper()
	at := fmt.Sprintf("%s.block.%d.%s.", c.name, i, stream)
	before, _ := c.values(c.t, at+"in")
	want, _ := c.values(c.t, at+"want")
	got := c.download(x)
	before, want = before[:len(got)], want[:len(got)]
	theirs := c.Distances[c.name].Blocks[i][stream]
	d := [4]float64{norms(got, want, nil), theirs[0], norms(got, want, before), theirs[1]}
	require.LessOrEqual(c.t, d[0], c.on.bound, "block %d, %s", i, stream)
	worst := most[stream]
	for k := range d {
		worst[k] = max(worst[k], d[k])
	}
	most[stream] = worst
}

// norms is ‖got − want‖/‖want − before‖; nil is zeros. It is NaN where got is.
func norms(got, want, before []float32) float64 {
	var off, all float64
	for i, w := range want {
		d, size := float64(got[i])-float64(w), float64(w)
		if before != nil {
			size -= float64(before[i])
		}
		off, all = off+d*d, all+size*size
	}
	return math.Sqrt(off / all)
}
