package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// budget fills in the report's budget.
func (j *Job) budget(ctx context.Context, r *report.Report, against string) error {
	var published *report.Published
	if against != "" {
		if b := j.Manifest.Budget; b == nil || b.Growth == "" {
			return fault.Wrap(fault.Usage, "write budget: {growth: 2%} into the manifest, or leave -against away",
				errors.New("reading -against="+against+": the manifest sets no limit to growth"))
		}
		var err error
		if published, err = readPublished(ctx, against); err != nil {
			return err
		}
	}
	b, err := report.NewBudget(r, j.Manifest.Budget, published)
	r.Budget = b
	return err
}

// maxPublished bounds the bytes that a published image can claim to have, 36 PB.
const maxPublished = 1 << 55

// readPublished describes the published image.
func readPublished(ctx context.Context, against string) (*report.Published, error) {
	img, err := openOther(ctx, "against", against)
	if err != nil {
		return nil, err
	}
	s := describe(img)
	p := &report.Published{Name: against, Digest: s.Digest}
	for _, b := range s.Blobs {
		p.Bytes += b.Size
	}
	for _, l := range s.Layers {
		if l.Size < 0 || p.Bytes > maxPublished-l.Size {
			return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading -against=%s: its layers have sizes such as %d bytes", against, l.Size))
		}
		p.Bytes += l.Size
		p.Layers = append(p.Layers, report.Layer{Kind: l.Kind, Path: l.Title, Digest: l.Digest, Size: l.Size})
	}
	return p, nil
}
