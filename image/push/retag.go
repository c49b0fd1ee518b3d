package push

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Retag makes a tag name the image that a reference names: REGISTRY/REPOSITORY@sha256:…,
// or REGISTRY/REPOSITORY:TAG. Only the manifest travels, so that an image is promoted or
// rolled back in a moment. Errors are Publish's.
func Retag(ctx context.Context, reference, tag string, o Options) (Result, error) {
	from, err := parseReference(reference)
	if err != nil {
		return Result{}, err
	}
	to, err := tagged(from.Context(), tag)
	if err != nil {
		return Result{}, err
	}
	options := o.remote(ctx)
	image, err := remote.Get(from, options...)
	if err != nil {
		return Result{}, classify(to, "reading "+from.String()+" for", err)
	}
	if err := remote.Tag(to.ref, image, options...); err != nil {
		return Result{}, classify(to, "writing", err)
	}
	head, err := remote.Head(to.ref, options...)
	if err != nil {
		return Result{}, classify(to, "checking", err)
	}
	if head.Digest != image.Digest {
		return Result{}, fault.Wrap(fault.Registry, "somebody else may be writing the same tag", fmt.Errorf(
			"checking %s: the registry has %s, %s was written", to, head.Digest, image.Digest))
	}
	return Result{Reference: to.String(), Digest: image.Digest.String()}, nil
}

// parseReference parses REGISTRY/REPOSITORY@DIGEST or REGISTRY/REPOSITORY:TAG.
func parseReference(s string) (ref name.Reference, err error) {
	if err := plainReference(s); err != nil {
		return nil, err
	}
	if strings.Contains(s, "@") {
		ref, err = name.NewDigest(s, name.StrictValidation)
	} else {
		ref, err = name.NewTag(s, name.StrictValidation)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "write REGISTRY/REPOSITORY@DIGEST or REGISTRY/REPOSITORY:TAG", fmt.Errorf("parsing reference %q: %w", s, err))
	}
	return ref, nil
}
