package image

import (
	"fmt"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// ModelLayer is what the annotations of a model layer say about it: a claim, until the
// layer's bytes were read.
type ModelLayer struct {
	// Source is the manifest's source, File the path in the image, Size and SHA256 those of
	// the whole file.
	Source, File string
	Size         int64
	SHA256       string
	// Part is the layer's share of the file, under the version Pack of the layer format.
	Part pack.Part
	Pack string
}

var sumForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ReadAnnotations is the inverse of Annotations. Annotations that are incomplete, that
// contradict each other or the descriptor's size, or a path that is unsafe are an error.
func ReadAnnotations(d v1.Descriptor) (ModelLayer, error) {
	file, sum, part, err := partOf(d)
	if err != nil {
		return ModelLayer{}, err
	}
	m := ModelLayer{Source: d.Annotations[AnnotationSource], File: file, SHA256: sum, Part: part, Pack: d.Annotations[AnnotationPack]}
	if m.Size, err = number(d, AnnotationFileSize); err != nil {
		return ModelLayer{}, fmt.Errorf("reading annotations of layer %s: file size: %w", d.Digest, err)
	}
	switch {
	case Kind(d.Annotations[AnnotationKind]) != KindModel:
		return ModelLayer{}, fmt.Errorf("reading annotations of layer %s: it is not a model layer", d.Digest)
	case manifests.CheckPath(file) != nil:
		return ModelLayer{}, fmt.Errorf("reading annotations of layer %s: %w", d.Digest, manifests.CheckPath(file))
	case !sumForm.MatchString(sum):
		return ModelLayer{}, fmt.Errorf("reading annotations of layer %s: sha256 is %q", d.Digest, sum)
	case m.Size < 0 || part.Offset > m.Size || part.Length > m.Size-part.Offset:
		return ModelLayer{}, fmt.Errorf("reading annotations of layer %s: bytes %d to %d of a file of %d", d.Digest, part.Offset, part.Offset+part.Length, m.Size)
	}
	return m, nil
}
