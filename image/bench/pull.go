package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// pullCuts are the contestants of Pull: each file in so many parts, 0 for whole.
var pullCuts = []int64{0, 2, 4, 8}

// The cases of Pull.
const (
	byContainerd = "containerd"
	byPodman     = "podman"
)

// atATime is how many layers containerd fetches at a time: the default of its CRI plugin,
// max_concurrent_downloads.
const atATime = 3

// pullBench is one run of Pull.
type pullBench struct {
	*session
	model *model
	hub   *loopbackHub
	r     *registry
	node  *node
	// short is a folder for podman, which takes no runroot of more than 50 characters.
	short string
}

// Pull brings one image (4.3 GB in two files, 2 rounds) from docker-registry onto a node
// with an empty storage, with its files whole and cut into parts: at the standard size parts
// of 1 GiB, 512 and 256 MiB. containerd fetches three layers at a time and unpacks them,
// podman as it comes.
//
// What counts is each cut's ratio to whole files. Registry and node share this machine, so
// what parts gain here is what several streams and sums side by side gain; a link that is
// slow a connection, or a registry that is, gains more.
func Pull(ctx context.Context, o Options) (*Result, error) {
	s, err := open("pull", o, standard{size: 4 << 30, runs: 2, room: 7.5})
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &pullBench{session: s}
	defer b.stop()
	if err := b.prepareAll(ctx); err != nil {
		return nil, err
	}
	b.node = &node{registry: b.r}
	for _, c := range []struct {
		name, title string
		watched     server
		by          func(parts int64) contestant
	}{
		{byContainerd, fmt.Sprintf("containerd, %d layers at a time", atATime), b.node, b.byContainerd},
		{byPodman, "podman", b.r, b.byPodman},
	} {
		list, err := b.contestants(c.by)
		if err != nil {
			return nil, err
		}
		if err := b.contest(ctx, c.name, c.title, c.watched, list...); err != nil {
			return nil, err
		}
	}
	b.judge()
	return s.finish()
}

// prepareAll publishes the same files in every cut.
func (b *pullBench) prepareAll(ctx context.Context) (err error) {
	b.find(ctx, "containerd", "ctr", "podman", "runc")
	if b.registry == nil {
		if b.registry, err = b.installedRegistry(ctx); err != nil {
			return err
		}
	}
	b.tell("generating, fetching and publishing %d bytes, cut in %d ways", b.size, len(pullCuts))
	if b.model, b.hub, err = b.newModel("model", layers, b.size); err != nil {
		return err
	}
	b.size = b.model.bytes()
	b.result.Size = b.size
	if b.short, err = os.MkdirTemp("", "pull"); err != nil {
		return err
	}
	if b.r, err = startRegistry(ctx, b.registry, b.path("registry")); err != nil {
		return err
	}
	for _, parts := range pullCuts {
		if err := b.publish(ctx, parts); err != nil {
			return err
		}
	}
	b.tell("measuring the floors")
	return b.floors(true)
}

// publish builds the image in one cut and sends it to the registry.
func (b *pullBench) publish(ctx context.Context, parts int64) error {
	head := fmt.Sprintf("name: parts-%d\n", parts) + b.partSize(parts)
	text := strings.Replace(modelManifest(manifests.RuntimeNone, b.model.list), "name: with-none\n", head, 1)
	if err := os.WriteFile(b.manifest(parts), []byte(text), 0o644); err != nil {
		return err
	}
	run := func(args ...string) command {
		return b.targets(b.model.dir, b.model.hub, append(args, "-model="+b.manifest(parts))...)
	}
	return b.prepare(ctx, run("build", "-yes=true"), run("publish", "-target="+b.reference(parts)))
}

// manifest is the path of the manifest of a cut.
func (b *pullBench) manifest(parts int64) string {
	return filepath.Join(b.model.dir, fmt.Sprintf("parts-%d.yaml", parts))
}

// partSize is the manifest's line for a cut.
func (b *pullBench) partSize(parts int64) string {
	if parts == 0 {
		return ""
	}
	return fmt.Sprintf("partSize: %d\n", b.part(parts))
}

// part is the size of a part, a whole number of MiB, so that files come in so many.
func (b *pullBench) part(parts int64) int64 {
	const step = 1 << 20
	return (b.size/layers/parts/step + 1) * step
}

