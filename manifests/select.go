package manifests

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// Decision is the verdict on one upstream file.
type Decision struct {
	// Source is the name of the manifest's source.
	Source string `json:"source"`
	// File is what the listing says about the file.
	File
	// Keep says whether the image carries the file.
	Keep bool `json:"keep"`
	// Rule is the one rule that claims the file.
	Rule string `json:"rule"`
	// Because is the category of a drop, "" for a kept file.
	Because Category `json:"because,omitempty"`
	// Reason is the rule's sentence.
	Reason string `json:"reason"`
	// ImagePath is where a kept file lies in the image, without a leading slash.
	ImagePath string `json:"imagePath,omitempty"`
}

// Selection is the verdict on every upstream file, for one variant. Decisions come in the
// order of the manifest's sources, each sorted by path: the order of layers.
type Selection struct {
	Variant   string
	Decisions []Decision
}

// Kept returns the decisions that keep a file, in order.
func (s Selection) Kept() []Decision {
	return slices.DeleteFunc(slices.Clone(s.Decisions), func(d Decision) bool { return !d.Keep })
}

// Bytes adds up the sizes of kept and of dropped files.
func (s Selection) Bytes() (kept, dropped int64) {
	for _, d := range s.Decisions {
		if d.Keep {
			kept += d.Size
		} else {
			dropped += d.Size
		}
	}
	return kept, dropped
}

// Select decides about every file of the listings, which are keyed by source name. It is
// total: a file that no rule claims, or more than one, is an error that names file and
// rules, all such files at once. Errors are also: rules that keep nothing, a checkpoint
// whose file is not kept, a path that is unsafe or there twice, two kept files that would
// need one place in the image, a file that partSize would cut too often. All are of kind
// fault.Usage. A rule that matches nothing is not an error. Variant "" is the default one.
func (m *Manifest) Select(variant string, listings map[string]Listing) (Selection, error) {
	carries, err := m.Carries(variant)
	if err != nil {
		return Selection{}, err
	}
	out := Selection{Variant: cmp.Or(variant, DefaultVariant)}
	var problems []error
	for _, s := range m.Sources {
		l, ok := listings[s.Name]
		if !ok {
			return Selection{}, fault.Wrap(fault.Usage, "", fmt.Errorf("selecting files of %s: there is no listing of source %s", m.Name, s.Name))
		}
		decisions, err := s.decide(l)
		out.Decisions = append(out.Decisions, decisions...)
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return Selection{}, fault.Wrap(fault.Usage, "every upstream file needs exactly one rule in the manifest", err)
	}
	for _, check := range []func(Selection) error{m.checkShipped, m.checkEntries} {
		if err := check(out); err != nil {
			return Selection{}, fault.Wrap(fault.Usage, "", err)
		}
	}
	return m.narrow(out, carries), nil
}

// Carries tells which of the files that the rules keep a variant carries: all but the
// checkpoints of other variants. A file is named by its source and its path there. Variant ""
// is the default one; an unknown one is an error of kind fault.Usage.
func (m *Manifest) Carries(variant string) (func(source, file string) bool, error) {
	variant = cmp.Or(variant, DefaultVariant)
	if err := m.checkVariant(variant); err != nil {
		return nil, err
	}
	names, narrowed := m.Variants[variant]
	return func(source, file string) bool {
		i := slices.IndexFunc(m.Checkpoints, func(c Checkpoint) bool { return c.Source == source && c.File == file })
		return !narrowed || i < 0 || slices.Contains(names, m.Checkpoints[i].Name)
	}, nil
}

