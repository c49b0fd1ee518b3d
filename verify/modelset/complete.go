package modelset

import (
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// wanted is the table of tensors that a configuration promises.
type wanted struct {
	names  []string
	shapes map[string][]int64
}

func (w *wanted) add(name string, shape ...int64) {
	if w.shapes == nil {
		w.shapes = map[string][]int64{}
	}
	w.names = append(w.names, name)
	w.shapes[name] = shape
}

// linear adds a matrix and its bias.
func (w *wanted) linear(name string, out, in int64) {
	w.add(name+".weight", out, in)
	w.add(name+".bias", out)
}

// conv adds a convolution and its bias.
func (w *wanted) conv(name string, out, in int64, kernel ...int64) {
	w.add(name+".weight", append([]int64{out, in}, kernel...)...)
	w.add(name+".bias", out)
}

// checkComplete holds the tensors of text encoder and VAE against those that their
// configurations promise: an index and its shards may agree and lack a layer together. A
// component with an error already is left alone, since it would be reported twice.
func (c *checker) checkComplete() {
	if !slices.Contains(imagePipelines, c.index.class) {
		return
	}
	for _, component := range []struct {
		name, class string
		table       func(at string) *wanted
	}{
		{"text_encoder", "Qwen2_5_VLForConditionalGeneration", c.textEncoder},
		{"vae", "AutoencoderKLQwenImage", c.autoencoder},
	} {
		name := component.name
		if c.replaced(name) || c.index.components[name].class != component.class || c.accused(name) {
			continue
		}
		if table := component.table(name); table != nil {
			c.compare(name, *table)
		}
	}
}

// accused reports whether an error about the component is known.
func (c *checker) accused(component string) bool {
	return slices.ContainsFunc(c.found, func(f verify.Finding) bool {
		return f.Severity == verify.Error && (f.Object == component || strings.HasPrefix(f.Object, component+"/"))
	})
}

// compare reports missing tensors, other shapes and dtypes that are no weights, each in one
// finding. Tensors beyond the table are somebody else's: a head, statistics of a quantiser.
func (c *checker) compare(component string, table wanted) {
	have := map[string]safetensors.Tensor{}
	for _, p := range c.under(component, ".safetensors") {
		h, err := c.header(p)
		if err != nil {
			return
		}
		for _, t := range h.Tensors {
			have[t.Name] = t
		}
	}
	var missing, shapes, dtypes []string
	for _, name := range table.names {
		t, ok := have[name]
		switch {
		case !ok:
			missing = append(missing, name)
		case !slices.Equal(t.Shape, table.shapes[name]):
			shapes = append(shapes, name)
		case !slices.Contains(weightTypes, t.DType):
			dtypes = append(dtypes, name)
		}
	}
	if len(missing) > 0 {
		c.add(verify.Error, "component", component, "%s missing of %d that %s/config.json promises: %s", isAre(missing), len(table.names), component, some(missing))
	}
	if len(shapes) > 0 {
		c.add(verify.Error, "dimension", component, "%s: shape is %v, by %s/config.json it is %v", some(shapes), have[shapes[0]].Shape, component, table.shapes[shapes[0]])
	}
	if len(dtypes) > 0 {
		c.add(verify.Error, "component", component, "%s: dtype is %s, want one of %v", some(dtypes), have[dtypes[0]].DType, weightTypes)
	}
}

// weightTypes are the dtypes of unquantised weights.
var weightTypes = []safetensors.DType{safetensors.BF16, safetensors.F16, safetensors.F32}

// Bounds of what a configuration may ask for, far above any model: a table must not be made
// as large as a hostile number.
const (
	maxLayers = 1 << 10
	maxExtent = 1 << 20
	maxStages = 1 << 4 // resolutions of an autoencoder
)

// positive reads required numbers of a configuration; the first that is missing or out of
// range is a finding, and ok is false.
func (c *checker) positive(at string, most int64, values map[string]*int64) (ok bool) {
	ok = true
	for _, key := range sortedKeys(values) {
		if v := values[key]; ok && (v == nil || *v < 1 || *v > most) {
			c.add(verify.Error, "dimension", at, "%s is missing or out of range", key)
			ok = false
		}
	}
	return ok
}
