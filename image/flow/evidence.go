package flow

import (
	"context"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// How the bytes of an image were proven, as its verification says it.
const (
	methodBytes = "every byte of every model file was read on the machine of the build and held against the sum in model.json, " +
		"by this run or by an earlier one since which the file has not changed; then containers, checkpoints and the set were checked; " +
		"a layer's digest is a function of the file's sum and of the layer format"
	methodLock = "the model files were not on the machine of the build, and no byte of them was read: " +
		"the digests of the image's model layers are those that the lock records since the files were verified"
)

// evidence is what is known about the image's bytes: from a verification that was just made,
// from one that the memo lets be repeated without reading weights, or from the lock alone.
// It never reads a weight for its own sake. A model that is known to be wrong is an error.
func (j *Job) evidence(ctx context.Context, a *assembly, r *VerifyResult) (attest.Verification, error) {
	layers, err := provenLayers(a)
	if err != nil {
		return attest.Verification{}, err
	}
	if r == nil {
		known, err := j.remembered(a)
		if err != nil {
			return attest.Verification{}, err
		}
		if !known {
			return attest.Verification{Method: methodLock, Passed: layers}, nil
		}
		if r, err = Verify(ctx, j, false); err != nil {
			return attest.Verification{}, err
		}
	}
	if err := r.Err(); err != nil {
		return attest.Verification{}, err
	}
	v := tests(r)
	v.Method, v.Passed = methodBytes, append(v.Passed, layers...)
	return v, nil
}

// remembered reports whether the memo knows that every kept file is right.
func (j *Job) remembered(a *assembly) (bool, error) {
	memo, err := j.openMemo()
	if err != nil {
		return false, err
	}
	files, err := j.kept(a)
	if err != nil {
		return false, err
	}
	for path, d := range files {
		if !memo.Watch(path).Known(verify.Want{Size: d.Size, SHA256: d.SHA256}) {
			return false, nil
		}
	}
	return true, nil
}

// provenLayers holds the digests of the image's model layers against the lock, and names a
// check for each.
func provenLayers(a *assembly) (passed []string, err error) {
	m, err := a.image.Manifest()
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for _, f := range a.spec.Files {
		for _, p := range f.Parts {
			line, _ := a.lock.Layer(f.Source, f.Path, p)
			want[p.Name] = line.Digest
		}
	}
	for _, d := range m.Layers {
		if d.Annotations[image.AnnotationKind] != string(image.KindModel) {
			continue
		}
		title := d.Annotations[titleKey]
		if want[title] != d.Digest.String() {
			return nil, fmt.Errorf("comparing layer %s: its digest is %s, the lock says %s", title, d.Digest, want[title])
		}
		passed = append(passed, "layer "+title+": digest as in the lock")
	}
	return passed, nil
}

// tests names what a verification looked at, each by how it ended.
func tests(r *VerifyResult) (v attest.Verification) {
	add := func(name string, found verify.Findings) {
		warned := false
		for _, f := range found {
			if f.Severity == verify.Warning {
				warned = true
				v.Warned = append(v.Warned, name+": "+f.String())
			}
		}
		if !warned {
			v.Passed = append(v.Passed, name)
		}
	}
	for _, f := range r.Files {
		checks := "size, sha256"
		if strings.HasSuffix(f.Path, ".safetensors") {
			checks += ", container"
		}
		if c := f.Checkpoint; c != nil {
			checks += fmt.Sprintf(", checkpoint %s of %s %s rank %d", c.Name, c.Family, c.Precision, c.Rank)
		}
		add("file "+f.Path+": "+checks, f.Findings)
	}
	for _, s := range r.Sets {
		if s.Skipped == "" {
			add("set "+s.Source+": the files fit together", s.Findings)
		}
	}
	return v
}
