package push

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Target is one tag in one registry.
type Target struct {
	ref name.Tag
}

// ParseTarget parses a reference such as ghcr.io/owner/model:tag. The registry must be
// named, since a model image should not end up in a default place; a digest cannot be
// published to. Errors are of kind fault.Usage.
func ParseTarget(s string) (Target, error) {
	ref, err := name.NewTag(s, name.StrictValidation)
	if err != nil {
		return Target{}, fault.Wrap(fault.Usage, "write REGISTRY/REPOSITORY:TAG, such as ghcr.io/owner/model:1.0",
			fmt.Errorf("parsing target %q: %w", s, err))
	}
	return Target{ref: ref}, nil
}

// String returns the reference.
func (t Target) String() string { return t.ref.String() }

// Limit is what a registry takes.
type Limit struct {
	// Host is the registry's host, a path.Match pattern.
	Host string `json:"host"`
	// Layer is the largest layer in bytes.
	Layer int64 `json:"layer"`
	// Source says where the figure comes from.
	Source string `json:"source"`
}

// Limits lists the registries with a published limit on one layer.
var Limits = []Limit{
	{"ghcr.io", 10_000_000_000, "GitHub's documentation: 10 GB per layer"},
	{"public.ecr.aws", 10_000 << 20, "AWS service quotas: 10,000 MiB"},
	{"*.dkr.ecr.*.amazonaws.com", 52_000 << 20, "AWS service quotas: 52,000 MiB"},
	{"*.azurecr.io", 195 << 30, "Azure's documentation: about 195 GiB"},
	{"quay.io", 20_000_000_000, "Quay's default: 20 GB"},
}

// Limit returns the registry's limit, ok is false if none is known.
func (t Target) Limit() (limit Limit, ok bool) {
	for _, l := range Limits {
		if match, _ := path.Match(l.Host, t.ref.RegistryStr()); match {
			return l, true
		}
	}
	return Limit{}, false
}

// Check refuses an image with a layer over the registry's limit, before any byte is sent.
func (t Target) Check(img v1.Image) error {
	limit, ok := t.Limit()
	if !ok {
		return nil
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	for _, d := range m.Layers {
		if d.Size > limit.Layer {
			return fault.Wrap(fault.Usage, fmt.Sprintf("set partSize in the manifest to %d or less and build again", limit.Layer), fmt.Errorf(
				"publishing %s: layer %s has %d bytes, %s takes %d", t, d.Annotations["org.opencontainers.image.title"], d.Size, limit.Host, limit.Layer))
		}
	}
	return nil
}

// hints maps a registry's answer to the way out.
var hints = map[int]string{
	http.StatusUnauthorized:          "log in with docker login, or set up a credential helper",
	http.StatusForbidden:             "the credentials lack the right to push there",
	http.StatusNotFound:              "create the repository first, or check its name",
	http.StatusRequestEntityTooLarge: "the registry, or a proxy before it, limits a layer: set a smaller partSize in the manifest",
	http.StatusTooManyRequests:       "wait, then run publish again: what has arrived is not sent again",
	http.StatusInsufficientStorage:   "the registry is full",
}

// classify marks an error of a registry with kind and hint. Kinds that are set already,
// such as for bytes that are not here, stay.
func classify(t Target, doing string, err error) error {
	wrapped := fmt.Errorf("%s %s: %w", doing, t, err)
	if k := fault.KindOf(err); k != fault.Internal {
		return wrapped
	}
	var answer *transport.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return fault.Wrap(fault.Registry, "set SSL_CERT_FILE to a file with the certificate of the registry's authority", wrapped)
	case errors.As(err, &answer):
		hint := hints[answer.StatusCode]
		if hint == "" && answer.StatusCode >= 500 {
			hint = "the registry failed: run publish again, what has arrived is not sent again"
		}
		return fault.Wrap(fault.Registry, hint, wrapped)
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "no such host"):
		return fault.Wrap(fault.Registry, "is the registry's address right, and is it running?", wrapped)
	}
	return fault.Wrap(fault.Registry, "run publish again: what has arrived is not sent again", wrapped)
}
