package svdq

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Codes of the findings.
const (
	CodeUnknown    = "checkpoint"   // Identify refuses the file
	CodeFamily     = "family"       // a family without a table: tensors not checked
	CodeMissing    = "missing"      // a tensor of the table is not there
	CodeUnexpected = "unexpected"   // a tensor that the table does not know
	CodeDType      = "dtype"        // a tensor's dtype is not the table's
	CodeShape      = "shape"        // a tensor's shape is not the table's
	CodeModulation = "modulation"   // modulation layers are not quantised with AWQ
	CodeDimensions = "dimensions"   // the dimensions themselves are impossible
	CodeScale      = "global-scale" // NVFP4 without a second-level scale
	CodeMetadata   = "metadata"     // metadata is absent, unreadable or contradicts the tensors
	CodeName       = "name"         // the file's name contradicts the tensors
)

// Check holds every tensor of a checkpoint against the table that its dimensions demand,
// and its metadata against its tensors. Findings of many blocks are one finding with a
// count ("60 × img_mod.1.qweight missing"). Their Object is empty: the caller knows the
// name of the file. A file that Identify refuses gives one error.
func Check(h *safetensors.Header) verify.Findings {
	var out verify.Findings
	s := look(h)
	c, err := s.identify(h)
	if err != nil {
		out.Add(verify.Error, CodeUnknown, "", "%v", err)
		out.Hint("%s", fault.HintOf(err))
		return out
	}
	if c.Family != QwenImage {
		out.Add(verify.Warning, CodeFamily, "", "family is %s, whose table of tensors is not known: names, dtypes and shapes are not checked", c.Family)
		return out
	}
	if bad := c.checkDimensions(); len(bad) > 0 {
		return bad
	}
	k := checker{h: h, c: c, known: make(map[string]bool, len(h.Tensors))}
	k.tensors(s.blocks)
	out = append(k.findings(), c.unknownWidths()...)
	return append(out, c.checkMetadata(h.Metadata)...)
}

// checkDimensions refuses dimensions that no table can be made of. Widths outside the
// blocks are not among them: see unknownWidths.
func (c Checkpoint) checkDimensions() (out verify.Findings) {
	for _, d := range []struct {
		what        string
		value, unit int
	}{
		{"number of blocks", c.Blocks, 1}, {"hidden size", c.Hidden, 128}, {"width of a head", c.HeadDim, 2},
		{"rank", c.Rank, 16},
	} {
		if d.value <= 0 || d.value%d.unit != 0 || d.value > maxDimension {
			out.Add(verify.Error, CodeDimensions, "", "%s is %d by the tensors, want a positive multiple of %d", d.what, d.value, d.unit)
		}
	}
	if c.HeadDim > 0 && c.Hidden%c.HeadDim != 0 {
		out.Add(verify.Error, CodeDimensions, "", "hidden size %d is no multiple of the heads' width %d", c.Hidden, c.HeadDim)
	}
	if c.GroupSize != c.group() {
		out.Add(verify.Error, CodeDimensions, "", "group size is %d by the scales, %s has %d", c.GroupSize, c.Precision, c.group())
	}
	return out
}

// unknownWidths reports the widths outside the blocks that no tensor shows. Each is shown
// by one or two tensors only, whose absence or shape the table reports beside it.
func (c Checkpoint) unknownWidths() (out verify.Findings) {
	for _, d := range []struct {
		what, tensors string
		value         int
	}{
		{"text encoder's width", "txt_norm.weight and txt_in.weight", c.JointDim},
		{"number of input channels", "img_in.weight", c.InChannels},
		{"number of output channels", "proj_out.weight", c.OutChannels},
	} {
		if d.value <= 0 {
			out.Add(verify.Error, CodeDimensions, "", "%s is not shown by %s", d.what, d.tensors)
		}
	}
	return out
}

// maxDimension keeps products of two dimensions far from overflow.
const maxDimension = 1 << 24

// checker compares one header with the table.
type checker struct {
	h      *safetensors.Header
	c      Checkpoint
	known  map[string]bool // tensors that the table or a finding accounts for
	groups []*group
	byKey  map[string]*group
	// modulation layers by what they are instead of AWQ, such as "SVDQ I8".
	otherMods map[string]int
}

// group is one finding about the same tensor of several blocks. Globals have no blocks.
type group struct {
	code, name, detail string
	severity           verify.Severity
	blocks             []int
}

// add notes a problem of a block's tensor, or of a global where b is negative.
func (k *checker) add(s verify.Severity, code string, b int, name, detail string) {
	if k.byKey == nil {
		k.byKey = map[string]*group{}
	}
	key := strings.Join([]string{code, name, detail}, "\x00")
	if b < 0 {
		key += "\x00global"
	}
	g := k.byKey[key]
	if g == nil {
		g = &group{code: code, name: name, detail: detail, severity: s}
		k.byKey[key] = g
		k.groups = append(k.groups, g)
	}
	if b >= 0 {
		g.blocks = append(g.blocks, b)
	}
}

