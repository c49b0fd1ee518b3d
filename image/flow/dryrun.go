package flow

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
)

// dryRun asks what each target has of all that would be written there: the image, the image
// of the weights alone, and the documents about both.
func (j *Job) dryRun(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, r *PublishResult) error {
	var documents []*referrers.Artifact
	var err error
	if !o.NoReferrers {
		if documents, err = referrers.Open(j.layoutOf(o)); err != nil {
			return err
		}
	}
	failed := planImage(ctx, img, targets, documents, o, r)
	if o.Weights == "" {
		return failed
	}
	weights, beside, err := r.weights(img, targets, o)
	if err != nil {
		return errors.Join(failed, err)
	}
	served := slices.Clone(r.Plans)
	failed = errors.Join(failed, planImage(ctx, weights, beside, documents, o, r))
	for i := range r.Plans[len(served):] {
		afterwards(&r.Plans[len(served)+i], served)
	}
	return failed
}

// weights is the image of the weights, and where it would go: beside the targets that could
// be asked.
func (r *PublishResult) weights(img *image.Image, targets []push.Target, o PublishOptions) (*image.Image, []push.Target, error) {
	weights, err := img.Weights()
	if err != nil {
		return nil, nil, err
	}
	digest, err := weights.Digest()
	if err != nil {
		return nil, nil, err
	}
	r.WeightsDigest = digest.String()
	asked := slices.DeleteFunc(slices.Clone(targets), func(t push.Target) bool {
		return !slices.ContainsFunc(r.Plans, func(p push.TargetPlan) bool { return p.Reference == t.String() })
	})
	beside, err := besideTargets(asked, o.Weights)
	return weights, beside, err
}

// planImage asks targets for the layers of an image, and for the documents about it.
func planImage(ctx context.Context, img *image.Image, targets []push.Target, documents []*referrers.Artifact, o PublishOptions, r *PublishResult) error {
	wanted, err := wantedLayers(img)
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	about := referrers.About(documents, digest)
	options := push.Options{UserAgent: userAgent, MountFrom: o.MountFrom}
	var failed []error
	for _, t := range targets {
		plan, err := push.Plan(ctx, wanted, t, options)
		if err == nil {
			plan.Referrers, err = push.PlanAttach(ctx, about, t, options)
		}
		if err != nil {
			failed = append(failed, r.take(t.String(), push.Result{}, err))
			continue
		}
		r.Plans = append(r.Plans, plan)
	}
	return errors.Join(failed...)
}

// afterwards makes a plan that of a publication after others: what they bring into the same
// repository is there by then.
func afterwards(plan *push.TargetPlan, others []push.TargetPlan) {
	brought := map[string]bool{}
	for _, other := range others {
		if repositoryOf(other) == repositoryOf(*plan) {
			for _, l := range other.Layers {
				brought[l.Digest] = true
			}
		}
	}
	for i, l := range plan.Layers {
		if brought[l.Digest] && l.State != push.Present {
			plan.Bytes[l.State] -= l.Size
			plan.Bytes[push.Present] += l.Size
			plan.Layers[i].State, plan.Layers[i].From = push.Present, ""
		}
	}
}

// repositoryOf is the reference of a plan without its tag.
func repositoryOf(p push.TargetPlan) string {
	return p.Reference[:strings.LastIndexByte(p.Reference, ':')]
}
