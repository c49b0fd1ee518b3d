package push

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

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
	if err := plainReference(s); err != nil {
		return Target{}, err
	}
	ref, err := name.NewTag(s, name.StrictValidation)
	if err == nil {
		return Target{ref: ref}, nil
	}
	if _, repoErr := name.NewRepository(s, name.StrictValidation); repoErr == nil {
		err = errors.New("it names no tag")
	}
	return Target{}, fault.Wrap(fault.Usage, "write REGISTRY/REPOSITORY:TAG, such as ghcr.io/owner/model:1.0",
		fmt.Errorf("parsing target %q: %w", s, err))
}

// plainReference refuses an address: https would be taken for a registry's name.
func plainReference(s string) error {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return fault.Wrap(fault.Usage, fmt.Sprintf("leave %s:// away", scheme), fmt.Errorf("parsing reference %q: it is an address", s))
	}
	return nil
}

// String returns the reference.
func (t Target) String() string { return t.ref.String() }

// Beside is the target with another tag in the same repository. Errors are of kind
// fault.Usage.
func (t Target) Beside(tag string) (Target, error) { return tagged(t.ref.Context(), tag) }

// tagged is a tag of a repository. Errors are of kind fault.Usage.
func tagged(repo name.Repository, tag string) (Target, error) {
	ref, err := name.NewTag(repo.Name()+":"+tag, name.StrictValidation)
	if tag == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return Target{}, fault.Wrap(fault.Usage, "a tag is 1 to 128 letters, digits, _, . or -", fmt.Errorf("parsing tag %q: %w", tag, err))
	}
	return Target{ref: ref}, nil
}

// Host is the registry's host, with its port.
func (t Target) Host() string { return t.ref.RegistryStr() }

// Repository is the target without its tag, REGISTRY/REPOSITORY.
func (t Target) Repository() string { return t.ref.Context().Name() }

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
