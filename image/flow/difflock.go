package flow

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/report/diff"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// readLock describes the model layers that would be built from a lock. The lock says which
// files are kept and how they are cut; the manifest says where they lie in the image and
// which checkpoints a variant carries, and may be newer than the lock.
func (o DiffOptions) readLock(_ context.Context, path string) (side, error) {
	l, err := manifests.LoadLock(path)
	if err != nil {
		return side{}, err
	}
	m, err := o.manifestOf(path, l)
	if err != nil {
		return side{}, err
	}
	i := diff.Image{Lock: true, Known: diff.KnowsModel, Settings: lockSettings(l)}
	carries, err := m.Carries(o.Variant)
	if err != nil {
		return side{}, fmt.Errorf("reading lock %s: %w", path, err)
	}
	for _, f := range l.Files {
		s, known := m.Source(f.Source)
		switch {
		case !f.Keep || !carries(f.Source, f.Path):
		case !known:
			return side{}, fault.Wrap(fault.Usage, "-model=PATH names the manifest that the lock was made from",
				fmt.Errorf("reading lock %s: manifest %s has no source %q", path, m.Name, f.Source))
		default:
			if err := addLocked(&i, l, s, f); err != nil {
				return side{}, fmt.Errorf("reading lock %s: %w", path, err)
			}
		}
	}
	return side{Image: i}, nil
}

// manifestOf finds the manifest that a lock belongs to.
func (o DiffOptions) manifestOf(path string, l *manifests.Lock) (*manifests.Manifest, error) {
	model := o.Model
	if model == "" {
		model = l.Header.Manifest
		if beside := strings.TrimSuffix(path, ".lock") + manifests.Extension; exists(beside) {
			model = beside
		}
	}
	m, _, err := manifests.Open(o.Root, model)
	if err != nil {
		return nil, fmt.Errorf("reading lock %s: %w", path, err)
	}
	if m.Name != l.Header.Manifest {
		return nil, fault.Wrap(fault.Usage, "-model=PATH names the manifest that the lock was made from",
			fmt.Errorf("reading lock %s: it belongs to manifest %s, not to %s", path, l.Header.Manifest, m.Name))
	}
	return m, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// addLocked adds the layers of one file.
func addLocked(i *diff.Image, l *manifests.Lock, s manifests.Source, f manifests.LockFile) error {
	name := s.ImagePath(f.Path)
	parts, err := pack.Parts(name, f.Size, l.Header.PartSize)
	if err != nil {
		return err
	}
	for _, p := range parts {
		line, _ := l.Layer(f.Source, f.Path, p)
		i.Layers = append(i.Layers, diff.Layer{
			Kind: diff.KindModel, Title: p.Name, Digest: line.Digest, DiffID: line.Digest, Size: p.LayerSize(), Unpacked: p.LayerSize(),
			Content: content(image.ModelLayer{File: name, Size: f.Size, SHA256: f.SHA256, Part: p, Pack: fmt.Sprint(pack.Version)}),
		})
	}
	i.Files = append(i.Files, diff.File{Path: name, Kind: diff.KindModel, Size: f.Size, Sum: "sha256:" + f.SHA256})
	return nil
}

// lockSettings are the commits and packages that a lock pins.
func lockSettings(l *manifests.Lock) (out []diff.Setting) {
	seen := map[string]bool{}
	for _, f := range l.Files {
		if !seen[f.Source] {
			out = append(out, diff.Setting{Kind: diff.SettingSource, Name: f.Source, Value: f.Repo + "@" + f.Commit})
		}
		seen[f.Source] = true
	}
	for _, p := range l.Packages {
		out = append(out, diff.Setting{Kind: diff.SettingPackage, Name: p.Name, Value: p.Version})
	}
	return out
}
