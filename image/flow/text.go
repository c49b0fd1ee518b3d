package flow

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// size prints bytes for people, in decimal units as registries and disks use them.
func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// table lines up rows of tab-separated cells.
func table(rows ...string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	w.Flush()
	return out.String()
}

// Text lists every file under the rule that decided about it, then the totals.
func (r *PlanResult) Text() string {
	return r.heading() + r.rules(true) + r.totals() + targetPlans(r.Targets)
}

// Brief is Text with the rules, but without the files under them.
func (r *PlanResult) Brief() string { return r.heading() + r.rules(false) + r.totals() }

// heading says what is planned and how it is known.
func (r *PlanResult) heading() string {
	from := "the Hub, just now: run the lock target to pin it"
	if r.Locked {
		from = "the lock"
	}
	return fmt.Sprintf("%s, variant %s (files from %s)\n", r.Title, r.Variant, from)
}

// totals are the sums below the files.
func (r *PlanResult) totals() string {
	t := r.Total
	return "\n" + table(
		fmt.Sprintf("upstream\t%d files\t%s", t.Files, size(t.Kept+t.Dropped)),
		fmt.Sprintf("dropped\t%d files\t%s", t.DroppedFiles, size(t.Dropped)),
		fmt.Sprintf("kept\t%d files\t%s", t.KeptFiles, size(t.Kept)),
		fmt.Sprintf("to download\t\t%s\t(%s are here)", size(t.Download), size(t.Cached)),
		fmt.Sprintf("image\t%d model layers\t%s\t(base, runtime and configuration come on top)", t.Layers, size(t.Image)),
		fmt.Sprintf("registry\t\t%s", size(t.Registry)),
		fmt.Sprintf("node\t\t%s\t(blobs and their unpacked copy)", size(t.Node)))
}

// rules lists the rules, each source's under its repository and, if asked, each file under
// its rule.
func (r *PlanResult) rules(files bool) string {
	var out strings.Builder
	for _, s := range r.Sources {
		fmt.Fprintf(&out, "\n%s: %s@%s\n", s.Name, s.Repo, s.Commit)
		groups, order := map[string][]manifests.Decision{}, []string{}
		for _, d := range r.Files {
			if d.Source != s.Name {
				continue
			}
			title := fmt.Sprintf("  %s by rule %s: %s", verdict(d), d.Rule, d.Reason)
			if groups[title] == nil {
				order = append(order, title)
			}
			groups[title] = append(groups[title], d)
		}
		for _, title := range order {
			if !files {
				fmt.Fprintf(&out, "%s (%s)\n", title, plural(len(groups[title]), "file", "files"))
				continue
			}
			fmt.Fprintln(&out, title)
			for _, d := range groups[title] {
				fmt.Fprintf(&out, "    %s %8s  %s\n", verdict(d), size(d.Size), d.Path)
			}
		}
	}
	return out.String()
}

// verdict is what happens to a file.
func verdict(d manifests.Decision) string {
	if d.Keep {
		return "keep"
	}
	return "drop"
}

// Text says what is pinned and what changed.
func (r *LockResult) Text() string {
	state := "is up to date"
	if r.Written {
		state = "written"
	}
	rows := []string{}
	for _, s := range r.Sources {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s", s.Name, s.Repo, s.Commit))
	}
	for _, p := range r.Packages {
		rows = append(rows, fmt.Sprintf("%s\t%s %s\t%s", p.Name, p.Version, p.Suite, p.SHA256))
	}
	rows = append(rows,
		fmt.Sprintf("kept\t%d files\t%s", r.Kept, size(r.KeptBytes)),
		fmt.Sprintf("dropped\t%d files\t%s", r.Dropped, size(r.DroppedBytes)))
	return fmt.Sprintf("lock %s %s\n", r.Path, state) + table(rows...) +
		list("changed", r.Changes) + list("differs from the manifest's hints", r.Hints)
}

// list is a titled list, nothing for an empty one.
func list(title string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return title + ":\n  " + strings.Join(lines, "\n  ") + "\n"
}

