package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// clients returns the Hub clients of a source in the order of trying: HF_ENDPOINT (or the
// public Hub) first if it is set or the source names none, then the source's own.
//
// The token belongs to HF_ENDPOINT's host; an endpoint out of a manifest never gets it.
func (j *Job) clients(s manifests.Source) ([]*hub.Client, error) {
	config, err := hub.FromEnv(j.Getenv)
	if err != nil {
		return nil, err
	}
	var out []*hub.Client
	if len(s.Endpoints) == 0 || j.Getenv("HF_ENDPOINT") != "" {
		c, err := j.client(config)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	for _, endpoint := range s.Endpoints {
		own := config
		own.Endpoint, own.Token = endpoint, ""
		c, err := j.client(own)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// client returns the job's one client, and so its one pool of connections, of an endpoint.
func (j *Job) client(config hub.Config) (*hub.Client, error) {
	key := clientKey{endpoint: config.Endpoint, token: config.Token != ""}
	if c, ok := j.hubs[key]; ok {
		return c, nil
	}
	c, err := hub.New(config)
	if err != nil {
		return nil, err
	}
	j.hubs[key] = c
	return c, nil
}

// clientKey tells clients apart: one endpoint may be used with the token and without.
type clientKey struct {
	endpoint string
	token    bool
}

// list reads a source's listing at a revision from the first endpoint that answers.
func (j *Job) list(ctx context.Context, s manifests.Source, revision string) (manifests.Listing, error) {
	clients, err := j.clients(s)
	if err != nil {
		return manifests.Listing{}, err
	}
	var failed []error
	for _, c := range clients {
		l, err := c.List(ctx, s.Repo, revision)
		if err == nil {
			return l, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return manifests.Listing{}, fmt.Errorf("source %s: %w", s.Name, errors.Join(failed...))
}

// listings returns what every source holds: at the commit that the lock pins where l is
// not nil and still speaks of the same branch, else at the manifest's revision.
func (j *Job) listings(ctx context.Context, l *manifests.Lock) (map[string]manifests.Listing, error) {
	out := map[string]manifests.Listing{}
	for _, s := range j.Manifest.Sources {
		revision := s.Revision
		if l != nil {
			if commit, ok := l.Pin(s); ok {
				revision = commit
			}
		}
		listing, err := j.list(ctx, s, revision)
		if err != nil {
			return nil, err
		}
		if listing.Repo != s.Repo {
			j.note("note: %s is called %s now; source %s can say so", s.Repo, listing.Repo, s.Name)
		}
		if s.Pinned() && listing.Commit != s.Revision {
			return nil, fault.Wrap(fault.Upstream, "", fmt.Errorf(
				"listing %s at %s: the Hub answers with commit %s", s.Repo, s.Revision, listing.Commit))
		}
		out[s.Name] = listing
	}
	return out, nil
}

// download fetches files, which must all carry a sum, from the endpoints of their sources.
// Sources with the same endpoints share one pool of workers.
func (j *Job) download(ctx context.Context, files map[string][]fetch.File) (map[string][]fetch.Result, error) {
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
