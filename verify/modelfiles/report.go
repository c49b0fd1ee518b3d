package modelfiles

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// CodeUnreadable is the code of a finding about a file that could not be read to its end:
// it says nothing about the bytes.
const CodeUnreadable = "unreadable"

// Report is what Verify saw.
type Report struct {
	// Files has one entry for each file of the description, in its order.
	Files []FileReport `json:"files"`
	// Sets has one entry for each base source that holds a pipeline (a model_index.json), in
	// the order of sources.
	Sets []SetReport `json:"sets"`
}

// FileReport is what Verify saw of one file.
type FileReport struct {
	// Path is the file's name in the description.
	Path   string `json:"path"`
	Source string `json:"source"`
	// Size is the size that the file should have, in bytes.
	Size int64 `json:"size"`
	// SHA256 is what the bytes have; "" if they were not read to the end.
	SHA256 string `json:"sha256,omitempty"`
	// Remembered says that the sum was not taken now: it was before, and nothing about the
	// file has changed.
	Remembered bool `json:"remembered,omitempty"`
	// Parts is the number of pieces that the file lies in, 1 for a whole one, 0 if it could
	// not be opened.
	Parts int `json:"parts"`
	// OK says that every byte of the file is as it should be.
	OK bool `json:"ok"`
	// Checkpoint is what the tensors say; nil for a file that is no checkpoint or whose
	// tensors could not be read.
	Checkpoint *CheckpointReport `json:"checkpoint,omitempty"`
	// Values describes the container's numbers; nil where nobody asked.
	Values *values.Stats `json:"values,omitempty"`
	// Findings are what is wrong, and warnings about tensors. Their objects are Path or,
	// where one piece is to blame, the piece's name.
	Findings verify.Findings `json:"findings"`

	err error // why it could not be read
}

// CheckpointReport is what a checkpoint's tensors say.
type CheckpointReport struct {
	// Name is the checkpoint's name in the description.
	Name      string `json:"name"`
	Family    string `json:"family"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"`
	Blocks    int    `json:"blocks"`
	// Variant is which of the models with the same tensors it is.
	Variant VariantReport `json:"variant"`
}

// VariantReport is what is known about a checkpoint's variant.
type VariantReport struct {
	svdq.Variant
	// Locked is "REPO@COMMIT" if the file's sha256 is the one that the description has for
	// the claim's file there: then the claim is as good as its publisher's word. "" if not.
	Locked string `json:"locked,omitempty"`
}

// String is "variant edit-2511", "variant NAME by its sum alone", or says that it is not
// known.
func (v VariantReport) String() string {
	switch {
	case v.Name != "":
		return "variant " + v.Name
	case v.Locked != "" && v.Claim != "":
		return "variant " + v.Claim + " by its sum alone"
	}
	return "variant not known"
}

// SetReport is whether the files of a base source fit together and fit the checkpoints.
type SetReport struct {
	Source string `json:"source"`
	// Skipped says why the set was not looked at; "" if it was.
	Skipped string `json:"skipped,omitempty"`
	// OK says that it was looked at and fits.
	OK bool `json:"ok"`
	// Findings have paths as their objects, as files have.
	Findings verify.Findings `json:"findings"`
}

// Findings returns all findings, those of files before those of sets.
func (r *Report) Findings() verify.Findings {
	var out verify.Findings
	for _, f := range r.Files {
		out = append(out, f.Findings...)
	}
	for _, s := range r.Sets {
		out = append(out, s.Findings...)
	}
	return out
}

// Wrong returns the files that are not right.
func (r *Report) Wrong() []FileReport {
	var out []FileReport
	for _, f := range r.Files {
		if !f.OK {
			out = append(out, f)
		}
	}
	return out
}

// Bytes adds up the files that are right.
func (r *Report) Bytes() int64 {
	var sum int64
	for _, f := range r.Files {
		if f.OK {
			sum += f.Size
		}
	}
	return sum
}

// Err is nil if every file is right and every set fits. Otherwise it counts the files that
// are wrong and names the sets that do not fit, with the hint of the first fault. Its kind
// is fault.Invalid; where files could merely not be read it is that of the reason, or
// fault.Resource where the reason has none.
func (r *Report) Err() error {
	var parts []string
	if wrong := len(r.Wrong()); wrong > 0 {
		parts = append(parts, count(wrong, len(r.Files)))
	}
	for _, s := range r.Sets {
		if s.Findings.Worst() == verify.Error {
			parts = append(parts, fmt.Sprintf("the files of source %s do not fit together", s.Source))
		}
	}
	if parts == nil {
		return nil
	}
	return fault.Wrap(r.kind(), r.hint(), fmt.Errorf("%s", strings.Join(parts, ", ")))
}

func count(wrong, all int) string {
	if wrong == 1 {
		return fmt.Sprintf("1 of %d files is wrong", all)
	}
	return fmt.Sprintf("%d of %d files are wrong", wrong, all)
}

// kind is Invalid as soon as one finding is about bytes.
func (r *Report) kind() fault.Kind {
	kind := fault.Resource
	for _, f := range r.Findings() {
		if f.Severity == verify.Error && f.Code != CodeUnreadable {
			return fault.Invalid
		}
	}
	for _, f := range r.Files {
		if k := fault.KindOf(f.err); f.err != nil && k != fault.Internal {
			kind = k
		}
	}
	return kind
}

// hint is the first way out of an error.
func (r *Report) hint() string {
	for _, f := range r.Findings() {
		if f.Severity == verify.Error && f.Hint != "" {
			return f.Hint
		}
	}
	return ""
}