// tensors compares in both directions. present counts the tensors of each block that is there.
func (k *checker) tensors(present map[int]int) {
	for _, w := range k.c.globalTable() {
		k.compare(-1, w.name, w)
	}
	table := k.c.blockTable()
	for b := range k.c.Blocks {
		if present[b] == 0 {
			k.add(verify.Error, CodeMissing, b, wholeBlock, "missing")
			continue
		}
		skip := k.modulationKinds(b)
		for _, w := range table {
			if !skip[moduleOf(w.name)] {
				k.compare(b, fmt.Sprintf("%s%d.%s", blockPrefix, b, w.name), w)
			}
		}
		k.globalScales(b)
	}
	for _, t := range k.h.Tensors {
		if !k.known[t.Name] {
			k.unexpected(t)
		}
	}
}

// wholeBlock stands for all tensors of a block.
const wholeBlock = "every tensor of the block"

// moduleOf cuts the suffix off a tensor's name.
func moduleOf(name string) string {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		return name[:dot]
	}
	return name
}

// compare holds one tensor against its place in the table.
func (k *checker) compare(b int, name string, w want) {
	t, ok := k.h.Tensor(name)
	k.known[name] = ok
	switch {
	case !ok && w.optional:
	case !ok:
		k.add(verify.Error, CodeMissing, b, w.name, "missing")
	case w.scalar:
		if t.Elements() != 1 || !isFloat(t.DType) {
			k.add(verify.Error, CodeShape, b, w.name, fmt.Sprintf("is %s %v, want one floating-point number", t.DType, t.Shape))
		}
	default:
		if t.DType != w.dtype {
			k.add(verify.Error, CodeDType, b, w.name, fmt.Sprintf("has dtype %s, want %s", t.DType, w.dtype))
		}
		if !slices.EqualFunc(t.Shape, w.shape, fits) {
			k.add(verify.Error, CodeShape, b, w.name, fmt.Sprintf("has shape %v, want %s", t.Shape, wanted(w.shape)))
		}
	}
}

// fits compares a dimension with the table's, where 0 is unknown.
func fits(has, want int64) bool { return has > 0 && (has == want || want == 0) }

// wanted prints a shape of the table.
func wanted(shape []int64) string {
	words := make([]string, len(shape))
	for i, d := range shape {
		if words[i] = strconv.FormatInt(d, 10); d == 0 {
			words[i] = "?"
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}

func isFloat(d safetensors.DType) bool {
	return d == safetensors.BF16 || d == safetensors.F16 || d == safetensors.F32
}

// unexpected notes a tensor that is in no table.
func (k *checker) unexpected(t safetensors.Tensor) {
	if b, local, ok := splitBlock(t.Name); ok && b < k.c.Blocks {
		k.add(verify.Error, CodeUnexpected, b, local, "unexpected")
		return
	}
	k.add(verify.Error, CodeUnexpected, -1, t.Name, "unexpected")
}

// modulationKinds finds modulation layers of a block that are no AWQ linears at all, as
// some third-party files have them. Their tensors are accounted for here, and the table
// must not ask for AWQ's.
func (k *checker) modulationKinds(b int) (skip map[string]bool) {
	for _, m := range modulations {
		name := fmt.Sprintf("%s%d.%s", blockPrefix, b, m)
		kind := k.modulationKind(name)
		if kind == "" {
			continue
		}
		if skip == nil {
			skip = map[string]bool{}
		}
		if k.otherMods == nil {
			k.otherMods = map[string]int{}
		}
		skip[m] = true
		k.otherMods[kind]++
		for _, suffix := range []string{"weight", "bias", "qweight", "wscales", "smooth_factor", "smooth_factor_orig", "proj_down", "proj_up", "wcscales", "wtscale"} {
			k.known[name+"."+suffix] = true
		}
	}
	return skip
}

// modulationKind returns what a modulation layer is, "" for AWQ or too little to tell.
func (k *checker) modulationKind(name string) string {
	if _, ok := k.h.Tensor(name + ".wzeros"); ok {
		return ""
	}
	if q, ok := k.h.Tensor(name + ".qweight"); ok {
		if _, low := k.h.Tensor(name + ".proj_down"); low {
			return "SVDQ " + string(q.DType)
		}
		return ""
	}
	if w, ok := k.h.Tensor(name + ".weight"); ok {
		return "plain " + string(w.DType)
	}
	return ""
}

// globalScales warns of NVFP4 linears without any second-level scale: loaders take 1.
func (k *checker) globalScales(b int) {
	if k.c.Precision != NVFP4 {
		return
	}
	for _, w := range k.c.blockTable() {
		module, isScale := strings.CutSuffix(w.name, ".wtscale")
		if !isScale {
			continue
		}
		name := fmt.Sprintf("%s%d.%s", blockPrefix, b, module)
		_, channel := k.h.Tensor(name + ".wcscales")
		_, tensor := k.h.Tensor(name + ".wtscale")
		if !channel && !tensor {
			k.add(verify.Warning, CodeScale, b, module, "has neither wcscales nor wtscale, loaders will take 1")
		}
	}
}
