// Package gpu says which GPUs can run a quantised checkpoint, by which route, and how much
// of their memory it takes. Image labels, the runtime and reports read the same data here.
//
// Three things are kept apart, because users mix them up at the cost of a download:
//
//   - What the file format needs. A checkpoint is INT4 or NVFP4, and a compute capability
//     has tensor cores for one, for the other or for neither. This is a fact about hardware.
//   - What nunchaku, the public runtime of the format, accepts. It refuses all that has no
//     4-bit tensor cores for the file's own precision.
//   - What this project's runtime runs. It makes a bf16 matrix of the 4-bit weights of a
//     linear and multiplies that on bf16 tensor cores, which every GPU of compute capability
//     8.0 or later has. So an INT4 file runs where nunchaku refuses it too. NVFP4 files are
//     refused. What runs was not measured everywhere: that is said route by route.
//
// Memory is computed from the bytes of the tensors aboard (manifests.TensorSums, taken from
// the headers of verified files) and from what the runtime keeps beside them for one
// picture; the formulas are at their functions. They are estimates, near what the runtime
// asks for before it loads a model.
//
// The modes are those that the runtime chooses from by itself: the roomiest that fits, so any
// amount of memory from the least on runs. It can also hold 4-bit weights in bfloat16
// (-weights=whole; the published model took 49.9 GB of an H100). That is no mode here, since it
// does so only if it is told to.
//
// The package is pure: data and functions, no device is asked. Describe gives all of it for
// one model; Checkpoint.Advise answers for one checkpoint on one GPU.
package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// Status is what labels and listings say of the routes, in one sentence.
const Status = "INT4 runs on compute capability 8.0 and later, measured on 9.0 alone; NVFP4 does not run"

// Capability is a CUDA compute capability.
type Capability struct{ Major, Minor int }

// String returns "sm_89".
func (c Capability) String() string { return fmt.Sprintf("sm_%d%d", c.Major, c.Minor) }

// MarshalText writes what String returns.
func (c Capability) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// ParseCapability is the inverse of String. The last digit is the minor version.
func ParseCapability(s string) (Capability, error) {
	digits, ok := strings.CutPrefix(s, "sm_")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || len(digits) < 2 || digits[0] == '0' {
		return Capability{}, fmt.Errorf("reading compute capability: %q is not of the form sm_89", s)
	}
	return Capability{int(n / 10), int(n % 10)}, nil
}

func (c Capability) compare(o Capability) int {
	return cmp.Or(cmp.Compare(c.Major, o.Major), cmp.Compare(c.Minor, o.Minor))
}

// Method is how the 4-bit linears are multiplied.
type Method string

// The methods. BF16 and Int8 are this project's, the others nunchaku's.
const (
	// BF16 makes a bf16 matrix of the weights of one linear at a time, smoothing and branch
	// of low rank included, for activations in bf16.
	BF16 Method = "bf16 tensor cores, 4-bit weights unpacked"
	// Int8 is BF16, or, where there is memory, weights that were made 8 bits when they were
	// loaded and activations that are rounded to 8 bits.
	Int8 Method = "int8 tensor cores, weights in 8 bits, or bf16 tensor cores, 4-bit weights unpacked"
	// Native multiplies in the file's own precision: mma on s4, or on scaled e2m1.
	Native Method = "native 4-bit tensor cores"
	// Half is Native with fp16 in place of bf16, which the GPU lacks.
	Half Method = "native 4-bit tensor cores, fp16 instead of bf16"
)

// Route is what is known about one precision on one compute capability.
type Route struct {
	Precision  string     `json:"precision"` // svdq.Int4 or svdq.NVFP4
	Capability Capability `json:"capability"`
	// Method is this project's where it runs the pair, nunchaku's where it does not.
	Method Method `json:"method"`
	// Nunchaku says that the public runtime accepts the pair.
	Nunchaku bool `json:"nunchaku"`
	// Runs says that this project's runtime runs the pair.
	Runs bool `json:"runs"`
	// Measured says that it was measured on such a GPU.
	Measured bool `json:"measured"`
	// ARM says that such GPUs are parts of ARM systems alone, whose memory they share.
	ARM bool `json:"arm,omitempty"`
	// Note is what else a user should know, a clause, "" for nothing.
	Note string `json:"note,omitempty"`
}

