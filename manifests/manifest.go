// Package manifests holds what an image should be: the manifest that people write, the
// selection that follows from it, and the lock that pins it. It is pure: it reads no
// network and no model file, and the same input gives the same result anywhere.
//
//	manifest --Select--> selection (every upstream file kept or dropped by one rule)
//	listing + selection --NewLock--> lock (what go.sum is to go.mod)
//	lock + manifest --Selection--> the same selection again, offline
//
//	repository's listing --Init--> a manifest to begin with
//
// A manifest is strict YAML: an unknown, missing or duplicate key or a wrong type is an
// error with line, column and excerpt; scalars are never converted, and anchors, aliases
// and tags are not read. Parse also checks what YAML cannot say, so that a *Manifest in
// hand is valid. manifest.schema.json says the same to editors; it is made from the types
// and comments of this file, and a test keeps it so.
//
// Names from outside (paths of a listing, of a lock, of a model.json) pass CheckPath before
// anything is done with them. Two kept files never need one place in an image.
package manifests

import "strings"

// APIVersion is the manifest version that this package reads.
const APIVersion = "plimsoll/v1"

// DefaultVariant is the variant that is built when none is named.
const DefaultVariant = "default"

// ModelsDir is where model files lie in every image, without the leading slash. It is the
// folder that the predecessor's service used, so that volumes and clients keep working.
const ModelsDir = "app/models"

// Manifest says which upstream files an image carries and why the others stay behind.
type Manifest struct {
	// APIVersion is "plimsoll/v1".
	APIVersion string `yaml:"apiVersion"`
	// Name identifies the model in file names and labels: lower-case letters, digits,
	// dots and dashes.
	Name string `yaml:"name"`
	// Title is the model's name for people.
	Title string `yaml:"title"`
	// Runtime is what runs in the image: "plimsoll" (the Go runtime) or "none" (weights
	// only, to be mounted or copied by others).
	Runtime Runtime `yaml:"runtime"`
	// PartSize is the largest layer allowed, such as "9.5 GB", at least 2 MiB; larger files
	// are cut into parts. 0 or absent: files are never cut.
	PartSize Size `yaml:"partSize,omitempty"`
	// Sources are the upstream repositories, in the order of layers.
	Sources []Source `yaml:"sources"`
	// Checkpoints names the files that can serve a request, each with what it needs to.
	Checkpoints []Checkpoint `yaml:"checkpoints,omitempty"`
	// Variants maps a variant's name to the checkpoints that it carries. "default" must
	// be there if there are checkpoints.
	Variants map[string][]string `yaml:"variants,omitempty"`
	// Serve configures the runtime's service.
	Serve *Serve `yaml:"serve,omitempty"`
	// Image configures what the image holds beside the model files.
	Image Image `yaml:"image,omitempty"`
	// Before describes the image that this one replaces, for the report.
	Before Before `yaml:"before,omitempty"`
	// Budget limits the image; the report fails where it is over.
	Budget *Budget `yaml:"budget,omitempty"`
}

// Runtime names what runs in the image.
type Runtime string

// The runtimes that a manifest may name.
const (
	RuntimePlimsoll Runtime = "plimsoll"
	RuntimeNone     Runtime = "none"
)

// Role says what a source is to the model.
type Role string

// The roles of sources.
const (
	// RoleBase is a repository of which the image carries what the pipeline needs.
	RoleBase Role = "base"
	// RoleCheckpoints is a repository of alternative checkpoints.
	RoleCheckpoints Role = "checkpoints"
)

// Source is one upstream repository.
type Source struct {
	// Name identifies the source inside the manifest.
	Name string `yaml:"name"`
	// Title is the source's name in reports.
	Title string `yaml:"title"`
	// Role says what the source is to the model.
	Role Role `yaml:"role"`
	// Repo is "owner/name" on the Hub.
	Repo string `yaml:"repo"`
	// Revision is a full commit (40 hex digits), or a branch or tag that the lock pins.
	Revision string `yaml:"revision"`
	// License is the SPDX identifier of the files' licence; NOASSERTION where it is not
	// known.
	License string `yaml:"license"`
	// Path is the folder under the models folder that receives the files; no source's
	// folder lies inside another's.
	Path string `yaml:"path"`
	// Endpoints are Hub base URLs to try in order; absent: HF_ENDPOINT or the public Hub.
	Endpoints []string `yaml:"endpoints,omitempty"`
	// Rules decide about every file of the repository.
	Rules []Rule `yaml:"rules"`
	// Hints are sizes and sums known from elsewhere. The lock step reports where the Hub
	// differs; they are never used to verify.
	Hints []Hint `yaml:"hints,omitempty"`
}

