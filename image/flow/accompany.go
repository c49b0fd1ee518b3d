package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// accompany sends what goes out beside the image, to the targets that have it: the image of
// the weights alone, whose layers are there by then, and the documents about both.
func (j *Job) accompany(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, r *PublishResult) error {
	served := slices.DeleteFunc(slices.Clone(targets), func(t push.Target) bool { return r.target(t) == nil })
	var failed []error
	if o.Weights != "" {
		beside, err := besideTargets(served, o.Weights)
		if err == nil {
			err = j.publishWeights(ctx, img, beside, o, r)
		}
		failed = append(failed, err)
		served = append(served, beside...)
	}
	if !o.NoReferrers {
		failed = append(failed, j.attachAll(ctx, served, o, r))
	}
	return errors.Join(failed...)
}

// besideTargets are the repositories of the targets, each once, with another tag.
func besideTargets(targets []push.Target, tag string) (out []push.Target, err error) {
	if tag == "" {
		return nil, nil
	}
	for _, t := range targets {
		beside, err := t.Beside(tag)
		if err != nil {
			return nil, err
		}
		same := func(t push.Target) bool { return t.String() == beside.String() }
		if slices.ContainsFunc(targets, same) {
			return nil, fault.Wrap(fault.Usage, "pass -weights another tag than -target", fmt.Errorf(
				"publishing weights: %s is a target of the whole image", beside))
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, beside)
		}
	}
	return out, nil
}

// publishWeights sends the image of the weights alone.
func (j *Job) publishWeights(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, r *PublishResult) error {
	weights, err := img.Weights()
	if err != nil {
		return err
	}
	digest, err := weights.Digest()
	if err != nil {
		return err
	}
	r.WeightsDigest = digest.String()
	if len(targets) == 0 {
		return nil
	}
	var failed []error
	for _, out := range j.send(ctx, weights, targets, o, nil) {
		failed = append(failed, r.take(out.Target.String(), out.Result, out.Err))
	}
	return errors.Join(failed...)
}

// attachAll writes the documents that lie beside the layout.
func (j *Job) attachAll(ctx context.Context, targets []push.Target, o PublishOptions, r *PublishResult) error {
	artifacts, err := referrers.Open(j.layoutOf(o))
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range targets {
		result := r.target(t)
		if result == nil {
			continue
		}
		digest, err := v1.NewHash(result.Digest)
		if err != nil {
			return err
		}
		about := referrers.About(artifacts, digest)
		if len(about) == 0 {
			j.note("note: there is no SBOM and no provenance of %s beside the layout: run the build target again to have them attached", result.Digest)
			continue
		}
		attached, err := push.Attach(ctx, about, t, push.Options{UserAgent: userAgent})
		result.Referrers = attached
		if err != nil {
			failed = append(failed, r.take(t.String(), push.Result{}, err))
		}
	}
	return errors.Join(failed...)
}

// layoutOf is the layout that is published.
func (j *Job) layoutOf(o PublishOptions) string {
	if o.From != "" {
		return o.From
	}
	return j.Layout()
}

// target is the result for a target; nil where it was not written.
func (r *PublishResult) target(t push.Target) *push.Result {
	i := slices.IndexFunc(r.Targets, func(got push.Result) bool { return got.Reference == t.String() })
	if i < 0 {
		return nil
	}
	return &r.Targets[i]
}

// documentNames maps what a user asks for to the names of documents.
var documentNames = map[string]string{
	"sbom": attest.NameSBOM, "provenance": attest.NameProvenance, "verification": attest.NameVerification,
}

// DocumentResult is a document about an image.
type DocumentResult struct{ data []byte }

// Document returns a document about the built image, or about that of the layout from: its
// SBOM, or which of "sbom", "provenance" and "verification" is asked for. It needs neither
// cache nor registry.
func Document(_ context.Context, j *Job, from, which string) (*DocumentResult, error) {
	name, ok := documentNames[cmp.Or(which, "sbom")]
	if !ok {
		return nil, fault.Wrap(fault.Usage, "write sbom, provenance or verification", fmt.Errorf("looking for a document: there is no %q", which))
	}
	dir := j.layoutOf(PublishOptions{From: from})
	_, _, digest, err := image.Describe(dir)
	if err != nil {
		return nil, err
	}
	artifacts, err := referrers.Open(dir)
	if err != nil {
		return nil, err
	}
	for _, a := range referrers.About(artifacts, digest) {
		if a.Name == name {
			return &DocumentResult{a.Document.Data}, nil
		}
	}
	return nil, fault.Wrap(fault.Usage, "run the build target again", fmt.Errorf("looking for %s: there is none of image %s beside layout %s", name, digest, dir))
}

// Text is the document.
func (r *DocumentResult) Text() string { return string(r.data) }

// MarshalJSON is the document, which is JSON itself.
func (r *DocumentResult) MarshalJSON() ([]byte, error) { return r.data, nil }
