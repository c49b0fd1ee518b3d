package modelfiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Text renders the report in the form of the replaced verifier, which people and scripts
// know: a line for the base model, one for each checkpoint, how many of them there are, and
// the total. Unlike there a ✓ means that the bytes are right, and what is known of a
// checkpoint stands behind it.
//
//	✓ TITLE found (REPO, 26 files, 16888.71 MB)
//	✓ FILE: 12654.44 MB (qwen-image int4 rank 128, variant NAME by its sum alone)
//	✗ Missing: FILE
//	✗ FILE: sha256 is A, expected B
//	⚠ FILE: metadata has no config: loaders need it
//	Found 1/2 TITLE
//	Total model cache size: 29.54 GB
//
// A source without checkpoints is one line, as long as its files are right and fit
// together. All names come from the description c. extra, whole lines, goes in front of the
// total.
func (r *Report) Text(c *manifests.ModelConfig, extra string) string {
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
				g.set = set
			}
		}
		g.write(&out)
	}
	out.WriteString(extra)
	fmt.Fprintf(&out, "Total model cache size: %.2f GB\n", float64(r.Bytes())/1e9)
	return out.String()
}

// group is the files of one source.
type group struct {
	source manifests.ModelSource
	files  []FileReport
	bytes  int64
	wrong  int
	// missing counts the files of which nothing is there.
	missing int
	// set says whether the files fit together; its zero value where nobody asked.
	set SetReport
	// checkpoints counts those that the description lists, found those that are right.
	checkpoints, found int
	// known and judged count the files that were not read for their sums and those whose
	// values were judged.
	known, judged int
}

func (g *group) add(f FileReport, isCheckpoint bool) {
	g.files = append(g.files, f)
	g.bytes += f.Size
	tally := func(n *int, is bool) {
		if is {
			*n++
		}
	}
	tally(&g.wrong, !f.OK)
	tally(&g.missing, !f.OK && !slices.ContainsFunc(f.Findings, func(f verify.Finding) bool { return f.Code != "missing" }))
	tally(&g.checkpoints, isCheckpoint)
	tally(&g.found, isCheckpoint && f.OK)
	tally(&g.known, f.Remembered)
	tally(&g.judged, f.Values != nil)
}

func (g *group) write(out *strings.Builder) {
	if len(g.files) == 0 {
		return
	}
	if g.checkpoints == 0 && g.missing > 1 && g.missing == len(g.files) {
		fmt.Fprintf(out, "✗ Missing: all %d files of %s\n", g.missing, g.source.Title)
		return
	}
	for _, f := range g.files {
		if !f.OK {
			g.writeFaults(out, f)
		} else if g.checkpoints > 0 {
			fmt.Fprintf(out, "✓ %s: %s%s\n", g.short(f.Path), megabytes(f.Size), f.remarks())
		}
		g.writeFindings(out, f.Findings, verify.Info, verify.Warning)
	}
	g.writeFindings(out, g.set.Findings, verify.Info, verify.Error)
	switch {
	case g.checkpoints > 0:
		fmt.Fprintf(out, "Found %d/%d %s\n", g.found, g.checkpoints, g.source.Title)
	case g.wrong > 0:
		fmt.Fprintf(out, "✗ %s: %s\n", g.source.Title, count(g.wrong, len(g.files)))
	case g.set.Findings.Worst() == verify.Error:
		fmt.Fprintf(out, "✗ %s: its files do not fit together\n", g.source.Title)
	default:
		fmt.Fprintf(out, "✓ %s found (%s%s)\n", g.source.Title, g.source.Repo, g.remarks())
	}
	if g.set.Skipped != "" {
		fmt.Fprintf(out, "- %s: whether its files fit together was not checked: %s\n", g.source.Title, g.set.Skipped)
	}
}

// remarks says how much was looked at, and how.
func (g *group) remarks() string {
	out := fmt.Sprintf(", %d files, %s", len(g.files), megabytes(g.bytes))
	if g.judged > 0 {
		out += ", values judged"
	}
	if g.known == len(g.files) {
		out += ", unchanged since they were read"
	}
	return out
}

// writeFindings writes a line for each finding from the one severity to the other.
func (g *group) writeFindings(out *strings.Builder, found verify.Findings, from, to verify.Severity) {
	marks := map[verify.Severity]string{verify.Info: "-", verify.Warning: "⚠", verify.Error: "✗"}
	for _, finding := range found {
		if finding.Severity >= from && finding.Severity <= to {
			fmt.Fprintf(out, "%s %s: %s\n", marks[finding.Severity], g.short(finding.Object), finding.Message)
		}
	}
}

// writeFaults writes a line for each missing piece of a file and one for all that is wrong
// with each other piece.
func (g *group) writeFaults(out *strings.Builder, f FileReport) {
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

// remarks says what a checkpoint is, whether it lies in parts and how it was looked at.
func (f FileReport) remarks() string {
	var out []string
	if c := f.Checkpoint; c != nil {
		out = append(out, fmt.Sprintf("%s %s rank %d", c.Family, c.Precision, c.Rank), c.Variant.String())
	}
	if f.Parts > 1 {
		out = append(out, fmt.Sprintf("%d parts", f.Parts))
	}
	if f.Values != nil {
		out = append(out, "values judged")
	}
	if f.Remembered {
		out = append(out, "unchanged since it was read")
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// megabytes is "12654.44 MB", in units of 10^6 bytes, as the replaced verifier had them.
func megabytes(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }
