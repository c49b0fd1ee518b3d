package flow

import (
	"context"
	"errors"

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

// readPublished describes the published image.
func readPublished(ctx context.Context, against string) (*report.Published, error) {
	s, err := DiffOptions{}.read(ctx, against)
	if err != nil {
		return nil, err
	}
	if s.Lock {
		return nil, fault.Wrap(fault.Usage, "write docker://REGISTRY/REPOSITORY:TAG or oci:PATH",
			errors.New("reading -against="+against+": a lock is no published image"))
	}
	p := &report.Published{Name: against, Digest: s.Digest}
	for _, b := range s.Blobs {
		p.Bytes += b.Size
	}
	for _, l := range s.Layers {
		p.Bytes += l.Size
		p.Layers = append(p.Layers, report.Layer{Kind: l.Kind, Path: l.Title, Digest: l.Digest, Size: l.Size})
	}
	return p, nil
}
