package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Piece is a file on this machine that holds a file of the description, or a part of one.
type Piece struct {
	// Name is what findings call it: Path of the description, or the part's name.
	Name string
	// Path is where it lies.
	Path string
	// Size is the size that it should have, in bytes.
	Size int64
}

// Disk is a Place on this machine.
type Disk struct {
	// Pieces says in which files the bytes should lie, in order.
	Pieces func(file manifests.ModelFile) []Piece
	// Memo remembers the sums of whole files that were read; nil remembers nothing.
	Memo *verify.Memo
}

var _ Revealer = Disk{}

// Folder is the files of the description below a folder, each whole or in the parts of the
// description. Where both could be, parts are preferred, unless only the whole file is
// there, as on a mounted volume. Nothing else is looked for.
func Folder(dir string, memo *verify.Memo) Disk {
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	return Disk{Memo: memo, Pieces: func(file manifests.ModelFile) []Piece {
		names := file.PartPaths()
		if len(names) > 1 && absent(at, names...) && !absent(at, file.Path) {
			names = []string{file.Path}
		}
		if len(names) == 1 {
			return []Piece{{Name: file.Path, Path: at(file.Path), Size: file.Size}}
		}
		pieces := make([]Piece, len(names))
		for i, name := range names {
			pieces[i] = Piece{Name: name, Path: at(name), Size: file.Parts[i]}
		}
		return pieces
	}}
}

// absent reports whether none of the names is there.
func absent(at func(string) string, names ...string) bool {
	for _, name := range names {
		if _, err := os.Stat(at(name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// Local is an opened file on this machine, whole or in pieces: one file to its reader. Its
// Size is the one that the description gives. It is safe for concurrent use until Close.
type Local struct {
	*verify.Joined
	// Names are the names of the pieces, in order.
	Names []string
	files []*os.File
}

// Files are the open files behind it, in order, to be mapped or asked about. They stay the
// Local's, which closes them.
func (l *Local) Files() []*os.File { return l.files }

// Close closes the files behind it.
func (l *Local) Close() error {
	var problems []error
	for _, f := range l.files {
		problems = append(problems, f.Close())
	}
	return errors.Join(problems...)
}

// Open implements Place.
func (d Disk) Open(_ context.Context, file manifests.ModelFile) (*Content, verify.Findings, error) {
	var watch verify.Watch
	if pieces := d.Pieces(file); len(pieces) == 1 {
		watch = d.Memo.Watch(pieces[0].Path)
	}
	l, found, err := d.OpenLocal(file)
	if l == nil {
		return nil, found, err
	}
	reader := struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(l, 0, l.Size()), l}
	return &Content{ReadCloser: reader, Section: l, Parts: len(l.Names), Watch: watch}, found, nil
}

// Reveal implements Revealer, for a file that lies in one piece.
func (d Disk) Reveal(file manifests.ModelFile) (verify.Section, io.Closer, bool) {
	pieces := d.Pieces(file)
	if len(pieces) != 1 {
		return nil, nil, false
	}
	info, err := os.Stat(pieces[0].Path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil, false
	}
	f, err := os.Open(pieces[0].Path)
	if err != nil {
		return nil, nil, false
	}
	return io.NewSectionReader(f, 0, info.Size()), f, true
}

// OpenLocal opens a file for reads at any offset. Findings say what is wrong with it: their
// codes are "missing", "not-regular" and "size", their objects the names of pieces. Without
// an error among them the file is open and the caller closes it; with one it is nil. An
// error means that the disk or a permission kept the file from being looked at.
func (d Disk) OpenLocal(file manifests.ModelFile) (*Local, verify.Findings, error) {
	l, found := &Local{}, verify.Findings(nil)
	var sections []verify.Section
	for _, p := range d.Pieces(file) {
		f, problems, err := p.open()
		if err != nil {
			return nil, nil, errors.Join(err, l.Close())
		}
		l.Names = append(l.Names, p.Name)
		found = append(found, problems...)
		if f != nil {
			l.files = append(l.files, f)
			sections = append(sections, io.NewSectionReader(f, 0, p.Size))
		}
	}
	if found.Worst() == verify.Error {
		return nil, found, l.Close()
	}
	l.Joined = verify.Concat(sections...)
	return l, found, nil
}

// open opens the piece if it is what it should be. It looks before it opens, because
// opening a pipe would wait for a writer.
func (p Piece) open() (*os.File, verify.Findings, error) {
	var found verify.Findings
	info, err := os.Stat(p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found.Add(verify.Error, "missing", p.Name, "file is missing")
		return nil, found, nil
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		found.Add(verify.Error, "not-regular", p.Name, "not a regular file but %s", info.Mode().Type())
		return nil, found, nil
	case info.Size() != p.Size:
		found.Add(verify.Error, "size", p.Name, "%s", sizeMessage(info.Size(), p.Size))
		return nil, found, nil
	}
	f, err := os.Open(p.Path)
	return f, nil, err
}

func sizeMessage(is, want int64) string {
	if is < want {
		return fmt.Sprintf("%d bytes short: %d of %d", want-is, is, want)
	}
	return fmt.Sprintf("%d bytes too long: %d instead of %d", is-want, is, want)
}
