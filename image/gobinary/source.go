package gobinary

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/dirhash"
)

// Source is the sum of the main module's own files that the program is compiled from, with
// what they embed: "h1:…" as in go.sum (dirhash.Hash1), over names that begin with the
// package's import path. Other modules have sums of their own in the program's build
// information.
//
// It stands for the source where no version control may speak: a revision would differ
// between a checkout and an archive of the same files, and it moves with every change
// beside the program. Tests, documentation and files of other platforms play no part.
func Source(ctx context.Context, o Options) (string, error) {
	g, err := newCommand(ctx, o.Dir)
	if err != nil {
		return "", fmt.Errorf("summing up the source of %s: %w", o.Package, err)
	}
	packages, err := g.list(ctx, o.Package)
	if err != nil {
		return "", fmt.Errorf("summing up the source of %s: %w", o.Package, err)
	}
	paths := map[string]string{}
	var names []string
	for _, p := range packages {
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.SFiles, p.EmbedFiles) {
			name := p.ImportPath + "/" + filepath.ToSlash(file)
			paths[name] = filepath.Join(p.Dir, file)
			names = append(names, name)
		}
	}
	sum, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return os.Open(paths[name]) })
	if err != nil {
		return "", fmt.Errorf("summing up the source of %s: %w", o.Package, err)
	}
	return sum, nil
}
