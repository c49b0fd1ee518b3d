package image

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// File is an open file behind a layer.
type File interface {
	io.ReaderAt
	io.Closer
}

// Proven is a File whose bytes are known to be those that the lock describes, since their
// sum was taken before, for as long as Unchanged returns nil; *verify.Proven is one.
type Proven interface {
	File
	Unchanged() error
}

// Opener opens the bytes behind a layer. It fails with an error that wraps ErrAbsent when
// this machine does not have them.
type Opener func() (File, error)

// ErrUnproven says that nobody knows whether the bytes of a layer are right before their sum
// has been taken.
var ErrUnproven = errors.New("the bytes are not proven")

// ErrAbsent says that the bytes of a layer are not on this machine. An image can be
// described, and published where the registry already has the layer, without them.
var ErrAbsent = errors.New("the bytes are not on this machine")

// Layer is one part of a file seen as a tar layer. It implements v1.Layer; it opens the
// file only when its bytes are asked for, and every reader opens it anew. It is safe for
// concurrent use.
type Layer struct {
	part   pack.Part
	prefix []byte
	desc   v1.Descriptor
	open   Opener
}

var _ v1.Layer = (*Layer)(nil)

// NewLayer describes part of a file as a layer. digest is that of the layer, as a lock or
// a download computed it; nobody checks it here: whoever stores the bytes does.
func NewLayer(part pack.Part, digest string, annotations map[string]string, open Opener) (*Layer, error) {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("describing layer %s: %w", part.Name, err)
	}
	prefix, err := pack.Prefix(part)
	if err != nil {
		return nil, err
	}
	return &Layer{part: part, prefix: prefix, open: open, desc: v1.Descriptor{
		MediaType: types.OCIUncompressedLayer, Size: part.LayerSize(), Digest: hash, Annotations: annotations,
	}}, nil
}

