package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// New makes the report. Input that contradicts itself is an error: a layer or a file of a
// source that the manifest lacks, model layers that do not hold the kept files to the
// byte, an unused share of a file that is not aboard, a size below zero, an unknown kind
// or category. Where an image of another lock or variant explains it, the error is of kind
// fault.Invalid.
func New(in Input) (*Report, error) {
	m, s := in.Manifest, in.Selection
	if m == nil {
		return nil, errors.New("reporting on an image: its manifest is missing")
	}
	if err := in.check(); err != nil {
		return nil, fmt.Errorf("reporting on %s: %w", m.Name, err)
	}
	naive := s.Decisions
	if len(m.Before.Naive) > 0 {
		naive = m.Naive(s)
	}
	r := &Report{
		SchemaVersion: SchemaVersion,
		Model:         Model{Name: m.Name, Title: cmp.Or(m.Title, m.Name), Variant: s.Variant},
		Image:         in.weigh(),
		Note:          in.Note,
		Kept:          groups(in.sourceOrder(s.Kept())),
		Shared:        in.shared(),
		Limits:        in.headroom(),
		GPU:           in.gpu(),
		Layers:        in.layers(),
		Files:         files(s.Decisions, naive),
	}
	r.Scopes = []Scope{
		in.scope(ScopeNaive, titleNaive, naive),
		in.scope(ScopePublished, titlePublished, s.Decisions),
	}
	r.Estimated = estimate(m.Before.Software, r.Scopes[0].Total)
	r.Unused, r.UnusedBytes = unused(in.Unused)
	r.Pull = r.pulls()
	return r, nil
}

// JSON returns the document, indented, with a final newline.
func (r *Report) JSON() []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		panic(fmt.Sprintf("encoding a report: %v", err)) // strings, whole numbers and finite percents always encode
	}
	return out.Bytes()
}

// weigh adds up the image.
func (in Input) weigh() Image {
	w := Image{
		Digest: in.Image, Layers: len(in.Layers),
		Bytes: in.Manifests, ManifestBytes: in.Manifests, RegistryBytes: in.Manifests,
		UpdateBytes: in.Manifests, UnpackedBytes: in.Manifests,
	}
	seen := map[string]bool{}
	for _, l := range in.layers() {
		w.Bytes += l.Size
		w.UnpackedBytes += l.Unpacked
		if l.Kind == KindModel {
			w.ModelBytes += l.Content
		}
		if !seen[l.Digest] {
			w.RegistryBytes += l.Size
		}
		if !seen[l.Digest] && l.Kind != KindModel {
			w.UpdateBytes += l.Size
		}
		seen[l.Digest] = true
	}
	w.OutsideBytes = w.Bytes - w.ModelBytes
	w.NodeBytes = w.Bytes + w.UnpackedBytes
	return w
}

// outside lists the additions that are the same in every scope. A kind without a layer is
// left out.
func (in Input) outside() []Addition {
	sums := map[string]int64{AddedManifests: in.Manifests}
	for _, l := range in.Layers {
		if l.Kind == KindModel {
			sums[AddedFormat] += l.Size - l.Content
		} else {
			sums[l.Kind] += l.Size
		}
	}
	var out []Addition
	for _, kind := range additionKinds {
		if n, ok := sums[kind]; ok {
			out = append(out, Addition{Kind: kind, Title: additionTitles[kind], Bytes: n})
		}
	}
	return out
}

// scope compares the image to the given files.
func (in Input) scope(name ScopeName, title string, files []manifests.Decision) Scope {
	s := Scope{Name: name, Title: title, Files: len(files), Rows: in.rows(files)}
	for _, r := range s.Rows {
		s.Total.Before += r.Before
		s.Total.After += r.After
	}
	s.Total = row(titleTotal, "", s.Total.Before, s.Total.After)
	s.Savings = savings(in.sourceOrder(files))
	for _, v := range s.Savings {
		s.SavedBytes += v.Bytes
	}
	s.Additions = in.additions(files)
	for _, a := range s.Additions {
		s.AddedBytes += a.Bytes
	}
	return s
}

// rows compares source by source, then everything outside the model files.
func (in Input) rows(scope []manifests.Decision) []Row {
	before, after := map[string]int64{}, map[string]int64{}
	for _, d := range scope {
		before[d.Source] += d.Size
	}
	for _, d := range in.Selection.Kept() {
		after[d.Source] += d.Size
	}
	var out []Row
	for _, s := range in.sources() {
		out = append(out, row(cmp.Or(s.Title, s.Name), s.Name, before[s.Name], after[s.Name]))
	}
	return append(out, row(titleOutside, "", 0, in.weigh().OutsideBytes))
}

func row(component, source string, before, after int64) Row {
	r := Row{Component: component, Source: source, Before: before, After: after, Saved: before - after}
	if before != 0 {
		r.Percent = percent(r.Saved, before)
	}
	return r
}

// percent rounds to one decimal and never returns a negative zero, which JSON would show.
func percent(saved, before int64) *float64 {
	p := math.Round(float64(saved)*1000/float64(before)) / 10
	if p == 0 {
		p = 0
	}
	return &p
}

// additions lists what the image holds beside the files of the scope.
func (in Input) additions(scope []manifests.Decision) []Addition {
	there := set(scope)
	lacking, sum := 0, int64(0)
	for _, d := range in.Selection.Kept() {
		if !there[key{d.Source, d.Path}] {
			lacking++
			sum += d.Size
		}
	}
	out := in.outside()
	if lacking > 0 {
		out = append(out, Addition{Kind: AddedFiles, Title: additionTitles[AddedFiles], Bytes: sum})
	}
	return out
}

// estimate adds the software to the naive total; nil without software.
func estimate(software []manifests.Software, naive Row) *Estimate {
	if len(software) == 0 {
		return nil
	}
	e := &Estimate{}
	sum := int64(0)
	for _, s := range software {
		e.Software = append(e.Software, Software(s))
		sum += s.Bytes
	}
	e.Row = row(titleSoftware, "", sum, 0)
	e.Total = row(titleEstimated, "", naive.Before+sum, naive.After)
	return e
}

// unused returns the shares, largest first, with their sum.
func unused(in []manifests.ModelUnused) ([]Unused, int64) {
	out, sum := []Unused{}, int64(0)
	for _, u := range in {
		out = append(out, Unused(u))
		sum += u.Bytes
	}
	slices.SortStableFunc(out, func(a, b Unused) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out, sum
}
