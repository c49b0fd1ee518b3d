package image

import (
	"fmt"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Weights is the image without what runs: the image that Build makes of the same manifest
// with runtime "none", digest for digest. It shares the layers of the model files and of the
// model's configuration, so that a registry that has the one needs no bytes for the other.
// It is an ordinary image, since container runtimes mount no artifact as a volume. An image
// that holds weights only is returned as it is.
//
// Whoever mounts it finds the files below /app/models, each source in the folder that
// model.json names, model.json itself as /etc/plimsoll/model.json and the licence texts
// below /usr/share/doc/plimsoll.
func (i *Image) Weights() (*Image, error) {
	if i.config.Config.Labels[LabelRuntime] == string(manifests.RuntimeNone) {
		return i, nil
	}
	model, err := i.ModelConfig()
	if err != nil {
		return nil, fmt.Errorf("taking the weights out of an image: %w", err)
	}
	var b builder
	for n, d := range i.manifest.Layers {
		if k := Kind(d.Annotations[AnnotationKind]); k == KindModel || k == KindConfig {
			b.push(i.layers[n], d, d.Annotations[ociTitle])
		}
	}
	config := &v1.ConfigFile{
		Created: epoch, OS: OS, Architecture: Architecture,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: weightsLabels(i.config.Config.Labels, model)},
	}
	return b.seal(config)
}

// weightsLabels are the labels of an image with a runtime, as they are without. What the
// manifest has set to something of its own stays.
func weightsLabels(full map[string]string, c *manifests.ModelConfig) map[string]string {
	out := maps.Clone(full)
	delete(out, LabelBase)
	out[LabelRuntime] = string(manifests.RuntimeNone)
	for key, of := range map[string]func(*manifests.ModelConfig, manifests.Runtime) string{ociDescription: sentence, ociLicenses: licences} {
		if full[key] == of(c, manifests.RuntimePlimsoll) {
			out[key] = of(c, manifests.RuntimeNone)
		}
	}
	return out
}
