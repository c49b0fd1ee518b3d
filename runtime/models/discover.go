package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// Discover describes a folder that no model.json describes: one laid out as an image's, as
// the predecessor's (which is the same: one folder a repository, OWNER--NAME or NAME), or a
// Hugging Face cache with its snapshots. A manifest says which files count and what the
// checkpoints are. Of a cache the snapshot that refs/main names is taken, or the only one.
//
// Sums are known where the cache's blobs are named by them, which those of weights are;
// others stay unknown, and nothing proves such files but their size and structure.
func Discover(dir string, m *manifests.Manifest) (*Folder, *manifests.ModelConfig, error) {
	listings, roots := map[string]manifests.Listing{}, map[string]string{}
	for _, s := range m.Sources {
		root, commit, err := findSource(dir, s)
		if err != nil {
			return nil, nil, err
		}
		if root == "" {
			continue
		}
		files, err := listFiles(root)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Resource, "", fmt.Errorf("listing %s: %w", root, err))
		}
		listings[s.Name] = manifests.Listing{Repo: s.Repo, Commit: commit, Files: files}
		roots[s.Path] = root
	}
	c, err := m.Found(listings)
	if err != nil {
		hint := "-models names a folder with the model's repositories below it, or a Hugging Face cache"
		return nil, nil, fault.Wrap(fault.KindOf(err), hint, fmt.Errorf("searching %s: %w", dir, err))
	}
	c.ModelsDir = dir
	return &Folder{dir: dir, config: c, disk: discovered(roots), foreign: true}, c, nil
}

// discovered finds the files of a description in the folders of its sources.
func discovered(roots map[string]string) modelfiles.Disk {
	return modelfiles.Disk{Pieces: func(file manifests.ModelFile) []modelfiles.Piece {
		piece := modelfiles.Piece{Name: file.Path, Size: file.Size}
		for folder, root := range roots {
			if rest, ok := strings.CutPrefix(file.Path, folder+"/"); ok {
				piece.Path = filepath.Join(root, filepath.FromSlash(rest))
			}
		}
		return []modelfiles.Piece{piece}
	}}
}

// findSource finds a repository's files below dir: "" where there are none.
func findSource(dir string, s manifests.Source) (root, commit string, err error) {
	for _, name := range []string{s.Path, path.Base(s.Repo)} {
		if root = filepath.Join(dir, filepath.FromSlash(name)); isFolder(root) {
			return root, "", nil
		}
	}
	repo := filepath.Join(dir, "models--"+strings.ReplaceAll(s.Repo, "/", "--"))
	commit, err = snapshot(repo)
	if err != nil || commit == "" {
		return "", "", err
	}
	return filepath.Join(repo, "snapshots", commit), commit, nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// snapshot chooses a commit of a repository in a cache, "" where there is none.
func snapshot(repo string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(repo, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(fault.Resource, "", err)
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
		return "", fault.Wrap(fault.Usage, "give -models a folder with one", err)
	}
	if len(commits) == 0 {
		return "", nil
	}
	return commits[0], nil
}

// listFiles lists the files below a folder, through links of a cache's snapshot.
func listFiles(root string) ([]manifests.File, error) {
	var files []manifests.File
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return nil // a link to nothing is a file that is not there
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		files = append(files, manifests.File{Path: filepath.ToSlash(rel), Size: info.Size(), SHA256: blobSum(name)})
		return nil
	})
	return files, err
}

// blobSum is the sha256 that a cache's blob is named by, "" where it is named by none.
func blobSum(name string) string {
	target, err := os.Readlink(name)
	if base := filepath.Base(target); err == nil && len(base) == 64 && strings.Trim(base, "0123456789abcdef") == "" {
		return base
	}
	return ""
}
