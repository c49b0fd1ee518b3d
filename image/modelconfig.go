package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// ModelConfig reads the image's own model.json out of its configuration layer.
func (i *Image) ModelConfig() (*manifests.ModelConfig, error) {
	for n, d := range i.manifest.Layers {
		if Kind(d.Annotations[AnnotationKind]) != KindConfig {
			continue
		}
		var found *manifests.ModelConfig
		err := eachFile(i.layers[n], func(name string, r io.Reader) error {
			if name != manifests.ModelConfigPath {
				return nil
			}
			data, err := io.ReadAll(io.LimitReader(r, maxJSON))
			if err != nil {
				return err
			}
			found, err = manifests.DecodeModelConfig(data)
			return err
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("looking for %s: the image has none", manifests.ModelConfigPath)
}

// Content returns the payload bytes of layer n: the sizes of its files, without tar's own.
func (i *Image) Content(n int) (int64, error) {
	d := i.manifest.Layers[n]
	if Kind(d.Annotations[AnnotationKind]) == KindModel {
		_, _, part, err := partOf(d)
		return part.Length, err
	}
	total := int64(0)
	err := eachFile(i.layers[n], func(_ string, r io.Reader) error {
		size, err := io.Copy(io.Discard, r)
		total += size
		return err
	})
	return total, err
}

// eachFile calls do for every regular file of a small layer.
func eachFile(layer v1.Layer, do func(name string, r io.Reader) error) error {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	archive := tar.NewReader(r)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if head.Typeflag == tar.TypeReg {
			if err := do(head.Name, archive); err != nil {
				return err
			}
		}
	}
}
