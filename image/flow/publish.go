package flow

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// PublishResult lists what was published where.
type PublishResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	Digest        string `json:"digest"`
	// Targets holds one result for each target that was written.
	Targets []push.Result `json:"targets"`
}

// Export writes the built image as a full layout, every layer a blob: in place, or to dir.
func Export(ctx context.Context, j *Job, dir string) (*BuildResult, error) {
	if dir == "" {
		dir = j.Layout()
	}
	img, err := j.open()
	if err != nil {
		return nil, err
	}
	bar := j.layerBar("exporting "+j.label(), img)
	err = img.Export(ctx, dir, bar.Add)
	bar.Finish()
	if err != nil {
		return nil, err
	}
	return j.built(img, dir, true)
}

// Publish sends the built image to every target: first to all that is checked without
// sending a byte, then one after the other. digestFile, if not empty, receives the digest.
// A failing target does not stop the others; its error is part of the result's.
func Publish(ctx context.Context, j *Job, targets []string, digestFile string) (*PublishResult, error) {
	parsed, err := parseTargets(targets)
	if err != nil {
		return nil, err
	}
	img, err := j.open()
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	for _, t := range parsed {
		if err := t.Check(img); err != nil {
			return nil, err
		}
	}
	r := &PublishResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: j.variant(), Digest: digest.String()}
	if err := j.publishAll(ctx, img, parsed, r); err != nil {
		return r, err
	}
	if digestFile == "" {
		return r, nil
	}
	if err := manifests.WriteFile(digestFile, []byte(r.Digest+"\n")); err != nil {
		return r, fmt.Errorf("writing digest file: %w", err)
	}
	return r, nil
}

func parseTargets(targets []string) ([]push.Target, error) {
	if len(targets) == 0 {
		return nil, fault.Wrap(fault.Usage, "pass -target=REGISTRY/REPOSITORY:TAG, several with commas", errors.New("publishing: no target is given"))
	}
	var out []push.Target
	for _, s := range targets {
		t, err := push.ParseTarget(s)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// publishAll sends to each target and keeps going when one fails.
func (j *Job) publishAll(ctx context.Context, img *image.Image, targets []push.Target, r *PublishResult) error {
	var failed []error
	for _, t := range targets {
		result, err := j.publishOne(ctx, img, t)
		if errors.Is(err, image.ErrAbsent) {
			j.note("note: %s lacks layers whose files are not in the cache: fetching them", t)
			if _, err = Fetch(ctx, j); err == nil {
				result, err = j.publishOne(ctx, img, t)
			}
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		r.Targets = append(r.Targets, result)
	}
	return errors.Join(failed...)
}

// publishOne sends to one target.
func (j *Job) publishOne(ctx context.Context, img *image.Image, t push.Target) (push.Result, error) {
	bar := j.layerBar("publishing "+t.String(), img)
	defer bar.Finish()
	return push.Publish(ctx, img, t, push.Options{Progress: bar.Add, UserAgent: "plimsoll"})
}

// layerBar is a progress bar over all layers of the image.
func (j *Job) layerBar(label string, img *image.Image) *progress.Bar {
	total := int64(0)
	if m, err := img.Manifest(); err == nil {
		for _, d := range m.Layers {
			total += d.Size
		}
	}
	return progress.New(j.Stderr, j.TTY, label, total)
}

// open reads the built layout, with model files out of the cache.
func (j *Job) open() (*image.Image, error) {
	l, err := j.lock()
	if err != nil {
		return nil, err
	}
	bySum := map[string]manifests.LockFile{}
	for _, f := range l.Files {
		if f.Keep {
			bySum[f.SHA256] = f
		}
	}
	return image.Open(j.Layout(), func(file, sum string) image.Opener {
		f, ok := bySum[sum]
		if !ok {
			return func() (image.File, error) {
				return nil, fault.Wrap(fault.Usage, "run the build target again", fmt.Errorf(
					"opening %s: the lock knows no file with sha256 %s: %w", file, sum, os.ErrNotExist))
			}
		}
		open, err := j.openFile(f.Repo, f.File)
		if err != nil {
			return func() (image.File, error) { return nil, err }
		}
		return open
	})
}

// variant is the variant's name, the default one's if none is set.
func (j *Job) variant() string {
	if j.Variant == "" {
		return manifests.DefaultVariant
	}
	return j.Variant
}
