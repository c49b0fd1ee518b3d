package manifests

import (
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// The methods in this file are about what a lock derives from verified bytes: the digests
// of layers, and the shares of files that inference never reads (sums of tensors have a
// file of their own). None is safe for concurrent use with one that changes the lock.

// Layer finds the layer line of one part; ok is false where it is not known, was computed
// under another pack version, or for another name in the image.
func (l *Lock) Layer(source, path string, p pack.Part) (LockLayer, bool) {
	if l.Header.Pack != pack.Version {
		return LockLayer{}, false
	}
	for _, line := range l.Layers {
		if line.Source == source && line.Path == path && line.describes(p) {
			return line, true
		}
	}
	return LockLayer{}, false
}

// describes reports whether the line is about the part.
func (line LockLayer) describes(p pack.Part) bool {
	return line.Entry == p.Name && line.Part == p.Index && line.Offset == p.Offset && line.Length == p.Length && line.Size == p.LayerSize()
}

// SetLayer records the digest of one part, "sha256:" and 64 hex digits. It replaces lines
// of the same part and those of another cut or place of the same file.
func (l *Lock) SetLayer(source, path string, p pack.Part, digest string) {
	l.renewPack()
	l.Layers = slices.DeleteFunc(l.Layers, func(o LockLayer) bool {
		return o.Source == source && o.Path == path && (o.Part == p.Index || !sameCut(o, p))
	})
	l.Layers = append(l.Layers, LockLayer{
		Kind: kindLayer, Source: source, Path: path, Entry: p.Name, Part: p.Index, Offset: p.Offset, Length: p.Length,
		Digest: digest, Size: p.LayerSize(),
	})
}

// renewPack forgets the digests of another pack version.
func (l *Lock) renewPack() {
	if l.Header.Pack != pack.Version {
		l.Header.Pack, l.Layers = pack.Version, nil
	}
}

// sameCut reports whether the line is about another part of the same cut as p.
func sameCut(line LockLayer, p pack.Part) bool {
	name, _, count, ok := pack.SplitPartName(p.Name)
	return ok && p.Count > 1 && line.Entry == pack.PartName(name, line.Part, count)
}

// SetUnused records the shares of one file that inference never reads, replacing what was
// known of it. Kind, Source and Path of the shares are filled in.
func (l *Lock) SetUnused(source, path string, unused []Unused) {
	l.Unused = slices.DeleteFunc(l.Unused, func(o Unused) bool { return o.Source == source && o.Path == path })
	for _, u := range unused {
		u.Kind, u.Source, u.Path = kindUnused, source, path
		l.Unused = append(l.Unused, u)
	}
}

// Adopt takes over what another lock derived from files whose sums are the same in both:
// layers, where l has no layer line of the file and the other lock's pack version and
// partSize are l's, and unused shares, where l has none of the file; and the sums of
// tensors of components whose files are all the same.
func (l *Lock) Adopt(other *Lock) {
	l.renewPack()
	layers, unused := l.sharedFiles(other), l.sharedFiles(other)
	for _, line := range l.Layers {
		delete(layers, [2]string{line.Source, line.Path})
	}
	for _, u := range l.Unused {
		delete(unused, [2]string{u.Source, u.Path})
	}
	for _, line := range other.Layers {
		if layers[[2]string{line.Source, line.Path}] && other.Header.Pack == pack.Version && other.Header.PartSize == l.Header.PartSize {
			l.Layers = append(l.Layers, line)
		}
	}
	for _, u := range other.Unused {
		if unused[[2]string{u.Source, u.Path}] {
			l.Unused = append(l.Unused, u)
		}
	}
	l.adoptTensors(other)
}

// sharedFiles is the set of kept files, by source and path, of which both locks have the
// same bytes.
func (l *Lock) sharedFiles(other *Lock) map[[2]string]bool {
	sums := map[[2]string]string{}
	for _, f := range other.Files {
		sums[[2]string{f.Source, f.Path}] = f.SHA256
	}
	shared := map[[2]string]bool{}
	for _, f := range l.Files {
		key := [2]string{f.Source, f.Path}
		if f.Keep && f.SHA256 != "" && sums[key] == f.SHA256 {
			shared[key] = true
		}
	}
	return shared
}

// Complete reports whether the lock knows every layer of every file that the selection
// keeps, so that an image can be put together without the bytes.
func (l *Lock) Complete(m *Manifest, s Selection) bool {
	for _, d := range s.Kept() {
		if source, ok := m.Source(d.Source); !ok || !l.knows(source, d.File, int64(m.PartSize)) {
			return false
		}
	}
	return true
}

func (l *Lock) knows(s Source, f File, partSize int64) bool {
	parts, err := pack.Parts(s.ImagePath(f.Path), f.Size, partSize)
	if err != nil {
		return false
	}
	for _, p := range parts {
		if _, ok := l.Layer(s.Name, f.Path, p); !ok {
			return false
		}
	}
	return true
}
