package models

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Report is what Verify saw.
type Report struct {
	// Dir is the folder.
	Dir string `json:"modelsDir"`
	// Files has one entry for each file of model.json, in its order.
	Files []FileReport `json:"files"`
	// Warnings are about what lies in the folder beside the files of model.json.
	Warnings verify.Findings `json:"warnings"`
}

// FileReport is what Verify saw of one file.
type FileReport struct {
	// Path is the file's name in model.json, relative to the folder.
	Path   string `json:"path"`
	Source string `json:"source"`
	// Size is the size that the file should have, in bytes.
	Size int64 `json:"size"`
	// Parts is the number of parts that the file lies in, 1 for a whole file, 0 if it
	// could not be opened.
	Parts int `json:"parts"`
	// Checkpoint is what the tensors say; nil for a file that is no checkpoint or whose
	// tensors could not be read.
	Checkpoint *CheckpointReport `json:"checkpoint,omitempty"`
	// Findings are what is wrong, and warnings about tensors. Their objects are names in the
	// folder.
	Findings verify.Findings `json:"findings"`

	paths []string // what lies, or should lie, in the folder
}

// CheckpointReport is what a checkpoint's tensors say.
type CheckpointReport struct {
	// Name is the checkpoint's name in model.json.
	Name      string `json:"name"`
	Family    string `json:"family"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"`
	Blocks    int    `json:"blocks"`
}

// OK reports whether every byte of the file is as it should be.
func (r FileReport) OK() bool { return r.Findings.Worst() < verify.Error }

// Wrong returns the files that are not right.
func (r *Report) Wrong() []FileReport {
	var out []FileReport
	for _, f := range r.Files {
		if !f.OK() {
			out = append(out, f)
		}
	}
	return out
}

// Bytes adds up the files that are right.
func (r *Report) Bytes() int64 {
	var sum int64
	for _, f := range r.Files {
		if f.OK() {
			sum += f.Size
		}
	}
	return sum
}

// Err is nil if every file is right. Otherwise its kind is fault.Invalid, or
// fault.Resource if files could merely not be read, and its hint that of the first fault.
func (r *Report) Err() error {
	wrong := r.Wrong()
	if len(wrong) == 0 {
		return nil
	}
	kind, hint := fault.Resource, ""
	for _, f := range wrong {
		for _, finding := range f.Findings {
			if finding.Code != codeUnreadable {
				kind = fault.Invalid
			}
			if hint == "" {
				hint = finding.Hint
			}
		}
	}
	return fault.Wrap(kind, hint, fmt.Errorf("verifying models in %s: %s", r.Dir, count(len(wrong), len(r.Files))))
}

func count(wrong, all int) string {
	if wrong == 1 {
		return fmt.Sprintf("1 of %d files is wrong", all)
	}
	return fmt.Sprintf("%d of %d files are wrong", wrong, all)
}
