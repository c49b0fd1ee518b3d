package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// Publishing without keeping the model: for machines whose disk is smaller than it.
//
// What a build learns from files in the cache is learned here while they pass. Before a
// large file moves, the headers of all of them are read and judged with the small files,
// which go through the cache: container, checkpoint, set. Then each large file is read
// once from the Hub, through a window in memory (fetch.Remote). One pass takes its sha256
// and the digests of its layers (fetch.Proof), while the same bytes go to every target that
// lacks them (push.Sender). The last layer of a file is closed only when the file's sum is
// the lock's; the digests go into the lock then, and the next file is next. When all are
// through, the image follows from the lock as always, and its manifest goes out last. So
// nothing can be named by a tag of which one byte is wrong.
//
// After a cut the lock knows the files that are done. For those in flight the journal of
// uploads knows where each registry stands, and a journal of the proof how far the sums
// are: what has to come from the Hub again is what lies behind the one that is furthest
// behind. An interrupt loses nothing of that, a kill up to 64 MiB of the sums.

const (
	// StreamAbove is the size of files, in bytes, from which on they are streamed: no
	// document or tokenizer is as large, and all that a set check reads is smaller.
	StreamAbove = 64 << 20
	// streamedAtOnce is how many files are in flight: while one waits for its registry to
	// store a layer, the other moves. streamWindow is what they hold in memory together.
	streamedAtOnce = 2
	streamWindow   = 32 << 20
	// streamGarbage is how much garbage may come on top of what is held, in percent: by Go's
	// default it would be as much again as the window.
	streamGarbage = 25
	// streamMemory is what Go's memory is held to, in bytes, by collecting more often: beside
	// the window, the parts of the image and the documents about it are put together.
	streamMemory = 64 << 20
)

// streaming is one publication without keeping the model.
type streaming struct {
	*Job
	options   PublishOptions
	lock      *manifests.Lock
	selection manifests.Selection
	small     map[string][]fetch.File // by source, as for a download
	large     []*streamed
	targets   []*streamTarget
	heads     heads
	verified  *VerifyResult // nil where the lock knows everything
	bar       *progress.Bar
	journal   *push.Journal
	// mu guards the lock, and the heads while they are read.
	mu sync.Mutex
}

// streamed is one file that is not kept.
type streamed struct {
	manifests.Decision
	// want asks for the digests of all its layers.
	want   fetch.File
	parts  []pack.Part
	remote fetch.RemoteOptions
}

// publishStream is PublishTo without keeping the model.
func (j *Job) publishStream(ctx context.Context, o PublishOptions) (*PublishResult, error) {
	if err := o.checkStream(); err != nil {
		return nil, err
	}
	s, err := j.newStreaming(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &PublishResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: s.selection.Variant}
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	if o.DryRun {
		return r, s.dryRun(r)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(streamGarbage))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(streamMemory))
	if err := s.layers(ctx); err != nil {
		return r, errors.Join(err, s.takeFailed(r))
	}
	return r, s.publish(ctx, r)
}

// checkStream refuses flags that contradict each other.
func (o PublishOptions) checkStream() error {
	var with, why string
	switch {
	case o.From != "":
		with, why = "-from", "a layout's bytes are here: publish it without -stream"
	case o.Tag != "":
		with, why = "-tag", "moving a tag sends no bytes: leave -stream out"
	default:
		return nil
	}
	return fault.Wrap(fault.Usage, why, fmt.Errorf("publishing: -stream=true and %s contradict each other", with))
}

// newStreaming sorts the files.
func (j *Job) newStreaming(ctx context.Context, o PublishOptions) (*streaming, error) {
	targets, err := parseTargets(o.Targets)
	if err != nil {
		return nil, err
	}
	if _, err := besideTargets(targets, o.Weights); err != nil {
		return nil, err
	}
	o.StreamAbove = cmp.Or(o.StreamAbove, StreamAbove)
	s := &streaming{Job: j, options: o}
	if s.lock, s.selection, err = j.selected(ctx); err != nil {
		return nil, err
	}
	if err := s.sort(); err != nil {
		return nil, err
	}
	for _, t := range targets {
		if _, err := j.limitsOfParts(t, s.selection); err != nil {
			return nil, err
		}
		s.targets = append(s.targets, &streamTarget{target: t})
	}
	return s, nil
}

