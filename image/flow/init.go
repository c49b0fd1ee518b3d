package flow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// InitResult says what a fresh manifest decides.
type InitResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Repo          string `json:"repo"`
	Commit        string `json:"commit"`
	// Path is the manifest that was written.
	Path string `json:"path"`
	// Kept and Dropped count files and their bytes.
	Kept         int   `json:"keptFiles"`
	KeptBytes    int64 `json:"keptBytes"`
	Dropped      int   `json:"droppedFiles"`
	DroppedBytes int64 `json:"droppedBytes"`
}

// Init asks the Hub what a repository holds and writes a manifest that decides about every
// file of it: a proposal, to be read by a person. revision "" is main. path "" is the
// folder manifests below o.Root, so that -model=NAME finds it; a file that is there is
// never overwritten. Of o only Root, Getenv and Stderr matter.
func Init(ctx context.Context, o Options, repo, revision, path string) (*InitResult, error) {
	j, err := prepare(o)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	if revision == "" {
		revision = "main"
	}
	source := manifests.Source{Name: "model", Repo: repo, Revision: revision}
	listing, err := j.list(ctx, source, revision)
	if err != nil {
		return nil, err
	}
	text, err := manifests.Init(listing, manifests.InitOptions{})
	if err != nil {
		return nil, err
	}
	return writeProposal(j, listing, text, path)
}

// writeProposal writes the manifest and says what it selects.
func writeProposal(j *Job, listing manifests.Listing, text []byte, path string) (*InitResult, error) {
	m, err := manifests.Parse(text)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = filepath.Join(j.Root, "manifests", m.Name+manifests.Extension)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Usage, "pass -out=PATH, or move the old one away", fmt.Errorf(
			"writing manifest %s: something is there already", path))
	}
	s, err := m.Select("", map[string]manifests.Listing{m.Sources[0].Name: listing})
	if err != nil {
		return nil, err
	}
	r := &InitResult{SchemaVersion: SchemaVersion, Repo: listing.Repo, Commit: listing.Commit, Path: path, Kept: len(s.Kept())}
	r.KeptBytes, r.DroppedBytes = s.Bytes()
	r.Dropped = len(s.Decisions) - r.Kept
	if err := manifests.WriteFile(path, text); err != nil {
		return nil, fmt.Errorf("writing manifest: %w", err)
	}
	return r, nil
}
