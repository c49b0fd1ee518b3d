// Package push publishes an image to registries.
//
//	Publish     to one target          PublishAll   to several, reading once
//	Plan        what would be sent     Probe        whether a target would take it
//	Retag       no bytes: another tag for what is there
//	Attach      documents that refer to an image: SBOM, provenance, verification
//	PlanAttach  which of them would be sent
//	NewSender   single layers, before there is an image
//
// A registry is asked for every blob first. What it has is left alone, what another of its
// repositories has is mounted from there, and only the rest is opened and sent: an image
// whose model layers a registry already has goes out without their bytes. The manifest is
// written last: a reference names a whole image or what it named before.
//
// A layer is a view of a file (io.ReaderAt), so any offset of it can be sent again. Nothing
// is spooled, and memory does not grow with a layer's size. A file that changed is noticed
// before the last byte of its layer has left, in one of two ways, and the registry checks the
// digest once more.
//
// A file that is proven (image.Proven: its sum was taken before, and size, times, inode and
// device stand as they did then) is sent without a second sum, over plain http by the kernel
// alone (sendfile). Piece by piece, and before the last 64 KiB of the layer leave, it is
// looked at again: if it is not the file that was proven any more, its bytes are hashed from
// then on, those that left before included. Should a registry still not find the digest, the
// file is read once more to say whose fault that is; so a proof that is wrong costs an
// upload, and never makes a wrong image.
//
// Any other layer is hashed as it leaves: one out of a layout, one whose file nobody read on
// this machine since it changed, one on a file system whose times cannot be trusted, and all
// of them where several registries share what is read.
//
// How a blob is sent is a Strategy: chunk by chunk, flowing, with one streamed request, or with
// the closing request. The table Registries knows the first to try; what a registry refuses, or
// drops without a word, is tried with the next. After a cut the registry is asked what has
// arrived, and the upload goes on there; a Journal lets a new process do the same. An
// upload that has expired starts anew. Tries are counted without progress only.
//
// Each PATCH costs Docker's own registry (distribution) an fsync of what it brought, for which
// the layer waits: registry/storage/driver/filesystem/driver.go:380 of v2.8.2. While a PATCH
// goes on, the kernel writes its file to the disk beside it. So the layers of 6 GB in two
// waited 6.8 s in chunks that grew to 350 MB, 6.6 s in chunks of 600 MB, and 2.4 s in one
// PATCH each. Chunks cost nothing else: the state of the sum is kept between them
// (blobwriter_resumable.go:118), and no byte is read back. So to that registry a large layer
// flows: its PATCH has an open end, for up to a minute, which is docker's own way to send.
// An interrupt ends it well, and the answer says what has arrived. After a break the layer
// goes on in chunks; so does every layer where something may collect requests before the
// registry, which would hold back what flows.
//
// What a cut costs depends on the registry. One that answers for every byte that it has,
// as distribution 3 does, loses nothing. Distribution 2 loses the layer in flight when a
// connection breaks inside a PATCH, of whatever size. Every address of an upload carries an
// offset, signed by the registry (_state), and any request to it, a question for the status
// too, is refused unless the offset is the size of the file so far:
// registry/handlers/blobupload.go:78 of v2.8.2. Half a PATCH stays in the file, since its
// writer is flushed and closed whatever the end was (helpers.go:13) and nothing ever cuts
// the file back; but an address with the new size is only given out with the answer to a
// whole PATCH (blobupload.go:187), which a client that is gone did not get. Version 3 asks
// for no offset where the status is asked for (v3.1.2, blobupload.go:40). A second request
// that waits at the old offset would outlive the reset of the first, not the process; it
// is not made, since it would cost every PATCH a request more.
//
// So with distribution 2 a cut costs nothing between two PATCHes, as after an interrupt,
// which ends one well; its answer is waited for 4 s, which a registry with a slow disk may
// need more of. It costs nothing where a proxy before it collects requests, as nginx does by
// default; and elsewhere the layers in flight, of which partSize in the manifest makes smaller
// ones.
//
// A Sender sends layers to a caller's own order, also one whose digest nobody knows before
// its bytes have passed: the digest stands in the closing request alone. The caller takes
// that sum, once for all targets, and the closing request waits for it and for the caller's
// judgement of the bytes.
//
// go-containerregistry does the rest: credentials, tokens and manifests.
package push

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// jobs is how many blobs of one image are in flight.
const jobs = 4

