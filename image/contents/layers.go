package contents

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// maxModelConfig bounds model.json.
const maxModelConfig = 4 << 20

// LayerReport is what was seen of a layer that holds no file of the lock: base, runtime,
// configuration. Layers of model files are reported with their files.
type LayerReport struct {
	Kind   string `json:"kind"`
	Title  string `json:"title"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	OK     bool   `json:"ok"`
	// Findings have the layer's title as their object.
	Findings verify.Findings `json:"findings"`
}

// Others returns the size of the layers that Layers reads.
func (f *Files) Others() int64 {
	var sum int64
	for n, d := range f.image.Manifest.Layers {
		if !f.expected[n] && !isModel(d) {
			sum += d.Size
		}
	}
	return sum
}

// Layers checks every layer that holds no file of the lock, and returns the model.json that
// one of them holds, nil if none does. A model layer that the lock does not know is wrong
// without being read. progress, if not nil, is told of bytes as they are done with. An
// error means that a layer could not be read.
func (f *Files) Layers(ctx context.Context, progress func(n int64)) ([]LayerReport, *manifests.ModelConfig, error) {
	var out []LayerReport
	var model *manifests.ModelConfig
	for n, d := range f.image.Manifest.Layers {
		if f.expected[n] {
			continue
		}
		l := &layer{report: LayerReport{
			Kind: d.Annotations[image.AnnotationKind], Title: d.Annotations[titleKey], Digest: d.Digest.String(), Size: d.Size,
		}, model: model}
		if isModel(d) {
			l.wrong(CodeExtra, "the lock knows no such layer: the image was built from another lock or for another variant")
		} else if err := f.image.layer(ctx, n, l, progress); err != nil {
			return nil, nil, err
		}
		l.report.OK = l.report.Findings.Worst() < verify.Error
		model, out = l.model, append(out, l.report)
	}
	return out, model, nil
}

// layer is one small layer in work.
type layer struct {
	report LayerReport
	model  *manifests.ModelConfig
}

func (l *layer) wrong(code, format string, args ...any) {
	l.report.Findings.Add(verify.Error, code, l.report.Title, format, args...)
}

// layer reads a small layer.
func (i *Image) layer(ctx context.Context, n int, l *layer, progress func(int64)) error {
	d := i.Manifest.Layers[n]
	i.compareDiffID(n, l.report.Title, &l.report.Findings)
	blob, err := i.blobs.open(ctx, d)
	if isAbsent(err) {
		l.wrong(CodeMissing, "blob %s is not there", d.Digest)
		return nil
	}
	if err != nil {
		return err
	}
	defer blob.Close()
	r := &summed{ctx: ctx, r: io.LimitReader(blob, d.Size+1), sum: sha256.New(), progress: progress}
	if uncompressed(d.MediaType) {
		err = l.walk(r)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return err
	}
	l.judge(r, d)
	return nil
}

// judge compares size and digest of a layer that was read to its end.
func (l *layer) judge(r *summed, d v1.Descriptor) {
	switch {
	case r.n < d.Size:
		l.wrong(CodeForm, "the layer has %d bytes, the manifest says %d", r.n, d.Size)
	case r.n > d.Size:
		l.wrong(CodeForm, "the layer goes on behind the %d bytes of the manifest", d.Size)
	default:
		compareDigest(r.sum, d, l.report.Title, &l.report.Findings)
	}
}

// walk looks at every entry of the archive. What is wrong with it is a finding; an error is
// one of the stream.
func (l *layer) walk(r *summed) error {
	archive := tar.NewReader(r)
	for {
		head, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil && head.Name == manifests.ModelConfigPath {
			err = l.readModel(archive)
		}
		if r.err != nil {
			return r.err
		}
		if err != nil {
			l.wrong(CodeFraming, "reading the archive: %v", err)
			return nil
		}
	}
}

// readModel reads model.json. The error is the archive's.
func (l *layer) readModel(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxModelConfig+1))
	if err != nil {
		return err
	}
	if len(data) > maxModelConfig {
		err = errors.New("it is larger than 4 MiB")
	} else {
		l.model, err = manifests.DecodeModelConfig(data)
	}
	if err != nil {
		l.wrong(CodeModel, "%s: %v", manifests.ModelConfigPath, err)
	}
	return nil
}

// summed hashes and counts what is read, and remembers how reading failed.
type summed struct {
	ctx      context.Context
	r        io.Reader
	sum      hash.Hash
	n        int64
	err      error
	progress func(int64)
}

func (s *summed) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	s.n += int64(n)
	if s.progress != nil {
		s.progress(int64(n))
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
