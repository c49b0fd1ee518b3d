package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// modelRepo is the repository of generated checkpoints.
const modelRepo = "bench/model"

// checkpoint is one generated file.
type checkpoint struct {
	name string // in the manifest
	file string // in the repository
	*svdqtest.Checkpoint
}

// checkpointsOf describes n checkpoints of together about size bytes, in the layout of the
// published ones: at their width as many blocks as fit, narrower ones where that is too
// coarse.
// Every one has weights of its own.
func checkpointsOf(n int, size int64) ([]checkpoint, error) {
	var out []checkpoint
	for i := range n {
		p, err := dimensions(size / int64(n))
		if err != nil {
			return nil, err
		}
		p.Seed = uint64(i + 1)
		c, err := svdqtest.New(p)
		if err != nil {
			return nil, err
		}
		file := fmt.Sprintf("svdq-int4_r128-qwen-image-edit-%d.safetensors", i+1)
		out = append(out, checkpoint{name: fmt.Sprintf("c%d", i+1), file: file, Checkpoint: c})
	}
	return out, nil
}

// dimensions chooses width and depth: the widest, up to the published ones, that fills at
// least nine tenths of the size with whole blocks, or the smallest there is.
func dimensions(size int64) (svdqtest.Params, error) {
	p := svdqtest.Real(svdqtest.Int4, 128)
	for ; ; p.Heads, p.JointDim = p.Heads/2, p.JointDim/2 {
		one, two, err := firstBlocks(p)
		if err != nil {
			return p, err
		}
		p.Blocks = max(1, int(1+(size-one)/(two-one)))
		got := one + int64(p.Blocks-1)*(two-one)
		if got <= size && 10*got >= 9*size || p.Heads == 1 {
			return p, nil
		}
	}
}

// firstBlocks are the sizes with one block and with two.
func firstBlocks(p svdqtest.Params) (one, two int64, err error) {
	p.Blocks = 1
	c, err := svdqtest.New(p)
	if err != nil {
		return 0, 0, err
	}
	p.Blocks = 2
	d, err := svdqtest.New(p)
	if err != nil {
		return 0, 0, err
	}
	return c.Size(), d.Size(), nil
}

// modelHead is the manifest of generated checkpoints; the list of checkpoints and what
// runs them follow.
const modelHead = `apiVersion: plimsoll/v1
name: with-%[1]s
title: Generated checkpoints
runtime: %[1]s
sources:
  - name: checkpoints
    title: Checkpoints
    role: checkpoints
    repo: ` + modelRepo + `
    revision: main
    license: Apache-2.0
    path: checkpoints
    rules:
      - name: weights
        keep: ["**"]
        reason: all of it
checkpoints:
`

// modelCheckpoint is an entry of the list.
const modelCheckpoint = `  - name: %s
    source: checkpoints
    file: %s
    precision: int4
    rank: 128
    steps: 8
    trueCFGScale: 1
    scheduler: {baseShift: 0.5, maxShift: 0.9, baseSeqLen: 256, maxSeqLen: 8192}
`

// modelServe is what the runtime of plimsoll needs besides.
const modelServe = `serve:
  priority: [%s]
  supportedRanks: [128]
  defaultRank: 128
  defaultSteps: 8
  pixelArea: 4096
  conditionArea: 4096
image:
  base:
    suite: trixie
    packages: [base-files, libc6]
`

// modelManifest is the manifest of these checkpoints with a runtime.
func modelManifest(runtime manifests.Runtime, list []checkpoint) string {
	var names []string
	var b strings.Builder
	fmt.Fprintf(&b, modelHead, runtime)
	for _, c := range list {
		fmt.Fprintf(&b, modelCheckpoint, c.name, c.file)
		names = append(names, c.name)
	}
	all := strings.Join(names, ", ")
	fmt.Fprintf(&b, "variants:\n  default: [%s]\n", all)
	if runtime == manifests.RuntimePlimsoll {
		fmt.Fprintf(&b, modelServe, all)
	}
	return b.String()
}

// model is a set of checkpoints in a cache, with its manifest and lock.
type model struct {
	*session
	dir  string
	hub  string
	list []checkpoint
}

// newModel writes the manifest into a new folder, and serves the files from a Hub that the
// caller closes.
func (s *session) newModel(name string, n int, size int64) (*model, *loopbackHub, error) {
	list, err := checkpointsOf(n, size)
	if err != nil {
		return nil, nil, err
	}
	files := map[string]hubtest.File{}
	for _, c := range list {
		files[c.file] = hubtest.File{Content: c, LFS: true}
	}
	h, err := serve(modelRepo, files)
	if err != nil {
		return nil, nil, err
	}
	m := &model{session: s, dir: s.path(name), hub: h.URL(), list: list}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, h, err
	}
	return m, h, m.write(manifests.RuntimeNone)
}

// write writes the manifest with a runtime.
func (m *model) write(runtime manifests.Runtime) error {
	return os.WriteFile(m.manifest(runtime), []byte(modelManifest(runtime, m.list)), 0o644)
}

// manifest is the path of the manifest with a runtime.
func (m *model) manifest(runtime manifests.Runtime) string {
	return filepath.Join(m.dir, "with-"+string(runtime)+".yaml")
}

// home is the folder of the cache.
func (m *model) home() string { return filepath.Join(m.dir, "hf") }

// run is one of plimsoll's targets on the weights alone.
func (m *model) run(args ...string) command { return m.with(manifests.RuntimeNone, args...) }

// with is one of plimsoll's targets on the weights with a runtime.
func (m *model) with(runtime manifests.Runtime, args ...string) command {
	return m.targets(m.dir, m.hub, append(args, "-model="+m.manifest(runtime))...)
}

// lock reads the model's lock.
func (m *model) lock() (*manifests.Lock, error) {
	return manifests.LoadLock(manifests.LockPath(m.manifest(manifests.RuntimeNone)))
}

// blobs are the cached files, in the order of the list.
func (m *model) blobs() ([]string, error) {
	l, err := m.lock()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range m.list {
		for _, f := range l.Files {
			if f.Path == c.file {
				out = append(out, blobPath(m.home(), modelRepo, f.SHA256))
			}
		}
	}
	return out, nil
}

// bytes is the size of all files.
func (m *model) bytes() int64 {
	var n int64
	for _, c := range m.list {
		n += c.Size()
	}
	return n
}

// remove deletes the model's folder.
func (m *model) remove() error { return os.RemoveAll(m.dir) }