// Text says what was fetched.
func (r *FetchResult) Text() string {
	return fmt.Sprintf("fetched %d files, %s (%s downloaded) into %s\n", len(r.Files), size(r.Bytes), size(r.Downloaded), r.Cache)
}

// Text lists the layers and the digest.
func (r *BuildResult) Text() string {
	rows := []string{"LAYER\tSIZE\tDIGEST\tTITLE"}
	for _, l := range r.Layers {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", l.Kind, size(l.Size), short(l.Digest), l.Title))
	}
	return table(rows...) + "\n" + r.Brief()
}

// Brief is Text without the layers.
func (r *BuildResult) Brief() string {
	kind := "thin layout"
	if r.Full {
		kind = "full layout"
	}
	return table(
		fmt.Sprintf("image\t%s, of which %s are no model files", size(r.Bytes), size(r.Overhead)),
		"base\t"+r.Base,
		fmt.Sprintf("%s\t%s", kind, r.Layout),
		"digest\t"+r.Digest)
}

// short cuts a digest to twelve digits.
func short(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// targetPlans lists what publishing means, layer by layer.
func targetPlans(plans []push.TargetPlan) string {
	var out strings.Builder
	for _, p := range plans {
		fmt.Fprintf(&out, "\n%s\n", p.Reference)
		for _, l := range p.Layers {
			from := ""
			if l.From != "" {
				from = " (from " + l.From + ")"
			}
			fmt.Fprintf(&out, "  %-9s %8s  %s%s\n", l.State, size(l.Size), l.Title, from)
		}
		fmt.Fprintf(&out, "%s present, %s mountable, %s to send, %s to fetch first",
			size(p.Bytes[push.Present]), size(p.Bytes[push.Mountable]), size(p.Bytes[push.ToSend]), size(p.Bytes[push.ToFetch]))
		if n := p.Bytes[push.ToStream]; n > 0 {
			fmt.Fprintf(&out, ", %s to stream", size(n))
		}
		if len(p.Referrers) > 0 {
			fmt.Fprintf(&out, "; %d of %s to send", unlisted(p.Referrers), plural(len(p.Referrers), "document", "documents"))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// Text says what went where, and what did not.
func (r *PublishResult) Text() string {
	var rows []string
	for _, t := range r.Targets {
		what := fmt.Sprintf("%d of %d layers sent, %s of %s", t.Sent, t.Layers, size(t.SentBytes), size(t.Bytes))
		if t.Mounted > 0 {
			what += fmt.Sprintf("; %d mounted", t.Mounted)
		}
		if t.Resumed > 0 {
			what += fmt.Sprintf("; %d went on after a cut", t.Resumed)
		}
		if t.Layers == 0 {
			what = "the tag was moved"
		}
		rows = append(rows, t.Reference+"\t"+what+attachedText(t))
	}
	for _, f := range r.Failed {
		rows = append(rows, f.Reference+"\tFAILED: "+f.Error)
	}
	out := strings.TrimPrefix(targetPlans(r.Plans), "\n") + table(rows...)
	if r.Digest != "" && (len(r.Targets) > 0 || len(r.Plans) > 0) {
		out += "digest " + r.Digest + "\n" + r.weightsText() // where all failed, nothing bears it
	}
	return out
}

// weightsText is the digest of the weights alone.
func (r *PublishResult) weightsText() string {
	if r.WeightsDigest == "" {
		return ""
	}
	return "weights " + r.WeightsDigest + "\n"
}

// attachedText says which documents stand beside an image.
func attachedText(t push.Result) string {
	if len(t.Referrers) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %d documents sent", unlisted(t.Referrers), len(t.Referrers))
}

// unlisted counts the documents that a repository did not list before.
func unlisted(list []push.Referrer) (n int) {
	for _, d := range list {
		if d.Written {
			n++
		}
	}
	return n
}

// Text says where the manifest was written.
func (r *InitResult) Text() string {
	return fmt.Sprintf("wrote %s: %d files kept (%s), %d dropped (%s)\nread its rules, then run the lock target with -model=%s\n",
		r.Path, r.Kept, size(r.KeptBytes), r.Dropped, size(r.DroppedBytes), r.Path)
}
