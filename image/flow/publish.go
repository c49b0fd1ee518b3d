package flow

import (
	"cmp"
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

// PublishOptions say what is published where.
type PublishOptions struct {
	// Targets are references, REGISTRY/REPOSITORY:TAG.
	Targets []string
	// DigestFile, if not empty, receives the image's digest.
	DigestFile string
	// MountFrom lists repositories, REGISTRY/REPOSITORY, that may have the layers.
	MountFrom []string
	// From is the folder of an OCI layout to publish instead of the built image, such as
	// an export that was carried over. Then the job needs no model, and nothing is fetched.
	From string
	// Tag makes this tag name what the targets name, and publishes nothing: a target may
	// then be REGISTRY/REPOSITORY@DIGEST too.
	Tag string
	// DryRun asks the registries what they have of all that would be written, and sends
	// nothing.
	DryRun bool
	// Weights, if not empty, is a tag beside each target's for an image of the same weights
	// without what runs.
	Weights string
	// NoReferrers leaves out the documents about the image.
	NoReferrers bool
	// Stream builds and publishes in one, from the lock alone: files of more than
	// StreamAbove bytes (0: StreamAbove) that are not in the cache go from the Hub to the
	// targets and are not kept.
	Stream      bool
	StreamAbove int64
}

// PublishResult lists what was published where.
type PublishResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	Digest        string `json:"digest"`
	// Targets holds one result for each target that was written, Failed those that were
	// not.
	Targets []push.Result  `json:"targets"`
	Failed  []FailedTarget `json:"failed,omitempty"`
	// WeightsDigest is that of the image of the weights alone; "" where none was asked for.
	WeightsDigest string `json:"weightsDigest,omitempty"`
	// Plans says what would be sent, for a dry run: the image to each target, then the image of
	// the weights.
	Plans []push.TargetPlan `json:"plans,omitempty"`
}

// FailedTarget is a target that was not written, and why.
type FailedTarget struct {
	Reference string `json:"reference"`
	Error     string `json:"error"`
	Kind      string `json:"kind"`
	Hint      string `json:"hint,omitempty"`
}

// exportError adds the way out where the folder cannot hold the layers.
func exportError(err error) error {
	if !fault.Local(err) {
		return err
	}
	return fault.Wrap(0, "free some space, or name another folder with -to=DIR", err)
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
	bar := j.layerBar("exporting "+j.label(), img, 1)
	err = img.Export(ctx, dir, bar.Add)
	bar.Finish()
	if err != nil {
		return nil, exportError(err)
	}
	if err := carry(j.Layout(), dir); err != nil {
		return nil, err
	}
	return j.built(img, dir, true)
}

// Publish sends the built image to every target; see PublishTo.
func Publish(ctx context.Context, j *Job, targets []string, digestFile string) (*PublishResult, error) {
	return PublishTo(ctx, j, PublishOptions{Targets: targets, DigestFile: digestFile})
}

// PublishTo sends an image to every target. First all is checked that can be without
// sending a byte; then registries are served at once and the files are read once for all of
// them. Layers that a target lacks and whose files are not here are fetched. A failing
// target does not stop the others: the result says what became of each, and comes with an
// error.
func PublishTo(ctx context.Context, j *Job, o PublishOptions) (*PublishResult, error) {
	if o.Stream {
		return j.publishStream(ctx, o)
	}
	if o.Tag != "" {
		return j.retag(ctx, o)
	}
	targets, err := parseTargets(o.Targets)
	if err != nil {
		return nil, err
	}
	if _, err := besideTargets(targets, o.Weights); err != nil {
		return nil, err
	}
	img, err := j.published(o.From)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		if err := t.Check(img); err != nil {
			return nil, err
		}
	}
	r, err := j.publishResult(img)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		return r, j.dryRun(ctx, img, targets, o, r)
	}
	err = errors.Join(j.publishAll(ctx, img, targets, o, r), j.accompany(ctx, img, targets, o, r))
	if err == nil && o.DigestFile != "" {
		if err = manifests.WriteFile(o.DigestFile, []byte(r.Digest+"\n")); err != nil {
			err = fmt.Errorf("writing digest file: %w", err)
		}
	}
	return r, err
}

// published is the image to publish: the built one, or that of a layout.
func (j *Job) published(from string) (*image.Image, error) {
	if from == "" {
		if _, err := j.openMemo(); err != nil { // it proves the files
			return nil, err
		}
		return j.open()
	}
	img, err := image.Open(from, nil)
	if err != nil {
		err = fault.Wrap(fault.KindOf(err), "pass the folder that export -to=DIR wrote", err)
	}
	return img, err
}

// publishResult describes the image.
func (j *Job) publishResult(img *image.Image) (*PublishResult, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	r := &PublishResult{SchemaVersion: SchemaVersion, Digest: digest.String()}
	if j.Manifest != nil {
		r.Model, r.Variant = j.Manifest.Name, j.variant()
		return r, nil
	}
	m, err := img.Manifest()
	if err == nil {
		r.Model = m.Annotations["org.opencontainers.image.title"]
	}
	return r, err
}

