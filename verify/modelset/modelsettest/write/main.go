// Write writes the model set that golden vectors are made of to a folder: the files of the
// base repository, and an INT4 checkpoint (GoldenCheckpoint) as checkpoint.safetensors.
//
//	go run ./verify/modelset/modelsettest/write DIR
//
// Scripts that make golden vectors compute with these weights in PyTorch; the tests that
// read the vectors make the same weights again, so that no weights are stored.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: write DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "writing the golden model set:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	files, err := modelsettest.Base(modelsettest.Golden())
	if err != nil {
		return err
	}
	checkpoint, err := modelsettest.GoldenCheckpoint()
	if err != nil {
		return err
	}
	files["checkpoint.safetensors"] = checkpoint
	for name, f := range files {
		if err := save(filepath.Join(dir, filepath.FromSlash(name)), f); err != nil {
			return err
		}
	}
	return nil
}

func save(path string, f modelsettest.File) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	data, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o666)
}
