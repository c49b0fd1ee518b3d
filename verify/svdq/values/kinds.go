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

// maxTogether is the largest number of tensors in a job.
const maxTogether = 2

// maxKept bounds the bytes of tensors that wait for another one to go by. In the order
// that the format's own library writes, wzeros follows wscales at once; the limit allows
// any order in a file of the published dimensions, whose 120 wscales have 212 MB.
const maxKept = 256 << 20

// planner shares a file's tensors out among jobs.
type planner struct {
	header *safetensors.Header
	jobs   []job
	spans  []span
	report
	waiting map[string]int // jobs that wait for the tensor of that name
	kept    int64          // bytes that are kept for them
}

// plan makes the jobs of a file, in the order of its tensors, and the spans that the jobs
// take. It notes what no rule can judge.
func plan(h *safetensors.Header) *planner {
	p := &planner{header: h, waiting: map[string]int{}}
	for _, t := range h.Tensors {
		if t.Size() > 0 {
			p.add(t)
		}
	}
	return p
}

// add plans one tensor.
func (p *planner) add(t safetensors.Tensor) {
	s := span{name: t.Name, size: t.Size()}
	scales, zeros, together := pairOf(p.header, t)
	if together && t.Name == zeros.Name {
		s.slot = 1
	}
	if n, waits := p.waiting[t.Name]; waits {
		s.job = n
		p.kept -= s.size
	} else if first := min(scales.Begin, zeros.Begin); together && t.Begin == first && p.fits(zeros) {
		s.job, s.keeps = p.start(pair(scales, zeros)), true
		p.kept += s.size
		p.waiting[scales.Name], p.waiting[zeros.Name] = s.job, s.job
	} else {
		s.job = p.start(single(p.header, t))
	}
	p.spans = append(p.spans, s)
}

// fits reports whether a tensor can be kept, and notes one that can't.
func (p *planner) fits(zeros safetensors.Tensor) bool {
	if p.kept+zeros.Size() <= maxKept {
		return true
	}
	p.report.add(verify.Warning, CodeUnjudged, zeros.Name, "is not compared with wscales: more than %d MiB of scales would wait for their wzeros", maxKept>>20)
	return false
}

// start adds a job and returns its number; it notes one without a rule.
func (p *planner) start(j job) int {
	if j.probe == nil {
		t := j.tensors[0]
		p.report.add(verify.Info, CodeUnjudged, t.Name, "is %s, for whose values there is no rule", t.DType)
		return none
	}
	p.jobs = append(p.jobs, j)
	return len(p.jobs) - 1
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

// pairOf returns the wscales and wzeros of the AWQ linear that t is one of, if the two can
// be compared.
func pairOf(h *safetensors.Header, t safetensors.Tensor) (scales, zeros safetensors.Tensor, ok bool) {
	module, suffix := split(t.Name)
	if suffix != "wscales" && suffix != "wzeros" {
		return scales, zeros, false
	}
	scales, hasScales := h.Tensor(module + ".wscales")
	zeros, hasZeros := h.Tensor(module + ".wzeros")
	bothBF16 := scales.DType == safetensors.BF16 && zeros.DType == safetensors.BF16
	return scales, zeros, hasScales && hasZeros && bothBF16 && zeros.Size() == scales.Size()
}

// pair makes the job of two tensors.
func pair(scales, zeros safetensors.Tensor) job {
	return job{[]safetensors.Tensor{scales, zeros}, []string{"awq.wscales", "awq.wzeros"}, newZeroPoints}
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
