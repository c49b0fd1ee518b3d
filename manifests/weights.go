package manifests

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// format is a container of model weights. Lower values are preferred where one folder
// holds the same weights in several.
type format int

const (
	safetensors format = iota
	pytorch
	consolidated
	gguf
	onnx
	openvino
	tensorflow
	flax
	rust
	coreML
	tfLite
)

// formatNames name formats in rules and reasons.
var formatNames = map[format]string{
	safetensors: "safetensors", pytorch: "PyTorch", consolidated: "original", gguf: "GGUF", onnx: "ONNX",
	openvino: "OpenVINO", tensorflow: "TensorFlow", flax: "Flax", rust: "rust_bert", coreML: "Core ML", tfLite: "TensorFlow Lite",
}

// extensions maps the ends of names to formats, as the libraries write them.
var extensions = map[string]format{
	".safetensors": safetensors, ".bin": pytorch, ".pt": pytorch, ".pth": pytorch, ".ckpt": pytorch,
	".gguf": gguf, ".ggml": gguf, ".onnx": onnx, ".onnx_data": onnx, ".h5": tensorflow, ".keras": tensorflow,
	".msgpack": flax, ".ot": rust, ".mlmodel": coreML, ".tflite": tfLite,
}

// prefixes of the file names that libraries give to the same weights.
var prefixes = []string{"pytorch_", "tf_", "flax_", "rust_", "openvino_"}

// canonical is the stem of a repository's or component's one set of weights, under
// whatever name a library writes it.
const canonical = "model"

// weights is what the name of a weight file says.
type weights struct {
	dir    string
	stem   string // without library prefix, shard number and extension
	format format
	// variant is "fp16" or the like for alternative precisions of the same stem.
	variant string
}

var (
	shardForm        = regexp.MustCompile(`^(.*)-[0-9]{5}-of-([0-9]{5})(.*)$`)
	variantForm      = regexp.MustCompile(`^(.+)\.(fp16|bf16|non_ema|ema_only)$`)
	variantIndexForm = regexp.MustCompile(`^(.+)\.index\.(fp16|bf16|non_ema)\.json$`)
	quantForm        = regexp.MustCompile(`(?i)[-._](?:ud-)?(?:i?q[0-9]\w*|tq[0-9]\w*|f16|f32|bf16|fp16|mxfp4\w*)$`)
	consolidatedForm = regexp.MustCompile(`^consolidated(\.[0-9]+)?$`)
)

// weightsOf reads a file's name; ok is false for what is no weight file. The index of a
// sharded set belongs to the set.
func weightsOf(file string) (w weights, ok bool) {
	dir, name := path.Split(file)
	w.dir = strings.TrimSuffix(dir, "/")
	if m := variantIndexForm.FindStringSubmatch(name); m != nil {
		name, w.variant = m[1], m[2]
	}
	name = strings.TrimSuffix(name, ".index.json")
	name = strings.TrimSuffix(name, ".data")
	ext := path.Ext(name)
	w.stem = strings.TrimSuffix(name, ext)
	w.format, ok = extensions[ext]
	if strings.HasPrefix(name, "openvino_") && (ext == ".bin" || ext == ".xml") {
		w.format, ok = openvino, true
	}
	if !ok {
		return weights{}, false
	}
	w.normalise()
	return w, true
}

// normalise strips what does not tell sets of weights apart.
func (w *weights) normalise() {
	if m := shardForm.FindStringSubmatch(w.stem); m != nil {
		w.stem = m[1] + m[3]
	}
	if m := variantForm.FindStringSubmatch(w.stem); m != nil {
		w.stem, w.variant = m[1], m[2]
	}
	for _, p := range prefixes {
		w.stem = strings.TrimPrefix(w.stem, p)
	}
	if w.stem == "diffusion_pytorch_model" || w.stem == "diffusion_flax_model" {
		w.stem = canonical
	}
	if w.format == gguf {
		w.stem = quantForm.ReplaceAllString(w.stem, "")
	}
	if consolidatedForm.MatchString(w.stem) && (w.format == safetensors || w.format == pytorch) {
		w.stem, w.format = canonical, consolidated
	}
}

// weightSet is one set of weights in one folder: the file names that only differ in format.
type weightSet struct{ dir, stem, variant string }

// inventory knows which formats each set of weights comes in.
type inventory map[weightSet][]format

// takeStock lists the formats of every set.
func takeStock(files []File) inventory {
	stock := inventory{}
	for _, f := range files {
		w, ok := weightsOf(f.Path)
		if set := (weightSet{w.dir, w.stem, w.variant}); ok && !slices.Contains(stock[set], w.format) {
			stock[set] = append(stock[set], w.format)
		}
	}
	return stock
}

// best is the preferred format of a set.
func (s inventory) best(set weightSet) (format, bool) {
	if len(s[set]) == 0 {
		return 0, false
	}
	return slices.Min(s[set]), true
}

// better finds the format that makes the weights a duplicate: a preferred one of the same
// set, or of the folder's one set of weights if the name is that of a conversion.
func (s inventory) better(w weights) (format, bool) {
	sets := []weightSet{{w.dir, w.stem, ""}, {w.dir, w.stem, w.variant}}
	if w.format >= gguf && (w.format == gguf || strings.HasPrefix(w.stem, canonical)) {
		sets = append(sets, weightSet{w.dir, canonical, ""})
	}
	for _, set := range sets {
		if b, ok := s.best(set); ok && b < w.format {
			return b, true
		}
	}
	return 0, false
}

// conversions are folders that repositories keep conversions of their weights in. All in
// them, configuration too, serves the conversion.
var conversions = map[string]format{
	"onnx": onnx, "openvino": openvino, "coreml": coreML, "tflite": tfLite, "tensorflow": tensorflow, "tf": tensorflow,
	"flax": flax, "jax": flax, "gguf": gguf, "ggml": gguf, "original": consolidated,
}

// conversionOf finds the conversion folder that a file lies in, if the folder above holds
// the weights in a preferred format.
func (s inventory) conversionOf(file string) (as, of format, ok bool) {
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		f, is := conversions[strings.ToLower(path.Base(dir))]
		parent := strings.TrimSuffix(path.Dir(dir), ".")
		if b, has := s.best(weightSet{parent, canonical, ""}); is && has && b < f {
			return f, b, true
		}
	}
	return 0, 0, false
}
