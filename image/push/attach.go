package push

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Referrer is an artifact that refers to an image in a repository.
type Referrer struct {
	// Name is the document's, as a file.
	Name string `json:"name"`
	// Subject is the digest of the image's manifest, Digest that of the artifact's.
	Subject string `json:"subject"`
	Digest  string `json:"digest"`
	Type    string `json:"artifactType"`
	// Written says that it was sent now, in a plan that it would be; the repository listed the
	// others before.
	Written bool `json:"written"`
}

// attachTries is how often artifacts are written that the repository then does not list:
// without the referrers API the list is a tag, and of two writers at once one overwrites
// what the other has added.
const attachTries = 4

// Attach writes artifacts beside the image that they refer to, which the target's repository
// should have. What the repository lists already is left alone. A registry without the
// referrers API keeps the list under a tag of the subject's digest (distribution-spec 1.1,
// "Referrers Tag Schema"), which go-containerregistry sees to.
//
// The result lists what stands, in the order of the artifacts, also beside an error; its
// hint names the way out for registries that take no artifacts.
func Attach(ctx context.Context, artifacts []*referrers.Artifact, target Target, o Options) ([]Referrer, error) {
	a := newAttaching(target, o)
	err := a.run(ctx, artifacts)
	if err != nil {
		err = withoutArtifacts("the image itself is published; ", err)
	}
	var out []Referrer
	for _, r := range artifacts {
		if d := r.Manifest.Descriptor.Digest; a.listed[d] {
			out = append(out, referrer(r, a.written[d]))
		}
	}
	return out, err
}

// PlanAttach says what Attach would do with each artifact: Written is set where the repository
// does not list it yet. Nothing is sent. The image need not be there.
func PlanAttach(ctx context.Context, artifacts []*referrers.Artifact, target Target, o Options) (out []Referrer, err error) {
	a := newAttaching(target, o)
	if err := a.list(ctx, artifacts); err != nil {
		return nil, withoutArtifacts("", classify(target, "listing the referrers in", err))
	}
	for _, r := range artifacts {
		out = append(out, referrer(r, !a.listed[r.Manifest.Descriptor.Digest]))
	}
	return out, nil
}

func referrer(r *referrers.Artifact, written bool) Referrer {
	d := r.Manifest.Descriptor
	return Referrer{Name: r.Name, Subject: r.Subject.Digest.String(), Digest: d.Digest.String(), Type: d.ArtifactType, Written: written}
}

// withoutArtifacts adds the way out for registries that take no artifacts.
func withoutArtifacts(before string, err error) error {
	hint := before + "where a registry takes no artifacts, pass -referrers=false"
	if other := fault.HintOf(err); other != "" {
		hint = other + "; " + hint
	}
	return fault.Wrap(fault.KindOf(err), hint, err)
}

// attaching is artifacts on their way into one repository.
type attaching struct {
	target          Target
	opts            Options
	listed, written map[v1.Hash]bool
}

func newAttaching(target Target, o Options) *attaching {
	return &attaching{target: target, opts: o, listed: map[v1.Hash]bool{}, written: map[v1.Hash]bool{}}
}

// run writes what is not listed, until all is.
func (a *attaching) run(ctx context.Context, artifacts []*referrers.Artifact) error {
	for range attachTries {
		if err := a.list(ctx, artifacts); err != nil {
			return classify(a.target, "listing the referrers in", err)
		}
		missing := slices.DeleteFunc(slices.Clone(artifacts), func(r *referrers.Artifact) bool { return a.listed[r.Manifest.Descriptor.Digest] })
		if len(missing) == 0 {
			return nil
		}
		if err := a.write(ctx, missing); err != nil {
			return classify(a.target, "attaching documents in", err)
		}
	}
	if err := a.list(ctx, artifacts); err != nil {
		return classify(a.target, "listing the referrers in", err)
	}
	for _, r := range artifacts {
		if d := r.Manifest.Descriptor.Digest; !a.listed[d] {
			return fault.Wrap(fault.Registry, "", fmt.Errorf(
				"attaching documents in %s: the registry took %s (%s) and does not list it among the referrers of %s", a.target, r.Name, d, r.Subject.Digest))
		}
	}
	return nil
}

// list asks for the referrers of every subject.
func (a *attaching) list(ctx context.Context, artifacts []*referrers.Artifact) error {
	asked := map[v1.Hash]bool{}
	for _, r := range artifacts {
		if asked[r.Subject.Digest] {
			continue
		}
		asked[r.Subject.Digest] = true
		subject := a.target.ref.Context().Digest(r.Subject.Digest.String())
		err := retry(ctx, a.opts.Pause, func() error {
			index, err := remote.Referrers(subject, a.opts.remote(ctx)...)
			if err != nil {
				return err
			}
			m, err := index.IndexManifest()
			if err != nil {
				return err
			}
			for _, d := range m.Manifests {
				a.listed[d.Digest] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends the artifacts' blobs, then their manifests, one after the other: each may
// change the same list.
func (a *attaching) write(ctx context.Context, artifacts []*referrers.Artifact) error {
	p, err := newPublication(ctx, a.target, a.opts)
	if err != nil {
		return err
	}
	var blobs []layer
	for _, r := range artifacts {
		blobs = append(blobs, blobLayer("config of "+r.Name, r.Config), blobLayer(r.Name, r.Document))
	}
	if err := p.sendAll(ctx, blobs); err != nil {
		return err
	}
	pusher, err := remote.NewPusher(a.opts.remote(ctx)...)
	if err != nil {
		return err
	}
	for _, r := range artifacts {
		ref := a.target.ref.Context().Digest(r.Manifest.Descriptor.Digest.String())
		if err := retry(ctx, a.opts.Pause, func() error { return pusher.Put(ctx, ref, r) }); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		a.written[r.Manifest.Descriptor.Digest] = true
	}
	return nil
}

// blobLayer is an artifact's blob as something to send.
func blobLayer(title string, b referrers.Blob) layer {
	return layer{digest: b.Descriptor.Digest, size: b.Descriptor.Size, title: title, aside: true, open: func() (source, error) {
		return inMemory{bytes.NewReader(b.Data)}, nil
	}}
}
