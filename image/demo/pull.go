package demo

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// pull gets the image back from the registry, unpacks it without root and lets its own
// program verify the model and edit a picture.
func (d *demo) pull(ctx context.Context) error {
	if err := d.pullAndVerify(ctx); err != nil {
		return fmt.Errorf("demo, pulling the image back: %w", err)
	}
	return nil
}

func (d *demo) pullAndVerify(ctx context.Context) error {
	ref, err := name.ParseReference(d.registry.reference())
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	d.announce("pull: the published image verifies itself")
	root := d.work("rootfs")
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	defer os.RemoveAll(root) // a second copy of the model is of no use to anybody
	if err := unpack(img, root); err != nil {
		return err
	}
	if err := d.runtime(ctx, root, append([]string{"verify"}, inside(root)...)...); err != nil {
		return err
	}
	return d.edit(ctx, root)
}

// inside are the flags that point the image's program at the image's files.
func inside(root string) []string {
	return []string{"-config=" + filepath.Join(root, manifests.ModelConfigPath), "-models=" + filepath.Join(root, manifests.ModelsDir)}
}

// loader is the image's own dynamic loader, libraries the folder of its libraries, both
// relative to the image's root.
const (
	loader    = "usr/lib64/ld-linux-x86-64.so.2"
	libraries = "usr/lib/x86_64-linux-gnu"
)

// runtime runs the image's binary to its end.
func (d *demo) runtime(ctx context.Context, root string, args ...string) error {
	c := d.command(ctx, root, args...)
	c.Stdout, c.Stderr = d.both(), d.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("running the image's %s %s: %w", filepath.Base(image.RuntimePath), args[0], err)
	}
	return nil
}

// command is the image's binary by the image's loader and libraries, or by the host's where
// the image has none.
func (d *demo) command(ctx context.Context, root string, args ...string) *exec.Cmd {
	binary := filepath.Join(root, image.RuntimePath)
	ld := filepath.Join(root, loader)
	command := append([]string{ld, "--library-path", filepath.Join(root, libraries), binary}, args...)
	if _, err := os.Stat(ld); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(d.Stderr, "note: the image has no base layer, its runtime runs on the libraries of this machine")
		command = append([]string{binary}, args...)
	}
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Env = []string{"PATH=/usr/bin:/bin"}
	return c
}

// unpack applies the image's layers to an empty folder, without owners, as any user can.
// os.Root keeps every entry inside of it.
func unpack(img v1.Image, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := unpackLayer(root, l); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	return nil
}

func unpackLayer(root *os.Root, l v1.Layer) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	archive := tar.NewReader(r)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// What follows the archive's end belongs to the layer's digest, which is checked
			// when it has been read to its end.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, head, archive); err != nil {
			return fmt.Errorf("%s: %w", head.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, head *tar.Header, content io.Reader) error {
	path := filepath.Clean(head.Name)
	switch head.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(path, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(head.Linkname, path)
	case tar.TypeReg:
		return unpackFile(root, path, head.FileInfo().Mode().Perm(), content)
	}
	return fmt.Errorf("its type %c is not one that plimsoll writes", head.Typeflag)
}

func unpackFile(root *os.Root, path string, mode os.FileMode, content io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
