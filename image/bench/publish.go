package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// The contestants of Publish.
const (
	oursPublish = "plimsoll publish"
	interrupted = "plimsoll publish, interrupted before"
	killed      = "plimsoll publish, killed before"
	byCrane     = "crane push (layout)"
	bySkopeo    = "skopeo copy (layout)"
	byOras      = "oras push (files)"
	byModelcar  = "oci-modelcar push (cache)"
)

// The cases of Publish.
const (
	yardstick   = "yardstick"
	cold        = "cold"
	warmCase    = "warm"
	runtimeOnly = "runtime only"
	resumed     = "resumed"
)

const (
	// repository is where everything is published to.
	repository = "bench/model"
	// layers is how many files the model has, and so layers.
	layers = 2
	// cutAt is the share of the bytes after which a publication is cut.
	cutAt = 0.6
)

// publishBench is one run of Publish.
type publishBench struct {
	*session
	model   *model
	hub     *loopbackHub
	mirror  *basetest.Mirror
	blobs   []string
	digests []string // of the model's layers
	files   []string // digests of the bare files
	// again is, for each way to cut a publication, the shares of bytes that were sent twice.
	again map[string][]float64
}

// Publish sends generated checkpoints (6 GB in two layers, 2 rounds) to a registry with an
// empty storage for each contestant: docker-registry of Debian, or distribution.
//
// The cases: cold; warm, the same once more; runtime only, where a runtime is put beside
// weights that the registry has, from an empty cache; resumed, where a first process is
// interrupted, or killed, after 60 % and a second one is measured. crane and skopeo copy the
// exported OCI layout with the same layers, oras pushes the same files, and oci-modelcar makes
// layers of its own of the files in the cache.
//
// The aims: cold no slower than the fastest of the others, each byte read once, nothing
// written to the disk; runtime only under 5 s without a byte of the model; resumed with at
// most 3 % sent again.
//
// The floor of cold is the registry, which hashes and stores every byte: about 4 s of a core
// for a gigabyte, on the cores that it shares with the publisher, so half of that on two. What
// a publisher adds is the gap. Ours has files in its cache that were checked before: it takes
// no sum of them again and lets the kernel send them (package push says when), 0.2 s of a core
// for a gigabyte, as crane does; reading and hashing them took 1.2 s.
func Publish(ctx context.Context, o Options) (*Result, error) {
	s, err := open("publish", o, standard{size: 6e9, runs: 2, room: 3.3})
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &publishBench{session: s, again: map[string][]float64{}}
	defer b.stop()
	if err := b.prepareAll(ctx); err != nil {
		return nil, err
	}
	if err := b.contest(ctx, yardstick, "yardstick", nobody{}, b.openssl()); err != nil {
		return nil, err
	}
	if err := b.rounds(ctx); err != nil {
		return nil, err
	}
	b.judge()
	return s.finish()
}

// prepareAll brings the model into a cache, builds both images and exports the layout.
func (b *publishBench) prepareAll(ctx context.Context) (err error) {
	b.find(ctx, "openssl", "crane", "skopeo", "oras", "oci-modelcar")
	if b.registry == nil {
		if b.registry, err = b.installedRegistry(ctx); err != nil {
			return err
		}
	}
	b.tell("generating, fetching and building %d bytes", b.size)
	if b.model, b.hub, err = b.newModel("model", layers, b.size); err != nil {
		return err
	}
	b.size = b.model.bytes()
	b.result.Size = b.size
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := b.learn(); err != nil {
		return err
	}
	b.tell("measuring the floors")
	return b.floors(true)
}

// build makes the image of the weights, its full layout for the others, and the image with
// a runtime.
func (b *publishBench) build(ctx context.Context) (err error) {
	if b.mirror, err = basetest.Start(); err != nil {
		return err
	}
	if err := b.model.write(manifests.RuntimePlimsoll); err != nil {
		return err
	}
	return b.prepare(ctx,
		b.model.run("build", "-yes=true"), b.model.run("export", "-to="+b.layout()), b.runtime("build", "-yes=true"))
}

// runtime is a target on the image with a runtime. Its base comes from a mirror on loopback.
func (b *publishBench) runtime(args ...string) command {
	c := b.model.with(manifests.RuntimePlimsoll, args...)
	c.env = append(c.env, "PLIMSOLL_DEBIAN_MIRROR="+b.mirror.URL())
	return c
}

