package base

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Deb is a package with its file.
type Deb struct {
	manifests.Package
	// File is the path of the .deb on this machine.
	File string
}

// Fetch makes sure that the packages lie in o.Cache, each as <sha256>.deb, and returns
// them in the order given. What is there already and has the right size and sha256 is not
// asked for again; with all packages there it needs no network.
//
// Each package comes from the first mirror that has it, then from the snapshot archive.
// Errors are of kind Upstream, name every mirror tried, and wrap ErrNoMirror where none
// could be reached; of kind Invalid for a package with malformed fields.
func Fetch(ctx context.Context, o Options, packages []manifests.Package) ([]Deb, error) {
	out := make([]Deb, 0, len(packages))
	for _, p := range packages {
		if err := checkPackage(p); err != nil {
			return nil, err
		}
		name := p.SHA256 + ".deb"
		w := want{name: p.Name, size: p.Size, sum: p.SHA256}
		_, err := o.cached(name, w, func() ([]byte, error) { return o.getDeb(ctx, p, w) })
		if err != nil {
			return nil, err
		}
		out = append(out, Deb{Package: p, File: filepath.Join(o.Cache, name)})
	}
	return out, nil
}

// getDeb downloads one package.
func (o Options) getDeb(ctx context.Context, p manifests.Package, w want) (data []byte, err error) {
	var sources []source
	for _, root := range o.Mirrors {
		sources = append(sources, source{root, func(ctx context.Context) (err error) {
			data, err = o.get(ctx, join(root, p.Path), w)
			return err
		}})
	}
	if o.Snapshot != "" {
		sources = append(sources, source{o.Snapshot, func(ctx context.Context) (err error) {
			data, err = o.getSnapshot(ctx, p, w)
			return err
		}})
	}
	const hint = "set " + MirrorEnv + " to a mirror that has it, or run lock -update to take what mirrors have now"
	err = firstOf(ctx, fmt.Sprintf("fetching %s %s", p.Name, p.Version), hint, sources)
	return data, err
}

// snapshotFiles is the answer of a snapshot archive to /mr/binary/<name>/<version>/binfiles
// (its "machine-usable interface").
type snapshotFiles struct {
	Result []struct {
		Hash string `json:"hash"` // sha1
		Arch string `json:"architecture"`
	} `json:"result"`
}

// getSnapshot downloads a package from the snapshot archive. It knows files by sha1, so
// the sha1 is asked for first; the sha256 still decides.
func (o Options) getSnapshot(ctx context.Context, p manifests.Package, w want) ([]byte, error) {
	answer, err := o.get(ctx, join(o.Snapshot, "mr", "binary", p.Name, p.Version, "binfiles"), want{size: maxRelease})
	if err != nil {
		return nil, err
	}
	var files snapshotFiles
	if err := json.Unmarshal(answer, &files); err != nil {
		return nil, fmt.Errorf("reading the list of files: %w", err)
	}
	last := fmt.Errorf("it lists no file of %s %s for %s: %w", p.Name, p.Version, p.Arch, errAbsent)
	for _, f := range files.Result {
		if f.Arch != p.Arch || !hexSHA1.MatchString(f.Hash) {
			continue
		}
		data, err := o.get(ctx, join(o.Snapshot, "file", f.Hash), w)
		if err == nil || ctx.Err() != nil {
			return data, err
		}
		last = err
	}
	return nil, last
}
