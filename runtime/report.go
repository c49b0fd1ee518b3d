package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// reportText renders a report in the form of the predecessor's verifier, which people and
// scripts know: a line for the base model, one for each checkpoint, how many of them there
// are, and the total. Unlike there a ✓ means that the bytes were read and are right.
//
//	✓ Base NAME model found
//	✓ FILE: 12654.44 MB (int4, rank 128)
//	✗ Missing: FILE
//	✗ FILE: sha256 is A, expected B
//	Found 1/2 NAME models
//	Total model cache size: 29.54 GB
//
// A source of files without a checkpoint is one line, as long as they are right. All names
// come from model.json.
func reportText(c *manifests.ModelConfig, r *models.Report) string {
	var out strings.Builder
	checkpoints := map[string]bool{}
	for _, cp := range c.Checkpoints {
		checkpoints[cp.Path] = true
	}
	for _, s := range c.Sources {
		g := group{source: s}
		for _, f := range r.Files {
			if f.Source == s.Name {
				g.add(f, checkpoints[f.Path])
			}
		}
		g.write(&out)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&out, "⚠ %s\n", w)
	}
	fmt.Fprintf(&out, "Total model cache size: %s\n", gigabytes(r.Bytes()))
	return out.String()
}

// group is the files of one source.
type group struct {
	source manifests.ModelSource
	files  []models.FileReport
	wrong  int
	// checkpoints counts those that model.json lists, found those that are right.
	checkpoints, found int
}

func (g *group) add(f models.FileReport, isCheckpoint bool) {
	g.files = append(g.files, f)
	if !f.OK() {
		g.wrong++
	}
	if isCheckpoint {
		g.checkpoints++
		if f.OK() {
			g.found++
		}
	}
}

func (g *group) write(out *strings.Builder) {
	if len(g.files) == 0 {
		return
	}
	for _, f := range g.files {
		if !f.OK() {
			g.writeFaults(out, f)
		} else if g.checkpoints > 0 {
			fmt.Fprintf(out, "✓ %s: %s%s\n", g.short(f.Path), megabytes(f.Size), remarks(f))
		}
		for _, finding := range f.Findings {
			if finding.Severity < verify.Error {
				fmt.Fprintf(out, "⚠ %s: %s\n", g.short(finding.Object), finding.Message)
			}
		}
	}
	name := path.Base(g.source.Repo)
	switch {
	case g.checkpoints > 0:
		fmt.Fprintf(out, "Found %d/%d %s models\n", g.found, g.checkpoints, name)
	case g.wrong == 0:
		fmt.Fprintf(out, "✓ %s %s model found\n", title(g.source.Name), name)
	default:
		fmt.Fprintf(out, "✗ %s %s model: %d of %d files are wrong\n", title(g.source.Name), name, g.wrong, len(g.files))
	}
}

// writeFaults writes a line for each missing piece of a file and one for all that is wrong
// with each other piece.
func (g *group) writeFaults(out *strings.Builder, f models.FileReport) {
	var objects []string
	messages := map[string][]string{}
	for _, finding := range f.Findings {
		switch {
		case finding.Severity != verify.Error:
			continue
		case finding.Code == "missing":
			fmt.Fprintf(out, "✗ Missing: %s\n", g.short(finding.Object))
			continue
		case messages[finding.Object] == nil:
			objects = append(objects, finding.Object)
		}
		messages[finding.Object] = append(messages[finding.Object], finding.Message)
	}
	for _, o := range objects {
		fmt.Fprintf(out, "✗ %s: %s\n", g.short(o), strings.Join(messages[o], "; "))
	}
}

// short is a checkpoint's name as people know it, without the source's folder; the path of
// any other file, whose own name alone says little.
func (g *group) short(object string) string {
	if g.checkpoints == 0 {
		return object
	}
	return strings.TrimPrefix(object, g.source.Path+"/")
}

// remarks says what a checkpoint is and whether it lies in parts.
func remarks(f models.FileReport) string {
	var out []string
	if c := f.Checkpoint; c != nil {
		out = append(out, c.Precision, fmt.Sprintf("rank %d", c.Rank))
	}
	if f.Parts > 1 {
		out = append(out, fmt.Sprintf("%d parts", f.Parts))
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// title writes the first letter in upper case; source names are ASCII.
func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }
