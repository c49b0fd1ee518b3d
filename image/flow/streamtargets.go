package flow

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/plimsoll-oci/plimsoll/image/push"
)

// streamTarget is one target. One that has failed takes no further part.
type streamTarget struct {
	target push.Target
	sender *push.Sender
	plan   push.TargetPlan
	mu     sync.Mutex
	err    error
}

// fail notes the first error.
func (t *streamTarget) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// failed is the error that took the target out, nil if none.
func (t *streamTarget) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// ask logs in at every target and asks for every layer of the model. It fails when no
// target is left.
func (s *streaming) ask(ctx context.Context) error {
	var wanted []push.Wanted
	for _, d := range s.selection.Kept() {
		layers, err := s.wantedFile(s.lock, s.lock.Listings()[d.Source].Repo, d)
		if err != nil {
			return err
		}
		for _, l := range layers {
			l.Passing = !l.Here && d.Size > s.options.StreamAbove
			wanted = append(wanted, l)
		}
	}
	var wait sync.WaitGroup
	for _, t := range s.targets {
		wait.Go(func() {
			var err error
			if t.plan, err = push.Plan(ctx, wanted, t.target, s.pushOptions(t)); err != nil {
				t.fail(err)
			}
		})
	}
	wait.Wait()
	return ctx.Err()
}

// pushOptions are those of a target: what another target of its registry has received is
// mounted from there.
func (s *streaming) pushOptions(t *streamTarget) push.Options {
	from := slices.Clone(s.options.MountFrom)
	for _, other := range s.targets {
		if other != t && other.target.Host() == t.target.Host() {
			from = append(from, other.target.Repository())
		}
	}
	return push.Options{UserAgent: userAgent, MountFrom: from, Journal: s.journal}
}

// dryRun says what each target lacks.
func (s *streaming) dryRun(r *PublishResult) error {
	for _, t := range s.targets {
		if t.failed() == nil {
			r.Plans = append(r.Plans, t.plan)
		}
	}
	return s.takeFailed(r)
}

// takeFailed notes the targets that have failed.
func (s *streaming) takeFailed(r *PublishResult) error {
	var failed []error
	for _, t := range s.targets {
		if err := t.failed(); err != nil {
			failed = append(failed, r.take(t.target.String(), push.Result{}, err))
		}
	}
	return errors.Join(failed...)
}

// alive are the targets that have not failed.
func (s *streaming) alive() (out []*streamTarget) {
	for _, t := range s.targets {
		if t.failed() == nil {
			out = append(out, t)
		}
	}
	return out
}

// lacking reports whether a target has layers in a state.
func (s *streaming) lacking(state push.State) bool {
	return slices.ContainsFunc(s.alive(), func(t *streamTarget) bool { return t.plan.Bytes[state] > 0 })
}

// announce says what is about to happen.
func (s *streaming) announce() {
	for _, t := range s.alive() {
		b := t.plan.Bytes
		s.note("%s: %s to stream from the Hub, %s there or mountable", t.target, size(b[push.ToStream]), size(b[push.Present]+b[push.Mountable]))
		if t.target.Registry().Strategy == push.Monolithic && s.unknown() {
			s.note("note: %s wants the digest of a layer before its bytes: files whose layers the lock does not know are read twice, for their sums and then to be sent", t.target)
		}
	}
	s.note("files over %s are not stored on this machine", size(s.options.StreamAbove))
}
