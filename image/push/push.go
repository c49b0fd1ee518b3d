// Package push publishes an image to registries.
//
// The registry is asked for every blob first; only what it lacks is opened and sent, so an
// image whose model layers a registry already has goes out without their bytes. Layers are
// sent as they are read: nothing is spooled and memory does not grow with their size. The
// registry checks every blob against its digest before it stores it, so a file that
// changed on the way is refused there and never becomes part of an image.
//
// The manifest is written last: a reference names a whole image or what it named before.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// jobs is how many blobs of one image are in flight.
const jobs = 4

// Options configure Publish.
type Options struct {
	// Keychain finds credentials; nil: the docker configuration and its credential helpers.
	Keychain authn.Keychain
	// Transport carries the requests; nil: ggcr's, which honours proxy and CA variables.
	Transport http.RoundTripper
	// Progress, which may be nil, is called from several goroutines with the number of
	// layer bytes just read for sending.
	Progress func(n int64)
	// UserAgent is sent with every request.
	UserAgent string
}

// Result says what one publication did.
type Result struct {
	// Reference is the tag that was written.
	Reference string `json:"reference"`
	// Digest is that of the image's manifest.
	Digest string `json:"digest"`
	// Layers counts the image's layers, Sent those that the registry lacked.
	Layers int `json:"layers"`
	Sent   int `json:"sentLayers"`
	// Bytes is the size of all layers, SentBytes what was read to be sent; tries that the
	// registry broke off count too.
	Bytes     int64 `json:"bytes"`
	SentBytes int64 `json:"sentBytes"`
}

// Publish writes the image to one reference and checks that the registry then names it by
// the expected digest. Errors are of kind fault.Registry, or fault.Usage where bytes are
// needed that are not here.
func Publish(ctx context.Context, img v1.Image, target Target, o Options) (Result, error) {
	if err := target.Check(img); err != nil {
		return Result{}, err
	}
	counted, err := count(img, o.Progress)
	if err != nil {
		return Result{}, err
	}
	options := o.remote(ctx)
	if err := remote.Write(target.ref, counted, options...); err != nil {
		return Result{}, classify(target, "publishing", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return Result{}, err
	}
	head, err := remote.Head(target.ref, options...)
	if err != nil {
		return Result{}, classify(target, "checking", err)
	}
	if head.Digest != digest {
		return Result{}, fault.Wrap(fault.Registry, "somebody else may be writing the same tag", fmt.Errorf(
			"checking %s: the registry has %s, %s was published", target.ref, head.Digest, digest))
	}
	return counted.result(target.ref, digest), nil
}

// remote translates the options for ggcr.
func (o Options) remote(ctx context.Context) []remote.Option {
	keychain := o.Keychain
	if keychain == nil {
		keychain = authn.DefaultKeychain
	}
	out := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(credentials{keychain}), remote.WithJobs(jobs)}
	if o.Transport != nil {
		out = append(out, remote.WithTransport(o.Transport))
	}
	if o.UserAgent != "" {
		out = append(out, remote.WithUserAgent(o.UserAgent))
	}
	return out
}

// credentials is a keychain that tells its own failures, such as those of a credential
// helper, from the registry's.
type credentials struct{ authn.Keychain }

var _ authn.ContextKeychain = credentials{}

// ResolveContext finds the credentials for a registry.
func (c credentials) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	a, err := authn.Resolve(ctx, c.Keychain, target)
	if err != nil {
		err = fault.Wrap(fault.Registry, "check the docker configuration and the credential helper that it names", fmt.Errorf(
			"finding credentials for %s: %w", target.RegistryStr(), err))
	}
	return a, err
}

// counted is an image whose layers count what is read from them.
type counted struct {
	v1.Image
	layers []*countedLayer
}

func count(img v1.Image, progress func(int64)) (*counted, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	out := &counted{Image: img}
	for _, l := range layers {
		out.layers = append(out.layers, &countedLayer{Layer: l, progress: progress})
	}
	return out, nil
}

// Layers returns the counting layers.
func (c *counted) Layers() ([]v1.Layer, error) {
	out := make([]v1.Layer, len(c.layers))
	for i, l := range c.layers {
		out[i] = l
	}
	return out, nil
}

func (c *counted) result(ref name.Tag, digest v1.Hash) Result {
	r := Result{Reference: ref.String(), Digest: digest.String(), Layers: len(c.layers)}
	for _, l := range c.layers {
		if size, err := l.Size(); err == nil {
			r.Bytes += size
		}
		if l.opened.Load() {
			r.Sent++
		}
		r.SentBytes += l.read.Load()
	}
	return r
}

type countedLayer struct {
	v1.Layer
	progress func(int64)
	opened   atomic.Bool
	read     atomic.Int64
}

// Compressed opens the layer for one upload.
func (l *countedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.Layer.Compressed()
	if errors.Is(err, image.ErrAbsent) {
		err = fault.Wrap(fault.Usage, "run the fetch target first: the registry does not have this layer yet", err)
	}
	if err != nil {
		return nil, err
	}
	l.opened.Store(true)
	return &countedReader{ReadCloser: r, layer: l}, nil
}

type countedReader struct {
	io.ReadCloser
	layer *countedLayer
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.layer.read.Add(int64(n))
	if r.layer.progress != nil {
		r.layer.progress(int64(n))
	}
	return n, err
}
