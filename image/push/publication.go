package push

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// publication is one image on its way to one target.
type publication struct {
	target  Target
	opts    Options
	client  *client
	sources []name.Repository

	sent, mounted, resumed atomic.Int64
	bytes                  atomic.Int64
}

// newPublication logs in at the target's registry.
func newPublication(ctx context.Context, target Target, o Options) (*publication, error) {
	sources, err := target.mountable(o.MountFrom)
	if err != nil {
		return nil, err
	}
	p := &publication{target: target, opts: o, sources: sources}
	return p, retry(ctx, o.Pause, func() (err error) {
		p.client, err = o.connect(ctx, target, sources)
		return err
	})
}

// sendAll brings every layer into the repository, each digest once.
func (p *publication) sendAll(ctx context.Context, layers []layer) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	seen := map[v1.Hash]bool{}
	for _, l := range largestFirst(layers) {
		if seen[l.digest] {
			continue
		}
		seen[l.digest] = true
		group.Go(func() error {
			if err := p.send(ctx, l); err != nil {
				return fmt.Errorf("layer %s: %w", l.title, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// largestFirst is the order to send layers in: a registry takes one no faster than a core
// hashes and a disk stores it, so that a large one that began late would be on its way alone.
// Seven layers of 2 GB, of which the last has 800 MB, went 15 % faster so.
func largestFirst(layers []layer) []layer {
	out := slices.Clone(layers)
	slices.SortStableFunc(out, func(a, b layer) int { return cmp.Compare(b.size, a.size) })
	return out
}

// send brings one layer into the repository: nothing is done where it is there already.
func (p *publication) send(ctx context.Context, l layer) error {
	var there bool
	err := retry(ctx, p.opts.Pause, func() (err error) {
		there, err = p.client.has(ctx, p.target.ref.Context(), l.digest)
		return err
	})
	if there || err != nil {
		p.skip(l, there)
		return err
	}
	u := p.upload(l)
	if l.aside {
		u.opts.Progress = nil
	} else if mounted, err := p.mount(ctx, u); mounted || err != nil {
		p.skip(l, mounted)
		return err
	}
	open, err := l.open()
	if err != nil {
		return err
	}
	defer open.Close()
	u.take(open)
	err = u.run(ctx)
	if !l.aside {
		p.count(u)
	}
	return err
}

// upload prepares to send a layer.
func (p *publication) upload(l layer) *upload {
	r := p.target.Registry()
	return &upload{
		client: p.client, opts: p.opts, registry: r, digest: l.digest, size: l.size,
		read: new(atomic.Int64), sums: newSums(), strategy: r.Strategy, chunk: r.Chunk, least: r.Chunk, most: r.mostChunk(l.size),
	}
}

// skip tells of a layer that need not be sent.
func (p *publication) skip(l layer, skipped bool) {
	if skipped && !l.aside && p.opts.Skipped != nil {
		p.opts.Skipped(l.size)
	}
}

// count adds up what an upload did.
func (p *publication) count(u *upload) {
	p.bytes.Add(u.read.Load())
	if u.read.Load() > 0 {
		p.sent.Add(1)
	}
	if u.resumed > 0 {
		p.resumed.Add(1)
	}
}

// mount takes the layer from the first repository that has it. A repository that cannot be
// asked, or a mount that is refused, is no failure: the bytes are sent then.
func (p *publication) mount(ctx context.Context, u *upload) (bool, error) {
	from, ok := p.holder(ctx, u.digest)
	if !ok {
		return false, nil
	}
	mounted, err := u.mount(ctx, from)
	if mounted {
		p.mounted.Add(1)
	}
	if err != nil {
		u.lose()
	}
	return mounted, ctx.Err()
}

// holder is the first repository of the same registry that has a blob.
func (p *publication) holder(ctx context.Context, digest v1.Hash) (name.Repository, bool) {
	i := slices.IndexFunc(p.sources, func(r name.Repository) bool {
		there, err := p.client.has(ctx, r, digest)
		return there && err == nil
	})
	if i < 0 {
		return name.Repository{}, false
	}
	return p.sources[i], true
}

// result says what was done.
func (p *publication) result(layers []layer, digest v1.Hash) Result {
	r := Result{
		Reference: p.target.String(), Digest: digest.String(), Layers: len(layers),
		Sent: int(p.sent.Load()), Mounted: int(p.mounted.Load()), Resumed: int(p.resumed.Load()), SentBytes: p.bytes.Load(),
	}
	for _, l := range layers {
		r.Bytes += l.size
	}
	return r
}
