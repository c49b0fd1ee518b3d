package picture

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Processor prepares pictures for the vision tower of a Qwen2-VL or Qwen2.5-VL model. Its
// numbers are those of the model's preprocessor_config.json; ParseProcessor reads and checks
// them. A Processor is safe for concurrent use as long as nobody changes it.
type Processor struct {
	// MinPixels and MaxPixels bound the area of a resized picture.
	MinPixels, MaxPixels int
	// PatchSize is the side of a patch in pixels, MergeSize how many patches a side of a
	// merged token has, TemporalPatchSize how many frames a patch spans: a picture is one
	// frame, repeated.
	PatchSize, MergeSize, TemporalPatchSize int
	// RescaleFactor is applied to samples first, then Mean and Std by channel.
	RescaleFactor float64
	Mean, Std     [3]float64
}

// Bounds of what a configuration may say; the real model has 14, 2 and 2.
const (
	maxPatchSize = 256
	maxMergeSize = 16
	maxFrames    = 16
	bicubicCode  = 3 // PIL.Image.Resampling.BICUBIC
)

// processorFile is preprocessor_config.json, or what of it this package acts on.
type processorFile struct {
	Type              string    `json:"image_processor_type"`
	MinPixels         *int      `json:"min_pixels"`
	MaxPixels         *int      `json:"max_pixels"`
	Size              *edges    `json:"size"`
	PatchSize         *int      `json:"patch_size"`
	TemporalPatchSize *int      `json:"temporal_patch_size"`
	MergeSize         *int      `json:"merge_size"`
	Mean              []float64 `json:"image_mean"`
	Std               []float64 `json:"image_std"`
	RescaleFactor     *float64  `json:"rescale_factor"`
	Resample          *int      `json:"resample"`
}

// edges is the newer form of the area's bounds, which are no edges.
type edges struct {
	Min *int `json:"shortest_edge"`
	Max *int `json:"longest_edge"`
}

// ParseProcessor reads preprocessor_config.json. The bounds of the area, patch sizes, mean
// and standard deviation have to be there: the defaults of libraries differ from what the
// model was trained with (max_pixels 12,845,056 in Qwen2.5-VL's file, 1,003,520 in
// transformers). A step that this package does not take, or one it takes that is switched
// off, is an error.
func ParseProcessor(data []byte) (*Processor, error) {
	var f processorFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("reading preprocessor_config.json: %w", err)
	}
	p, err := f.processor()
	if err == nil {
		err = checkSteps(data)
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("reading preprocessor_config.json: %w", err)
	}
	return p, nil
}

// processor collects the numbers and names the first that is missing.
func (f *processorFile) processor() (*Processor, error) {
	if !strings.HasPrefix(f.Type, "Qwen2VLImageProcessor") {
		return nil, fmt.Errorf("image_processor_type is %q, only Qwen2VLImageProcessor is known", f.Type)
	}
	if f.Resample != nil && *f.Resample != bicubicCode {
		return nil, fmt.Errorf("resample is %d, only %d, bicubic, is known", *f.Resample, bicubicCode)
	}
	var size edges
	if f.Size != nil {
		size = *f.Size
	}
	p := &Processor{RescaleFactor: 1.0 / 255}
	if f.RescaleFactor != nil {
		p.RescaleFactor = *f.RescaleFactor
	}
	for _, n := range []struct {
		name      string
		to        *int
		is, newer *int
	}{
		{"min_pixels", &p.MinPixels, f.MinPixels, size.Min},
		{"max_pixels", &p.MaxPixels, f.MaxPixels, size.Max},
		{"patch_size", &p.PatchSize, f.PatchSize, nil},
		{"temporal_patch_size", &p.TemporalPatchSize, f.TemporalPatchSize, nil},
		{"merge_size", &p.MergeSize, f.MergeSize, nil},
	} {
		if n.is != nil && n.newer != nil && *n.is != *n.newer {
			return nil, fmt.Errorf("%s is %d, but size says %d", n.name, *n.is, *n.newer)
		}
		if n.is == nil {
			n.is = n.newer
		}
		if n.is == nil {
			return nil, fmt.Errorf("%s is missing", n.name)
		}
		*n.to = *n.is
	}
	if len(f.Mean) != 3 || len(f.Std) != 3 {
		return nil, fmt.Errorf("image_mean has %d numbers and image_std %d, each has 3", len(f.Mean), len(f.Std))
	}
	p.Mean, p.Std = [3]float64(f.Mean), [3]float64(f.Std)
	return p, nil
}

// taken are the steps that are always taken, by their switches.
var taken = []string{"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"}

// checkSteps looks at the switches: those of taken have to be on or unsaid, all others off.
func checkSteps(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := string(fields[name])
		if !strings.HasPrefix(name, "do_") || value == "null" {
			continue
		}
		if want := fmt.Sprint(slices.Contains(taken, name)); value != want {
			return fmt.Errorf("%s is %s, only %s is known", name, value, want)
		}
	}
	return nil
}