// sort tells the files that are streamed from those that go through the cache: the small
// ones, and large ones that lie there already.
func (s *streaming) sort() error {
	files, err := s.fetchFiles(s.selection, s.lock)
	if err != nil {
		return err
	}
	s.small = map[string][]fetch.File{}
	at := map[string]int{}
	for _, d := range s.selection.Kept() {
		f := files[d.Source][at[d.Source]]
		at[d.Source]++
		blob, err := s.blob(f.Repo, d.File)
		if err != nil {
			return err
		}
		if info, err := os.Stat(blob); d.Size <= s.options.StreamAbove || err == nil && info.Size() == d.Size {
			s.small[d.Source] = append(s.small[d.Source], f)
			continue
		}
		source, _ := s.Manifest.Source(d.Source)
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(s.Manifest.PartSize))
		if err != nil {
			return err
		}
		f.Layers = parts
		remote, err := s.remoteOptions(source)
		if err != nil {
			return err
		}
		s.large = append(s.large, &streamed{Decision: d, want: f, parts: parts, remote: remote})
	}
	return nil
}

// layers brings the layers of all large files to the targets, and everything that the
// image follows from into the lock.
func (s *streaming) layers(ctx context.Context) (err error) {
	if len(s.alive()) == 0 {
		return nil
	}
	complete := s.complete()
	if !complete || s.lacking(push.ToFetch) {
		if err := s.fetchSmall(ctx); err != nil {
			return err
		}
	}
	if !complete {
		if err := s.readHeads(ctx); err != nil {
			return err
		}
		if err := s.judge(ctx); err != nil {
			return err
		}
	}
	if s.lacking(push.ToStream) {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	if s.journal, err = s.uploads(); err != nil {
		return err
	}
	defer s.journal.Close()
	if err := s.streamAll(ctx); err != nil || complete {
		return err
	}
	return s.finishLock()
}

// complete reports whether the lock knows everything that the image follows from.
func (s *streaming) complete() bool {
	if !s.lock.Complete(s.Manifest, s.selection) {
		return false
	}
	return !slices.ContainsFunc(s.selection.Kept(), func(d manifests.Decision) bool {
		return path.Ext(d.Path) == ".safetensors" && !s.lock.TensorsKnown(d.Source, d.Path)
	})
}

// fetchSmall brings what is not streamed into the cache, and the digests of its layers into
// the lock.
func (s *streaming) fetchSmall(ctx context.Context) error {
	results, err := s.download(ctx, s.small)
	if err != nil {
		return err
	}
	for source, list := range results {
		for _, r := range list {
			for i, digest := range r.Digests {
				s.lock.SetLayer(source, r.File.Path, r.File.Layers[i], digest)
			}
		}
	}
	return s.saveLock(s.lock)
}

// prepare makes base and runtime, so that no mirror and no compiler can fail behind the
// last large file. They are made again when the image is put together: until then their
// memory is the window's.
func (s *streaming) prepare(ctx context.Context) error {
	err := s.addRuntime(ctx, &assembly{lock: s.lock, selection: s.selection})
	debug.FreeOSMemory()
	return err
}

// streamAll streams the large files, the largest first.
func (s *streaming) streamAll(ctx context.Context) error {
	if !s.lacking(push.ToStream) {
		return nil
	}
	var total int64
	for _, f := range s.large {
		total += f.Size
	}
	s.announce()
	defer debug.FreeOSMemory() // the window's, before the image is put together
	for _, t := range s.alive() {
		var err error
		if t.sender, err = push.NewSender(ctx, t.target, s.pushOptions(t)); err != nil {
			t.fail(err)
		}
	}
	s.bar = progress.New(s.Stderr, s.TTY, "streaming "+s.label(), total)
	defer s.bar.Finish()
	slices.SortStableFunc(s.large, func(a, b *streamed) int { return cmp.Compare(b.Size, a.Size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streamedAtOnce)
	for _, f := range s.large {
		group.Go(func() error { return s.file(ctx, f) })
	}
	return group.Wait()
}

// unknown reports whether the lock lacks digests of large files.
func (s *streaming) unknown() bool {
	return slices.ContainsFunc(s.large, func(f *streamed) bool { return slices.Contains(s.digests(f), "") })
}

// digests are those that the lock knows of a file's layers, "" for each that it does not.
func (s *streaming) digests(f *streamed) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range f.parts {
		line, _ := s.lock.Layer(f.Source, f.Path, p)
		out = append(out, line.Digest)
	}
	return out
}

// learned enters the digests of a proven file into the lock.
func (s *streaming) learned(f *streamed, digests []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range f.parts {
		if line, ok := s.lock.Layer(f.Source, f.Path, p); ok && line.Digest != digests[i] {
			return fault.Wrap(fault.Invalid, "remove the layer lines of the file from the lock: they are not of the file that it names", fmt.Errorf(
				"streaming %s: layer %s is %s, lock says %s", f.want, p.Name, digests[i], line.Digest))
		}
		s.lock.SetLayer(f.Source, f.Path, p, digests[i])
	}
	if err := s.keepHead(f); err != nil {
		return err
	}
	return s.saveLock(s.lock)
}

// finishLock enters what follows from the headers, now that they are proven.
func (s *streaming) finishLock() error {
	if len(s.alive()) == 0 {
		return nil
	}
	for _, source := range s.Manifest.Sources {
		if err := s.completeFromHeaders(s.lock, s.selection, source, s.heads); err != nil {
			return err
		}
	}
	return s.saveLock(s.lock)
}

// publish puts the image together and sends the rest of it: small layers, config, manifest.
func (s *streaming) publish(ctx context.Context, r *PublishResult) error {
	alive := s.alive()
	if len(alive) == 0 {
		return s.takeFailed(r)
	}
	built, err := s.build(ctx, s.verified)
	if err != nil {
		return err
	}
	r.Digest = built.Digest
	img, err := s.open()
	if err != nil {
		return err
	}
	var targets []push.Target
	for _, t := range alive {
		targets = append(targets, t.target)
	}
	if err := s.sendRest(ctx, img, alive, targets, r); err != nil {
		return err
	}
	err = errors.Join(s.takeFailed(r), s.accompany(ctx, img, targets, s.options, r))
	if err != nil || s.options.DigestFile == "" {
		return err
	}
	return s.writeDigest(r)
}

// sendRest sends what the targets still lack of the image. Errors of targets are theirs.
func (s *streaming) sendRest(ctx context.Context, img *image.Image, alive []*streamTarget, targets []push.Target, r *PublishResult) error {
	journal, err := s.uploads()
	if err != nil {
		return err
	}
	defer journal.Close()
	for i, out := range s.send(ctx, img, targets, s.options, journal) {
		if out.Err != nil {
			alive[i].fail(out.Err)
			continue
		}
		if alive[i].sender != nil {
			alive[i].sender.Add(&out.Result)
		}
		r.Targets = append(r.Targets, out.Result)
	}
	return nil
}

// writeDigest writes the digest file, where one is asked for.
func (s *streaming) writeDigest(r *PublishResult) error {
	if err := manifests.WriteFile(s.options.DigestFile, []byte(r.Digest+"\n")); err != nil {
		return fmt.Errorf("writing digest file: %w", err)
	}
	return nil
}

// streamName names an upload whose digest is not known by all that decides its bytes.
func (f *streamed) streamName(p pack.Part) string {
	return digestOf(strings.Join([]string{
		"plimsoll layer", fmt.Sprint(pack.Version), f.SHA256, p.Name, fmt.Sprint(p.Offset), fmt.Sprint(p.Length),
	}, "\x00"))
}
