package flow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// streamGrace is how long the Hub is read after an interrupt: a chunk on its way is brought
// to its end, since some registries lose the layer where one breaks.
const streamGrace = 5 * time.Second

// digestOf is the sha256 of a text, as a digest.
func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// remoteOptions say how files of a source are read.
func (s *streaming) remoteOptions(source manifests.Source) (fetch.RemoteOptions, error) {
	o, err := s.fetchOptions(source)
	if err != nil {
		return fetch.RemoteOptions{}, err
	}
	return fetch.RemoteOptions{Sources: o.Sources, Jobs: s.Jobs, Window: streamWindow / streamedAtOnce, Grace: streamGrace, Progress: s.progress}, nil
}

// progress shows what the readers of the Hub tell.
func (s *streaming) progress(e fetch.Event) {
	if s.bar == nil {
		return
	}
	switch e.Kind {
	case fetch.Received:
		s.bar.Add(e.Bytes)
	case fetch.Discarded:
		s.bar.Grow(e.Bytes)
	case fetch.Retrying:
		s.bar.Say("%s: %v: trying again", e.File.Path, e.Err)
	}
}

// file streams one file to the targets that lack it. Wrong bytes are asked for once more,
// from the next source if there is one.
func (s *streaming) file(ctx context.Context, f *streamed) error {
	o := f.remote
	for try := 0; ; try++ {
		p := &pass{streaming: s, file: f, digests: s.digests(f)}
		if err := p.findMissing(ctx); err != nil {
			return err
		}
		if p.nothing() {
			s.bar.Grow(-f.Size)
			return nil
		}
		o.First = try % len(o.Sources)
		err := p.run(ctx, o)
		if fault.KindOf(err) != fault.Invalid || try+1 >= max(2, len(o.Sources)) {
			return err
		}
		s.bar.Say("%s: %v: reading it once more", f.Path, err)
		s.bar.Grow(f.Size)
	}
}

// pass is one reading of a file.
type pass struct {
	*streaming
	file    *streamed
	digests []string // of the lock
	lacks   []lack
	remote  *fetch.Remote
	proof   *fetch.Proof // nil where the lock knows all digests

	mu  sync.Mutex
	err error // that is nobody's but the file's
}

// lack is a target and the layers that it does not have, by their index.
type lack struct {
	*streamTarget
	parts []int
}

// findMissing asks every target what it lacks. A layer whose digest nobody knows is lacking.
func (p *pass) findMissing(ctx context.Context) error {
	p.lacks = nil
	for _, t := range p.alive() {
		l := lack{streamTarget: t}
		for i, part := range p.file.parts {
			there, err := false, error(nil)
			if p.digests[i] != "" {
				there, err = t.sender.Has(ctx, p.digests[i], part.LayerSize())
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				t.fail(err)
				break
			}
			if !there {
				l.parts = append(l.parts, i)
			}
		}
		if t.failed() == nil && len(l.parts) > 0 {
			p.lacks = append(p.lacks, l)
		}
	}
	return nil
}

// nothing reports whether nobody lacks anything.
func (p *pass) nothing() bool { return len(p.lacks) == 0 }

// run reads the file. The error is one of the file: of its bytes, of the Hub, of this
// machine, or the context's. Targets keep theirs.
func (p *pass) run(ctx context.Context, o fetch.RemoteOptions) error {
	if err := p.openProof(); err != nil {
		return err
	}
	p.remote = fetch.OpenRemote(ctx, p.file.want, o)
	defer p.remote.Close()
	// After an interrupt the proof keeps up with the chunks that are brought to their end.
	proofCtx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	readers := p.readers()
	proved := p.prove(proofCtx, cancel)
	p.sendAll(ctx, readers, cancel)
	if p.served() == 0 {
		cancel(errNobody)
	}
	if ctx.Err() != nil {
		stop(context.Cause(ctx))
	}
	<-proved
	return p.finish(ctx)
}

// prove takes the sums, where they are needed; the channel is closed when that is over.
func (p *pass) prove(ctx context.Context, cancel context.CancelCauseFunc) <-chan struct{} {
	done := make(chan struct{})
	if p.proof == nil {
		close(done)
		return done
	}
	p.bar.Grow(-p.proof.Offset())
	follower := p.remote.Follower(p.file.Size)
	follower.Hold(p.proof.Offset())
	go func() {
		defer close(done)
		defer p.proof.Close()
		defer follower.Close()
		if err := p.proof.Read(ctx, follower); err != nil && ctx.Err() == nil {
			p.fail(err)
			if fault.KindOf(err) != fault.Invalid { // those who wait for the end are told by the proof
				cancel(err)
			}
		}
	}()
	return done
}

// errNobody ends a pass that is of no use to anybody.
var errNobody = errors.New("no target is left")

// openProof prepares the sums, where the lock does not know all digests.
func (p *pass) openProof() (err error) {
	known := true
	for _, d := range p.digests {
		known = known && d != ""
	}
	if known {
		return nil
	}
	path := ""
	if p.journal != nil {
		path = filepath.Join(p.work("streams"), p.file.SHA256)
	}
	p.proof, err = fetch.OpenProof(p.file.want, p.heads[p.file.SHA256], path)
	return err
}

