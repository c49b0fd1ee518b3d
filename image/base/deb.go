package base

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// contents is what is kept of a .deb.
type contents struct {
	control []byte // the control stanza as the package has it
	files   []archive.File
}

// unpack reads a .deb (deb(5)) in memory and returns the files that keep chooses. Names
// are those of a merged /usr: clean, relative, lib/x moved to usr/lib/x.
//
// The whole package is read and every name in it is checked, also of files that are not
// kept. Errors: a broken container, an unknown compression, a name or link out of the
// root, a kept entry that is neither file nor link, more than MaxEntries or MaxUnpacked.
func unpack(deb []byte, keep func(name string) bool) (contents, error) {
	members, err := parseAr(deb)
	if err != nil {
		return contents{}, err
	}
	if len(members) == 0 || members[0].name != "debian-binary" || !bytes.HasPrefix(members[0].data, []byte("2.")) {
		return contents{}, errors.New("the first member is not debian-binary of format 2")
	}
	var out contents
	control, err := member(members, "control.tar")
	if err == nil {
		out.control, err = readControl(control)
	}
	if err != nil {
		return contents{}, err
	}
	data, err := member(members, "data.tar")
	if err == nil {
		out.files, err = readTar(data, keep)
	}
	return out, err
}

// member returns the only member whose name is stem with the suffix of a compression.
func member(members []arMember, stem string) (arMember, error) {
	var found []arMember
	for _, m := range members {
		if m.name == stem || strings.HasPrefix(m.name, stem+".") {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return arMember{}, fmt.Errorf("%d members are named %s, one is expected", len(found), stem)
	}
	return found[0], nil
}

// readControl returns the file ./control.
func readControl(m arMember) ([]byte, error) {
	files, err := readTar(m, func(name string) bool { return name == "control" })
	if err != nil {
		return nil, err
	}
	if len(files) != 1 || files[0].Type != pack.Regular {
		return nil, fmt.Errorf("%s holds %d files named control, one is expected", m.name, len(files))
	}
	return files[0].Data, nil
}

// readTar reads a compressed tar to the last byte, so that the sums of its compression
// are checked too.
func readTar(m arMember, keep func(string) bool) ([]archive.File, error) {
	r, done, err := decompress(m)
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", m.name, err)
	}
	defer done()
	limited := &limitedReader{r: r, max: MaxUnpacked}
	files, err := readEntries(limited, keep)
	if err == nil {
		_, err = io.Copy(io.Discard, limited)
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", m.name, err)
	}
	return files, nil
}

// readEntries walks a tar.
func readEntries(r io.Reader, keep func(string) bool) ([]archive.File, error) {
	var out []archive.File
	for t, n := tar.NewReader(r), 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err == nil && n >= MaxEntries {
			err = fmt.Errorf("it has more than %d entries", MaxEntries)
		}
		if err != nil {
			return nil, err
		}
		f, kept, err := readEntry(t, h, keep)
		if err != nil {
			return nil, fmt.Errorf("%.200q: %w", h.Name, err)
		}
		if kept {
			out = append(out, f)
		}
	}
}

// readEntry turns one tar entry into a file of the layer.
func readEntry(t *tar.Reader, h *tar.Header, keep func(string) bool) (archive.File, bool, error) {
	plain, err := cleanName(h.Name)
	if err != nil {
		return archive.File{}, false, err
	}
	name := merged(plain)
	if h.Typeflag == tar.TypeDir || !keep(name) {
		return archive.File{}, false, nil
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size > maxFile {
			return archive.File{}, false, fmt.Errorf("it has %d bytes, at most %d are allowed", h.Size, maxFile)
		}
		data, err := io.ReadAll(t)
		return archive.Regular(name, h.Mode&0o777, data), err == nil, err
	case tar.TypeSymlink:
		target, err := mergedTarget(plain, name, h.Linkname)
		return archive.Symlink(name, target), err == nil, err
	}
	return archive.File{}, false, fmt.Errorf("its type is %q, neither file nor link", h.Typeflag)
}

// decompress opens a member by the suffix of its name; done releases the decoder. An xz
// decoder allocates the dictionary that the file asks for: the bytes come from a lock.
func decompress(m arMember) (r io.Reader, done func(), err error) {
	done = func() {}
	in := bytes.NewReader(m.data)
	switch suffix := strings.TrimPrefix(path.Ext(m.name), "."); suffix {
	case "tar":
		return in, done, nil
	case "xz":
		r, err = xz.NewReader(in)
	case "gz":
		r, err = gzip.NewReader(in)
	case "zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err == nil {
			r, done = z, z.Close
		}
	default:
		err = fmt.Errorf("its compression %q is none of xz, zst, gz", suffix)
	}
	return r, done, err
}

// limitedReader fails, instead of ending, when more than max bytes come.
type limitedReader struct {
	r      io.Reader
	n, max int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.n += int64(n); l.n > l.max {
		return n, fmt.Errorf("it unpacks to more than %d bytes", l.max)
	}
	return n, err
}