func (b *publishBench) layout() string { return b.path("layout") }

// learn reads from the lock what a registry must hold in the end.
func (b *publishBench) learn() error {
	l, err := b.model.lock()
	if err != nil {
		return err
	}
	for _, layer := range l.Layers {
		b.digests = append(b.digests, layer.Digest)
	}
	for _, f := range l.Files {
		b.files = append(b.files, "sha256:"+f.SHA256)
	}
	b.blobs, err = b.model.blobs()
	return err
}

func (b *publishBench) stop() {
	if b.hub != nil {
		_ = b.hub.Close()
	}
	if b.mirror != nil {
		_ = b.mirror.Close()
	}
}

// openssl takes the sums of all files, one after the other.
func (b *publishBench) openssl() contestant {
	return contestant{
		name: byOpenssl, needs: []string{"openssl"}, reads: b.blobs,
		script: func(string) script { return script{{b.opensslSum(b.blobs...)}} },
	}
}

// publisher is a contestant of Publish: where to is the reference it writes.
type publisher struct {
	name string
	need []string
	// reads are the files that it reads, digests what the registry holds afterwards.
	reads   []string
	digests []string
	command func(to string) command
}

// publishers are all that can publish; the first is ours.
func (b *publishBench) publishers() []publisher {
	exported := b.exported()
	return []publisher{
		{oursPublish, nil, b.blobs, b.digests, func(to string) command { return b.model.run("publish", "-target="+to) }},
		{byCrane, []string{"crane"}, exported, b.digests, func(to string) command {
			return command{program: b.result.program("crane"), args: []string{"push", b.layout(), to}}
		}},
		{bySkopeo, []string{"skopeo"}, exported, b.digests, func(to string) command {
			return command{program: b.result.program("skopeo"), args: []string{
				"--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", "oci:" + b.layout(), "docker://" + to}}
		}},
		{byOras, []string{"oras"}, b.blobs, b.files, func(to string) command {
			args := []string{"push", "--plain-http", "--disable-path-validation", to}
			return command{program: b.result.program("oras"), args: append(args, b.blobs...)}
		}},
		{byModelcar, []string{"oci-modelcar"}, b.blobs, nil, b.modelcar},
	}
}

// modelcar makes a tar of each file of the cache, in its TMPDIR, before it sends it. It asks the
// Hub for the listing. Its layers are its own: what they hold is counted.
func (b *publishBench) modelcar(to string) command {
	host, path, _ := strings.Cut(to, "/")
	target, tag, _ := strings.Cut(path, ":")
	return command{
		program: b.result.program("oci-modelcar"),
		env:     append(b.model.run().env, "HF_HUB_CACHE="+filepath.Join(b.model.home(), "hub"), "HF_TOKEN_PATH="+filepath.Join(b.model.home(), "token")),
		args:    []string{"push", "--quiet", "--hf-repo", modelRepo, "--registry", host, "--target-repo", target, "--target-tag", tag},
	}
}

// exported are the model's layers in the full layout.
func (b *publishBench) exported() []string {
	var out []string
	for _, d := range b.digests {
		out = append(out, filepath.Join(b.layout(), "blobs", "sha256", strings.TrimPrefix(d, "sha256:")))
	}
	return out
}

