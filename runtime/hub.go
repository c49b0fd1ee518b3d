package main

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
)

// download is the last entry of the priority list: the predecessor fetched the model from the
// Hub where it had no checkpoint. Ours does so where it is allowed to, at the commits of
// model.json or, without one, at those that the manifest's revisions are now; into a Hugging
// Face cache in the folder of models, where huggingface_hub and the next start find it. Sums
// are taken while the bytes arrive, and a cut is gone on with.
type download struct {
	dir    string
	log    *slog.Logger
	client *hub.Client
	// report is told how many bytes are done.
	report func(done, total int64)
	// sha1 are the sums of small files, by path in the folder of models, of a listing.
	sha1 map[string]string
}

// newDownload reads the environment that every client of the Hub obeys.
func newDownload(dir string, env func(string) (string, bool), log *slog.Logger, report func(done, total int64)) (*download, error) {
	config, err := hub.FromEnv(func(name string) string { v, _ := env(name); return v })
	if err != nil {
		return nil, err
	}
	client, err := hub.New(config)
	if err != nil {
		return nil, err
	}
	return &download{dir: dir, log: log, client: client, report: report, sha1: map[string]string{}}, nil
}

// list describes a manifest's model as the Hub has it.
func (d *download) list(ctx context.Context, m *manifests.Manifest) (*manifests.ModelConfig, error) {
	listings := map[string]manifests.Listing{}
	for _, s := range m.Sources {
		l, err := d.client.List(ctx, s.Repo, s.Revision)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", s.Repo, err)
		}
		listings[s.Name] = l
		for _, f := range l.Files {
			d.sha1[path.Join(s.Path, f.Path)] = f.SHA1
		}
	}
	c, err := m.Found(listings)
	if err == nil {
		c.ModelsDir = d.dir
	}
	return c, err
}

// fetch brings the files that are missing, of a model of which no checkpoint is there. What it
// returns describes the model with the first checkpoint of the priority list alone.
func (d *download) fetch(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig) (*manifests.ModelConfig, error) {
	one := withCheckpoints(c, c.Checkpoints[:1])
	var files []fetch.File
	for _, f := range one.Files {
		if !folder.Has(f) {
			files = append(files, d.file(one, f))
		}
	}
	store, err := cache.Open(d.dir)
	if err != nil {
		return nil, err
	}
	d.log.Warn("no checkpoint is there: the model comes from the Hub", "checkpoint", one.Checkpoints[0].Name, "files", len(files), "endpoint", d.client.Endpoint())
	began := time.Now()
	_, err = fetch.Files(ctx, files, fetch.Options{Sources: []fetch.Source{d.client}, Cache: store, Progress: &received{report: d.report, log: d.log}})
	if err != nil {
		return nil, fmt.Errorf("downloading the model into %s: %w", d.dir, err)
	}
	d.log.Info("downloaded", "files", len(files), "took_seconds", time.Since(began).Seconds())
	return one, nil
}

// file is a file of the model as the Hub knows it.
func (d *download) file(c *manifests.ModelConfig, f manifests.ModelFile) fetch.File {
	i := slices.IndexFunc(c.Sources, func(s manifests.ModelSource) bool { return s.Name == f.Source })
	s := c.Sources[i]
	out := fetch.File{Repo: s.Repo, Commit: s.Commit, Path: strings.TrimPrefix(f.Path, s.Path+"/"), Size: f.Size, SHA256: f.SHA256}
	if f.SHA256 == "" {
		out.SHA1 = d.sha1[f.Path]
	}
	return out
}

// withCheckpoints is a description of some of its checkpoints, without the others' files.
func withCheckpoints(c *manifests.ModelConfig, kept []manifests.ModelCheckpoint) *manifests.ModelConfig {
	out := *c
	out.Checkpoints = kept
	out.Files = slices.DeleteFunc(slices.Clone(c.Files), func(f manifests.ModelFile) bool {
		of := func(k manifests.ModelCheckpoint) bool { return k.Path == f.Path }
		return slices.ContainsFunc(c.Checkpoints, of) && !slices.ContainsFunc(kept, of)
	})
	return &out
}

// present are the checkpoints of which something lies in the folder.
func present(folder *models.Folder, c *manifests.ModelConfig) (there []manifests.ModelCheckpoint) {
	for _, k := range c.Checkpoints {
		i := slices.IndexFunc(c.Files, func(f manifests.ModelFile) bool { return f.Path == k.Path })
		if i >= 0 && folder.Has(c.Files[i]) {
			there = append(there, k)
		}
	}
	return there
}

// received adds up what a fetch brings.
type received struct {
	report      func(done, total int64)
	log         *slog.Logger
	mu          sync.Mutex
	done, total int64
}

var _ fetch.Progress = (*received)(nil)

// Start implements fetch.Progress.
func (r *received) Start(n fetch.Need) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total = n.Work()
	r.log.Info("downloading", "bytes", n.Download, "there", n.Cached+n.Partial, "free", n.Free)
}

// File implements fetch.Progress.
func (r *received) File(e fetch.Event) {
	if e.Kind == fetch.Retrying && e.Err != nil {
		r.log.Warn("a download is tried again", "file", e.File.Path, "reason", e.Err.Error(), "wait_seconds", e.Wait.Seconds())
	}
	if e.Kind != fetch.Received && e.Kind != fetch.Checked {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += e.Bytes
	r.report(r.done, r.total)
}

// Done implements fetch.Progress.
func (r *received) Done() {}
