package flow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// doctorLimit bounds what doctor takes for one target: it is to be asked before a long job.
const doctorLimit = 20 * time.Second

// DoctorResult is the answer to every question whose no would end a job later.
type DoctorResult struct {
	SchemaVersion int           `json:"schemaVersion"`
	Model         string        `json:"model"`
	Variant       string        `json:"variant"`
	Checks        []DoctorCheck `json:"checks"`
}

// DoctorCheck is one question with its answer.
type DoctorCheck struct {
	// Target is the reference that was asked about, "" for this machine.
	Target string `json:"target,omitempty"`
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	// Detail is what was found; for a no, the error.
	Detail string `json:"detail"`
	Kind   string `json:"kind,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Doctor asks, in seconds and before anything large moves, what would end the job later:
// is the lock good, is there room on the disk; and for each target, can it be reached, may
// these credentials push there, are the image's layers within its limits. It changes
// nothing; an upload that is opened to see whether it may be is cancelled. The error is
// that of the worst answer.
func Doctor(ctx context.Context, j *Job, targets []string) (*DoctorResult, error) {
	var parsed []push.Target
	if len(targets) > 0 {
		var err error
		if parsed, err = parseTargets(targets); err != nil {
			return nil, err
		}
	}
	r := &DoctorResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: j.variant()}
	failed := r.take("", j.doctorHere(ctx))
	answers := make([][]push.Check, len(parsed))
	var wait sync.WaitGroup
	for i, t := range parsed {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, doctorLimit)
			defer cancel()
			answers[i] = push.Probe(ctx, t, push.Options{UserAgent: userAgent})
		})
	}
	wait.Wait()
	for i, t := range parsed {
		what, err := j.limits(t)
		failed = append(failed, r.take(t.String(), append(answers[i], push.Check{Name: "limits", Detail: what, Err: err}))...)
	}
	return r, worst(failed)
}

// take notes answers and returns the errors.
func (r *DoctorResult) take(target string, list []push.Check) (failed []error) {
	for _, c := range list {
		out := DoctorCheck{Target: target, Name: c.Name, OK: c.Err == nil, Detail: c.Detail}
		if c.Err != nil {
			out.Detail, out.Kind, out.Hint = c.Err.Error(), fault.KindOf(c.Err).String(), fault.HintOf(c.Err)
			failed = append(failed, c.Err)
		}
		r.Checks = append(r.Checks, out)
	}
	return failed
}

// doctorHere checks this machine: the lock, and the disk under the cache.
func (j *Job) doctorHere(ctx context.Context) []push.Check {
	l, err := j.lock()
	if err != nil {
		return []push.Check{{Name: "lock", Err: err}}
	}
	out := []push.Check{{Name: "lock", Detail: "is there and follows from the manifest"}}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	if err != nil {
		return append(out, push.Check{Name: "selection", Err: err})
	}
	var files []fetch.File
	listings := l.Listings()
	for _, d := range s.Kept() {
		files = append(files, fetchFile(d, listings[d.Source]))
	}
	need, err := fetch.Plan(ctx, files, fetch.Options{Cache: j.cache})
	detail := fmt.Sprintf("%s to download, %s free", size(need.Download), size(need.Free))
	if need.Free < 0 {
		detail = fmt.Sprintf("%s to download; the system does not say what is free", size(need.Download))
	}
	return append(out, push.Check{Name: "disk", Detail: detail, Err: smallDisk(err)})
}

// Text has a line for each question.
func (r *DoctorResult) Text() string {
	var out strings.Builder
	target := ""
	for _, c := range r.Checks {
		if c.Target != target {
			target = c.Target
			fmt.Fprintf(&out, "%s\n", target)
		}
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		fmt.Fprintf(&out, "  %s %s: %s\n", mark, c.Name, c.Detail)
		if c.Hint != "" {
			fmt.Fprintf(&out, "      hint: %s\n", c.Hint)
		}
	}
	return out.String()
}
