package flow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// registryJobs is how many files are read from a registry at a time, at least: there the
// network is waited for, not the cores.
const registryJobs = 4

// VerifyOptions say what is verified and how. The zero value is the download cache.
type VerifyOptions struct {
	// In is where the model lies: "cache" or "" (the download cache), "dir:PATH" (a folder in
	// the image's layout of /app/models), "oci:PATH" (an OCI layout, thin or full) or
	// "docker://REFERENCE" (an image in a registry).
	In string
	// Force reads files whose sum the memo knows, and corrects the memo.
	Force bool
	// Deep judges the values of weights too, in the same read.
	Deep bool
	// JUnit is the path of a report in JUnit's XML; "" writes none.
	JUnit string
}

// VerifyResult says what every kept file is worth, where it lies.
type VerifyResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	// In is the place, as VerifyOptions names it.
	In string `json:"in"`
	// Image is the digest of the image's manifest; "" where the place is no image.
	Image string `json:"image,omitempty"`
	// OK says that all is right; the exit code is 0 only then.
	OK bool `json:"ok"`
	// Bytes adds up the files that are right.
	Bytes int64 `json:"bytes"`
	modelfiles.Report
	// Layers are the image's layers that hold no model file, lowest first.
	Layers []contents.LayerReport `json:"layers,omitempty"`
	// Findings are all of the above: of files, sets and layers, in this order.
	Findings verify.Findings `json:"-"`

	config *manifests.ModelConfig
}

// Verify proves the kept files in the cache against the lock: size and sha256, then the
// container, the checkpoint and the set. Sums of files that did not change since they were
// last read are taken from the memo unless force is set. Findings are no error of Verify;
// VerifyResult.Err tells.
func Verify(ctx context.Context, j *Job, force bool) (*VerifyResult, error) {
	return j.verify(ctx, input{form: formCache}, VerifyOptions{Force: force})
}

// VerifyIn proves the model against the lock wherever it lies, and writes the report for
// CI. Where something is wrong it returns the result and an error.
func VerifyIn(ctx context.Context, j *Job, o VerifyOptions) (*VerifyResult, error) {
	in, err := parseInput(o.In)
	if err != nil {
		return nil, err
	}
	if err := checkJUnit(o.JUnit); err != nil {
		return nil, err
	}
	r, err := j.verify(ctx, in, o)
	if err != nil {
		return nil, err
	}
	if o.JUnit != "" {
		if err := manifests.WriteFile(o.JUnit, r.junit()); err != nil {
			return r, errors.Join(r.Err(), fault.Wrap(fault.Resource, "", fmt.Errorf("writing JUnit report: %w", err)))
		}
	}
	return r, r.Err()
}

