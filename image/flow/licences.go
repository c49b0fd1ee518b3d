package flow

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// apache is the text of the Apache License 2.0, which plimsoll's own files and most model
// repositories carry and which asks to be passed on with every copy.
//
//go:embed apache-2.0.txt
var apache []byte

// licences says where every model file comes from and under which licence, with the text
// of the licence where plimsoll has it.
func licences(m *manifests.ModelConfig) []archive.File {
	var notice strings.Builder
	fmt.Fprintf(&notice, "%s (%s, variant %s)\n\nThis image carries files of:\n", m.Title, m.Name, m.Variant)
	var out []archive.File
	for _, s := range m.Sources {
		license := s.License
		if license == "" {
			license = "not declared"
		}
		fmt.Fprintf(&notice, "\n%s\n  repository  %s\n  commit      %s\n  licence     %s\n  files       %s/%s\n", s.Name, s.Repo, s.Commit, license, m.ModelsDir, s.Path)
		if s.License == "Apache-2.0" && len(out) == 0 {
			out = append(out, archive.Regular("usr/share/doc/plimsoll/Apache-2.0.txt", 0o644, apache))
		}
	}
	return append(out, archive.Regular("usr/share/doc/plimsoll/NOTICE", 0o644, []byte(notice.String())))
}
