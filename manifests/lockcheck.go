package manifests

import (
	"errors"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// check refuses values that later steps rely on, and lines that contradict each other. Its
// errors are of kind fault.Lock.
func (l *Lock) check() error {
	for _, check := range []func() error{l.Header.check, l.checkFiles, l.checkPackages, l.checkLayers, l.checkUnused, l.checkTensors} {
		if err := check(); err != nil {
			return fault.Wrap(fault.Lock, "", err)
		}
	}
	return nil
}

func (h LockHeader) check() error {
	switch {
	case h.Version != LockVersion:
		return fmt.Errorf("the lock's version is %d, this plimsoll reads %d", h.Version, LockVersion)
	case !nameForm.MatchString(h.Manifest):
		return fmt.Errorf("the lock's manifest is %q: %s", h.Manifest, nameRule)
	case h.Pack < 1 || h.PartSize < 0:
		return fmt.Errorf("the lock's pack version is %d and its partSize %d", h.Pack, h.PartSize)
	}
	return nil
}

// checkFiles checks file lines one by one, and that those of a source agree on where the
// source is.
func (l *Lock) checkFiles() error {
	seen, first := map[[2]string]bool{}, map[string]LockFile{}
	for _, f := range l.Files {
		if err := f.check(); err != nil {
			return fmt.Errorf("file %s of %s: %w", f.Path, f.Source, err)
		}
		key := [2]string{f.Source, f.Path}
		if seen[key] {
			return fmt.Errorf("file %s of %s: it is there twice", f.Path, f.Source)
		}
		seen[key] = true
		o, known := first[f.Source]
		if !known {
			first[f.Source], o = f, f
		}
		if o.Repo != f.Repo || o.Revision != f.Revision || o.Commit != f.Commit {
			return fmt.Errorf("file %s of %s: it is at %s %s %s, the file before at %s %s %s",
				f.Path, f.Source, f.Repo, f.Revision, f.Commit, o.Repo, o.Revision, o.Commit)
		}
	}
	return nil
}

func (f LockFile) check() error {
	switch {
	case CheckPath(f.Path) != nil:
		return CheckPath(f.Path)
	case !nameForm.MatchString(f.Source) || !nameForm.MatchString(f.Rule):
		return fmt.Errorf("source %q or rule %q is malformed", f.Source, f.Rule)
	case !repoForm.MatchString(f.Repo) || strings.Contains(f.Repo, ".."):
		return fmt.Errorf("repo %q is malformed", f.Repo)
	case CheckPath(f.Revision) != nil:
		return fmt.Errorf("revision %q is malformed", f.Revision)
	case !isHex(f.Commit, 40):
		return fmt.Errorf("commit %q is not 40 hex digits", f.Commit)
	case f.Size < 0 || f.Size > maxSize:
		return fmt.Errorf("size is %d", f.Size)
	case f.SHA256 != "" && !isHex(f.SHA256, 64), f.SHA1 != "" && !isHex(f.SHA1, 40):
		return fmt.Errorf("sha256 %q or sha1 %q is malformed", f.SHA256, f.SHA1)
	case f.SHA256 == "" && (f.Keep || f.SHA1 == ""):
		return errors.New("its sum is missing")
	}
	return nil
}

func (l *Lock) checkPackages() error {
	seen := map[string]bool{}
	for _, p := range l.Packages {
		switch {
		case !packageForm.MatchString(p.Name) || !isLine(p.Version) || !nameForm.MatchString(p.Arch) || !nameForm.MatchString(p.Suite):
			return fmt.Errorf("package %s: version %q, architecture %q or suite %q is malformed", p.Name, p.Version, p.Arch, p.Suite)
		case CheckPath(p.Path) != nil || !isHex(p.SHA256, 64) || p.Size <= 0 || p.Size > maxSize:
			return fmt.Errorf("package %s: path %q, size %d or sha256 %q is malformed", p.Name, p.Path, p.Size, p.SHA256)
		case seen[p.Name]:
			return fmt.Errorf("package %s: it is there twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// file finds a file line.
func (l *Lock) file(source, path string) (LockFile, bool) {
	for _, f := range l.Files {
		if f.Source == source && f.Path == path {
			return f, true
		}
	}
	return LockFile{}, false
}

func (l *Lock) checkLayers() error {
	seen := map[[3]string]bool{}
	for _, line := range l.Layers {
		f, locked := l.file(line.Source, line.Path)
		hex, prefixed := strings.CutPrefix(line.Digest, "sha256:")
		key := [3]string{line.Source, line.Path, fmt.Sprint(line.Part)}
		switch {
		case !locked || !f.Keep:
			return fmt.Errorf("layer %d of %s: no kept file of source %s has this path", line.Part, line.Path, line.Source)
		case !prefixed || !isHex(hex, 64):
			return fmt.Errorf("layer %d of %s: its digest is %q, want sha256: and 64 hex digits", line.Part, line.Path, line.Digest)
		case CheckPath(line.Entry) != nil:
			return fmt.Errorf("layer %d of %s: entry: %w", line.Part, line.Path, CheckPath(line.Entry))
		case line.Part < 0 || line.Offset < 0 || line.Length < 0 || line.Offset > f.Size || line.Length > f.Size-line.Offset || line.Size <= line.Length:
			return fmt.Errorf("layer %d of %s: offset %d, length %d and size %d do not fit a file of %d bytes",
				line.Part, line.Path, line.Offset, line.Length, line.Size, f.Size)
		case seen[key]:
			return fmt.Errorf("layer %d of %s: it is there twice", line.Part, line.Path)
		}
		seen[key] = true
	}
	return nil
}

func (l *Lock) checkUnused() error {
	seen, sum := map[[3]string]bool{}, map[[2]string]int64{}
	for _, u := range l.Unused {
		f, locked := l.file(u.Source, u.Path)
		key, file := [3]string{u.Source, u.Path, u.Part}, [2]string{u.Source, u.Path}
		switch {
		case !locked || !f.Keep:
			return fmt.Errorf("unused %s of %s: no kept file of source %s has this path", u.Part, u.Path, u.Source)
		case !isLine(u.Part) || !isLine(u.Reason):
			return fmt.Errorf("unused %q of %s: part or reason %q is missing or malformed", u.Part, u.Path, u.Reason)
		case u.Bytes < 0 || u.Bytes > f.Size-sum[file]:
			return fmt.Errorf("unused %s of %s: %d bytes, the file has %d", u.Part, u.Path, u.Bytes, f.Size)
		case seen[key]:
			return fmt.Errorf("unused %s of %s: it is there twice", u.Part, u.Path)
		}
		seen[key] = true
		sum[file] += u.Bytes
	}
	return nil
}
