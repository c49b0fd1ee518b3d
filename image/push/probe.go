package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Check is the answer to one question about a target.
type Check struct {
	// Name is the question: reachable, credentials, login, push, repository, tag.
	Name string
	// Detail is what was found, for people.
	Detail string
	// Err is why the answer is no, with kind and hint; nil if it is yes.
	Err error
}

// Probe asks a registry, in a few small requests, whether an image could be published: can
// it be reached, do the credentials log in, may they push. The upload that is opened for
// that is cancelled. The checks end with the first that fails, since those behind it need
// it. It writes nothing else.
func Probe(ctx context.Context, target Target, o Options) []Check {
	p := &probe{opts: o}
	var out []Check
	for _, step := range []struct {
		name string
		ask  func(context.Context, Target, *probe) (string, error)
	}{
		{"reachable", reachable}, {"credentials", findCredentials}, {"login", login},
		{"push", mayPush}, {"repository", repository}, {"tag", tag},
	} {
		detail, err := step.ask(ctx, target, p)
		if err != nil {
			err = classify(target, "probing", err)
		}
		out = append(out, Check{Name: step.name, Detail: detail, Err: err})
		if err != nil {
			break
		}
	}
	return out
}

// probe is what the checks hand on.
type probe struct {
	opts   Options
	client *client
}

// reachable asks for the registry's base, over TLS unless it is on this machine.
func reachable(ctx context.Context, t Target, p *probe) (string, error) {
	base := p.opts.Transport
	if base == nil {
		base = remote.DefaultTransport
	}
	c, err := transport.Ping(ctx, t.ref.Context().Registry, base)
	if err != nil {
		return "", unveil(err)
	}
	if c.Insecure {
		return "plain http", nil
	}
	return "https, with a certificate that is trusted", nil
}

// findCredentials looks into the docker configuration.
func findCredentials(ctx context.Context, t Target, p *probe) (string, error) {
	a, err := authn.Resolve(ctx, credentials{p.opts.keychain()}, t.ref.Context())
	if err != nil {
		return "", err
	}
	if a == authn.Anonymous {
		return "none: as anybody", nil
	}
	return "found", nil
}

// login gets a token where the registry wants one.
func login(ctx context.Context, t Target, p *probe) (_ string, err error) {
	p.client, err = p.opts.connect(ctx, t, nil)
	return "done", err
}

// mayPush opens an upload and cancels it.
func mayPush(ctx context.Context, t Target, p *probe) (string, error) {
	a, err := p.client.do(ctx, http.MethodPost, p.client.url(p.client.repo, "/blobs/uploads/", nil), nil, nil, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	location, err := a.location()
	if err != nil {
		return "", err
	}
	_, err = p.client.do(ctx, http.MethodDelete, location, nil, nil, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	if err != nil {
		return "granted; the registry could not cancel the upload that was opened to see, and will purge it", nil
	}
	return "granted", nil
}

// repository says whether there is one; a registry that took an upload makes one.
func repository(ctx context.Context, t Target, p *probe) (string, error) {
	a, err := p.client.do(ctx, http.MethodGet, p.client.url(p.client.repo, "/tags/list", url.Values{"n": {"1"}}), nil, nil, http.StatusOK, http.StatusNotFound)
	switch {
	case err != nil && refusedWithoutNeed(err):
		return "the registry does not say", nil
	case err != nil:
		return "", err
	case a.status == http.StatusNotFound:
		return "not there yet: it is made by the first push", nil
	}
	return "exists", nil
}

// tag says what the tag names.
func tag(ctx context.Context, t Target, p *probe) (string, error) {
	accept := http.Header{"Accept": {"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"}}
	a, err := p.client.do(ctx, http.MethodHead, p.client.url(p.client.repo, "/manifests/"+t.ref.TagStr(), nil), nil, accept, http.StatusOK, http.StatusNotFound)
	switch {
	case err != nil && refusedWithoutNeed(err):
		return "the registry does not say", nil
	case err != nil:
		return "", err
	case a.status == http.StatusNotFound:
		return t.ref.TagStr() + " is free", nil
	}
	return fmt.Sprintf("%s names %s, and would be moved, unless tags are immutable there", t.ref.TagStr(), a.header.Get("Docker-Content-Digest")), nil
}

// refusedWithoutNeed reports whether a question was refused that publishing does not ask:
// credentials that may push need not be able to list.
func refusedWithoutNeed(err error) bool {
	var no *refusal
	return errors.As(err, &no) && no.err.StatusCode < 500 && fault.KindOf(err) == fault.Internal
}
