package contents

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/refusals"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Options say how a registry is reached. The zero value is fine.
type Options struct {
	// Keychain finds credentials; nil: the docker configuration and its credential helpers.
	Keychain authn.Keychain
	// Transport carries the requests; nil: ggcr's, which honours proxy and CA variables.
	Transport http.RoundTripper
	// Platform is chosen where a reference names several; nil: linux/amd64.
	Platform *v1.Platform
}

// platform is the chosen one.
func (o Options) platform() v1.Platform {
	if o.Platform != nil {
		return *o.Platform
	}
	return v1.Platform{OS: image.OS, Architecture: image.Architecture}
}

// Registry describes the image that a reference such as ghcr.io/owner/model:tag names, by
// tag or by digest; of several platforms it takes Options.Platform. The registry must be
// named. What is no image but has an image's manifest, an artifact, has an empty Config.
// Manifest and config are fetched and proven here, blobs are streamed when they are read
// and go on where they were when a connection breaks. ctx ends all of it. Errors are of kind
// fault.Usage for a bad reference, fault.Registry for one that cannot be read, and
// fault.Invalid where the registry's answers contradict each other.
func Registry(ctx context.Context, reference string, o Options) (*Image, error) {
	ref, err := name.ParseReference(reference, name.StrictValidation)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…", fmt.Errorf("parsing reference %q: %w", reference, err))
	}
	client, err := o.client(ctx, ref.Context())
	if err != nil {
		return nil, classify(ref, err)
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(client.Transport),
		remote.WithPlatform(o.platform()))
	if err != nil && strings.Contains(err.Error(), noPlatform) {
		return nil, fault.Wrap(fault.Usage, "choose another platform, or another reference",
			fmt.Errorf("reading %s: it names images of several platforms, and none for %s", ref, o.platform().String()))
	}
	if err != nil {
		return nil, classify(ref, err)
	}
	i := &Image{blobs: &registry{repo: ref.Context(), client: client}}
	if i.Manifest, err = img.Manifest(); err != nil {
		return nil, classify(ref, err)
	}
	if i.Size, err = img.Size(); err != nil {
		return nil, classify(ref, err)
	}
	i.Config = &v1.ConfigFile{} // of what is no image: its config is of another form
	if i.Manifest.Config.MediaType.IsConfig() {
		if i.Config, err = img.ConfigFile(); err != nil {
			return nil, classify(ref, err)
		}
	}
	i.Digest, err = img.Digest()
	return i, err
}

// noPlatform is how the library says that an index lacks the platform; it has no type for
// that, and a test holds the words.
const noPlatform = "no child with platform"

// client logs in for reading one repository.
func (o Options) client(ctx context.Context, repo name.Repository) (*http.Client, error) {
	keychain, t := o.Keychain, o.Transport
	if keychain == nil {
		keychain = authn.DefaultKeychain
	}
	if t == nil {
		t = remote.DefaultTransport
	}
	auth, err := authn.Resolve(ctx, keychain, repo)
	if err != nil {
		return nil, fault.Wrap(fault.Registry, "check the docker configuration and the credential helper that it names",
			fmt.Errorf("finding credentials for %s: %w", repo.RegistryStr(), err))
	}
	t = transport.NewUserAgent(transport.NewRetry(t, transport.WithRetryStatusCodes(passing...)), "plimsoll")
	t, err = transport.NewWithContext(ctx, repo.Registry, auth, t, []string{repo.Scope(transport.PullScope)})
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}, err
}

// passing are answers of a registry, or of what stands before it, that a second try mends.
var passing = []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// maxRedirects is how many hops a blob may take to its store.
const maxRedirects = 10

// checkRedirect keeps a registry from sending a client to where the client alone can go:
// from outside into its own network, or from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) >= maxRedirects:
		return fmt.Errorf("the registry redirects more than %d times", maxRedirects)
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("the registry redirects from https to http")
	case isInside(req.URL.Hostname()) && !isInside(first.Hostname()):
		return fmt.Errorf("the registry redirects into a private network, to %s", req.URL.Hostname())
	}
	return nil
}

// isInside reports whether a host is an address that means something else elsewhere.
func isInside(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// registry is the blobs of one repository.
type registry struct {
	repo   name.Repository
	client *http.Client
}

func (r *registry) has(v1.Descriptor) bool { return true }

func (r *registry) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	s := &stream{ctx: ctx, size: d.Size, get: func(from int64) (io.ReadCloser, error) { return r.get(ctx, d, from) }}
	body, err := s.get(0)
	s.body = body
	return s, err
}

// get asks for a blob from an offset to its end. A registry that knows no ranges sends all
// of it, and the first bytes are thrown away.
func (r *registry) get(ctx context.Context, d v1.Descriptor, from int64) (io.ReadCloser, error) {
	u := url.URL{Scheme: r.repo.Scheme(), Host: r.repo.RegistryStr(), Path: "/v2/" + r.repo.RepositoryStr() + "/blobs/" + d.Digest.String()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, d.Size-1))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.failed(d, withoutURL(err))
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		_, err = io.CopyN(io.Discard, resp.Body, from)
	case resp.StatusCode == http.StatusPartialContent && from > 0:
		err = checkRange(resp.Header.Get("Content-Range"), from)
	case resp.StatusCode == http.StatusNotFound:
		err = fs.ErrNotExist
	default:
		err = &transport.Error{StatusCode: resp.StatusCode}
	}
	if err != nil {
		resp.Body.Close()
		return nil, r.failed(d, err)
	}
	return resp.Body, nil
}

// checkRange makes sure that the rest of a blob begins where it was asked for.
func checkRange(header string, from int64) error {
	if !strings.HasPrefix(header, fmt.Sprintf("bytes %d-", from)) {
		return fmt.Errorf("the registry answers with range %q, asked was for byte %d", header, from)
	}
	return nil
}

func (r *registry) failed(d v1.Descriptor, err error) error {
	return mark(r.repo, fmt.Errorf("reading blob %s of %s: %w", d.Digest, r.repo, err), err)
}

// withoutURL takes the address out of a client's error: behind a redirect it is signed.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// classify is an error about manifest or config.
func classify(ref name.Reference, err error) error {
	return mark(ref.Context(), fmt.Errorf("reading %s: %w", ref, withoutURL(err)), err)
}

// mark gives an error kind and hint: the registry's where it was its answer or the way to
// it, Invalid where the answer contradicts itself.
func mark(repo name.Repository, err, cause error) error {
	var answer *transport.Error
	var certificate *tls.CertificateVerificationError
	var network net.Error
	var address *url.Error
	switch {
	case fault.KindOf(cause) != fault.Internal:
		return err
	case errors.As(cause, &certificate), errors.As(cause, &answer), errors.As(cause, &network), errors.As(cause, &address), isEnd(cause):
		return fault.Wrap(fault.Registry, refusals.Asked{Repository: repo, Reading: true}.Hint(cause), err)
	case errors.Is(cause, fs.ErrNotExist):
		return err
	}
	return fault.Wrap(fault.Invalid, "", err)
}
