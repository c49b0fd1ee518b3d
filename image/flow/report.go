package flow

import (
	"context"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// ReportOptions say what the image is compared with and where the report is written to,
// besides what the verb returns.
type ReportOptions struct {
	// SharedWith is another image, whose layers a registry or a node may have: oci:PATH,
	// oci:PATH:NAME, docker://REFERENCE, or the reference alone. "" for none. Manifest and
	// config alone are read.
	SharedWith string
	// Against is the published image that growth is measured against, in the forms of
	// SharedWith; with "" growth is not checked.
	Against string
	// Markdown, HTML and SVG are files to write, "" for none: the report for a pull request,
	// as a page, and its picture. They are replaced; but the file that GITHUB_STEP_SUMMARY
	// names, as Markdown, is added to.
	Markdown, HTML, SVG string
}

// Report compares the built image with what it replaces; see ReportWith.
func Report(ctx context.Context, j *Job) (*report.Report, error) {
	return ReportWith(ctx, j, ReportOptions{})
}

// ReportWith compares the built image with what it replaces, and writes what the options
// ask for. It needs the manifest, the lock and the layout, no cache, and a network only for
// another image in a registry. An image over the manifest's budget is reported, in the files
// too, and comes with an error of kind fault.Budget.
func ReportWith(ctx context.Context, j *Job, o ReportOptions) (*report.Report, error) {
	in, err := j.reportInput()
	if err != nil {
		return nil, err
	}
	if in.Other, err = otherImage(ctx, o.SharedWith); err != nil {
		return nil, err
	}
	r, err := report.New(in)
	if err != nil {
		return nil, err
	}
	if err := j.budget(ctx, r, o.Against); err != nil {
		return r, err
	}
	if err := j.writeReport(r, o); err != nil {
		return r, err
	}
	return r, r.Budget.Err()
}

// reportInput collects what the built image says of itself.
func (j *Job) reportInput() (report.Input, error) {
	in := report.Input{Manifest: j.Manifest, Limits: reportLimits()}
	l, err := j.lock()
	if err != nil {
		return in, err
	}
	if in.Selection, err = j.Manifest.Select(j.Variant, l.Listings()); err != nil {
		return in, err
	}
	img, err := j.open()
	if err != nil {
		return in, err
	}
	if in.Layers, err = reportLayers(img); err != nil {
		return in, err
	}
	model, err := img.ModelConfig()
	if err != nil {
		return in, err
	}
	in.Unused, in.Checkpoints = model.Unused, gpu.Checkpoints(model)
	digest, err := img.Digest()
	if err != nil {
		return in, err
	}
	in.Image = digest.String()
	if j.Manifest.Runtime == "plimsoll" && j.Manifest.Image.Base == nil {
		in.Note = "built without a base layer: no Debian mirror could be reached"
	}
	in.Manifests, err = jsonBytes(img)
	return in, err
}

// reportLimits is package push's table, for the report.
func reportLimits() []report.Limit {
	var out []report.Limit
	for _, r := range push.Registries {
		l := report.Limit{Registry: r.Host, Layer: r.Layer, Layers: r.Layers, Source: r.Source}
		if r.Layer > 0 {
			l.PartSize = r.PartSize()
		}
		out = append(out, l)
	}
	return out
}

// otherImage reads the manifest of another image; nil for "".
func otherImage(ctx context.Context, where string) (*report.Other, error) {
	if where == "" {
		return nil, nil
	}
	img, err := openOther(ctx, "sharedWith", where)
	if err != nil {
		return nil, err
	}
	out := &report.Other{Name: where, Digest: img.Digest.String()}
	for _, l := range img.Manifest.Layers {
		out.Layers = append(out.Layers, report.OtherLayer{Digest: l.Digest.String(), Size: l.Size})
	}
	return out, nil
}

// reportLayers describes the image's layers for the report. None of them is compressed.
func reportLayers(img *image.Image) ([]report.Layer, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var out []report.Layer
	for n, d := range m.Layers {
		content, err := img.Content(n)
		if err != nil {
			return nil, err
		}
		out = append(out, report.Layer{
			Kind: d.Annotations[image.AnnotationKind], Path: d.Annotations[titleKey],
			Source: d.Annotations[image.AnnotationSource], Digest: d.Digest.String(), Size: d.Size, Content: content,
		})
	}
	return out, nil
}

// jsonBytes is the size of the image's manifest and config.
func jsonBytes(img *image.Image) (int64, error) {
	m, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := img.Size()
	return size + m.Config.Size, err
}