// rounds lets all publishers take turns, each with a registry of its own.
func (b *publishBench) rounds(ctx context.Context) error {
	list := b.publishers()
	var all []contestant
	for _, p := range list {
		all = append(all, contestant{name: p.name, needs: p.need})
	}
	b.declare(cold, "cold: the registry is empty", all...)
	b.declare(warmCase, "warm: the same once more", all...)
	b.declare(runtimeOnly, "a runtime beside weights that are there", all[0])
	b.declare(resumed, "the rest, after a cut at 60 %", contestant{name: interrupted}, contestant{name: killed})
	here := slices.DeleteFunc(slices.Clone(list), func(p publisher) bool { return len(b.missing(contestant{needs: p.need})) > 0 })
	if err := b.firstUse(ctx, here[len(here)-1]); err != nil {
		return err
	}
	for round := range b.Runs {
		for _, i := range order(round, len(here)) {
			p := here[i]
			if err := b.visit(ctx, func(r *registry, dir string) error { return b.all(ctx, round, r, p, dir) }); err != nil {
				return err
			}
		}
		for _, way := range []string{interrupted, killed} {
			if err := b.visit(ctx, func(r *registry, dir string) error { return b.cut(ctx, round, r, list[0], way, dir) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstUse publishes once and measures nothing. Whoever came first would pay for the memory and
// the disk of a registry that nobody wrote to before: at 6 GB that was 6 s.
func (b *publishBench) firstUse(ctx context.Context, p publisher) error {
	return b.visit(ctx, func(r *registry, dir string) error {
		b.tell("once without measuring, %s", p.name)
		_, _, err := b.sample(ctx, 0, r, b.contestant(ctx, r, p), dir)
		return err
	})
}

// visit starts a registry with an empty storage, which is deleted afterwards.
func (b *publishBench) visit(ctx context.Context, work func(r *registry, dir string) error) error {
	dir := b.path("turn")
	defer os.RemoveAll(dir)
	r, err := startRegistry(ctx, b.registry, filepath.Join(dir, "registry"))
	if err != nil {
		return err
	}
	return errors.Join(work(r, dir), r.stop())
}

// all measures one publisher cold, then warm, and ours with a runtime.
func (b *publishBench) all(ctx context.Context, round int, r *registry, p publisher, dir string) error {
	x := b.contestant(ctx, r, p)
	for _, name := range []string{cold, warmCase} {
		if err := b.timed(ctx, name, round, r, x, dir); err != nil {
			return err
		}
	}
	if p.name != oursPublish {
		return nil
	}
	return b.timed(ctx, runtimeOnly, round, both{r, b.hub}, contestant{
		name: oursPublish,
		script: func(dir string) script {
			c := b.runtime("publish", "-target="+r.host+"/"+repository+":runtime")
			c.env = append(c.env, "HF_HOME="+filepath.Join(dir, "empty"))
			return script{{c}}
		},
	}, dir)
}

// both are two servers; their CPU time adds up.
type both struct{ registry, hub server }

func (b both) begin() {
	b.registry.begin()
	b.hub.begin()
}

func (b both) end(s *Sample) {
	var registry Sample
	b.registry.end(&registry)
	b.hub.end(s)
	s.ServerSeconds += registry.ServerSeconds
}

// contestant makes a publisher one that publishes to a registry.
func (b *publishBench) contestant(ctx context.Context, r *registry, p publisher) contestant {
	return contestant{
		name: p.name, needs: p.need, reads: p.reads, drops: b.unread(p),
		script: func(dir string) script {
			c := p.command(r.host + "/" + repository + ":1")
			c.env = append(c.env, "TMPDIR="+dir) // on the disk, where it can be seen
			return script{{c}}
		},
		check: func(string, outcome, bool) error {
			if p.name == byModelcar { // whose digests are its own
				return r.carries(ctx, repository, "1", b.size)
			}
			return r.holds(ctx, repository, p.digests)
		},
	}
}

// unread are the model's files and layers that a publisher does not read. The page cache would
// not hold both beside what a registry writes on every machine, and then give up what it likes.
func (b *publishBench) unread(p publisher) []string {
	return slices.DeleteFunc(slices.Concat(b.blobs, b.exported()), func(path string) bool { return slices.Contains(p.reads, path) })
}

// cut ends a first publication after 60 % of the bytes, in one of two ways, and measures
// the second.
func (b *publishBench) cut(ctx context.Context, round int, r *registry, p publisher, way, dir string) error {
	p.name = way
	x := b.contestant(ctx, r, p)
	first, size := x.script(dir), float64(b.size)
	first[0][0].interrupt = way == interrupted
	first[0][0].until = func(u Usage) bool { return float64(u.CallsWritten) >= cutAt*size }
	out, err := measure(ctx, first)
	if err != nil {
		return fmt.Errorf("benching %s, %s: %w", b.name, resumed, err)
	}
	if !out.ended {
		b.result.Notes = append(b.result.Notes, way+": the first publication was over too soon; take a larger -size to see it resumed")
		return nil
	}
	if err := b.timed(ctx, resumed, round, r, x, dir); err != nil {
		return err
	}
	second := b.result.last(entry{resumed, way})
	b.again[way] = append(b.again[way], (float64(out.CallsWritten+second.CallsWritten)-size)/size)
	return nil
}
