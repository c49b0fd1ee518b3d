package contents

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// reader reads a file out of its layers and checks everything around it. What it finds is
// no error: the bytes go on as far as they make sense, so that one run tells all. It is not
// safe for concurrent use.
type reader struct {
	ctx    context.Context
	parts  []pack.Part
	layers []v1.Descriptor
	open   []func() (io.ReadCloser, error)
	cached *modelfiles.Content // behind views; closed with the reader
	found  verify.Findings

	at   int // of the layer in work
	blob io.ReadCloser
	sum  hash.Hash
	left int64 // bytes of the part that are still to come
	err  error
}

// next opens the layer in work and reads its header. An error that isAbsent has a finding.
func (r *reader) next() error {
	part := r.parts[r.at]
	blob, err := r.open[r.at]()
	if isAbsent(err) {
		r.found.Add(verify.Error, CodeMissing, part.Name, "blob %s is not there", r.layers[r.at].Digest)
	}
	if err != nil {
		return err
	}
	r.blob, r.sum, r.left = blob, sha256.New(), part.Length
	want, err := pack.Prefix(part)
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	n, err := io.ReadFull(r.blob, got)
	r.sum.Write(got[:n])
	switch {
	case isEnd(err):
		r.found.Add(verify.Error, CodeFraming, part.Name, "the layer ends after %d bytes, inside of its header", n)
		return io.EOF
	case err != nil:
		return err
	case !bytes.Equal(got, want):
		r.found.Add(verify.Error, CodeFraming, part.Name, "%s", headerMessage(got, part))
	}
	return nil
}

// isAbsent reports whether a blob is not there.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// isEnd reports whether a stream came to its end.
func isEnd(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// headerMessage says what a wrong header holds.
func headerMessage(got []byte, part pack.Part) string {
	h, err := tar.NewReader(bytes.NewReader(got)).Next()
	switch {
	case err != nil:
		return "the layer does not begin with a tar header"
	case h.Name != part.Name || h.Size != part.Length:
		return fmt.Sprintf("the tar header names %q with %d bytes, want %q with %d", h.Name, h.Size, part.Name, part.Length)
	}
	return "the tar header is not the one that plimsoll writes"
}

// Read yields the file's own bytes. A layer that is cut or missing ends the file.
func (r *reader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.left > 0 {
			return r.share(p)
		}
		r.err = r.step()
	}
	if isAbsent(r.err) {
		return 0, io.EOF
	}
	return 0, r.err
}

// share reads bytes of the part.
func (r *reader) share(p []byte) (int, error) {
	n, err := r.blob.Read(p[:min(int64(len(p)), r.left)])
	r.sum.Write(p[:n])
	r.left -= int64(n)
	switch {
	case isEnd(err) && r.left > 0:
		part := r.parts[r.at]
		r.found.Add(verify.Error, CodeFraming, part.Name, "the layer ends %d bytes before the end of the file's share of %d", r.left, part.Length)
		r.err = io.EOF
	case isEnd(err):
		err = nil // the end is looked at again behind the padding
	case err != nil:
		r.err = err
	}
	if n > 0 || r.err == nil {
		return n, nil
	}
	return 0, r.err
}

// step finishes the layer in work and begins the next.
func (r *reader) step() error {
	if err := r.finish(); err != nil {
		return err
	}
	r.blob.Close() // it was only read, to its end
	r.blob = nil
	if r.at++; r.at == len(r.parts) {
		return io.EOF
	}
	return r.next()
}

// finish reads what is behind the share, and compares the digest.
func (r *reader) finish() error {
	part, d := r.parts[r.at], r.layers[r.at]
	want := pack.SuffixLen(part.Length)
	rest, err := io.ReadAll(io.LimitReader(r.blob, want+1))
	if err != nil {
		return err
	}
	r.sum.Write(rest)
	switch n := int64(len(rest)); {
	case n < want:
		r.found.Add(verify.Error, CodeFraming, part.Name, "the layer is %d bytes short: it ends in its padding", want-n)
		return nil
	case n > want:
		r.found.Add(verify.Error, CodeFraming, part.Name, "the layer goes on behind its %d bytes", d.Size)
		return nil
	case len(bytes.Trim(rest, "\x00")) > 0:
		r.found.Add(verify.Error, CodeFraming, part.Name, "the padding behind the file is not zeros")
	}
	compareDigest(r.sum, d, part.Name, &r.found)
	return nil
}

// compareDigest holds the sum of a layer against the manifest.
func compareDigest(sum hash.Hash, d v1.Descriptor, title string, found *verify.Findings) {
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != d.Digest.String() {
		found.Add(verify.Error, CodeDigest, title, "the layer's digest is %s, the manifest says %s", got, d.Digest)
	}
}

// Close closes what is open.
func (r *reader) Close() error {
	var err error
	if r.blob != nil {
		err = r.blob.Close()
	}
	if r.cached != nil {
		err = errors.Join(err, r.cached.Close())
	}
	return err
}

// view is the layer that pack makes of a share of a file.
func view(part pack.Part, file io.ReaderAt) (io.ReadCloser, error) {
	prefix, err := pack.Prefix(part)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(
		bytes.NewReader(prefix),
		io.NewSectionReader(file, part.Offset, part.Length),
		bytes.NewReader(make([]byte, pack.SuffixLen(part.Length))))), nil
}
