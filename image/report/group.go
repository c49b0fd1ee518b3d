package report

import (
	"cmp"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// savings groups the dropped files of a scope by category, largest first.
func savings(scope []manifests.Decision) []Saving {
	dropped := map[manifests.Category][]manifests.Decision{}
	for _, d := range scope {
		if !d.Keep {
			dropped[d.Because] = append(dropped[d.Because], d)
		}
	}
	out := []Saving{}
	for because, ds := range dropped {
		s := Saving{Because: because, Title: categoryTitles[because], Rules: groups(ds)}
		for _, g := range s.Rules {
			s.Files += g.Files
			s.Bytes += g.Bytes
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Saving) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Because, b.Because))
	})
	return out
}

// groups joins decisions of one source, rule and reason, in the order of first sight.
func groups(ds []manifests.Decision) []Group {
	type id struct{ source, rule, reason string }
	at := map[id]int{}
	out := []Group{}
	for _, d := range ds {
		k := id{d.Source, d.Rule, d.Reason}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Group{Source: d.Source, Rule: d.Rule, Reason: d.Reason})
		}
		out[i].Files++
		out[i].Bytes += d.Size
	}
	return out
}

// sources lists the manifest's sources in the order of rows: people look for the
// checkpoints first, while layers start with the base.
func (in Input) sources() []manifests.Source {
	out := slices.Clone(in.Manifest.Sources)
	slices.SortStableFunc(out, func(a, b manifests.Source) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func rank(s manifests.Source) int {
	if s.Role == manifests.RoleCheckpoints {
		return 0
	}
	return 1
}

// sourceOrder sorts decisions by the order of sources and otherwise leaves them.
func (in Input) sourceOrder(ds []manifests.Decision) []manifests.Decision {
	at := map[string]int{}
	for i, s := range in.sources() {
		at[s.Name] = i
	}
	out := slices.Clone(ds)
	slices.SortStableFunc(out, func(a, b manifests.Decision) int { return cmp.Compare(at[a.Source], at[b.Source]) })
	return out
}

func set(ds []manifests.Decision) map[key]bool {
	out := map[key]bool{}
	for _, d := range ds {
		out[key{d.Source, d.Path}] = true
	}
	return out
}

func files(all, naive []manifests.Decision) []File {
	there := set(naive)
	out := make([]File, len(all))
	for i, d := range all {
		out[i] = File{
			Source: d.Source, Path: d.Path, Bytes: d.Size, Naive: there[key{d.Source, d.Path}],
			Keep: d.Keep, Rule: d.Rule, Because: d.Because, Reason: d.Reason,
		}
	}
	return out
}
