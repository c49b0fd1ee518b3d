package values

import (
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// suffixes of a quantised linear's tensors; true where every value is above zero.
var suffixes = map[string]bool{
	"qweight": false, "bias": false, "proj_down": false, "proj_up": false, "wzeros": false,
	"wscales": true, "wcscales": true, "wtscale": true, "smooth_factor": true, "smooth_factor_orig": true,
}

// Kinds of tensors outside the quantised linears.
const (
	kindNorm   = "norm.weight"  // one dimension
	kindWeight = "plain.weight" // of an unquantised linear
	kindBias   = "plain.bias"
	kindOther  = "other"
)

// plan makes the jobs of a file, in the order of its tensors, and notes tensors of dtypes
// that no rule knows.
func plan(h *safetensors.Header, out *report) (jobs []job) {
	taken := map[string]bool{}
	for _, t := range h.Tensors {
		if taken[t.Name] || t.Size() == 0 {
			continue
		}
		j := single(h, t)
		if zeros, ok := zerosOf(h, t); ok && j.kinds[0] == "awq.wscales" {
			j = job{[]safetensors.Tensor{t, zeros}, []string{"awq.wscales", "awq.wzeros"}, newZeroPoints}
			taken[zeros.Name] = true
		}
		if j.probe == nil {
			out.add(verify.Info, CodeUnjudged, t.Name, "is %s, for whose values there is no rule", t.DType)
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// single makes the job of one tensor; its probe is nil where no rule knows the dtype.
func single(h *safetensors.Header, t safetensors.Tensor) job {
	j := job{tensors: []safetensors.Tensor{t}, kinds: []string{kindOf(h, t)}}
	_, known := decoders[t.DType]
	switch f := formatOf(h, t); {
	case f != nil:
		j.probe = func() probe { return &tally{format: f} }
	case known && j.kinds[0] == "awq.bias" && t.DType == safetensors.BF16:
		j.probe = func() probe { return newModulationBias(t) }
	case known:
		j.probe = func() probe { return newFloats(t.DType, isPositive(j.kinds[0])) }
	}
	return j
}

// zerosOf returns the wzeros beside a wscales of AWQ, if the two can be compared.
func zerosOf(h *safetensors.Header, t safetensors.Tensor) (safetensors.Tensor, bool) {
	module, suffix := split(t.Name)
	zeros, ok := h.Tensor(module + ".wzeros")
	bothBF16 := t.DType == safetensors.BF16 && zeros.DType == safetensors.BF16
	return zeros, ok && suffix == "wscales" && bothBF16 && zeros.Size() == t.Size()
}

// kindOf names what a tensor is: what kind of linear it belongs to, and its role there.
func kindOf(h *safetensors.Header, t safetensors.Tensor) string {
	module, suffix := split(t.Name)
	_, role := suffixes[suffix]
	q, quantised := h.Tensor(module + ".qweight")
	_, zeros := h.Tensor(module + ".wzeros")
	switch {
	case role && (zeros || quantised && q.DType == safetensors.I32):
		return "awq." + suffix
	case role && quantised:
		return "svdq." + suffix
	case suffix == "weight" && len(t.Shape) == 1:
		return kindNorm
	case suffix == "weight":
		return kindWeight
	case suffix == "bias":
		return kindBias
	}
	return kindOther
}

// isPositive tells whether a kind has values above zero only.
func isPositive(kind string) bool {
	_, suffix := split(kind)
	return suffixes[suffix]
}

// formatOf returns the format of a qweight's codes, nil for any other tensor.
func formatOf(h *safetensors.Header, t safetensors.Tensor) *format {
	module, suffix := split(t.Name)
	scales, ok := h.Tensor(module + ".wscales")
	switch {
	case suffix != "qweight" || !ok:
		return nil
	case t.DType == safetensors.I32:
		return awq
	case t.DType != safetensors.I8:
		return nil
	case scales.DType == safetensors.F8E4M3:
		return e2m1
	case scales.DType == safetensors.BF16 || scales.DType == safetensors.F16:
		return int4
	}
	return nil
}

// split cuts a name at its last dot.
func split(name string) (module, suffix string) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "", name
	}
	return name[:dot], name[dot+1:]
}