// checkJUnit tells before the work that the report could not be written after it.
func checkJUnit(path string) error {
	if path == "" {
		return nil
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err == nil && !folder.IsDir() {
		err = fmt.Errorf("%s is not a folder", filepath.Dir(path))
	}
	if err != nil {
		return fault.Wrap(fault.Usage, "create the folder first, or pass another path", fmt.Errorf("reading -junit=%s: %w", path, err))
	}
	return nil
}

// Err is nil if everything is right. Otherwise it counts what is wrong; its kind and hint
// are those of modelfiles.Report, or fault.Invalid where only layers are wrong.
func (r *VerifyResult) Err() error {
	err := r.Report.Err()
	wrong := 0
	for _, l := range r.Layers {
		if !l.OK {
			wrong++
		}
	}
	if wrong > 0 {
		err = errors.Join(err, fault.Wrap(fault.Invalid, layerHint(r), fmt.Errorf("layers beside the model's: %d of %d wrong", wrong, len(r.Layers))))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("verifying %s in %s: %w", r.Model, r.In, err)
}

// layerHint is the first way out of a wrong layer.
func layerHint(r *VerifyResult) string {
	for _, l := range r.Layers {
		for _, f := range l.Findings {
			if f.Hint != "" {
				return f.Hint
			}
		}
	}
	return ""
}

// verify checks the model in a place.
func (j *Job) verify(ctx context.Context, in input, options VerifyOptions) (*VerifyResult, error) {
	m, err := j.subject()
	if err != nil {
		return nil, err
	}
	memo, err := j.openMemo()
	if err != nil && options.Force {
		j.note("note: %v: what is found is not remembered", err)
	} else if err != nil {
		return nil, err
	}
	place, img, err := j.openInput(ctx, in, m, memo)
	if err != nil {
		return nil, err
	}
	r := &VerifyResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: m.selection.Variant, In: in.String(), config: m.config}
	if err := j.verifyPlace(ctx, in, options, m, place, img, r); err != nil {
		return nil, fmt.Errorf("verifying %s in %s: %w", r.Model, r.In, err)
	}
	r.finish()
	return r, nil
}

// verifyPlace checks the files and, where img is not nil, the image around them.
func (j *Job) verifyPlace(ctx context.Context, in input, options VerifyOptions, m *subject, place modelfiles.Place, img *contents.Files, r *VerifyResult) error {
	total := modelfiles.Total(m.config)
	if img != nil {
		r.Image = img.Digest().String()
		total += img.Others()
	}
	bar := progress.New(j.Stderr, j.TTY, "verifying "+j.label(), total)
	defer bar.Finish()
	o := modelfiles.Options{Jobs: j.verifyJobs(in), Progress: bar.Add, Hints: placeHints[in.form], Force: options.Force, Deep: options.Deep}
	files, err := modelfiles.Verify(ctx, m.config, place, o)
	if err != nil {
		return err
	}
	r.Report = *files
	if in.form == formDir {
		r.hintAtFolder(m)
	}
	if img != nil {
		return r.addLayers(ctx, img, m, in, bar.Add)
	}
	return nil
}

// hintAtFolder replaces the way out where a folder holds nothing of the model: then it is
// not the files that are wrong, but the folder.
func (r *VerifyResult) hintAtFolder(m *subject) {
	var names []string
	for _, s := range m.config.Sources {
		names = append(names, s.Path)
	}
	there := func(f verify.Finding) bool { return f.Code != "missing" }
	for _, f := range r.Files {
		if f.OK || slices.ContainsFunc(f.Findings, there) {
			return
		}
	}
	for _, f := range r.Files {
		for i := range f.Findings {
			f.Findings[i].Hint = fmt.Sprintf("the folder holds nothing of the model: name the one with %s in it; -in=cache is the download cache", strings.Join(names, " and "))
		}
	}
}

func (j *Job) verifyJobs(in input) int {
	jobs := max(j.Jobs, runtime.GOMAXPROCS(0))
	if in.form == formRegistry && j.Jobs < 1 {
		jobs = max(jobs, registryJobs)
	}
	return jobs
}

// addLayers checks the image's other layers, and its model.json against the lock.
func (r *VerifyResult) addLayers(ctx context.Context, img *contents.Files, m *subject, in input, progress func(int64)) error {
	layers, model, err := img.Layers(ctx, progress)
	if err != nil {
		return err
	}
	r.Layers = layers
	r.compareModel(model, m)
	for _, l := range r.Layers {
		for i := range l.Findings {
			if hint, ok := placeHints[in.form][l.Findings[i].Code]; ok && l.Findings[i].Hint == "" {
				l.Findings[i].Hint = hint
			}
		}
	}
	return nil
}

// compareModel holds the image's model.json against the one that follows from manifest and
// lock. What its runtime verifies against must be right; what else it is configured with
// may have changed since it was built.
func (r *VerifyResult) compareModel(is *manifests.ModelConfig, m *subject) {
	l := r.configLayer()
	add := func(severity verify.Severity, hint, format string, args ...any) {
		l.Findings.Add(severity, contents.CodeModel, l.Title, format, args...)
		l.Findings.Hint("%s", hint)
		l.OK = l.OK && severity < verify.Error
	}
	want := m.config
	switch {
	case is == nil:
		add(verify.Error, "", "the image has no readable %s", manifests.ModelConfigPath)
	case is.Name != want.Name || is.Variant != want.Variant:
		add(verify.Error, otherVariantHint, "the image holds %s, variant %s, not %s, variant %s", is.Name, is.Variant, want.Name, want.Variant)
	case !reflect.DeepEqual(is.Files, want.Files):
		add(verify.Error, "", "its list of files is not the lock's")
	case !reflect.DeepEqual(is, want):
		add(verify.Warning, "build and publish again to bring the image up to date", "it was built from another state of the manifest")
	}
}

// configLayer is the report of the layer that should hold model.json; one is made where
// the image has none.
func (r *VerifyResult) configLayer() *contents.LayerReport {
	for i := range r.Layers {
		if r.Layers[i].Kind == contents.KindConfig {
			return &r.Layers[i]
		}
	}
	r.Layers = append(r.Layers, contents.LayerReport{Kind: contents.KindConfig, Title: "model configuration", OK: true})
	return &r.Layers[len(r.Layers)-1]
}

// finish adds everything up.
func (r *VerifyResult) finish() {
	r.Findings = r.Report.Findings()
	for _, l := range r.Layers {
		r.Findings = append(r.Findings, l.Findings...)
	}
	r.Bytes = r.Report.Bytes()
	r.OK = r.Err() == nil
}
