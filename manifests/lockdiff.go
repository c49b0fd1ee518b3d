package manifests

import "fmt"

// Changes says, a line each, how l differs from an older lock: commits, files added,
// removed or changed, decisions, packages. Derived lines are not compared: they follow.
func (l *Lock) Changes(old *Lock) []string {
	out := changedCommits(l, old)
	before := map[[2]string]LockFile{}
	for _, f := range old.Files {
		before[[2]string{f.Source, f.Path}] = f
	}
	for _, f := range l.Files {
		key := [2]string{f.Source, f.Path}
		o, was := before[key]
		delete(before, key)
		switch {
		case !was:
			out = append(out, fmt.Sprintf("%s: %s is new, %d bytes, %s", f.Source, f.Path, f.Size, verdict(f.Keep)))
		case o.Size != f.Size || o.SHA256 != f.SHA256 && o.SHA256 != "" && f.SHA256 != "" || o.SHA1 != f.SHA1:
			out = append(out, fmt.Sprintf("%s: %s changed, %d bytes before, %d now", f.Source, f.Path, o.Size, f.Size))
		case o.Keep != f.Keep || o.Rule != f.Rule:
			out = append(out, fmt.Sprintf("%s: %s was %s by rule %s, is %s by rule %s", f.Source, f.Path, verdict(o.Keep), o.Rule, verdict(f.Keep), f.Rule))
		}
	}
	for _, f := range old.Files {
		if _, gone := before[[2]string{f.Source, f.Path}]; gone {
			out = append(out, fmt.Sprintf("%s: %s is gone, %d bytes", f.Source, f.Path, f.Size))
		}
	}
	return append(out, changedPackages(l, old)...)
}

func changedCommits(l, old *Lock) []string {
	var out []string
	before, seen := old.Listings(), map[string]bool{}
	for _, f := range l.Files {
		o, was := before[f.Source]
		if was && !seen[f.Source] && o.Commit != f.Commit {
			out = append(out, fmt.Sprintf("%s: commit was %s, is %s", f.Source, o.Commit, f.Commit))
		}
		seen[f.Source] = true
	}
	return out
}

func changedPackages(l, old *Lock) []string {
	before := map[string]Package{}
	for _, p := range old.Packages {
		before[p.Name] = p
	}
	var out []string
	for _, p := range l.Packages {
		o, was := before[p.Name]
		switch {
		case !was:
			out = append(out, fmt.Sprintf("package %s %s is new", p.Name, p.Version))
		case o.Version != p.Version:
			out = append(out, fmt.Sprintf("package %s was %s, is %s", p.Name, o.Version, p.Version))
		case o.SHA256 != p.SHA256:
			out = append(out, fmt.Sprintf("package %s %s changed its sha256: %s before, %s now", p.Name, p.Version, o.SHA256, p.SHA256))
		}
		delete(before, p.Name)
	}
	for _, p := range old.Packages {
		if _, gone := before[p.Name]; gone {
			out = append(out, fmt.Sprintf("package %s %s is gone", p.Name, p.Version))
		}
	}
	return out
}
