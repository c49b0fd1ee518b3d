package base

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// prove checks that the layer is a whole.
func prove(a *archive.Archive, debs []Deb) error {
	for _, name := range []string{debianVersion, osRelease} {
		if _, ok := regular(a, name); !ok {
			return withPackage("base-files", fmt.Errorf("no package brings %s", name))
		}
	}
	for _, d := range debs {
		if err := proveLicence(a, d.Name); err != nil {
			return err
		}
	}
	for _, f := range a.Files() {
		if err := proveFile(a, f); err != nil {
			return err
		}
	}
	return nil
}

func withPackage(name string, err error) error {
	return fault.Wrap(fault.Usage, "add "+name+" to the base packages of the manifest", err)
}

// proveLicence checks that a package's licence is aboard, with the texts it refers to.
func proveLicence(a *archive.Archive, pkg string) error {
	name := "usr/share/doc/" + pkg + "/copyright"
	text, ok := regular(a, name)
	if !ok {
		err := fmt.Errorf("the licence of %s, %s, is not there", pkg, name)
		if link, ok := entryAt(a, path.Dir(name)); ok && link.Type == pack.Symlink {
			return withPackage(path.Base(link.Target), err)
		}
		return err
	}
	for _, ref := range licenceRefs(text) {
		if _, ok := regular(a, ref); !ok {
			return withPackage("base-files", fmt.Errorf("the licence of %s refers to /%s, which is not there", pkg, ref))
		}
	}
	return nil
}

// regular returns the content of the file that name leads to in the layer.
func regular(a *archive.Archive, name string) ([]byte, bool) {
	f, ok := a.Lookup(name)
	return f.Data, ok && f.Type == pack.Regular
}

// entryAt returns the entry of exactly that name, links not followed.
func entryAt(a *archive.Archive, name string) (archive.File, bool) {
	files := a.Files()
	at := slices.IndexFunc(files, func(f archive.File) bool { return f.Name == name })
	if at < 0 {
		return archive.File{}, false
	}
	return files[at], true
}

// proveFile checks that a link leads somewhere, and that a library finds what it needs.
func proveFile(a *archive.Archive, f archive.File) error {
	switch {
	case f.Type == pack.Symlink && !slices.Contains(usrDirs, f.Name):
		if _, ok := a.Lookup(f.Name); !ok && !isDir(a, path.Join(path.Dir(f.Name), f.Target)) {
			return fmt.Errorf("the link %s leads to %s, which no package brings", f.Name, f.Target)
		}
	case f.Type == pack.Regular && isLibrary(f.Name):
		return proveLibrary(a, f)
	}
	return nil
}

// isDir reports whether anything lies below name.
func isDir(a *archive.Archive, name string) bool {
	return slices.ContainsFunc(a.Files(), func(f archive.File) bool { return within(name, f.Name) })
}

// proveLibrary checks that every library that f is linked with lies beside it.
func proveLibrary(a *archive.Archive, f archive.File) error {
	lib, err := elf.NewFile(bytes.NewReader(f.Data))
	if err != nil {
		return fmt.Errorf("reading the library %s: %w", f.Name, err)
	}
	needed, err := lib.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading the library %s: %w", f.Name, err)
	}
	for _, n := range needed {
		if _, ok := regular(a, path.Join(path.Dir(f.Name), n)); !ok {
			return fmt.Errorf("%s needs %s, which no package brings", f.Name, n)
		}
	}
	return nil
}
