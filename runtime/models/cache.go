package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// repoFolder is a repository's folder in a Hugging Face cache.
func repoFolder(dir, repo string) string {
	return filepath.Join(dir, "models--"+strings.ReplaceAll(repo, "/", "--"))
}

// orCached looks for files that are not where model.json has them in the cache's snapshots of
// its commits.
func orCached(dir string, c *manifests.ModelConfig, laidOut func(manifests.ModelFile) []modelfiles.Piece) func(manifests.ModelFile) []modelfiles.Piece {
	roots := map[string]string{}
	for _, s := range c.Sources {
		if s.Commit != "" {
			roots[s.Path] = filepath.Join(repoFolder(dir, s.Repo), "snapshots", s.Commit)
		}
	}
	cached := discovered(roots).Pieces
	return func(file manifests.ModelFile) []modelfiles.Piece {
		pieces := laidOut(file)
		if slices.ContainsFunc(pieces, isThere) {
			return pieces
		}
		if found := cached(file); found[0].Path != "" && isThere(found[0]) {
			return found
		}
		return pieces
	}
}

// isThere reports whether there is something where a piece should lie.
func isThere(p modelfiles.Piece) bool {
	_, err := os.Stat(p.Path)
	return err == nil
}

// cachedSources are the sources whose repositories are in the folder as a cache holds them.
func (f *Folder) cachedSources() (in []manifests.ModelSource) {
	for _, s := range f.config.Sources {
		if isFolder(repoFolder(f.dir, s.Repo)) {
			in = append(in, s)
		}
	}
	return in
}

// snapshot chooses a commit of a repository in a cache, "" where there is none.
func snapshot(repo string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(repo, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(fault.Resource, "", fmt.Errorf("listing the snapshots of a cache: %w", err))
	}
	var commits []string
	for _, e := range entries {
		commits = append(commits, e.Name())
	}
	main, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	if commit := strings.TrimSpace(string(main)); err == nil && slices.Contains(commits, commit) {
		return commit, nil
	}
	if len(commits) > 1 {
		err := fmt.Errorf("choosing a snapshot in %s: there are %d and refs/main names none of them: %s", repo, len(commits), strings.Join(commits, ", "))
		return "", fault.Wrap(fault.Usage, "write the commit to use into "+filepath.Join(repo, "refs", "main"), err)
	}
	if len(commits) == 0 {
		return "", nil
	}
	return commits[0], nil
}

// blobSum is the sha256 that a cache's blob is named by, "" where it is named by none.
func blobSum(name string) string {
	target, err := os.Readlink(name)
	if base := filepath.Base(target); err == nil && len(base) == 64 && strings.Trim(base, "0123456789abcdef") == "" {
		return base
	}
	return ""
}
