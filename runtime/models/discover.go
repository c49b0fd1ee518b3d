package models

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

const discoverHint = "-models names a folder with the model's repositories below it, or a Hugging Face cache (the folder hub of HF_HOME)"

// Discover describes a folder that no model.json describes: one laid out as an image's, as
// the predecessor's (which is the same: one folder a repository, OWNER--NAME or NAME), or a
// Hugging Face cache with its snapshots. A manifest says which files count and what the
// checkpoints are. Of a cache the snapshot that refs/main names is taken, or the only one.
//
// Sums are known where the cache's blobs are named by them, which those of weights are;
// others stay unknown, and nothing proves such files but their size and structure.
func Discover(dir string, m *manifests.Manifest) (*Folder, *manifests.ModelConfig, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			err = fmt.Errorf("%s is no folder", dir)
		}
		return nil, nil, fault.Wrap(fault.Usage, discoverHint, fmt.Errorf("searching for %s: %w", m.Name, err))
	}
	listings, roots := map[string]manifests.Listing{}, map[string]string{}
	for _, s := range m.Sources {
		root, commit, err := findSource(dir, s)
		if err != nil {
			return nil, nil, err
		}
		if root == "" && s.Role == manifests.RoleBase {
			err := fmt.Errorf("searching %s for %s: there is none of the folders %s, %s and %s", dir, s.Repo, s.Path, path.Base(s.Repo), filepath.Base(repoFolder("", s.Repo)))
			return nil, nil, fault.Wrap(fault.Usage, discoverHint, err)
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
		return nil, nil, fault.Wrap(fault.KindOf(err), discoverHint, fmt.Errorf("searching %s: %w", dir, err))
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
	repo := repoFolder(dir, s.Repo)
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

// listFiles lists the files below a folder, through links, of files as of a cache's snapshot and
// of folders. above are the folders that the way went through: a link that leads back into one
// of them is passed over.
func listFiles(root string, above ...string) (files []manifests.File, err error) {
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil || slices.Contains(above, resolved) {
		return nil, err
	}
	entries, err := os.ReadDir(resolved)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := filepath.Join(root, e.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil: // a link to nothing is a file that is not there
		case info.IsDir():
			below, err := listFiles(name, append(slices.Clone(above), resolved)...)
			if err != nil {
				return nil, err
			}
			for _, f := range below {
				f.Path = e.Name() + "/" + f.Path
				files = append(files, f)
			}
		case info.Mode().IsRegular():
			files = append(files, manifests.File{Path: e.Name(), Size: info.Size(), SHA256: blobSum(name)})
		}
	}
	return files, nil
}
