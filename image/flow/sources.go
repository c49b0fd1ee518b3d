package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// clients returns the Hub clients of a source in the order of trying: HF_ENDPOINT (or the
// public Hub) first if it is set or the source names none, then the source's own.
//
// The token belongs to HF_ENDPOINT's host; an endpoint out of a manifest never gets it.
// Where there is another endpoint to turn to, a dead one is given up sooner.
func (j *Job) clients(s manifests.Source) ([]*hub.Client, error) {
	config, err := hub.FromEnv(j.Getenv)
	if err != nil {
		return nil, err
	}
	var out []*hub.Client
	first := len(s.Endpoints) == 0 || j.Getenv("HF_ENDPOINT") != ""
	if len(s.Endpoints) > 1 || first && len(s.Endpoints) > 0 {
		config.RetryTries = triesOfSeveral
	}
	if first {
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

// triesOfSeveral is how often a listing is asked for at an endpoint that is not the only
// one: at the default waits that is 3 s for a dead one.
const triesOfSeveral = 3

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
