// Package basetest is a Debian mirror on loopback, and the packages that it serves: it
// writes what package base reads.
//
//	m, err := basetest.Start()          // trixie with base-files and libc6
//	base.Options{Mirrors: []string{m.URL()}, ...}
//
// The packages have the shape of Debian's own, entry by entry, and libraries that are
// ELF files with nothing but the list of libraries that they need: enough for a base
// layer that proves whole, a few kilobytes small, and not to be run. Everything is written
// from the formats' documents (deb(5), ar(5), DebianRepository/Format) without a look at
// how package base reads it, so that the two check each other; base is not imported.
//
// All bytes are functions of their input: the same packages have the same sums on any
// machine. The package does not import testing.
package basetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Suite is the suite of all packages.
const Suite = "trixie"

// Entry is one entry of a package's data.tar.
type Entry struct {
	// Name is as dpkg writes it: ./usr/bin/x, a directory's with a slash behind it.
	Name string
	// Content is a file's content, Target a link's target.
	Content, Target string
	// Type is the tar type flag; 0 means a file, or a symbolic link where Target is set.
	Type byte
	// Mode holds the permission bits; 0 means 0644.
	Mode int64
}

// Deb is a package to be written.
type Deb struct {
	Name, Version, Arch string
	// Compression is the suffix of the compressed members: "", ".gz", ".xz" or ".zst".
	Compression string
	Entries     []Entry
}

// Control is the package's control stanza.
func (d Deb) Control() string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Nobody <nobody@localhost>\nDescription: made for tests\n folded\n",
		d.Name, d.Version, d.Arch)
}

// Bytes writes the .deb. It fails for an unknown compression, and for entries that tar
// cannot say.
func (d Deb) Bytes() ([]byte, error) {
	members := []Member{{"debian-binary", []byte("2.0\n")}}
	for _, m := range []struct {
		name    string
		entries []Entry
	}{
		{"control.tar", []Entry{{Name: "./", Type: tar.TypeDir, Mode: 0o755}, {Name: "./control", Content: d.Control()}}},
		{"data.tar", d.Entries},
	} {
		archive, err := Tar(m.entries)
		if err != nil {
			return nil, err
		}
		packed, err := Compress(archive, d.Compression)
		if err != nil {
			return nil, err
		}
		members = append(members, Member{m.name + d.Compression, packed})
	}
	return Ar(members), nil
}

// Package is the lock line of a .deb with these bytes.
func (d Deb) Package(data []byte) manifests.Package {
	sum := sha256.Sum256(data)
	return manifests.Package{
		Name: d.Name, Version: d.Version, Arch: d.Arch, Suite: Suite, Size: int64(len(data)),
		Path:   "pool/main/" + d.Name[:1] + "/" + d.Name + "/" + d.Name + "_" + d.Version + "_" + d.Arch + ".deb",
		SHA256: hex.EncodeToString(sum[:]),
	}
}

// Member is one member of an ar archive.
type Member struct {
	Name string
	Data []byte
}

// Ar writes an archive of the common format, as dpkg-deb does: no trailing slash behind
// names, a newline behind members of odd length.
func Ar(members []Member) []byte {
	out := []byte("!<arch>\n")
	for _, m := range members {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, 0, 0, 0, "100644", len(m.Data))
		out = append(out, m.Data...)
		if len(m.Data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

// Tar writes the entries in their order.
func Tar(entries []Entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := w.WriteHeader(e.header()); err != nil {
			return nil, fmt.Errorf("writing %s: %w", e.Name, err)
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			return nil, fmt.Errorf("writing %s: %w", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (e Entry) header() *tar.Header {
	h := &tar.Header{Name: e.Name, Linkname: e.Target, Size: int64(len(e.Content)), Typeflag: e.Type, Mode: e.Mode}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	switch {
	case h.Typeflag == 0 && e.Target != "":
		h.Typeflag = tar.TypeSymlink
	case h.Typeflag == 0:
		h.Typeflag = tar.TypeReg
	}
	return h
}

// Compress compresses data as the suffix of a file name says: "", ".gz", ".xz" or ".zst".
func Compress(data []byte, suffix string) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return data, nil
	case ".gz":
		w = gzip.NewWriter(&out)
	case ".xz":
		w, err = xz.NewWriter(&out)
	case ".zst":
		w, err = zstd.NewWriter(&out)
	default:
		err = fmt.Errorf("there is no compressor for %q", suffix)
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
