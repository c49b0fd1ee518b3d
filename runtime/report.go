package main

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// reportText renders a report in the form of the predecessor's verifier, which people and
// scripts know: a line for the base model, one for each checkpoint, how many of them there
// are, and the total. Unlike there a ✓ means that the bytes were read and are right.
//
//	✓ TITLE found (REPO)
//	✓ FILE: 12654.44 MB (int4, rank 128)
//	✗ Missing: FILE
//	✗ FILE: sha256 is A, expected B
//	Found 1/2 TITLE
//	Total model cache size: 29.54 GB
//
// A base source is one line, as long as its files are right and fit together. All names
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
		for _, set := range r.Sets {
			if set.Source == s.Name {
				g.misfits = set.Findings
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
	files  []modelfiles.FileReport
	wrong  int
	// misfits says how the files do not fit together.
	misfits verify.Findings
	// checkpoints counts those that model.json lists, found those that are right.
	checkpoints, found int
}

func (g *group) add(f modelfiles.FileReport, isCheckpoint bool) {
	g.files = append(g.files, f)
	if !f.OK {
		g.wrong++
	}
	if isCheckpoint {
		g.checkpoints++
		if f.OK {
			g.found++
		}
	}
}

func (g *group) write(out *strings.Builder) {
	if len(g.files) == 0 {
		return
	}
	for _, f := range g.files {
		if !f.OK {
			g.writeFaults(out, f)
		} else if g.checkpoints > 0 {
			fmt.Fprintf(out, "✓ %s: %s%s\n", g.short(f.Path), megabytes(f.Size), remarks(f))
		}
		g.writeFindings(out, f.Findings, verify.Info, verify.Warning)
	}
	g.writeFindings(out, g.misfits, verify.Info, verify.Error)
	switch {
	case g.checkpoints > 0:
		fmt.Fprintf(out, "Found %d/%d %s\n", g.found, g.checkpoints, g.source.Title)
	case g.wrong > 0:
		fmt.Fprintf(out, "✗ %s: %d of %d files are wrong\n", g.source.Title, g.wrong, len(g.files))
	case g.misfits.Worst() == verify.Error:
		fmt.Fprintf(out, "✗ %s: its files do not fit together\n", g.source.Title)
	default:
		fmt.Fprintf(out, "✓ %s found (%s)\n", g.source.Title, g.source.Repo)
	}
}

// writeFindings writes a line for each finding from the one severity to the other.
func (g *group) writeFindings(out *strings.Builder, found verify.Findings, from, to verify.Severity) {
	for _, finding := range found {
		mark := "⚠"
		if finding.Severity == verify.Error {
			mark = "✗"
		}
		if finding.Severity >= from && finding.Severity <= to {
			fmt.Fprintf(out, "%s %s: %s\n", mark, g.short(finding.Object), finding.Message)
		}
	}
}

// writeFaults writes a line for each missing piece of a file and one for all that is wrong
// with each other piece.
func (g *group) writeFaults(out *strings.Builder, f modelfiles.FileReport) {
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
func remarks(f modelfiles.FileReport) string {
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