// Options configure Publish.
type Options struct {
	// Keychain finds credentials; nil: the docker configuration and its credential helpers.
	Keychain authn.Keychain
	// Transport carries the requests; nil: ggcr's, which honours proxy and CA variables, with
	// sendfile for proven layers.
	Transport http.RoundTripper
	// Progress, which may be nil, is called from several goroutines with the number of
	// layer bytes just read for sending.
	Progress func(n int64)
	// Skipped, which may be nil, is called likewise with the size of a layer that need not
	// be sent.
	Skipped func(n int64)
	// UserAgent is sent with every request.
	UserAgent string
	// MountFrom lists repositories, REGISTRY/REPOSITORY, that may have the layers. Those of
	// the target's registry are asked, the others are of no use.
	MountFrom []string
	// Journal, which may be nil, remembers open uploads for the next process.
	Journal *Journal
	// Pause is the pause after the first failure; later ones grow. 0: half a second.
	Pause time.Duration
}

// Result says what one publication did.
type Result struct {
	// Reference is the tag that was written.
	Reference string `json:"reference"`
	// Digest is that of the image's manifest.
	Digest string `json:"digest"`
	// Layers counts the image's layers; Sent those of which bytes were sent, Mounted those
	// that came from another repository, Resumed those that went on after a cut, in this
	// process or an earlier one. The registry had the others.
	Layers  int `json:"layers"`
	Sent    int `json:"sentLayers"`
	Mounted int `json:"mountedLayers"`
	Resumed int `json:"resumedLayers"`
	// Bytes is the size of all layers, SentBytes what was read to be sent; tries that the
	// registry broke off count too.
	Bytes     int64 `json:"bytes"`
	SentBytes int64 `json:"sentBytes"`
	// Referrers are the documents that stand beside the image.
	Referrers []Referrer `json:"referrers,omitempty"`
}

// Publish writes the image to one reference and checks that the registry then names it by
// the expected digest. Errors are of kind fault.Registry; fault.Usage where bytes are
// needed that are not here (they wrap image.ErrAbsent) or a limit forbids the image;
// fault.Invalid where a file is not what its digest says.
func Publish(ctx context.Context, img v1.Image, target Target, o Options) (Result, error) {
	if err := target.Check(img); err != nil {
		return Result{}, err
	}
	layers, err := layersOf(img)
	if err != nil {
		return Result{}, err
	}
	return publish(ctx, img, layers, target, o)
}

// publish sends layers and config, then the manifest.
func publish(ctx context.Context, img v1.Image, layers []layer, target Target, o Options) (Result, error) {
	p, err := newPublication(ctx, target, o)
	if err != nil {
		return Result{}, classify(target, "publishing", err)
	}
	config, err := configOf(img)
	if err != nil {
		return Result{}, err
	}
	if err := p.sendAll(ctx, append(slices.Clone(layers), config)); err != nil {
		return Result{}, lost(target, "publishing", err)
	}
	digest, err := p.seal(ctx, img)
	if err != nil {
		return Result{}, err
	}
	return p.result(layers, digest), nil
}

// seal writes the manifest and checks that it stands.
func (p *publication) seal(ctx context.Context, img v1.Image) (digest v1.Hash, err error) {
	if digest, err = img.Digest(); err != nil {
		return digest, err
	}
	options := p.opts.remote(ctx)
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		return digest, err
	}
	if err := pusher.Put(ctx, p.target.ref, img); err != nil {
		return digest, classify(p.target, "publishing the manifest to", err)
	}
	head, err := remote.Head(p.target.ref, options...)
	if err != nil {
		return digest, classify(p.target, "checking", err)
	}
	if head.Digest != digest {
		return digest, fault.Wrap(fault.Registry, "somebody else may be writing the same tag", fmt.Errorf(
			"checking %s: the registry has %s, %s was published", p.target.ref, head.Digest, digest))
	}
	return digest, nil
}

// remote translates the options for ggcr.
func (o Options) remote(ctx context.Context) []remote.Option {
	out := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(credentials{o.keychain()}), remote.WithJobs(jobs)}
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
