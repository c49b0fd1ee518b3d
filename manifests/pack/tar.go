package pack

import (
	"fmt"
	"strings"
)

// Block is tar's block size in bytes.
const Block = 512

// trailer is the two zero blocks that end an archive.
const trailer = 2 * Block

// maxOctal is the largest size that fits the header's 11 octal digits: 8 GiB - 1.
const maxOctal = 1<<33 - 1

// maxName is the length of the header's name and link fields.
const maxName = 100

// Type is the kind of an archive entry.
type Type byte

// The entry types that plimsoll writes, with tar's own type flags.
const (
	Regular   Type = '0'
	Symlink   Type = '2'
	Directory Type = '5'
	longName  Type = 'L'
	longLink  Type = 'K'
)

// Entry describes one archive entry of a small layer. Owner, time and device fields are
// fixed by the dialect.
type Entry struct {
	// Name is a clean relative path; a directory's has no trailing slash.
	Name string
	Type Type
	// Mode holds the permission bits.
	Mode int64
	// Size is the number of content bytes; only Regular entries have any.
	Size int64
	// Target is where a Symlink points to.
	Target string
}

// Prefix returns the bytes of the layer of p before the file's own: one header block, or
// three and more for a long name. It is deterministic.
func Prefix(p Part) ([]byte, error) {
	return Header(Entry{Name: p.Name, Type: Regular, Mode: 0o644, Size: p.Length})
}

// SuffixLen returns how many zero bytes follow length content bytes in a layer: padding to
// a block, then the end of the archive.
func SuffixLen(length int64) int64 { return PadLen(length) + trailer }

// PadLen returns how many zero bytes fill the last block of length content bytes.
func PadLen(length int64) int64 { return (Block - length%Block) % Block }

// Trailer returns the zero bytes that end an archive.
func Trailer() []byte { return make([]byte, trailer) }

// Header returns the header blocks of one entry. An archive of several entries is, for
// each, Header, content, PadLen zeros; then Trailer.
func Header(e Entry) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if e.Type == Directory {
		e.Name += "/"
	}
	var out []byte
	if len(e.Target) > maxName {
		out = append(out, long(longLink, e.Target)...)
	}
	if len(e.Name) > maxName {
		out = append(out, long(longName, e.Name)...)
	}
	return append(out, block(e)...), nil
}

// check refuses what the dialect cannot say.
func (e Entry) check() error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	switch e.Type {
	case Regular, Directory, Symlink:
	default:
		return fmt.Errorf("writing a tar header for %s: type %q is none of file, directory and symlink", e.Name, rune(e.Type))
	}
	switch {
	case e.Size < 0 || e.Type != Regular && e.Size != 0:
		return fmt.Errorf("writing a tar header for %s: size %d is not possible for type %c", e.Name, e.Size, e.Type)
	case (e.Target != "") != (e.Type == Symlink) || strings.Contains(e.Target, "\x00"):
		return fmt.Errorf("writing a tar header for %s: target %q is not possible for type %c", e.Name, e.Target, e.Type)
	case e.Mode < 0 || e.Mode > 0o7777:
		return fmt.Errorf("writing a tar header for %s: mode %o has more than permission bits", e.Name, e.Mode)
	}
	return nil
}

// prefixLen is len(Prefix) for a part of the given name; it does not depend on the size.
func prefixLen(name string) int64 {
	if len(name) <= maxName {
		return Block
	}
	n := int64(len(name)) + 1
	return Block + n + PadLen(n) + Block
}

// long returns GNU's extra entry for a name or link target over maxName bytes: a header
// with the fixed name ././@LongLink, then the text with a NUL behind it.
func long(t Type, text string) []byte {
	content := append([]byte(text), 0)
	head := block(Entry{Name: "././@LongLink", Type: t, Mode: 0o644, Size: int64(len(content))})
	out := append(head, content...)
	return append(out, make([]byte, PadLen(int64(len(content))))...)
}

// block writes one header block in GNU's layout (tar's manual, "Basic Tar Format"). A name
// or target over maxName bytes is cut there, as GNU tar does: the long entry before it
// holds the whole.
func block(e Entry) []byte {
	b := make([]byte, Block)
	copy(b[0:maxName], e.Name)
	octal(b[100:108], e.Mode)
	octal(b[108:116], 0) // owner
	octal(b[116:124], 0) // group
	number(b[124:136], e.Size)
	octal(b[136:148], 0) // modification time
	b[156] = byte(e.Type)
	copy(b[157:157+maxName], e.Target)
	copy(b[257:265], "ustar  \x00") // GNU's magic and version
	checksum(b)
	return b
}

// number writes n as octal digits, or over 8 GiB as GNU's base-256: a set high bit, then
// the value big-endian.
func number(field []byte, n int64) {
	if n <= maxOctal {
		octal(field, n)
		return
	}
	for i := len(field) - 1; i > 0; i-- {
		field[i] = byte(n)
		n >>= 8
	}
	field[0] = 0x80
}

// octal fills the field with zero-padded octal digits and a NUL.
func octal(field []byte, n int64) {
	copy(field, fmt.Sprintf("%0*o", len(field)-1, n))
}

// checksum is the sum of all bytes with the checksum field itself taken as spaces,
// written as six octal digits, NUL, space.
func checksum(b []byte) {
	copy(b[148:156], "        ")
	sum := int64(0)
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[148:155], fmt.Sprintf("%06o\x00", sum))
}