func (b *pullBench) reference(parts int64) string {
	return fmt.Sprintf("%s/bench/parts-%d:1", b.r.host, parts)
}

// cutName is what a cut is called in the result.
func (b *pullBench) cutName(parts int64) string {
	if parts == 0 {
		return "files whole"
	}
	return fmt.Sprintf("%d parts a file, of %s", parts, humanize.IBytes(uint64(b.part(parts))))
}

// contestants are all cuts for one puller.
func (b *pullBench) contestants(by func(parts int64) contestant) ([]contestant, error) {
	var out []contestant
	for _, parts := range pullCuts {
		x := by(parts)
		x.name = b.cutName(parts)
		l, err := manifests.LoadLock(manifests.LockPath(b.manifest(parts)))
		if err != nil {
			return nil, err
		}
		for _, layer := range l.Layers {
			hex := strings.TrimPrefix(layer.Digest, "sha256:")
			x.reads = append(x.reads, b.path("registry", "data", "docker", "registry", "v2", "blobs", "sha256", hex[:2], hex, "data"))
		}
		out = append(out, x)
	}
	return out, nil
}

// byContainerd pulls with a containerd that has just been started.
func (b *pullBench) byContainerd(parts int64) contestant {
	return contestant{
		needs: []string{"containerd", "ctr"},
		ready: func(ctx context.Context, dir string) error {
			return b.node.start(ctx, b.result.program("containerd"), dir)
		},
		script: func(dir string) script {
			return script{{{program: b.result.program("ctr"), args: []string{
				"--address=" + b.node.socket, "images", "pull", "--plain-http", fmt.Sprintf("--max-concurrent-downloads=%d", atATime), b.reference(parts)}}}}
		},
		check: func(dir string, _ outcome, _ bool) error {
			return errors.Join(b.node.stop(), holdsBytes(filepath.Join(dir, "root"), 2*b.size)) // blobs and their unpacked copy
		},
	}
}

// byPodman pulls into a storage of its own.
func (b *pullBench) byPodman(parts int64) contestant {
	podman := func(dir string, args ...string) command {
		return command{program: b.result.program("podman"), args: append([]string{
			"--root=" + filepath.Join(dir, "root"), "--runroot=" + b.short, "--tmpdir=" + filepath.Join(b.short, "tmp"), "--runtime=runc", "--cgroup-manager=cgroupfs"}, args...),
			env: []string{"TMPDIR=" + dir}}
	}
	return contestant{
		needs: []string{"podman", "runc"},
		script: func(dir string) script {
			return script{{podman(dir, "pull", "--quiet", "--tls-verify=false", b.reference(parts))}}
		},
		check: func(dir string, _ outcome, _ bool) error {
			err := holdsBytes(filepath.Join(dir, "root"), b.size)
			_, resetErr := measure(context.Background(), script{{podman(dir, "system", "reset", "--force")}}) // its mounts
			return errors.Join(err, resetErr)
		},
	}
}

// holdsBytes reports whether less lies below a folder than an image takes.
func holdsBytes(dir string, want int64) error {
	var got int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			got += info.Size()
		}
		return err
	})
	if err == nil && got < want {
		err = fmt.Errorf("checking what was pulled: %d bytes lie in %s, the image takes %d", got, dir, want)
	}
	return err
}

// judge enters what parts gain and cost.
func (b *pullBench) judge() {
	for _, c := range b.result.Cases {
		whole := entry{c.Name, b.cutName(0)}
		for _, parts := range pullCuts[1:] {
			cut := entry{c.Name, b.cutName(parts)}
			b.result.compare(cut, whole, "wall", wall, aim{})
			b.result.compare(cut, whole, "CPU", cpu, aim{})
		}
		f := b.result.highest(floorHash, floorDisk)
		b.result.share(whole, "wall / floor ("+f.Name+")", f.Seconds, wall, aim{})
	}
}

func (b *pullBench) stop() {
	if b.node != nil {
		_ = b.node.stop()
	}
	if b.r != nil {
		_ = b.r.stop()
	}
	if b.hub != nil {
		_ = b.hub.Close()
	}
	_ = os.RemoveAll(b.short)
}
