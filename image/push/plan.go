package push

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// State says what publishing means for one layer.
type State string

// The states of a layer.
const (
	Present   State = "present"   // the repository has it
	Mountable State = "mountable" // another repository of the registry has it
	ToSend    State = "send"      // its bytes are here and have to go there
	ToFetch   State = "fetch"     // its bytes have to come here first
	ToStream  State = "stream"    // its bytes come from upstream and go there, and are not kept
)

// Wanted is a layer to ask for.
type Wanted struct {
	// Digest is the layer's; "" where it is not known before the bytes are here.
	Digest string
	Title  string
	Size   int64
	// Here says that the bytes are on this machine, Passing that they need not be.
	Here, Passing bool
}

// PlannedLayer is a layer with what publishing means for it.
type PlannedLayer struct {
	Digest string `json:"digest,omitempty"`
	Title  string `json:"title"`
	Size   int64  `json:"size"`
	State  State  `json:"state"`
	// From is the repository to mount from.
	From string `json:"from,omitempty"`
}

// TargetPlan says what publishing to a target means, before a byte is sent.
type TargetPlan struct {
	Reference string         `json:"reference"`
	Layers    []PlannedLayer `json:"layers"`
	// Bytes adds up the layers' sizes by state.
	Bytes map[State]int64 `json:"bytes"`
	// Referrers are the documents that would stand beside the image; see PlanAttach.
	Referrers []Referrer `json:"referrers,omitempty"`
}

// Plan asks the target's registry for every layer. Nothing is opened, sent or mounted.
// Errors are Publish's.
func Plan(ctx context.Context, wanted []Wanted, target Target, o Options) (TargetPlan, error) {
	p, err := newPublication(ctx, target, o)
	if err != nil {
		return TargetPlan{}, classify(target, "asking", err)
	}
	out := TargetPlan{Reference: target.String(), Layers: make([]PlannedLayer, len(wanted)), Bytes: map[State]int64{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * jobs)
	for i, w := range wanted {
		group.Go(func() (err error) {
			out.Layers[i], err = p.plan(ctx, w)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return TargetPlan{}, classify(target, "asking", err)
	}
	for _, l := range out.Layers {
		out.Bytes[l.State] += l.Size
	}
	return out, nil
}

// plan asks for one layer.
func (p *publication) plan(ctx context.Context, w Wanted) (PlannedLayer, error) {
	out := PlannedLayer{Digest: w.Digest, Title: w.Title, Size: w.Size, State: ToFetch}
	switch {
	case w.Here:
		out.State = ToSend
	case w.Passing:
		out.State = ToStream
	}
	if w.Digest == "" {
		return out, nil
	}
	digest, err := v1.NewHash(w.Digest)
	if err != nil {
		return out, fault.Wrap(fault.Invalid, "", fmt.Errorf("asking for layer %s: %w", w.Title, err))
	}
	there, err := p.client.has(ctx, p.target.ref.Context(), digest)
	if err != nil {
		return out, err
	}
	if there {
		out.State = Present
	} else if from, ok := p.holder(ctx, digest); ok {
		out.State, out.From = Mountable, from.Name()
	}
	return out, nil
}