// finish judges the pass, and enters what was learned.
func (p *pass) finish(ctx context.Context) error {
	switch {
	case p.err != nil:
		return p.err
	case errors.Is(context.Cause(ctx), errNobody):
		return nil // the targets' errors say why
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.proof == nil:
		return nil
	}
	if err := p.learned(p.file, p.proof.Digests()); err != nil {
		return err
	}
	p.proof.Forget()
	return nil
}

// fail notes the first error of the file.
func (p *pass) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

// served counts the targets that this pass has brought something.
func (p *pass) served() (n int) {
	for _, l := range p.lacks {
		if l.failed() == nil {
			n++
		}
	}
	return n
}

// readers makes a reader for every layer that is sent, and lets the window wait for them.
// Targets of one registry are served in turn, so only the first of them is waited for; and
// nobody waits for a registry that wants the digest first.
func (p *pass) readers() map[*streamTarget][]*fetch.RemoteReader {
	out, hosts := map[*streamTarget][]*fetch.RemoteReader{}, map[string]bool{}
	for _, l := range p.lacks {
		for _, i := range l.parts {
			part := p.file.parts[i]
			x := p.remote.Reader(part.Offset + part.Length)
			first := p.digests[i] == "" && l.target.Registry().Strategy == push.Monolithic
			if !first && !hosts[l.target.Host()] {
				x.Hold(part.Offset)
			}
			out[l.streamTarget] = append(out[l.streamTarget], x)
		}
		hosts[l.target.Host()] = true
	}
	return out
}

// sendAll serves every registry at once, and the targets of one in turn.
func (p *pass) sendAll(ctx context.Context, readers map[*streamTarget][]*fetch.RemoteReader, cancel context.CancelCauseFunc) {
	byHost := map[string][]lack{}
	for _, l := range p.lacks {
		byHost[l.target.Host()] = append(byHost[l.target.Host()], l)
	}
	var wait sync.WaitGroup
	for _, list := range byHost {
		wait.Go(func() {
			for _, l := range list {
				if err := p.send(ctx, l, readers[l.streamTarget]); err != nil {
					p.blame(ctx, l, err, cancel)
				}
			}
		})
	}
	wait.Wait()
}

// blame finds out whose error it is: the target's, or that of the file, which ends the
// pass for all.
func (p *pass) blame(ctx context.Context, l lack, err error, cancel context.CancelCauseFunc) {
	switch kind := fault.KindOf(err); {
	case ctx.Err() != nil:
	case kind == fault.Registry || kind == fault.Usage:
		l.fail(err)
	case kind == fault.Invalid && p.proof != nil: // the proof has the better words
	default:
		if kind == fault.Invalid {
			err = fault.Wrap(kind, "the source no longer has the bytes that were locked, or something on the way changes them: lock again with -update to see what the source has now", err)
		}
		p.fail(err)
		cancel(err)
	}
}

// send brings a target what it lacks. A layer begins when the bytes of the one before it
// have left: a registry may take minutes to store that.
func (p *pass) send(ctx context.Context, l lack, readers []*fetch.RemoteReader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, len(l.parts))
	before := make(chan struct{})
	close(before)
	for n, i := range l.parts {
		mine, left := before, make(chan struct{})
		before = left
		v := &passing{pass: p, part: i, readers: readers, mine: readers[n], left: sync.OnceFunc(func() { close(left) })}
		wait.Go(func() {
			defer v.left()
			defer v.Close()
			select {
			case <-mine:
			case <-ctx.Done():
				return
			}
			if errs[n] = l.sender.Send(ctx, v.blob()); errs[n] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	return firstCause(errs)
}

// firstCause is the first error that is not the consequence of another.
func firstCause(errs []error) (out error) {
	for _, err := range errs {
		if err != nil && (out == nil || errors.Is(out, context.Canceled)) {
			out = err
		}
	}
	return out
}

// passing is a layer that passes, on its way to one target.
type passing struct {
	*pass
	part int // its index
	view *image.View
	mine *fetch.RemoteReader
	// readers are those of all layers that the target lacks.
	readers []*fetch.RemoteReader
	// left is called when the last byte was read, gone says that it was.
	left func()
	gone bool
}

// blob is the layer as a sender wants it.
func (v *passing) blob() push.Blob {
	part := v.file.parts[v.part]
	digest := v.digests[v.part]
	if digest == "" && v.proof != nil { // another target of the registry was served before
		digest, _ = v.proof.Known(v.part)
	}
	b := push.Blob{
		Digest: digest, Name: v.file.streamName(part), Title: part.Name, Size: part.LayerSize(),
		Open: func() (_ push.Bytes, err error) {
			v.view, err = image.NewView(part, v.mine)
			return v, err
		},
	}
	if digest == "" {
		b.Late = v.late
	}
	return b
}

// late waits for the digest. A registry that wants it before the bytes waits for the whole
// file, and the window for none of its layers meanwhile.
func (v *passing) late(ctx context.Context) (string, error) {
	if !v.gone {
		for _, x := range v.readers {
			x.Close()
		}
		if err := v.proof.Sound(ctx); err != nil {
			return "", err
		}
	}
	return v.proof.Layer(ctx, v.part)
}

// ReadAt reads, and tells when the last byte was.
func (v *passing) ReadAt(b []byte, off int64) (int, error) {
	n, err := v.view.ReadAt(b, off)
	if off+int64(n) == v.view.Size() {
		v.gone = true
		v.left()
	}
	return n, err
}

// Close takes the reader out of the window.
func (v *passing) Close() error { return v.mine.Close() }