// Rule keeps or drops the files that match its patterns. Exactly one of Keep and Drop is
// set, and exactly one rule of the source matches each upstream file.
type Rule struct {
	// Name identifies the rule in plans, locks and reports.
	Name string `yaml:"name"`
	// Keep lists patterns of files that the image carries.
	Keep []string `yaml:"keep,omitempty"`
	// Drop lists patterns of files that stay behind. Patterns are relative to the
	// repository: * and ? stay inside a path element, ** crosses them, {a,b} is either,
	// [a-z] is one character, a backslash takes the next character as it is.
	Drop []string `yaml:"drop,omitempty"`
	// Because is the category of a drop in the report. Absent for keep.
	Because Category `yaml:"because,omitempty"`
	// Reason says why, in a sentence.
	Reason string `yaml:"reason"`
}

// Category groups dropped bytes in the report.
type Category string

// The categories of drops.
const (
	BecausePrecision Category = "precision" // wrong number format for the target GPUs
	BecauseRank      Category = "rank"      // a lower-quality rank
	BecauseSteps     Category = "steps"     // a distillation with other steps
	BecauseReplaced  Category = "replaced"  // another file aboard does its work
	BecauseDuplicate Category = "duplicate" // the same content in another form
	BecauseDocs      Category = "docs"      // documentation and repository files
	BecauseVariant   Category = "variant"   // kept in general, not in this variant
)

// Hint is a size or sum that somebody else published for a file.
type Hint struct {
	// Path is the file's path in the repository.
	Path string `yaml:"path"`
	// Size is the expected size in bytes; absent if unknown.
	Size int64 `yaml:"size,omitempty"`
	// SHA256 is the expected sum, 64 lower-case hex digits; absent if unknown.
	SHA256 string `yaml:"sha256,omitempty"`
	// Source says where the values come from.
	Source string `yaml:"source"`
}

// Checkpoint is a file that can serve requests. Precision and rank are claims: verify
// proves them from the tensors.
type Checkpoint struct {
	// Name identifies the checkpoint in variants and requests.
	Name string `yaml:"name" json:"name"`
	// Source is the name of the source that holds the file.
	Source string `yaml:"source" json:"source"`
	// File is the file's path in the repository.
	File string `yaml:"file" json:"file"`
	// Precision is "int4" or "nvfp4", as the tensors are packed.
	Precision string `yaml:"precision" json:"precision"`
	// Rank is the low-rank branch's rank, a multiple of 16.
	Rank int `yaml:"rank" json:"rank"`
	// Steps is the number of sampling steps that the checkpoint is meant for.
	Steps int `yaml:"steps" json:"steps"`
	// TrueCFGScale is the guidance scale that the checkpoint is meant for; 1 switches
	// guidance off.
	TrueCFGScale float64 `yaml:"trueCFGScale" json:"trueCFGScale"`
	// Scheduler holds the sampling schedule that belongs to the checkpoint. The base
	// repository ships the base model's schedule only.
	Scheduler Scheduler `yaml:"scheduler" json:"scheduler"`
}

// Scheduler is a flow-match Euler schedule, in diffusers' terms.
type Scheduler struct {
	// BaseShift is mu at BaseSeqLen image tokens.
	BaseShift float64 `yaml:"baseShift" json:"baseShift"`
	// MaxShift is mu at MaxSeqLen image tokens.
	MaxShift float64 `yaml:"maxShift" json:"maxShift"`
	// BaseSeqLen is the lower end of the range of mu, in packed image tokens.
	BaseSeqLen int `yaml:"baseSeqLen" json:"baseSeqLen"`
	// MaxSeqLen is the upper end of the range of mu, in packed image tokens.
	MaxSeqLen int `yaml:"maxSeqLen" json:"maxSeqLen"`
	// ShiftTerminal stretches the schedule to end at this sigma; 0 does not stretch.
	ShiftTerminal float64 `yaml:"shiftTerminal,omitempty" json:"shiftTerminal,omitempty"`
}