// check holds the numbers against their ranges.
func (p *Processor) check() error {
	for _, n := range []struct {
		name     string
		is, most int
	}{
		{"patch_size", p.PatchSize, maxPatchSize},
		{"merge_size", p.MergeSize, maxMergeSize},
		{"temporal_patch_size", p.TemporalPatchSize, maxFrames},
		{"min_pixels", p.MinPixels, p.MaxPixels},
		{"max_pixels", p.MaxPixels, maxSide * maxSide},
	} {
		if n.is < 1 || n.is > n.most {
			return fmt.Errorf("%s is %d, it is 1 to %d", n.name, n.is, n.most)
		}
	}
	if !(p.RescaleFactor > 0 && p.RescaleFactor <= 1) {
		return fmt.Errorf("rescale_factor is %v, it is above 0 and at most 1", p.RescaleFactor)
	}
	for c := range 3 {
		if math.IsNaN(p.Mean[c]) || math.Abs(p.Mean[c]) > 255 || !(p.Std[c] > 1e-6 && p.Std[c] <= 255) {
			return fmt.Errorf("image_mean and image_std of channel %d are %v and %v, within ±255, and above 0", c, p.Mean[c], p.Std[c])
		}
	}
	return nil
}

// Factor is what the sides of a resized picture are multiples of: 28 in the real model.
func (p *Processor) Factor() int { return p.PatchSize * p.MergeSize }

// PatchLen is how many floats a patch has: 3·2·14·14 = 1176 in the real model.
func (p *Processor) PatchLen() int { return 3 * p.TemporalPatchSize * p.PatchSize * p.PatchSize }

// Grid counts patches: T frames' worth (always 1 for a picture), H rows and W columns.
type Grid struct{ T, H, W int }

// Patches is how many patches the grid has.
func (g Grid) Patches() int { return g.T * g.H * g.W }

// Grid returns the patches that a picture of a size will have, without looking at one.
// Divided by the square of MergeSize they are its tokens in the prompt.
func (p *Processor) Grid(s Size) (Grid, error) {
	s, err := SmartResize(s, p.Factor(), p.MinPixels, p.MaxPixels)
	if err != nil {
		return Grid{}, err
	}
	return Grid{T: 1, H: s.H / p.PatchSize, W: s.W / p.PatchSize}, nil
}

// Append resizes the picture by Bicubic, normalises it and appends its patches to dst:
// grid.Patches() rows of PatchLen() floats. A row holds channel, frame, row, column in that
// order. Patches follow one another within a merged token, row by row, then token by token:
// the token's patches are neighbours in memory. Values are those of transformers'
// Qwen2VLImageProcessor, the one that uses Pillow, in float32.
func (p *Processor) Append(dst []float32, src *RGB) ([]float32, Grid, error) {
	g, err := p.Grid(src.Size())
	if err != nil {
		return dst, Grid{}, err
	}
	r, err := Resize(src, g.W*p.PatchSize, g.H*p.PatchSize, Bicubic)
	if err != nil {
		return dst, Grid{}, err
	}
	table, start := p.table(), len(dst)
	dst = extend(dst, g.Patches()*p.PatchLen())
	stripe := p.MergeSize * g.W * p.PatchLen() // the patches of a row of tokens
	share(g.H/p.MergeSize, 1, func(from, below int) {
		for by := from; by < below; by++ {
			p.stripe(dst[start+by*stripe:][:stripe], r, &table, by*p.MergeSize)
		}
	})
	return dst, g, nil
}

// stripe fills dst with the patches of a row of tokens, whose first patches lie in row py.
func (p *Processor) stripe(dst []float32, r *RGB, table *[3][256]float32, py int) {
	n := p.PatchLen()
	for px := 0; len(dst) > 0; px += p.MergeSize {
		for i := range p.MergeSize * p.MergeSize {
			p.patch(dst[:n], r, table, px+i%p.MergeSize, py+i/p.MergeSize)
			dst = dst[n:]
		}
	}
}

// patch fills dst with the patch in column px and row py.
func (p *Processor) patch(dst []float32, r *RGB, table *[3][256]float32, px, py int) {
	side := p.PatchSize
	area := side * side
	for y := range side {
		row := r.row(py*side + y)[3*px*side:][:3*side]
		for c := range 3 {
			to, values := dst[c*p.TemporalPatchSize*area+y*side:][:side], &table[c]
			for x := range to {
				to[x] = values[row[3*x+c]]
			}
		}
	}
	for c := range 3 {
		frames := dst[c*p.TemporalPatchSize*area:][:p.TemporalPatchSize*area]
		for f := 1; f < p.TemporalPatchSize; f++ {
			copy(frames[f*area:], frames[:area])
		}
	}
}

// table is the normalised value of every sample by channel: the product is taken in double
// precision and rounded to single, all after it is in single precision, as transformers does.
func (p *Processor) table() (t [3][256]float32) {
	for c := range t {
		for v := range t[c] {
			x := float32(float64(v) * p.RescaleFactor)
			t[c][v] = (x - float32(p.Mean[c])) / float32(p.Std[c])
		}
	}
	return t
}
