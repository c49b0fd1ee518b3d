package manifests

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	repoForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$`)
	packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian Policy, 5.6.1
)

// nameRule says in errors what nameForm accepts.
const nameRule = "1 to 63 lower-case letters, digits, dots, dashes and underscores are allowed"

// validate checks what YAML and the types cannot say.
func (m *Manifest) validate() error {
	checks := []func() error{
		m.checkHead, m.checkSources, m.checkCheckpoints, m.checkVariants, m.checkServe, m.checkImage, m.checkBefore, m.checkBudget,
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manifest) checkHead() error {
	switch {
	case m.APIVersion != APIVersion:
		return fmt.Errorf("apiVersion is %q, this plimsoll reads %q", m.APIVersion, APIVersion)
	case !nameForm.MatchString(m.Name):
		return fmt.Errorf("name is %q: %s", m.Name, nameRule)
	case !isLine(m.Title):
		return fmt.Errorf("title is %q, want one line of text", m.Title)
	case m.Runtime != RuntimePlimsoll && m.Runtime != RuntimeNone:
		return fmt.Errorf("runtime is %q: %q and %q are known", m.Runtime, RuntimePlimsoll, RuntimeNone)
	case m.PartSize != 0 && m.PartSize < pack.MinPartSize:
		return fmt.Errorf("partSize is %d, the smallest is %d", m.PartSize, pack.MinPartSize)
	case len(m.Sources) == 0:
		return errors.New("sources is empty")
	}
	return nil
}

// isLine reports whether text fits a label or a table: not empty, no control characters.
func isLine(text string) bool {
	return strings.TrimSpace(text) != "" && !strings.ContainsFunc(text, unicode.IsControl)
}

func (m *Manifest) checkSources() error {
	names, paths := map[string]bool{}, map[string]string{}
	for i := range m.Sources {
		s := &m.Sources[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("sources[%d] %s: %w", i, s.Name, err)
		}
		if names[s.Name] {
			return fmt.Errorf("sources[%d]: the name %q is taken", i, s.Name)
		}
		for _, other := range slices.Sorted(maps.Keys(paths)) {
			if s.Path == other || strings.HasPrefix(s.Path, other+"/") || strings.HasPrefix(other, s.Path+"/") {
				return fmt.Errorf("sources[%d] %s: the path %q meets the path %q of %s", i, s.Name, s.Path, other, paths[other])
			}
		}
		names[s.Name], paths[s.Path] = true, s.Name
	}
	return nil
}

func (s *Source) check() error {
	switch {
	case !nameForm.MatchString(s.Name):
		return fmt.Errorf("name is %q: %s", s.Name, nameRule)
	case !isLine(s.Title):
		return fmt.Errorf("title is %q, want one line of text", s.Title)
	case !repoForm.MatchString(s.Repo) || strings.Contains(s.Repo, ".."):
		return fmt.Errorf("repo is %q, want owner/name", s.Repo)
	case CheckPath(s.Revision) != nil || strings.ContainsAny(s.Revision, " ?#"):
		return fmt.Errorf("revision is %q, want a commit, branch or tag", s.Revision)
	case s.Role != RoleBase && s.Role != RoleCheckpoints:
		return fmt.Errorf("role is %q: %q and %q are known", s.Role, RoleBase, RoleCheckpoints)
	case !isLine(s.License):
		return fmt.Errorf("license is %q, want an SPDX identifier, or NOASSERTION where it is not known", s.License)
	case CheckPath(s.Path) != nil:
		return fmt.Errorf("path: %w", CheckPath(s.Path))
	case len(s.Rules) == 0:
		return errors.New("rules is empty")
	}
	for i, e := range s.Endpoints {
		if err := checkURL(e); err != nil {
			return fmt.Errorf("endpoints[%d]: %w", i, err)
		}
	}
	if err := s.checkRules(); err != nil {
		return err
	}
	return s.checkHints()
}

func (s *Source) checkRules() error {
	rules := map[string]bool{}
	for _, r := range s.Rules {
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		if rules[r.Name] {
			return fmt.Errorf("rule %q: the name is taken", r.Name)
		}
		rules[r.Name] = true
	}
	return nil
}

func (s *Source) checkHints() error {
	for _, h := range s.Hints {
		switch {
		case CheckPath(h.Path) != nil:
			return fmt.Errorf("hint: %w", CheckPath(h.Path))
		case h.SHA256 != "" && !isHex(h.SHA256, 64):
			return fmt.Errorf("hint for %s: sha256 is %q, want 64 lower-case hex digits", h.Path, h.SHA256)
		case h.Size < 0 || h.Size == 0 && h.SHA256 == "":
			return fmt.Errorf("hint for %s: neither size nor sha256", h.Path)
		case !isLine(h.Source):
			return fmt.Errorf("hint for %s: source must say where the values come from", h.Path)
		}
	}
	return nil
}

// checkURL accepts the base address of a server. The error does not repeat the address: a
// password could be in it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("want the base address of a server, such as https://host/path")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("user, password, query and fragment do not belong into an address")
	}
	return nil
}

// categories are those that a rule may name; BecauseVariant is Select's own.
var categories = []Category{BecausePrecision, BecauseRank, BecauseSteps, BecauseReplaced, BecauseDuplicate, BecauseDocs}

func (r Rule) check() error {
	switch {
	case !nameForm.MatchString(r.Name):
		return fmt.Errorf("name: %s", nameRule)
	case (len(r.Keep) == 0) == (len(r.Drop) == 0):
		return errors.New("exactly one of keep and drop must be set")
	case len(r.Keep) > 0 && r.Because != "":
		return fmt.Errorf("because is %q, but only a drop has a category", r.Because)
	case len(r.Drop) > 0 && !slices.Contains(categories, r.Because):
		return fmt.Errorf("because is %q, known are %v", r.Because, categories)
	case !isLine(r.Reason):
		return fmt.Errorf("reason is %q, want one line of text", r.Reason)
	}
	return checkPatterns(r.patterns())
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if p == "" || !doublestar.ValidatePattern(p) || strings.HasPrefix(p, "/") {
			return fmt.Errorf("%q is not a pattern of paths in a repository", p)
		}
	}
	return nil
}

func (m *Manifest) checkBefore() error {
	for _, name := range slices.Sorted(maps.Keys(m.Before.Naive)) {
		if _, ok := m.Source(name); !ok {
			return fmt.Errorf("before.naive: there is no source %q", name)
		}
		if err := checkPatterns(m.Before.Naive[name]); err != nil {
			return fmt.Errorf("before.naive.%s: %w", name, err)
		}
	}
	for _, s := range m.Before.Software {
		if !isLine(s.Name) || s.Bytes <= 0 || s.CompressedBytes < 0 || !isLine(s.Source) {
			return fmt.Errorf("before.software %q: name, bytes and source are needed", s.Name)
		}
	}
	return nil
}

func (m *Manifest) checkImage() error {
	b := m.Image.Base
	switch {
	case m.Runtime == RuntimePlimsoll && b == nil:
		return fmt.Errorf("runtime is %q, so image.base must say which libraries it runs on", m.Runtime)
	case m.Runtime == RuntimeNone && b != nil:
		return fmt.Errorf("runtime is %q, so image.base has no use", m.Runtime)
	}
	for key, value := range m.Image.Labels {
		if !isLine(key) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("image.labels: %q or its value is not one line of text", key)
		}
	}
	if b == nil {
		return nil
	}
	return b.check()
}

func (b Base) check() error {
	if !nameForm.MatchString(b.Suite) {
		return fmt.Errorf("image.base.suite is %q, want a Debian release such as trixie", b.Suite)
	}
	if len(b.Packages) == 0 {
		return errors.New("image.base.packages is empty")
	}
	for i, p := range b.Packages {
		if !packageForm.MatchString(p) || slices.Contains(b.Packages[:i], p) {
			return fmt.Errorf("image.base.packages[%d]: %q is malformed or there twice", i, p)
		}
	}
	for i, mirror := range b.Mirrors {
		if err := checkURL(mirror); err != nil {
			return fmt.Errorf("image.base.mirrors[%d]: %w", i, err)
		}
	}
	return nil
}