// Descriptor returns the descriptor, with annotations.
func (l *Layer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// Digest is the sha256 of the layer.
func (l *Layer) Digest() (v1.Hash, error) { return l.desc.Digest, nil }

// DiffID equals Digest, since the layer is not compressed.
func (l *Layer) DiffID() (v1.Hash, error) { return l.desc.Digest, nil }

// Size is the layer's size in bytes.
func (l *Layer) Size() (int64, error) { return l.desc.Size, nil }

// UncompressedSize equals Size.
func (l *Layer) UncompressedSize() (int64, error) { return l.desc.Size, nil }

// MediaType is that of an uncompressed OCI layer.
func (l *Layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

// Exists reports whether the bytes can be opened here.
func (l *Layer) Exists() (bool, error) {
	f, err := l.open()
	if errors.Is(err, ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// Compressed returns the layer's bytes; the name is v1's, nothing is compressed.
func (l *Layer) Compressed() (io.ReadCloser, error) {
	v, err := l.View()
	if err != nil {
		return nil, err
	}
	return &viewReader{SectionReader: io.NewSectionReader(v, 0, v.Size()), view: v}, nil
}

// Uncompressed returns the same bytes as Compressed.
func (l *Layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

// View opens the layer for reads at any offset. The caller closes it.
func (l *Layer) View() (*View, error) {
	f, err := l.open()
	if err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", l.part.Name, err)
	}
	return &View{prefix: l.prefix, part: l.part, file: f, size: l.desc.Size}, nil
}

// NewView is the bytes of the layer that a part of an open file becomes, whose digest need
// not be known. Closing it closes the file.
func NewView(part pack.Part, file File) (*View, error) {
	prefix, err := pack.Prefix(part)
	if err != nil {
		return nil, err
	}
	return &View{prefix: prefix, part: part, file: file, size: part.LayerSize()}, nil
}

// View is the bytes of a layer: header, share of the file, zeros. Reads at different
// offsets may run at the same time.
type View struct {
	prefix []byte
	part   pack.Part
	file   File
	size   int64
}

// Size is the number of bytes.
func (v *View) Size() int64 { return v.size }

// Close closes the file behind the view.
func (v *View) Close() error { return v.file.Close() }

// ReadAt implements io.ReaderAt. A file that is shorter than its part gives
// io.ErrUnexpectedEOF.
func (v *View) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading layer %s: offset is %d", v.part.Name, off)
	}
	n := 0
	for n < len(p) && off < v.size {
		m, err := v.readSpan(p[n:], off)
		n, off = n+m, off+int64(m)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readSpan reads from the one of the three spans that holds off.
func (v *View) readSpan(p []byte, off int64) (int, error) {
	if head := int64(len(v.prefix)); off < head {
		return copy(p, v.prefix[off:]), nil
	} else if at := off - head; at < v.part.Length {
		p = p[:min(int64(len(p)), v.part.Length-at)]
		n, err := v.file.ReadAt(p, v.part.Offset+at)
		if n == len(p) {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, fmt.Errorf("reading layer %s at %d: %w", v.part.Name, off+int64(n), err)
	}
	p = p[:min(int64(len(p)), v.size-off)]
	clear(p)
	return len(p), nil
}

// Unchanged returns nil where the file behind the view is Proven and has not changed: what
// was read before is then proven. It is ErrUnproven for every other file.
func (v *View) Unchanged() error {
	if f, ok := v.file.(Proven); ok {
		return f.Unchanged()
	}
	return ErrUnproven
}

// WriteRange writes the n bytes at off to w and returns how many were written; fewer come
// with an error. Those of the file go straight from it where w is a TCP connection and the
// file an *os.File: the kernel moves them (sendfile). Unlike ReadAt it moves the file's own
// offset, so that one WriteRange may run at a time.
func (v *View) WriteRange(w io.Writer, off, n int64) (done int64, err error) {
	for done < n && err == nil {
		var m int64
		m, err = v.writeSpan(w, off+done, n-done)
		done += m
	}
	return done, err
}

// writeSpan writes from the one of the three spans that holds off, at most n bytes.
func (v *View) writeSpan(w io.Writer, off, n int64) (int64, error) {
	at := off - int64(len(v.prefix))
	f, ok := v.file.(io.ReadSeeker)
	switch {
	case ok && at < 0:
		n = min(n, -at) // the header alone
	case ok && at < v.part.Length:
		if _, err := f.Seek(v.part.Offset+at, io.SeekStart); err != nil {
			return 0, fmt.Errorf("reading layer %s at %d: %w", v.part.Name, off, err)
		}
		return v.whole(io.CopyN(w, f, min(n, v.part.Length-at)))
	}
	return v.whole(io.CopyN(w, io.NewSectionReader(v, off, n), n))
}

// whole makes the end of a file that is shorter than its part an error.
func (v *View) whole(n int64, err error) (int64, error) {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("reading layer %s: %w", v.part.Name, io.ErrUnexpectedEOF)
	}
	return n, err
}

// viewReader reads a view once and closes it.
type viewReader struct {
	*io.SectionReader
	view *View
}

// Close closes the view.
func (r *viewReader) Close() error { return r.view.Close() }

// Annotations describes a model layer so that a manifest alone can find its bytes.
func Annotations(source, file string, size int64, sha256 string, part pack.Part) map[string]string {
	a := map[string]string{
		ociTitle:             part.Name,
		AnnotationKind:       string(KindModel),
		AnnotationPack:       fmt.Sprint(pack.Version),
		AnnotationSource:     source,
		AnnotationFile:       file,
		AnnotationFileSize:   fmt.Sprint(size),
		AnnotationFileSHA256: sha256,
	}
	if part.Count > 1 {
		a[AnnotationPart] = fmt.Sprintf("%d/%d", part.Index+1, part.Count)
		a[AnnotationPartOffset] = fmt.Sprint(part.Offset)
		a[AnnotationPartLength] = fmt.Sprint(part.Length)
	}
	return a
}

// partOf reads Annotations back: which part of which file the descriptor is about.
func partOf(d v1.Descriptor) (file, sha256 string, part pack.Part, err error) {
	file, sha256 = d.Annotations[AnnotationFile], d.Annotations[AnnotationFileSHA256]
	size, err := number(d, AnnotationFileSize)
	if err != nil {
		return "", "", part, fmt.Errorf("reading annotations of layer %s: file size: %w", d.Digest, err)
	}
	part = pack.Part{Name: file, Count: 1, Length: size}
	if text, cut := d.Annotations[AnnotationPart]; cut {
		if part, err = cutPart(d, file, text); err != nil {
			return "", "", part, fmt.Errorf("reading annotations of layer %s: part %q: %w", d.Digest, text, err)
		}
	}
	if part.LayerSize() != d.Size {
		return "", "", part, fmt.Errorf("reading annotations of layer %s: the layer has %d bytes, its file asks for %d", d.Digest, d.Size, part.LayerSize())
	}
	return file, sha256, part, nil
}

// cutPart reads the annotations of a part and checks them against each other.
func cutPart(d v1.Descriptor, file, text string) (pack.Part, error) {
	index, count, ok := strings.Cut(text, "/")
	at, atErr := decimal(index)
	of, ofErr := decimal(count)
	offset, offsetErr := number(d, AnnotationPartOffset)
	length, lengthErr := number(d, AnnotationPartLength)
	if err := errors.Join(atErr, ofErr, offsetErr, lengthErr); err != nil || !ok || of > maxParts || at < 1 || at > of {
		return pack.Part{}, errors.Join(errors.New("it is no part of so many"), err)
	}
	p := pack.Part{Name: pack.PartName(file, int(at)-1, int(of)), Index: int(at) - 1, Count: int(of), Offset: offset, Length: length}
	if back, _, _, ok := pack.SplitPartName(p.Name); !ok || back != file || offset < 0 || length <= 0 {
		return pack.Part{}, errors.New("the numbers contradict each other")
	}
	return p, nil
}

// maxParts is more parts than any image has layers.
const maxParts = 1 << 16

// number reads an annotation as Annotations writes numbers.
func number(d v1.Descriptor, annotation string) (int64, error) {
	return decimal(d.Annotations[annotation])
}

// decimal reads digits as they are printed: no sign, no zeros before, nothing else.
func decimal(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (n < 0 || strconv.FormatInt(n, 10) != text) {
		err = fmt.Errorf("%q is no number of bytes or parts", text)
	}
	return n, err
}
