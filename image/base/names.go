package base

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// usrDirs are the top-level folders that are links into usr since Debian 12 ("merged
// /usr"; hier(7), file-hierarchy(7)).
var usrDirs = []string{"bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"}

// cleanName returns the name of a tar entry relative to the root: dpkg writes ./usr/lib.
// The root itself is ".".
func cleanName(name string) (string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" {
		clean = "."
	}
	if path.Clean(clean) != clean || path.IsAbs(name) || path.IsAbs(clean) || outside(clean) || strings.ContainsAny(clean, "\x00\\") {
		return "", errors.New("the name is not a clean path inside the root")
	}
	return clean, nil
}

// outside reports whether a clean relative path leaves its root.
func outside(clean string) bool { return clean == ".." || strings.HasPrefix(clean, "../") }

// merged moves a name into usr where the merged /usr has it.
func merged(name string) string {
	top, _, below := strings.Cut(name, "/")
	if below && slices.Contains(usrDirs, top) {
		return "usr/" + name
	}
	return name
}

// mergedTarget returns the target of a link that was named plain and is now name. It is
// relative, so that it means the same wherever the layer is unpacked.
func mergedTarget(plain, name, target string) (string, error) {
	to := strings.TrimPrefix(path.Clean(target), "/")
	if !path.IsAbs(target) {
		to = path.Join(path.Dir(plain), target)
	}
	if target == "" || outside(to) || strings.ContainsAny(target, "\x00\\") {
		return "", fmt.Errorf("its link target %.200q leaves the root", target)
	}
	rel, err := filepath.Rel("/"+path.Dir(name), "/"+merged(to))
	return filepath.ToSlash(rel), err
}

// isLibrary reports whether name is a shared library in a folder that the loader searches:
// usr/lib, usr/lib64 and the like, and usr/lib/<triplet>. Modules in folders below those
// (gconv, audit) are found by other means, and are not.
func isLibrary(name string) bool {
	dir, file := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if up, triplet := path.Split(dir); up == "usr/lib/" && strings.Contains(triplet, "-linux-") {
		dir = "usr/lib"
	}
	inPath := strings.HasPrefix(dir, "usr/lib") && slices.Contains(usrDirs, strings.TrimPrefix(dir, "usr/"))
	return inPath && (strings.HasSuffix(file, ".so") || strings.Contains(file, ".so."))
}

// selected reports whether a file of the package belongs into the base layer.
func selected(pkg, name string) bool {
	doc := "usr/share/doc/" + pkg
	switch name {
	case doc, doc + "/copyright", debianVersion, "etc/os-release", "usr/lib/os-release":
		return true
	}
	dir, file := path.Split(name)
	return isLibrary(name) || dir == commonLicenses || dir == "etc/ld.so.conf.d/" && path.Ext(file) == ".conf"
}
