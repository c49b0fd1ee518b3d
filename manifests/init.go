package manifests

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// InitOptions are what a listing cannot say.
type InitOptions struct {
	// Name is the manifest's name; "" derives it from the repository's.
	Name string
	// PartSize is the largest layer allowed, 0 for no limit.
	PartSize Size
}

// initSource is the name of the one source in a proposed manifest.
const initSource = "model"

// Init proposes a manifest for any model repository: runtime none, one source at the
// listing's commit, and rules that claim each file exactly once. It decides by names, sizes
// and sums alone, so the result is a proposal for a person to read; its comments say so.
//
// Kept is what inference may need, in one rule a folder or kind. Dropped are documentation,
// records of training, and duplicates: weights in another format beside those that are
// kept, in half precision beside full precision, or with the same sum.
//
// The result passes Parse, and Select on the listing decides as its comments say: both are
// tried before it is returned. A listing with unsafe paths, or one of which nothing would be
// kept, is an error. The same listing gives the same bytes.
func Init(l Listing, o InitOptions) ([]byte, error) {
	if err := checkListing(l); err != nil {
		return nil, fault.Wrap(fault.Upstream, "", fmt.Errorf("proposing a manifest for %s: %w", l.Repo, err))
	}
	if o.Name == "" {
		_, repo, _ := strings.Cut(l.Repo, "/")
		o.Name = ruleName(repo)
	}
	groups := propose(l.Files)
	text := []byte(renderManifest(l, o, groups))
	if err := proveProposal(text, l, groups); err != nil {
		return nil, fmt.Errorf("proposing a manifest for %s: %w", l.Repo, err)
	}
	return text, nil
}

// checkListing refuses what no manifest could name.
func checkListing(l Listing) error {
	if !repoForm.MatchString(l.Repo) || !isHex(l.Commit, 40) {
		return fmt.Errorf("the listing is of repo %q at commit %q", l.Repo, l.Commit)
	}
	if len(l.Files) == 0 {
		return errors.New("the listing is empty")
	}
	for _, f := range l.Files {
		if err := CheckPath(f.Path); err != nil {
			return err
		}
	}
	return nil
}

// proveProposal parses the proposal and compares what it selects with what was meant.
func proveProposal(text []byte, l Listing, groups []*group) error {
	m, err := Parse(text)
	if err != nil {
		return err
	}
	s, err := m.Select("", map[string]Listing{initSource: l})
	if err != nil {
		return err
	}
	meant := map[string]string{}
	for _, g := range groups {
		for _, f := range g.files {
			meant[f.Path] = g.name
		}
	}
	for _, d := range s.Decisions {
		if meant[d.Path] != d.Rule {
			return fmt.Errorf("%s is claimed by rule %s, meant is %s", d.Path, d.Rule, meant[d.Path])
		}
	}
	return nil
}

// renderManifest writes the manifest.
func renderManifest(l Listing, o InitOptions, groups []*group) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	_, repo, _ := strings.Cut(l.Repo, "/")
	line("# yaml-language-server: $schema=manifest.schema.json")
	line("#")
	line("# %s, proposed from the names, sizes and sums of its files:", l.Repo)
	line("# %s.", totals(groups))
	line("# No file was opened. Read the rules before you build; turn keep into drop, with one of")
	line("# the categories precision, rank, steps, replaced, duplicate and docs in because, where")
	line("# you know better.")
	line("apiVersion: %s", APIVersion)
	line("name: %s", quote(o.Name))
	line("title: %s", quote(l.Repo))
	line("# The image holds the weights alone, to be mounted or copied.")
	line("runtime: %s", RuntimeNone)
	if o.PartSize != 0 {
		line("partSize: %d", o.PartSize)
	}
	line("")
	line("sources:")
	line("  - name: %s", initSource)
	line("    title: %s", quote(repo))
	line("    role: %s", RoleBase)
	line("    repo: %s", quote(l.Repo))
	line("    revision: %s", quote(l.Commit))
	line("    license: %s", quote(spdx(l.License)))
	line("    path: %s", quote(strings.ReplaceAll(l.Repo, "/", "--")))
	line("    rules:")
	for _, g := range groups {
		g.render(line, l.Files)
	}
	line("")
	line("before:")
	line("  # A naive image downloads all of it.")
	line("  naive: {%s: [\"**\"]}", initSource)
	return b.String()
}

// totals counts kept and dropped files.
func totals(groups []*group) string {
	var files [2]int
	var bytes [2]uint64
	for _, g := range groups {
		i := 0
		if g.because != "" {
			i = 1
		}
		files[i] += len(g.files)
		for _, f := range g.files {
			bytes[i] += uint64(f.Size)
		}
	}
	return fmt.Sprintf("%d kept with %s, %d dropped with %s", files[0], humanize.Bytes(bytes[0]), files[1], humanize.Bytes(bytes[1]))
}

// render writes one rule.
func (g *group) render(line func(string, ...any), all []File) {
	for _, note := range g.notes {
		line("      # %s", note)
	}
	line("      - name: %s", quote(g.name))
	verb := "keep"
	if g.because != "" {
		verb = "drop"
	}
	line("        %s:", verb)
	for _, p := range g.patterns(all) {
		line("          - %s", quote(p))
	}
	if g.because != "" {
		line("        because: %s", g.because)
	}
	line("        reason: %s", quote(g.reason))
}

var (
	plainForm = regexp.MustCompile(`^[A-Za-z](?:[A-Za-z0-9 ._/;,()-]*[A-Za-z0-9._/)])?$`)
	wordForm  = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|off|y|n|inf|nan)$`)
)

// quote writes text as a YAML scalar: as it is where that is certain to be text, else in
// double quotes, as JSON does.
func quote(text string) string {
	if plainForm.MatchString(text) && !wordForm.MatchString(text) {
		return text
	}
	return strings.TrimSuffix(string(encodeLine(text)), "\n")
}

var notNameForm = regexp.MustCompile(`[^a-z0-9._-]+`)

// ruleName turns foreign text into a name that manifests accept.
func ruleName(text string) string {
	name := notNameForm.ReplaceAllString(strings.ToLower(text), "-")
	name = strings.TrimLeft(name, "-._")
	name = strings.TrimRight(name[:min(len(name), 63)], "-._")
	if name == "" {
		return "unnamed"
	}
	return name
}

// spdxLicences are the SPDX identifiers that Hubs write in lower case.
var spdxLicences = []string{
	"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "ISC", "Zlib", "Unlicense", "WTFPL",
	"MPL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "OSL-3.0", "AFL-3.0", "ECL-2.0", "MS-PL", "NCSA", "PostgreSQL",
	"CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0",
	"CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0",
	"CC-BY-NC-SA-4.0", "CDLA-Sharing-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "ODbL-1.0", "OFL-1.1", "GFDL-1.3",
}

var notLicenceForm = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// spdx is the SPDX identifier of what a Hub declares: one of the list, a LicenseRef of the
// declared text, or NOASSERTION for none (SPDX 2.3, annex D).
func spdx(declared string) string {
	i := slices.IndexFunc(spdxLicences, func(id string) bool { return strings.EqualFold(id, declared) })
	if i >= 0 {
		return spdxLicences[i]
	}
	if ref := strings.Trim(notLicenceForm.ReplaceAllString(declared, "-"), "-."); ref != "" {
		return "LicenseRef-" + ref
	}
	return NoAssertion
}
