// Package pack decides how a file becomes image layers: the bytes before it (a tar
// header), the bytes after it (zeros), and where a large file is cut into parts. It is
// pure: it never sees the file, so a layer is a view, prefix | file bytes | suffix, and
// any offset of it can be produced again at any time.
//
// The dialect is one and fixed: GNU tar, uncompressed, one regular file to a layer,
// mode 0644, owner 0:0 without names, modification time 0. Sizes over 8 GiB use GNU's
// base-256 field instead of a PAX record, because some scanners misread PAX sizes
// (containers/olot#210). Names over 100 bytes use GNU's ././@LongLink entry. Parents are
// not written: unpackers create them as 0755. A layer is, byte for byte, what GNU tar
// writes with --format=gnu --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=0644 -b1.
//
// A file whose layer would be larger than partSize is cut at multiples of a fixed
// granularity, so that parts can be mapped and read with direct I/O at any page size: 64
// MiB where partSize is at least 1 GiB, and 1 MiB below that, for registries that take
// small requests only (100 MB behind some proxies). All parts of a file but the last have
// one length, the largest that fits.
//
// Two layers are equal exactly when name, size, part and bytes are equal. Version numbers
// that promise: it grows whenever the same input would give other bytes, and digests that
// were recorded under another version are void.
package pack

import (
	"fmt"
	"path"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Version is the version of the layer format, recorded in locks beside layer digests.
const Version = 1

// Align is the granularity of cuts at a partSize of LargePart and more.
const Align = 64 << 20

// SmallAlign is the granularity of cuts at a partSize under LargePart.
const SmallAlign = 1 << 20

// LargePart is the partSize in bytes from which cuts lie at multiples of Align.
const LargePart = 1 << 30

// MinPartSize is the smallest partSize that fits a part of SmallAlign bytes with its
// header, whatever the name.
const MinPartSize = 2 * SmallAlign

// MaxParts bounds the number of parts of one file; two digits number them in names.
const MaxParts = 99

// MaxSize bounds the size of a file, so that no sum of sizes in a layer overflows.
const MaxSize = 1 << 62

// Part is one layer's share of a file.
type Part struct {
	// Name is the entry's path in the layer: the file's own name when Count is 1, else
	// the name with a suffix such as ".part-00-of-02".
	Name string `json:"name"`
	// Index counts from 0 to Count-1.
	Index int `json:"part"`
	Count int `json:"parts"`
	// Offset and Length select bytes of the file.
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// LayerSize is the size in bytes of the layer that holds the part.
func (p Part) LayerSize() int64 {
	return prefixLen(p.Name) + p.Length + SuffixLen(p.Length)
}

// Parts cuts a file of the given size into parts whose layers are at most partSize bytes;
// partSize 0 means no limit. A file whose single layer fits is not cut. All parts but the
// last have the same length, the largest multiple of the granularity whose layer fits.
//
// name is a slash-separated relative path. Errors: an unsafe name, a size below zero or
// over MaxSize, a partSize too small for one part, more than MaxParts parts.
func Parts(name string, size, partSize int64) ([]Part, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("packing %s: size is %d, allowed are 0 to %d", name, size, int64(MaxSize))
	}
	whole := Part{Name: name, Count: 1, Length: size}
	if partSize == 0 || whole.LayerSize() <= partSize {
		return []Part{whole}, nil
	}
	step := partLength(name, partSize)
	if step <= 0 {
		return nil, fault.Wrap(fault.Usage, "raise partSize in the manifest", fmt.Errorf(
			"packing %s: partSize is %d, less than one part of %d bytes with its header", name, partSize, align(partSize)))
	}
	count := (size-1)/step + 1
	if count > MaxParts {
		return nil, fault.Wrap(fault.Usage, "raise partSize in the manifest", fmt.Errorf(
			"packing %s: partSize %d cuts %d bytes into %d parts, at most %d are allowed", name, partSize, size, count, MaxParts))
	}
	parts := make([]Part, count)
	for i := range parts {
		offset := int64(i) * step
		parts[i] = Part{Name: PartName(name, i, len(parts)), Index: i, Count: len(parts), Offset: offset, Length: min(step, size-offset)}
	}
	return parts, nil
}

// partLength is the length of every part but the last: the largest multiple of the
// granularity that fits a layer of partSize bytes. It is not positive where none fits.
func partLength(name string, partSize int64) int64 {
	granularity := align(partSize)
	return (partSize - prefixLen(PartName(name, 0, 1)) - trailer) / granularity * granularity
}

// align is the granularity of cuts at a partSize.
func align(partSize int64) int64 {
	if partSize >= LargePart {
		return Align
	}
	return SmallAlign
}

// PartName is the entry name of part i of n: the name with ".part-00-of-02" behind it.
func PartName(name string, i, n int) string {
	return fmt.Sprintf("%s.part-%02d-of-%02d", name, i, n)
}

// SplitPartName undoes the part suffix of an entry name. ok is false for a name without
// one, or with numbers that contradict each other.
func SplitPartName(entry string) (name string, index, count int, ok bool) {
	at := strings.LastIndex(entry, ".part-")
	if at <= 0 {
		return "", 0, 0, false
	}
	if _, err := fmt.Sscanf(entry[at:], ".part-%02d-of-%02d", &index, &count); err != nil {
		return "", 0, 0, false
	}
	if count < 1 || index < 0 || index >= count || entry != PartName(entry[:at], index, count) {
		return "", 0, 0, false
	}
	return entry[:at], index, count, true
}

// checkName refuses names that an unpacker could place outside of its root, or that two
// unpackers could understand differently.
func checkName(name string) error {
	switch {
	case name == "" || name == ".":
		return fmt.Errorf("packing %q: the name is empty", name)
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("packing %q: the name is absolute", name)
	case strings.ContainsAny(name, "\x00\\"):
		return fmt.Errorf("packing %q: the name holds a NUL or a backslash", name)
	case path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("packing %q: the name is not clean, %q is", name, path.Clean(name))
	}
	return nil
}
