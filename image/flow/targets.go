package flow

import (
	"context"
	"errors"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// PlanFor is Plan, and asks each target what publishing to it means: which layers are
// there, which can be mounted from one of the repositories in mountFrom, which are to be
// sent, and which to be fetched first. It downloads nothing and needs no built image: the
// lock knows the digests of the model layers. The layers of base, runtime and configuration
// are asked for where the image has been built. A target that cannot be asked does not stop
// the others: the plan then comes with an error.
func PlanFor(ctx context.Context, j *Job, targets, mountFrom []string) (*PlanResult, error) {
	r, err := Plan(ctx, j)
	if err != nil || len(targets) == 0 {
		return r, err
	}
	parsed, err := parseTargets(targets)
	if err != nil {
		return nil, err
	}
	wanted, err := j.wanted(r)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, t := range parsed {
		p, err := push.Plan(ctx, wanted, t, push.Options{UserAgent: userAgent, MountFrom: mountFrom})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		r.Targets = append(r.Targets, p)
	}
	return r, errors.Join(failed...)
}

// wanted lists the layers of a plan, lowest first.
func (j *Job) wanted(r *PlanResult) ([]push.Wanted, error) {
	l, err := j.lock()
	if err != nil {
		l = &manifests.Lock{} // the plan came from the Hub: no digest is known
	}
	repos := map[string]string{}
	for _, s := range r.Sources {
		repos[s.Name] = s.Repo
	}
	var out []push.Wanted
	for _, d := range r.Files {
		if !d.Keep {
			continue
		}
		layers, err := j.wantedFile(l, repos[d.Source], d)
		if err != nil {
			return nil, err
		}
		out = append(out, layers...)
	}
	return append(out, j.wantedSmall()...), nil
}

// wantedFile lists the layers of one model file.
func (j *Job) wantedFile(l *manifests.Lock, repo string, d manifests.Decision) (out []push.Wanted, err error) {
	parts, err := pack.Parts(d.ImagePath, d.Size, int64(j.Manifest.PartSize))
	if err != nil {
		return nil, err
	}
	path, err := j.blob(repo, d.File)
	if err != nil {
		return nil, err
	}
	_, statErr := os.Stat(path)
	for _, p := range parts {
		line, _ := l.Layer(d.Source, d.Path, p)
		out = append(out, push.Wanted{Digest: line.Digest, Title: p.Name, Size: p.LayerSize(), Here: statErr == nil})
	}
	return out, nil
}

// wantedSmall lists the layers of the built image, if there is one, that are no model files.
func (j *Job) wantedSmall() (out []push.Wanted) {
	m, _, _, err := image.Describe(j.Layout())
	if err != nil {
		return nil
	}
	for _, d := range m.Layers {
		if d.Annotations[image.AnnotationKind] != string(image.KindModel) {
			out = append(out, wantedLayer(d, true))
		}
	}
	return out
}

// wantedLayers lists all layers of an image.
func wantedLayers(img *image.Image) ([]push.Wanted, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var out []push.Wanted
	for i, d := range m.Layers {
		here, err := isHere(layers[i])
		if err != nil {
			return nil, err
		}
		out = append(out, wantedLayer(d, here))
	}
	return out, nil
}

func wantedLayer(d v1.Descriptor, here bool) push.Wanted {
	return push.Wanted{Digest: d.Digest.String(), Title: d.Annotations["org.opencontainers.image.title"], Size: d.Size, Here: here}
}

// isHere reports whether a layer's bytes are on this machine.
func isHere(l v1.Layer) (bool, error) {
	if l, ok := l.(interface{ Exists() (bool, error) }); ok {
		return l.Exists()
	}
	return true, nil
}

// limits holds the target's limits against the built image or, where there is none, against
// the layers that the lock and partSize make of the model. what says which.
func (j *Job) limits(t push.Target) (what string, err error) {
	if img, err := j.open(); err == nil {
		return "the built image is within them", t.Check(img)
	}
	l, err := j.lock()
	if err != nil {
		return "not checked: there is neither an image nor a lock", nil
	}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	if err != nil {
		return "", err
	}
	files, err := j.modelFiles(l, s)
	if err != nil {
		return j.limitsOfParts(t, s)
	}
	img, err := image.Build(image.Spec{Manifest: j.Manifest, Model: &manifests.ModelConfig{SchemaVersion: 1, Name: j.Manifest.Name}, Files: files})
	if err != nil {
		return "", err
	}
	return "the model's layers are within them", t.Check(img)
}

// limitsOfParts checks sizes and numbers alone, for a lock that knows no digests yet.
func (j *Job) limitsOfParts(t push.Target, s manifests.Selection) (string, error) {
	var files []image.ModelFile
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(j.Manifest.PartSize))
		if err != nil {
			return "", err
		}
		f := image.ModelFile{Decision: d, Parts: parts}
		for range parts {
			f.Digests = append(f.Digests, unknownDigest)
		}
		files = append(files, f)
	}
	img, err := image.Build(image.Spec{Manifest: j.Manifest, Model: &manifests.ModelConfig{SchemaVersion: 1, Name: j.Manifest.Name}, Files: files})
	if err != nil {
		return "", err
	}
	return "the model's files are within them", t.Check(img)
}

// unknownDigest stands for a layer's digest where only its length counts.
var unknownDigest = "sha256:" + strings.Repeat("0", 64)

// worst is an error of all errors, with the kind of the highest exit code and its hint.
func worst(list []error) error {
	joined := errors.Join(list...)
	var of error
	for _, err := range list {
		if fault.KindOf(err) > fault.KindOf(of) {
			of = err
		}
	}
	return fault.Wrap(fault.KindOf(of), fault.HintOf(of), joined)
}
