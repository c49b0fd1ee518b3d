package flow

import (
	"context"
	"slices"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// download fetches files, which must all carry a sum, from the endpoints of their sources.
// Sources with the same endpoints share one pool of workers; the plan and the progress are
// of all together.
func (j *Job) download(ctx context.Context, files map[string][]fetch.File) (map[string][]fetch.Result, error) {
	need, err := j.need(ctx, files)
	if err != nil || need.Files == 0 {
		return nil, err
	}
	shown := progress.Files(j.Stderr, j.TTY)
	shown.Start(need)
	defer shown.Done()
	out := map[string][]fetch.Result{}
	for _, group := range j.groups() {
		var all []fetch.File
		for _, s := range group {
			all = append(all, files[s.Name]...)
		}
		if len(all) == 0 {
			continue
		}
		o, err := j.fetchOptions(group[0])
		if err != nil {
			return nil, err
		}
		o.Progress = stage{shown}
		results, err := fetch.Files(ctx, all, o)
		if err != nil {
			return nil, err
		}
		for _, s := range group {
			n := len(files[s.Name])
			out[s.Name], results = results[:n], results[n:]
		}
	}
	return out, nil
}

// stage is one fetch of several that are shown as one.
type stage struct{ fetch.Progress }

// Start and Done are those of the whole.
func (stage) Start(fetch.Need) {}
func (stage) Done()            {}

// need is what the download of all files will take.
func (j *Job) need(ctx context.Context, files map[string][]fetch.File) (fetch.Need, error) {
	memo, err := j.openMemo()
	if err != nil {
		return fetch.Need{}, err
	}
	var all []fetch.File
	for _, s := range j.Manifest.Sources {
		all = append(all, files[s.Name]...)
	}
	need, err := fetch.Plan(ctx, all, fetch.Options{Cache: j.cache, Memo: memo})
	return need, smallDisk(err)
}

// smallDisk adds to the ways out of a full disk the one that needs none.
func smallDisk(err error) error {
	if fault.KindOf(err) != fault.Resource || fault.HintOf(err) == "" {
		return err
	}
	return fault.Wrap(fault.Resource, fault.HintOf(err)+", or let publish -stream=true send the model without keeping it", err)
}

// fetchOptions are the options for sources with the same endpoints as s. No branch is
// recorded in the cache: huggingface_hub takes a snapshot that it finds by a branch's name
// for complete, and ours holds the kept files only.
func (j *Job) fetchOptions(s manifests.Source) (fetch.Options, error) {
	clients, err := j.clients(s)
	if err != nil {
		return fetch.Options{}, err
	}
	memo, err := j.openMemo()
	if err != nil {
		return fetch.Options{}, err
	}
	config, err := hub.FromEnv(j.Getenv)
	if err != nil {
		return fetch.Options{}, err
	}
	o := fetch.Options{
		Cache: j.cache, Memo: memo, Jobs: j.Jobs, Offline: config.Offline,
	}
	for _, c := range clients {
		o.Sources = append(o.Sources, c)
	}
	return o, nil
}

// groups puts sources with equal endpoints together, in the manifest's order.
func (j *Job) groups() [][]manifests.Source {
	var out [][]manifests.Source
	for _, s := range j.Manifest.Sources {
		at := slices.IndexFunc(out, func(g []manifests.Source) bool { return slices.Equal(g[0].Endpoints, s.Endpoints) })
		if at < 0 {
			out = append(out, nil)
			at = len(out) - 1
		}
		out[at] = append(out[at], s)
	}
	return out
}
