// Write writes a generated model set to a folder.
//
//	go run ./verify/modelset/modelsettest/write DIR
//	go run ./verify/modelset/modelsettest/write -set=real DIR
//
// The set golden (the default) is what golden vectors are made of: the files of the base
// repository, and an INT4 checkpoint (GoldenCheckpoint) as checkpoint.safetensors. Scripts
// compute with these weights in PyTorch; the tests that read the vectors make the same
// weights again, so that no weights are stored.
//
// The sets demo and real have the dimensions of the demo and of the published model, and the
// layout of a folder of models, as `plimsoll-runtime -models=DIR` takes it: the base without
// the transformer that the checkpoints stand for, and both checkpoints of rank 128, or the one
// that -checkpoint names. real is 29.5 GB with one checkpoint.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

func main() {
	set := flag.String("set", "golden", "golden, demo or real")
	checkpoint := flag.String("checkpoint", "", "the only checkpoint to write")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: write [-set=golden|demo|real] [-checkpoint=FILE] DIR")
		os.Exit(2)
	}
	if err := write(*set, *checkpoint, flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "writing the model set %s: %v\n", *set, err)
		os.Exit(1)
	}
}

func write(set, checkpoint, dir string) error {
	files, err := choose(set, checkpoint)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for name, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := save(&g, path, f); err != nil {
			return err
		}
	}
	return g.Wait()
}

// choose returns the files of a set by path.
func choose(set, checkpoint string) (map[string]modelsettest.File, error) {
	switch set {
	case "golden":
		files, err := modelsettest.Base(modelsettest.Golden())
		if err != nil {
			return nil, err
		}
		files["checkpoint.safetensors"], err = modelsettest.GoldenCheckpoint()
		return files, err
	case "demo":
		return models(modelsettest.Demo(), checkpoint)
	case "real":
		return models(modelsettest.Real(), checkpoint)
	}
	return nil, fmt.Errorf("there are golden, demo and real")
}

// The checkpoints of rank 128 that the manifests keep.
var checkpoints = []string{
	"svdq-int4_r128-qwen-image-edit.safetensors",
	"svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors",
}

// models lays a set out as a folder of models.
func models(p modelsettest.Params, checkpoint string) (map[string]modelsettest.File, error) {
	base, err := modelsettest.Base(p)
	if err != nil {
		return nil, err
	}
	quantised, err := modelsettest.Checkpoints(p)
	if err != nil {
		return nil, err
	}
	files := map[string]modelsettest.File{}
	for name, f := range base {
		if !strings.HasPrefix(name, "transformer/") {
			files["Qwen--Qwen-Image-Edit/"+name] = f
		}
	}
	for _, name := range checkpoints {
		if checkpoint == "" || checkpoint == name {
			files["nunchaku-qwen-image-edit/"+name] = quantised[name]
		}
	}
	return files, nil
}

// piece is how much of a file one goroutine writes at a time.
const piece = 64 << 20

// save writes a file, in pieces side by side.
func save(g *errgroup.Group, path string, f modelsettest.File) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	size := f.Content.Size()
	if err := out.Truncate(size); err != nil {
		return err
	}
	for from := int64(0); from < size; from += piece {
		g.Go(func() error {
			_, err := io.Copy(io.NewOffsetWriter(out, from), io.NewSectionReader(f.Content, from, min(piece, size-from)))
			return err
		})
	}
	return nil // files stay open until the program ends
}
