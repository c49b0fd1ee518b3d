package base

import (
	"path"
	"regexp"
	"slices"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// licenceRef finds references to licence texts in copyright files (Debian Policy 12.5).
var licenceRef = regexp.MustCompile(`/usr/share/common-licenses/[A-Za-z0-9](?:[A-Za-z0-9.+-]*[A-Za-z0-9])?`)

// licenceRefs returns the names of the licence texts that a copyright file refers to.
func licenceRefs(text []byte) []string {
	var out []string
	for _, ref := range licenceRef.FindAll(text, -1) {
		if name := string(ref[1:]); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// usedLicences drops the common licence texts that no copyright file among files refers
// to, directly or through a link: base-files brings 23, libc6 needs 5.
func usedLicences(files []archive.File) []archive.File {
	var used []string
	for _, f := range files {
		if f.Type == pack.Regular && path.Base(f.Name) == "copyright" {
			used = append(used, licenceRefs(f.Data)...)
		}
	}
	for _, f := range files {
		if f.Type == pack.Symlink && slices.Contains(used, f.Name) {
			used = append(used, path.Join(path.Dir(f.Name), f.Target))
		}
	}
	return slices.DeleteFunc(slices.Clone(files), func(f archive.File) bool {
		return within(path.Clean(commonLicenses), f.Name) && !slices.Contains(used, f.Name)
	})
}
