package push

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
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

// Beside is the target with another tag in the same repository. Errors are ParseTarget's.
func (t Target) Beside(tag string) (Target, error) {
	return ParseTarget(t.ref.Context().Name() + ":" + tag)
}

// mountable keeps those of some repositories that blobs can be mounted from: others of the
// target's registry. Errors are of kind fault.Usage.
func (t Target) mountable(repositories []string) ([]name.Repository, error) {
	var out []name.Repository
	for _, s := range repositories {
		r, err := name.NewRepository(s, name.StrictValidation)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, "write REGISTRY/REPOSITORY, such as ghcr.io/owner/model", fmt.Errorf("parsing repository %q: %w", s, err))
		}
		if r.RegistryStr() == t.ref.RegistryStr() && r.RepositoryStr() != t.ref.RepositoryStr() {
			out = append(out, r)
		}
	}
	return out, nil
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

// told are words out of a registry's answer that say more than its status, in lower case.
var told = []struct{ words, hint string }{
	{"immutable", "the tag cannot be moved in this registry: publish under a new tag"},
	{"quota", "the registry's quota is used up: delete images there, or ask for more"},
	{"name_unknown", "create the repository first, or check its name"},
	{"no space left", "the registry's disk is full"},
}

// hintFor is the way out of a registry's refusal.
func hintFor(answer *transport.Error) string {
	text := strings.ToLower(answer.Error())
	for _, t := range told {
		if strings.Contains(text, t.words) {
			return t.hint
		}
	}
	if hint := hints[answer.StatusCode]; hint != "" || answer.StatusCode < 500 {
		return hint
	}
	return "the registry failed: run publish again, what has arrived is not sent again"
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
		return fault.Wrap(fault.Registry, hintFor(answer), wrapped)
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "no such host"):
		return fault.Wrap(fault.Registry, "is the registry's address right, and is it running?", wrapped)
	}
	return fault.Wrap(fault.Registry, "run publish again: what has arrived is not sent again", wrapped)
}
