package image

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// User is the numeric user and group of the image: the "nonroot" of common base images,
// numeric so that Kubernetes' runAsNonRoot can check it.
const User = "65532:65532"

// Platform of every image.
const (
	OS           = "linux"
	Architecture = "amd64"
)

// labelPrefix is the namespace of plimsoll's own labels.
const labelPrefix = annotation

// LabelBase describes the base layer, with the versions of its packages.
const LabelBase = labelPrefix + "base"

// epoch stands where tools expect a time of creation: a real one would make two equal
// builds differ, and none at all reads as the year 1.
var epoch = v1.Time{Time: time.Unix(0, 0).UTC()}

// configFile is the image's config without layers.
func configFile(spec Spec) *v1.ConfigFile {
	c := &v1.ConfigFile{
		Created:      epoch,
		OS:           OS,
		Architecture: Architecture,
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Labels: labels(spec)},
	}
	if spec.Manifest.Runtime == manifests.RuntimePlimsoll {
		c.Config.User = User
		c.Config.WorkingDir = "/"
		c.Config.Env = runtimeEnv(spec.Model)
		c.Config.Entrypoint = []string{"/" + RuntimePath}
		c.Config.Cmd = []string{"verify"}
	}
	return c
}

// runtimeEnv is the environment of the runtime. NVIDIA's container toolkit acts only where
// NVIDIA_VISIBLE_DEVICES is set, and brings libcuda only for the capability "compute". The
// driver's cache of compiled kernels must lie where a read-only root is writable.
func runtimeEnv(m *manifests.ModelConfig) []string {
	return []string{
		"PATH=/usr/bin:/bin",
		"MODEL_CACHE_DIR=" + m.ModelsDir,
		"NVIDIA_VISIBLE_DEVICES=all",
		"NVIDIA_DRIVER_CAPABILITIES=compute,utility",
		"CUDA_CACHE_PATH=/tmp/cuda-cache",
	}
}

// labels describe the image to tools that never pull it.
func labels(spec Spec) map[string]string {
	m := spec.Model
	out := map[string]string{
		"org.opencontainers.image.title":    spec.Manifest.Title,
		"org.opencontainers.image.licenses": licences(m),
		labelPrefix + "model":               m.Name,
		labelPrefix + "variant":             m.Variant,
	}
	if spec.BaseName != "" {
		out[LabelBase] = spec.BaseName
	}
	for _, s := range m.Sources {
		out[labelPrefix+"source."+s.Name] = s.Repo + "@" + s.Commit
	}
	if len(m.Checkpoints) > 0 {
		out[labelPrefix+"checkpoints"] = distinct(m, func(c manifests.ModelCheckpoint) string { return c.Name })
		out[labelPrefix+"precision"] = distinct(m, func(c manifests.ModelCheckpoint) string { return c.Precision })
		out[labelPrefix+"rank"] = distinct(m, func(c manifests.ModelCheckpoint) string { return fmt.Sprint(c.Rank) })
	}
	for _, f := range m.Files {
		if len(f.Parts) > 0 {
			out[labelPrefix+"parts"] = "files are cut into parts that the plimsoll runtime reads as one"
		}
	}
	addGPULabels(out, m)
	for k, v := range spec.Manifest.Image.Labels {
		out[k] = v
	}
	return out
}

// distinct joins the different values of a property, in the order of checkpoints.
func distinct(m *manifests.ModelConfig, of func(manifests.ModelCheckpoint) string) string {
	var out []string
	for _, c := range m.Checkpoints {
		if v := of(c); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return strings.Join(out, ",")
}
