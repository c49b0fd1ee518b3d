package flow

import (
	"context"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/report"
)

// Report compares the built image with what it replaces. It needs the manifest, the lock
// and the layout, no cache and no network.
func Report(_ context.Context, j *Job) (*report.Report, error) {
	l, err := j.lock()
	if err != nil {
		return nil, err
	}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	if err != nil {
		return nil, err
	}
	img, err := j.open()
	if err != nil {
		return nil, err
	}
	in := report.Input{Manifest: j.Manifest, Selection: s}
	if in.Layers, err = reportLayers(img); err != nil {
		return nil, err
	}
	model, err := img.ModelConfig()
	if err != nil {
		return nil, err
	}
	in.Unused = model.Unused
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	in.Image = digest.String()
	if in.Manifests, err = jsonBytes(img); err != nil {
		return nil, err
	}
	if j.Manifest.Runtime == "plimsoll" && j.Manifest.Image.Base == nil {
		in.Note = "built without a base layer: no Debian mirror could be reached"
	}
	return report.New(in)
}

// reportLayers describes the image's layers for the report.
func reportLayers(img *image.Image) ([]report.Layer, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var out []report.Layer
	for n, d := range m.Layers {
		content, err := img.Content(n)
		if err != nil {
			return nil, err
		}
		out = append(out, report.Layer{
			Kind: d.Annotations[image.AnnotationKind], Path: d.Annotations["org.opencontainers.image.title"],
			Source: d.Annotations[image.AnnotationSource], Digest: d.Digest.String(), Size: d.Size, Content: content,
		})
	}
	return out, nil
}

// jsonBytes is the size of the image's manifest and config.
func jsonBytes(img *image.Image) (int64, error) {
	m, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := img.Size()
	return size + m.Config.Size, err
}
