package manifests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Found derives the configuration of a model whose files lie somewhere without a lock, such
// as a download cache, from what was found there: listings by source name, whose sums may
// be unknown. Files that no rule keeps are passed over, and so are checkpoints that are not
// there, but one has to be. Sums that are unknown are "", so that it is a configuration of
// this process and no model.json.
func (m *Manifest) Found(listings map[string]Listing) (*ModelConfig, error) {
	c := &ModelConfig{SchemaVersion: ModelConfigVersion, Name: m.Name, Title: m.Title, Variant: DefaultVariant, Serve: m.Serve}
	kept := map[[2]string]string{}
	for _, s := range m.Sources {
		l := listings[s.Name]
		c.Sources = append(c.Sources, ModelSource{
			Name: s.Name, Title: s.Title, Role: s.Role, Repo: s.Repo, Commit: l.Commit, License: s.License, Path: s.Path,
		})
		for _, f := range l.Files {
			claims := s.claims(f.Path)
			if CheckPath(f.Path) != nil || len(claims) != 1 || len(claims[0].Keep) == 0 {
				continue
			}
			file := s.Path + "/" + f.Path
			kept[[2]string{s.Name, f.Path}] = file
			c.Files = append(c.Files, ModelFile{Path: file, Source: s.Name, Size: f.Size, SHA256: f.SHA256})
		}
	}
	slices.SortFunc(c.Files, func(a, b ModelFile) int { return strings.Compare(a.Path, b.Path) })
	c.Checkpoints = m.checkpointsAboard(kept)
	if len(c.Checkpoints) == 0 && len(m.Checkpoints) > 0 {
		var names []string
		for _, want := range m.Checkpoints {
			names = append(names, want.File)
		}
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("looking for the files of %s: none of the checkpoints is there: %s", m.Name, strings.Join(names, ", ")))
	}
	return c, nil
}