// PriorityHub is the entry of Serve.Priority that stands for a download from the Hub.
const PriorityHub = "hub"

// Serve configures the runtime's service.
type Serve struct {
	// Priority lists checkpoint names in the order in which the service tries them;
	// "hub" stands for a download from the Hub.
	Priority []string `yaml:"priority" json:"priority"`
	// SupportedRanks are the ranks that requests may name without a warning.
	SupportedRanks []int `yaml:"supportedRanks" json:"supportedRanks"`
	// DefaultRank serves requests that name no rank.
	DefaultRank int `yaml:"defaultRank" json:"defaultRank"`
	// DefaultSteps serves requests that name no number of steps.
	DefaultSteps int `yaml:"defaultSteps" json:"defaultSteps"`
	// PixelArea is the area of edited pictures, in pixels.
	PixelArea int `yaml:"pixelArea" json:"pixelArea"`
	// ConditionArea is the area of the picture that the vision tower sees, in pixels.
	ConditionArea int `yaml:"conditionArea" json:"conditionArea"`
}

// Image configures what the image holds beside the model files.
type Image struct {
	// Base is what lies under the runtime; absent with runtime "none".
	Base *Base `yaml:"base,omitempty"`
	// Labels are added to the image's own.
	Labels map[string]string `yaml:"labels,omitempty"`
}

// Base describes the base layer: shared libraries out of Debian packages.
type Base struct {
	// Suite is the Debian release, such as "trixie".
	Suite string `yaml:"suite"`
	// Packages are the packages whose shared libraries the image carries. The lock pins
	// version and sha256.
	Packages []string `yaml:"packages"`
	// Mirrors are public mirrors to try after PLIMSOLL_DEBIAN_MIRROR and the machine's own
	// apt sources.
	Mirrors []string `yaml:"mirrors,omitempty"`
}

// Before describes the image that this one replaces.
type Before struct {
	// Naive maps a source's name to patterns of the files that a naive image carries.
	Naive map[string][]string `yaml:"naive,omitempty"`
	// Software lists what a naive image carries beside model files.
	Software []Software `yaml:"software,omitempty"`
}

// Software is an estimate of a software component of the replaced image.
type Software struct {
	// Name is the component's name for people.
	Name string `yaml:"name"`
	// Bytes is the size unpacked.
	Bytes int64 `yaml:"bytes"`
	// CompressedBytes is the size as pulled; absent if unknown.
	CompressedBytes int64 `yaml:"compressedBytes,omitempty"`
	// Source says where the figures come from.
	Source string `yaml:"source"`
}

// Budget limits the image, of every variant alike. At least one limit is set.
type Budget struct {
	// Image is the most that all of the image may take in a registry, such as "45 GB".
	Image *Size `yaml:"image,omitempty"`
	// Outside is the most that everything outside the model files may take, such as "25 MB".
	Outside *Size `yaml:"outside,omitempty"`
	// Growth is how much larger the image may be than the published one that the report is
	// given, as a share of that or in bytes: "2%" or "500 MB".
	Growth Growth `yaml:"growth,omitempty"`
}

// Source returns the source of the given name.
func (m *Manifest) Source(name string) (Source, bool) {
	for _, s := range m.Sources {
		if s.Name == name {
			return s, true
		}
	}
	return Source{}, false
}

// Checkpoint returns the checkpoint of the given name.
func (m *Manifest) Checkpoint(name string) (Checkpoint, bool) {
	for _, c := range m.Checkpoints {
		if c.Name == name {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// ImagePath is where a file of the source lies in the image, without a leading slash.
func (s Source) ImagePath(file string) string {
	return strings.Join([]string{ModelsDir, s.Path, file}, "/")
}

// Pinned reports whether the manifest itself names a full commit.
func (s Source) Pinned() bool { return isHex(s.Revision, 40) }