// checkVariant names the variants that exist.
func (m *Manifest) checkVariant(variant string) error {
	if _, ok := m.Variants[variant]; ok || variant == DefaultVariant {
		return nil
	}
	names := []string{DefaultVariant}
	for n := range m.Variants {
		if n != DefaultVariant {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return fault.Wrap(fault.Usage, "known variants: "+strings.Join(names, ", "),
		fmt.Errorf("selecting files of %s: there is no variant %q", m.Name, variant))
}

// decide applies the source's rules to its listing, all problems at once.
func (s Source) decide(l Listing) ([]Decision, error) {
	var out []Decision
	var problems []error
	files := slices.Clone(l.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for i, f := range files {
		if err := CheckPath(f.Path); err != nil {
			problems = append(problems, fmt.Errorf("selecting files of %s: %w", s.Repo, err))
			continue
		}
		if i > 0 && files[i-1].Path == f.Path {
			problems = append(problems, fmt.Errorf("selecting files of %s: %s is listed twice", s.Repo, f.Path))
			continue
		}
		claims := s.claims(f.Path)
		if len(claims) != 1 {
			problems = append(problems, claimError(s, f.Path, claims))
			continue
		}
		out = append(out, s.decision(f, claims[0]))
	}
	return out, errors.Join(problems...)
}

func claimError(s Source, file string, claims []Rule) error {
	if len(claims) == 0 {
		return fmt.Errorf("selecting files of %s: no rule claims %s", s.Repo, file)
	}
	names := make([]string, len(claims))
	for i, r := range claims {
		names[i] = r.Name
	}
	return fmt.Errorf("selecting files of %s: %d rules claim %s: %s", s.Repo, len(claims), file, strings.Join(names, ", "))
}

// claims returns the rules that match the file.
func (s Source) claims(file string) []Rule {
	var out []Rule
	for _, r := range s.Rules {
		if matchAny(r.patterns(), file) {
			out = append(out, r)
		}
	}
	return out
}

func (s Source) decision(f File, r Rule) Decision {
	d := Decision{Source: s.Name, File: f, Keep: len(r.Keep) > 0, Rule: r.Name, Because: r.Because, Reason: r.Reason}
	if d.Keep {
		d.ImagePath = s.ImagePath(f.Path)
	}
	return d
}

func (r Rule) patterns() []string { return append(slices.Clone(r.Keep), r.Drop...) }

// matchAny reports whether the file matches one of the patterns, which are valid.
func matchAny(patterns []string, file string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return doublestar.MatchUnvalidated(p, file) })
}

// checkShipped refuses a selection that ships nothing, or a checkpoint without its file.
func (m *Manifest) checkShipped(s Selection) error {
	kept := map[[2]string]bool{}
	for _, d := range s.Kept() {
		kept[[2]string{d.Source, d.Path}] = true
	}
	if len(kept) == 0 {
		return fmt.Errorf("selecting files of %s: the rules keep none of %d files", m.Name, len(s.Decisions))
	}
	for _, c := range m.Checkpoints {
		if !kept[[2]string{c.Source, c.File}] {
			return fmt.Errorf("selecting files of %s: checkpoint %s needs %s, which source %s does not have or drops", m.Name, c.Name, c.File, c.Source)
		}
	}
	return nil
}

// checkEntries refuses two kept files, or parts of them, that would need the same name in
// the image, or one that would need to be a folder too. Upstream files may already be named
// like our parts.
func (m *Manifest) checkEntries(s Selection) error {
	owner := map[string]string{}
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.PartSize))
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := CheckPath(p.Name); err != nil {
				return fmt.Errorf("selecting files of %s: %w", m.Name, err)
			}
			if other, taken := owner[p.Name]; taken {
				return fmt.Errorf("selecting files of %s: %s and %s both need %s in the image", m.Name, other, d.Path, p.Name)
			}
			owner[p.Name] = d.Path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(owner)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if other, taken := owner[dir]; taken {
				return fmt.Errorf("selecting files of %s: %s is a file, and a folder for %s", m.Name, other, owner[name])
			}
		}
	}
	return nil
}

// narrow drops what the variant does not carry.
func (m *Manifest) narrow(s Selection, carries func(source, file string) bool) Selection {
	for i := range s.Decisions {
		if d := &s.Decisions[i]; d.Keep && !carries(d.Source, d.Path) {
			d.Keep, d.ImagePath, d.Because = false, "", BecauseVariant
			d.Reason = fmt.Sprintf("variant %s carries %s only", s.Variant, strings.Join(m.Variants[s.Variant], " and "))
		}
	}
	return s
}

// Naive returns the files of the listings that a naive image carries, as the manifest's
// before.naive names them; every file of a source that it does not mention stays out.
func (m *Manifest) Naive(s Selection) []Decision {
	return slices.DeleteFunc(slices.Clone(s.Decisions), func(d Decision) bool {
		return !matchAny(m.Before.Naive[d.Source], d.Path)
	})
}
