package image

import (
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

// epoch stands where tools expect a time of creation: a real one would make two equal
// builds differ, and none at all reads as the year 1.
var epoch = v1.Time{Time: time.Unix(0, 0).UTC()}

// port is what the service listens on, the predecessor's.
const port = "8000/tcp"

// configFile is the image's config without layers.
func configFile(spec Spec) *v1.ConfigFile {
	c := &v1.ConfigFile{
		Created:      epoch,
		OS:           OS,
		Architecture: Architecture,
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Labels: labels(spec.Manifest, spec.Model, spec.BaseName)},
	}
	if spec.Manifest.Runtime == manifests.RuntimePlimsoll {
		c.Config.User = User
		c.Config.WorkingDir = "/"
		c.Config.Env = runtimeEnv(spec.Model)
		c.Config.Entrypoint = []string{"/" + RuntimePath}
		c.Config.Cmd = []string{"serve"}
		c.Config.ExposedPorts = map[string]struct{}{port: {}}
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