const refused = "nunchaku refuses this GPU, which has no tensor cores for 4-bit integers"

// onlyNVFP4 is about INT4 on a GPU with tensor cores for NVFP4.
const onlyNVFP4 = "nunchaku takes NVFP4 files only on this GPU"

// unlisted is about GPUs that nunchaku's check does not name.
const unlisted = "nunchaku refuses this GPU"

// shared is about the GPUs of ARM systems.
const shared = "; it shares the memory of an ARM host, for which the program has to be built: the image is for amd64"

// routes is the table. INT4 on sm_75, 80, 86 and 89 and NVFP4 on sm_120 and 121 are what
// nunchaku's build and its hardware check accept (nunchaku 1.2: setup.py,
// check_hardware_compatibility); NVFP4 kernels are gated at sm_120. Nobody multiplies 4 bits
// on sm_90 and sm_120, where mma on s4 is emulated, at a fortieth of s8 (measured on an
// H100); datacenter Blackwell (sm_100, 103) has no s4 either. Package runtime/kernels needs
// 8.0, and 9.0 for weights in 8 bits; its README has what was measured, all of it on an
// H100. The kernels that all others take were made to run there too: PTX for 8.0, which every
// later capability compiles. Machine code for 8.0 is not for Orin (8.7), as the CUDA Programming
// Guide says of Tegra, and gives way to PTX there. Orin, Thor (11.0) and GB10 (12.1) are ARM
// systems. Generations that are not listed are not known.
var routes = []Route{
	{
		Precision: svdq.Int4, Capability: Capability{7, 5}, Method: Half, Nunchaku: true,
		Note: "it has no bf16, and nunchaku fails there with this model family (nunchaku#910)",
	},
	{Precision: svdq.Int4, Capability: Capability{8, 0}, Method: BF16, Nunchaku: true, Runs: true},
	{Precision: svdq.Int4, Capability: Capability{8, 6}, Method: BF16, Nunchaku: true, Runs: true},
	{Precision: svdq.Int4, Capability: Capability{8, 7}, Method: BF16, Runs: true, ARM: true, Note: unlisted + shared},
	{Precision: svdq.Int4, Capability: Capability{8, 9}, Method: BF16, Nunchaku: true, Runs: true},
	{Precision: svdq.Int4, Capability: Capability{9, 0}, Method: Int8, Runs: true, Measured: true, Note: refused},
	{Precision: svdq.Int4, Capability: Capability{10, 0}, Method: BF16, Runs: true, Note: refused},
	{Precision: svdq.Int4, Capability: Capability{10, 3}, Method: BF16, Runs: true, Note: refused},
	{Precision: svdq.Int4, Capability: Capability{11, 0}, Method: BF16, Runs: true, ARM: true, Note: unlisted + shared},
	{Precision: svdq.Int4, Capability: Capability{12, 0}, Method: BF16, Runs: true, Note: onlyNVFP4},
	{Precision: svdq.Int4, Capability: Capability{12, 1}, Method: BF16, Runs: true, ARM: true, Note: onlyNVFP4 + shared},
	{Precision: svdq.NVFP4, Capability: Capability{12, 0}, Method: Native, Nunchaku: true, Note: "nunchaku needs CUDA 12.8 or later for it"},
	{Precision: svdq.NVFP4, Capability: Capability{12, 1}, Method: Native, Nunchaku: true, ARM: true, Note: "nunchaku needs CUDA 13.0 or later for it"},
}

// Routes lists what is known about a precision, by capability.
func Routes(precision string) []Route {
	var out []Route
	for _, r := range routes {
		if r.Precision == precision {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Capability.compare(b.Capability) })
	return out
}

// Find returns what is known about a precision on a capability; ok is false where nothing
// can run it or nothing is known.
func Find(precision string, c Capability) (r Route, ok bool) {
	i := slices.IndexFunc(routes, func(r Route) bool { return r.Precision == precision && r.Capability == c })
	if i < 0 {
		return Route{}, false
	}
	return routes[i], true
}

// known reports whether the table says anything about a capability.
func known(c Capability) bool {
	return slices.ContainsFunc(routes, func(r Route) bool { return r.Capability == c })
}
