package flow

import (
	"bufio"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
)

// askAbove is the download that a person at a terminal is asked about first.
const askAbove = 1_000_000_000

// FetchResult says what a fetch brought.
type FetchResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	// Files lists every kept file with the sha256 that its bytes have.
	Files []FetchedFile `json:"files"`
	// Bytes is the size of all files, Downloaded what crossed the network, tries that were
	// cut off included.
	Bytes      int64 `json:"bytes"`
	Downloaded int64 `json:"downloaded"`
	// Cache is the folder that holds the files, in the layout of huggingface_hub.
	Cache string `json:"cache"`
}

// FetchedFile is one file in the cache.
type FetchedFile struct {
	Source     string `json:"source"`
	Path       string `json:"path"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	Downloaded int64  `json:"downloaded"`
}

// Fetch brings the kept files of the variant into the cache, verified, and completes the
// lock with what follows from the bytes: layer digests, unused parts and sums of tensors.
// What is there already is not downloaded again; what was cut off goes on where it was.
// Before the first byte it says on Stderr what it will take; that the disk has too little
// room is an error of kind fault.Resource.
func Fetch(ctx context.Context, j *Job) (*FetchResult, error) {
	l, s, err := j.selected(ctx)
	if err != nil {
		return nil, err
	}
	files, err := j.fetchFiles(s, l)
	if err != nil {
		return nil, err
	}
	if err := j.confirm(ctx, files); err != nil {
		return nil, err
	}
	results, err := j.download(ctx, files)
	if err != nil {
		return nil, err
	}
	if err := j.complete(l, s, results); err != nil {
		return nil, err
	}
	return j.fetched(s, results), nil
}

// confirm asks a person at a terminal before a large first download.
func (j *Job) confirm(ctx context.Context, files map[string][]fetch.File) error {
	if j.Yes || j.Stdin == nil {
		return nil
	}
	need, err := j.need(ctx, files)
	if err != nil || need.Download <= askAbove {
		return err
	}
	fmt.Fprintf(j.Stderr, "Download %s to %s? [y/N] ", humanize.Bytes(uint64(need.Download)), j.cache.Dir())
	answer, _ := bufio.NewReader(j.Stdin).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	return fault.Wrap(fault.Usage, "answer y, or pass -yes=true", fmt.Errorf("fetching %s: not confirmed", j.Manifest.Name))
}

// complete writes what the bytes taught into the lock.
func (j *Job) complete(l *manifests.Lock, s manifests.Selection, results map[string][]fetch.Result) error {
	learned := map[string]bool{}
	at := map[string]int{}
	for _, d := range s.Kept() {
		r := results[d.Source][at[d.Source]]
		at[d.Source]++
		if path.Ext(d.Path) == ".safetensors" && !l.TensorsKnown(d.Source, d.Path) {
			learned[d.Source] = true // a lock of an older plimsoll
		}
		if r.Digests == nil {
			continue
		}
		for i, p := range r.File.Layers {
			l.SetLayer(d.Source, d.Path, p, r.Digests[i])
		}
		learned[d.Source] = true
	}
	for _, source := range j.Manifest.Sources {
		if !learned[source.Name] {
			continue
		}
		if err := j.completeFromHeaders(l, s, source, nil); err != nil {
			return err
		}
	}
	if len(learned) == 0 {
		return nil
	}
	return j.saveLock(l)
}

// completeFromHeaders records which bytes of a source's kept files inference never reads,
// and the sums of their tensors.
func (j *Job) completeFromHeaders(l *manifests.Lock, s manifests.Selection, source manifests.Source, heads heads) error {
	set, closer, err := j.openSet(l, s, source, heads)
	if err != nil {
		return err
	}
	defer closer()
	found, err := modelset.Unused(set)
	if err != nil {
		return err
	}
	byPath := map[string][]manifests.Unused{}
	for _, u := range found {
		byPath[u.Path] = append(byPath[u.Path], manifests.Unused{Part: u.Group, Bytes: u.Bytes, Reason: u.Reason})
	}
	for file := range set {
		l.SetUnused(source.Name, file, byPath[file])
	}
	sums, err := modelset.Sum(set)
	if err != nil {
		return err
	}
	l.SetTensors(source.Name, sums)
	return nil
}

// fetched describes the results in the order of layers.
func (j *Job) fetched(s manifests.Selection, results map[string][]fetch.Result) *FetchResult {
	out := &FetchResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: s.Variant, Cache: j.cache.Dir()}
	for _, source := range j.Manifest.Sources {
		for _, r := range results[source.Name] {
			out.Files = append(out.Files, FetchedFile{Source: source.Name, Path: r.File.Path, Size: r.File.Size, SHA256: r.SHA256, Downloaded: r.Downloaded})
			out.Bytes += r.File.Size
			out.Downloaded += r.Downloaded
		}
	}
	return out
}
