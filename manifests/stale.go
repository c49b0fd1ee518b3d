package manifests

import (
	"fmt"
	"slices"
	"strings"
)

// Stale lists what in the lock no longer follows from the manifest; empty means that the
// lock is good. It needs no network: it compares repositories, revisions, pinned commits,
// decisions, partSize and package names. A lock without layer lines, or with some of an
// older pack version, is not stale: those are computed again.
func (l *Lock) Stale(m *Manifest) []string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if l.Header.Manifest != m.Name {
		say("the lock is for %q, the manifest is %q", l.Header.Manifest, m.Name)
	}
	if l.Header.PartSize != int64(m.PartSize) {
		say("partSize is %d in the lock and %d in the manifest", l.Header.PartSize, m.PartSize)
	}
	why = append(why, l.staleSources(m)...)
	if len(why) == 0 {
		why = append(why, l.staleDecisions(m)...)
	}
	return append(why, l.stalePackages(m)...)
}

// staleSources compares repositories and pinned commits.
func (l *Lock) staleSources(m *Manifest) []string {
	var why []string
	listings, revisions := l.Listings(), map[string]string{}
	for _, f := range l.Files {
		revisions[f.Source] = f.Revision
	}
	for _, s := range m.Sources {
		locked, ok := listings[s.Name]
		switch {
		case !ok:
			why = append(why, fmt.Sprintf("source %s is not in the lock", s.Name))
		case locked.Repo != s.Repo:
			why = append(why, fmt.Sprintf("source %s is %s in the lock and %s in the manifest", s.Name, locked.Repo, s.Repo))
		case s.Pinned() && locked.Commit != s.Revision:
			why = append(why, fmt.Sprintf("source %s is at %s in the lock and %s in the manifest", s.Name, locked.Commit, s.Revision))
		case !s.Pinned() && revisions[s.Name] != s.Revision:
			why = append(why, fmt.Sprintf("source %s is revision %s in the lock and %s in the manifest", s.Name, revisions[s.Name], s.Revision))
		}
		delete(listings, s.Name)
	}
	for name := range listings {
		why = append(why, fmt.Sprintf("source %s is not in the manifest", name))
	}
	slices.Sort(why)
	return why
}

// staleDecisions runs the manifest's rules again over the locked files.
func (l *Lock) staleDecisions(m *Manifest) []string {
	all, err := m.selectAll(l.Listings())
	if err != nil {
		return []string{err.Error()}
	}
	locked := map[[2]string]LockFile{}
	for _, f := range l.Files {
		locked[[2]string{f.Source, f.Path}] = f
	}
	var why []string
	for _, d := range all.Decisions {
		if f := locked[[2]string{d.Source, d.Path}]; f.Keep != d.Keep || f.Rule != d.Rule {
			why = append(why, fmt.Sprintf("%s of %s: the lock says %s by rule %s, the manifest %s by rule %s",
				d.Path, d.Source, verdict(f.Keep), f.Rule, verdict(d.Keep), d.Rule))
		}
	}
	return why
}

func verdict(keep bool) string {
	if keep {
		return "keep"
	}
	return "drop"
}

// stalePackages compares the names of base packages.
func (l *Lock) stalePackages(m *Manifest) []string {
	var want, have []string
	if m.Image.Base != nil {
		for _, name := range m.Image.Base.Packages {
			want = append(want, m.Image.Base.Suite+"/"+name)
		}
	}
	for _, p := range l.Packages {
		have = append(have, p.Suite+"/"+p.Name)
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		return []string{fmt.Sprintf("base packages are [%s] in the lock and [%s] in the manifest", strings.Join(have, " "), strings.Join(want, " "))}
	}
	return nil
}