// retag moves tags.
func (j *Job) retag(ctx context.Context, o PublishOptions) (*PublishResult, error) {
	if len(o.Targets) == 0 {
		return nil, errNoTarget()
	}
	if o.Weights != "" {
		return nil, fault.Wrap(fault.Usage, "pass -tag or -weights, not both", fmt.Errorf("moving tag %s: nothing is published, so no weights either", o.Tag))
	}
	r := &PublishResult{SchemaVersion: SchemaVersion}
	if j.Manifest != nil {
		r.Model, r.Variant = j.Manifest.Name, j.variant()
	}
	var failed []error
	for _, s := range o.Targets {
		result, err := push.Retag(ctx, s, o.Tag, push.Options{UserAgent: userAgent})
		failed = append(failed, r.take(s, result, err))
		r.Digest = cmp.Or(result.Digest, r.Digest)
	}
	return r, errors.Join(failed...)
}

// take notes what became of a target, and returns its error.
func (r *PublishResult) take(reference string, result push.Result, err error) error {
	if err == nil {
		r.Targets = append(r.Targets, result)
		return nil
	}
	r.Failed = append(r.Failed, FailedTarget{
		Reference: reference, Error: err.Error(), Kind: fault.KindOf(err).String(), Hint: fault.HintOf(err),
	})
	return err
}

// userAgent is how plimsoll calls itself.
const userAgent = "plimsoll"

func errNoTarget() error {
	return fault.Wrap(fault.Usage, "pass -target=REGISTRY/REPOSITORY:TAG, several with commas", errors.New("publishing: no target is given"))
}

func parseTargets(targets []string) ([]push.Target, error) {
	if len(targets) == 0 {
		return nil, errNoTarget()
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

// publishAll sends to all targets. Those that lack layers whose files are not here come
// again when they have been fetched.
func (j *Job) publishAll(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, r *PublishResult) error {
	journal, err := j.uploads()
	if err != nil {
		return err
	}
	defer journal.Close()
	var failed []error
	var again []push.Target
	for _, out := range j.send(ctx, img, targets, o, journal) {
		if errors.Is(out.Err, image.ErrAbsent) && o.From == "" {
			j.note("note: %s lacks layers whose files are not in the cache: fetching them", out.Target)
			again = append(again, out.Target)
			continue
		}
		failed = append(failed, r.take(out.Target.String(), out.Result, out.Err))
	}
	for _, out := range j.fetchAndSend(ctx, img, again, o, journal) {
		failed = append(failed, r.take(out.Target.String(), out.Result, out.Err))
	}
	return errors.Join(failed...)
}

// fetchAndSend fetches what is missing here, then sends.
func (j *Job) fetchAndSend(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, journal *push.Journal) (out []push.Outcome) {
	if len(targets) == 0 {
		return nil
	}
	_, err := Fetch(ctx, j)
	if err == nil {
		return j.send(ctx, img, targets, o, journal)
	}
	for _, t := range targets {
		out = append(out, push.Outcome{Target: t, Err: err})
	}
	return out
}

// uploads opens the journal of uploads that are still open; nil where another process is
// publishing.
func (j *Job) uploads() (*push.Journal, error) {
	journal, ok, err := push.OpenJournal(j.work("uploads.jsonl"))
	if err != nil {
		return nil, fault.Wrap(fault.Resource, "set HF_HOME or HF_HUB_CACHE to a folder that can be written", err)
	}
	if !ok {
		j.note("note: another process is publishing: what this one sends cannot go on in a third")
	}
	return journal, nil
}

// send publishes under one progress bar.
func (j *Job) send(ctx context.Context, img *image.Image, targets []push.Target, o PublishOptions, journal *push.Journal) []push.Outcome {
	label := "publishing " + targets[0].String()
	if len(targets) > 1 {
		label = fmt.Sprintf("publishing to %d targets", len(targets))
	}
	bar := j.layerBar(label, img, len(targets))
	defer bar.Finish()
	return push.PublishAll(ctx, img, targets, func(push.Target) push.Options {
		return push.Options{
			Progress: bar.Add, Skipped: func(n int64) { bar.Grow(-n) },
			UserAgent: userAgent, MountFrom: o.MountFrom, Journal: journal,
		}
	})
}

// layerBar is a progress bar over all layers of the image, so many times.
func (j *Job) layerBar(label string, img *image.Image, times int) *progress.Bar {
	total := int64(0)
	if m, err := img.Manifest(); err == nil {
		for _, d := range m.Layers {
			total += d.Size
		}
	}
	return progress.New(j.Stderr, j.TTY, label, total*int64(times))
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
	img, err := image.Open(j.Layout(), func(file, sum string) image.Opener {
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
	if j.label() != j.Manifest.Name && errors.Is(err, os.ErrNotExist) {
		err = fault.Wrap(fault.Usage, "run the build target first, with -variant="+j.Variant, err)
	}
	return img, err
}

// variant is the variant's name, the default one's if none is set.
func (j *Job) variant() string {
	if j.Variant == "" {
		return manifests.DefaultVariant
	}
	return j.Variant
}
