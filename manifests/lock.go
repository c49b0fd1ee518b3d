package manifests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// LockVersion is the version of the lock's format.
const LockVersion = 1

// Lock pins what a manifest means: every upstream file with its commit, size and sums,
// the Debian packages of the base layer, and what was derived from verified bytes (layer
// digests, unused parts, sums of tensors). It names no endpoint, so it holds for any mirror.
type Lock struct {
	Header   LockHeader
	Files    []LockFile
	Packages []Package
	Layers   []LockLayer
	Unused   []Unused
	Tensors  []LockTensors
}

// LockHeader is the first line of a lock.
type LockHeader struct {
	Kind string `json:"kind"` // "plimsoll.lock"
	// Version is the format of the lock.
	Version int `json:"version"`
	// Manifest is the manifest's name.
	Manifest string `json:"manifest"`
	// Pack is the layer format under which layer lines were computed.
	Pack int `json:"pack"`
	// PartSize is the manifest's partSize in bytes, 0 for none.
	PartSize int64 `json:"partSize"`
}

// LockFile is one upstream file.
type LockFile struct {
	Kind   string `json:"kind"` // "file"
	Source string `json:"source"`
	Repo   string `json:"repo"`
	// Revision is what the manifest asked for; Commit is what that was when the lock was
	// made.
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	File
	// Keep says whether any variant carries the file.
	Keep bool `json:"keep"`
	// Rule is the manifest's rule that decided.
	Rule string `json:"rule"`
}

// Package is one Debian package of the base layer.
type Package struct {
	Kind    string `json:"kind"` // "package"
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Suite   string `json:"suite"`
	// Path is the .deb below a mirror's root, such as pool/main/g/glibc/….deb.
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// LockLayer is the digest of one layer of one kept file. It is a function of the file's
// sha256, the part with its name in the image and the pack version, so it is proven once
// the file is.
type LockLayer struct {
	Kind   string `json:"kind"` // "layer"
	Source string `json:"source"`
	// Path is the file's path in its repository.
	Path string `json:"path"`
	// Entry is the name of the layer's one archive entry: pack.Part's Name.
	Entry string `json:"entry"`
	// Part counts from 0; Offset and Length select bytes of the file.
	Part   int   `json:"part"`
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	// Digest is "sha256:" and 64 hex digits, of the uncompressed layer.
	Digest string `json:"digest"`
	// Size is the layer's size in bytes.
	Size int64 `json:"size"`
}

// Unused is a share of a kept file that inference never reads.
type Unused struct {
	Kind   string `json:"kind"` // "unused"
	Source string `json:"source"`
	Path   string `json:"path"`
	// Part names the share, such as "lm_head".
	Part   string `json:"part"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// The values of the lines' kind fields.
const (
	kindHeader  = "plimsoll.lock"
	kindFile    = "file"
	kindPackage = "package"
	kindLayer   = "layer"
	kindUnused  = "unused"
	kindTensors = "tensors"
)

// NewLock builds a lock from listings (keyed by source name) and packages. The listings'
// kept files must carry a sha256, the others a sha256 or a sha1. No layer is known yet; see
// Adopt. A lock that this function returns can be encoded and read back.
func NewLock(m *Manifest, listings map[string]Listing, packages []Package) (*Lock, error) {
	all, err := m.selectAll(listings)
	if err != nil {
		return nil, err
	}
	l := &Lock{Header: LockHeader{Kind: kindHeader, Version: LockVersion, Manifest: m.Name, Pack: pack.Version, PartSize: int64(m.PartSize)}}
	for _, d := range all.Decisions {
		if d.Keep && d.SHA256 == "" {
			return nil, fmt.Errorf("locking %s: the sha256 of %s is not known", m.Name, d.Path)
		}
		s, _ := m.Source(d.Source)
		l.Files = append(l.Files, LockFile{
			Kind: kindFile, Source: d.Source, Repo: s.Repo, Revision: s.Revision, Commit: listings[d.Source].Commit,
			File: d.File, Keep: d.Keep, Rule: d.Rule,
		})
	}
	for _, p := range packages {
		p.Kind = kindPackage
		l.Packages = append(l.Packages, p)
	}
	slices.SortFunc(l.Packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("locking %s: %w", m.Name, err)
	}
	return l, nil
}

// selectAll decides for the union of all variants: what the rules keep.
func (m *Manifest) selectAll(listings map[string]Listing) (Selection, error) {
	everything := *m
	everything.Variants = nil
	return everything.Select(DefaultVariant, listings)
}

// Pin returns the commit that the lock holds for the source; ok is false where the lock
// does not know the source, or where the manifest asks for another repository or revision
// than the one that was pinned.
func (l *Lock) Pin(s Source) (commit string, ok bool) {
	for _, f := range l.Files {
		if f.Source == s.Name {
			same := f.Revision == s.Revision || s.Pinned() && f.Commit == s.Revision
			return f.Commit, same && f.Repo == s.Repo
		}
	}
	return "", false
}

// Listings returns the upstream listings that the lock pins, keyed by source name.
func (l *Lock) Listings() map[string]Listing {
	out := map[string]Listing{}
	for _, f := range l.Files {
		listing := out[f.Source]
		listing.Repo, listing.Commit = f.Repo, f.Commit
		listing.Files = append(listing.Files, f.File)
		out[f.Source] = listing
	}
	return out
}
