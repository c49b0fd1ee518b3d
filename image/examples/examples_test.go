package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

const (
	ours   = "ghcr.io/you/qwen-image-edit:1"
	nvidia = corev1.ResourceName("nvidia.com/gpu")
)

// pods decodes every example, strictly, and returns its pod by the file's name.
func pods(t *testing.T) map[string]corev1.PodSpec {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string]corev1.PodSpec{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		out[file] = decode(t, file, data)
	}
	return out
}

// decode reads one object by the type that its kind says.
func decode(t *testing.T, file string, data []byte) corev1.PodSpec {
	t.Helper()
	require.NotContains(t, string(data), "\n---", "%s: one object a file", file)
	var head metav1.TypeMeta
	require.NoError(t, yaml.Unmarshal(data, &head), file)
	var job batchv1.Job
	var set appsv1.DaemonSet
	var pod corev1.Pod
	var deployment appsv1.Deployment
	var service corev1.Service
	object, spec := any(nil), (*corev1.PodSpec)(nil)
	switch head.APIVersion + " " + head.Kind {
	case "batch/v1 Job":
		object, spec = &job, &job.Spec.Template.Spec
	case "apps/v1 DaemonSet":
		object, spec = &set, &set.Spec.Template.Spec
	case "apps/v1 Deployment":
		object, spec = &deployment, &deployment.Spec.Template.Spec
	case "v1 Pod":
		object, spec = &pod, &pod.Spec
	case "v1 Service": // no pod of its own
		object, spec = &service, &corev1.PodSpec{}
	}
	require.NotNil(t, object, "%s: %s %s is not known here", file, head.APIVersion, head.Kind)
	require.NoError(t, yaml.UnmarshalStrict(data, object), file)
	return *spec
}

// eachContainer calls do for every container of every example.
func eachContainer(t *testing.T, do func(t *testing.T, pod corev1.PodSpec, c corev1.Container)) {
	t.Helper()
	for file, pod := range pods(t) {
		for _, c := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
			t.Run(file+"/"+c.Name, func(t *testing.T) { do(t, pod, c) })
		}
	}
}

// TestUnprivileged: no container can become more than the image's own user.
func TestUnprivileged(t *testing.T) {
	eachContainer(t, func(t *testing.T, pod corev1.PodSpec, c corev1.Container) {
		require.True(t, *pod.SecurityContext.RunAsNonRoot)
		require.Equal(t, image.User, strings.Join([]string{number(*pod.SecurityContext.RunAsUser), number(*pod.SecurityContext.RunAsGroup)}, ":"))
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		require.False(t, *pod.AutomountServiceAccountToken)
		require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
		require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
		require.False(t, c.Resources.Limits.Memory().IsZero())
		require.Equal(t, c.Resources.Limits[nvidia], c.Resources.Requests[nvidia])
	})
}

func number(n int64) string { return strings.TrimSpace(string(mustYAML(n))) }

func mustYAML(v any) []byte {
	out, err := yaml.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

// imageEnv is the environment that an image of ours brings.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	img, err := image.Build(image.Spec{
		Manifest: &manifests.Manifest{Name: "m", Runtime: manifests.RuntimePlimsoll},
		Model:    &manifests.ModelConfig{SchemaVersion: 1, Name: "m", ModelsDir: "/" + manifests.ModelsDir},
	})
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	out := map[string]string{}
	for _, e := range c.Config.Env {
		name, value, _ := strings.Cut(e, "=")
		out[name] = value
	}
	return out
}

// TestDriver: the driver's cache is writable where the image says that it is, a container
// without a GPU is given none, and nothing overrides what the device plugin gives.
func TestDriver(t *testing.T) {
	env := imageEnv(t)
	require.NotEmpty(t, env["CUDA_CACHE_PATH"])
	eachContainer(t, func(t *testing.T, pod corev1.PodSpec, c corev1.Container) {
		visible := ""
		for _, e := range c.Env {
			if e.Name == "NVIDIA_VISIBLE_DEVICES" {
				visible = e.Value
			}
		}
		_, gpu := c.Resources.Limits[nvidia]
		switch {
		case gpu:
			require.Empty(t, visible)
			require.Equal(t, corev1.StorageMediumMemory, volumeAt(t, pod, c, env["CUDA_CACHE_PATH"]).EmptyDir.Medium)
		case c.Image == ours:
			require.Equal(t, "void", visible)
		}
	})
}

// volumeAt is the volume that a container mounts at a path.
func volumeAt(t *testing.T, pod corev1.PodSpec, c corev1.Container, path string) corev1.Volume {
	t.Helper()
	for _, m := range c.VolumeMounts {
		for _, v := range pod.Volumes {
			if m.MountPath == path && m.Name == v.Name {
				return v
			}
		}
	}
	require.Fail(t, "nothing is mounted", path)
	return corev1.Volume{}
}

// TestOnlyWhatTheProgramOffers: what the examples run is in the program's own list.
func TestOnlyWhatTheProgramOffers(t *testing.T) {
	help, err := exec.Command("go", "run", "../../runtime", "help").Output()
	require.NoError(t, err)
	used := 0
	eachContainer(t, func(t *testing.T, _ corev1.PodSpec, c corev1.Container) {
		if c.Image == ours {
			used++
			require.Empty(t, c.Command, "the image's own entrypoint is the program")
			require.NotEmpty(t, c.Args)
			require.Contains(t, string(help), "\n  "+c.Args[0]+" ")
			flags, err := exec.Command("go", "run", "../../runtime", "help", c.Args[0]).Output()
			require.NoError(t, err)
			for _, flag := range c.Args[1:] {
				name, _, _ := strings.Cut(flag, "=")
				require.Contains(t, string(flags), "\n  "+name+" ")
			}
		}
	})
	require.Positive(t, used)
}

// TestDeployment: what serves is the image's own program on a GPU, probed where the program
// answers, given as long to stop as it takes, and reached by the service.
func TestDeployment(t *testing.T) {
	pod := pods(t)["deployment.yaml"]
	c := pod.Containers[0]
	require.Equal(t, resource.MustParse("1"), c.Resources.Limits[nvidia])
	standard := server.Default()
	require.Equal(t, int32(standard.Port), c.Ports[0].ContainerPort)
	require.Greater(t, *pod.TerminationGracePeriodSeconds, int64(standard.Grace.Seconds()))
	for path, probe := range map[string]*corev1.Probe{"/readyz": c.StartupProbe, "/healthz": c.LivenessProbe} {
		require.Equal(t, path, probe.HTTPGet.Path)
		require.Equal(t, c.Ports[0].Name, probe.HTTPGet.Port.String())
	}
	require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	require.GreaterOrEqual(t, c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold, int32(600))
	for _, arg := range c.Args {
		if state, ok := strings.CutPrefix(arg, "-state="); ok {
			require.Equal(t, corev1.StorageMediumMemory, volumeAt(t, pod, c, state).EmptyDir.Medium)
		}
	}
	var service corev1.Service
	data, err := os.ReadFile("service.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(data, &service))
	var deployment appsv1.Deployment
	data, err = os.ReadFile("deployment.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(data, &deployment))
	require.Equal(t, deployment.Spec.Template.Labels, deployment.Spec.Selector.MatchLabels)
	require.Equal(t, deployment.Spec.Template.Labels, service.Spec.Selector)
	require.Equal(t, c.Ports[0].Name, service.Spec.Ports[0].TargetPort.String())
}

// TestImageVolume: the weights are an image that nothing runs.
func TestImageVolume(t *testing.T) {
	pod := pods(t)["weights-volume.yaml"]
	v := volumeAt(t, pod, pod.Containers[0], "/weights")
	require.NotEmpty(t, v.Image.Reference)
	require.NotEqual(t, v.Image.Reference, pod.Containers[0].Image)
	for _, e := range pod.Containers[0].Env {
		if e.Name == "MODEL_DIR" {
			require.Equal(t, "/weights/"+manifests.ModelsDir, e.Value)
		}
	}
}

// TestReadmeNamesThem: an example that nobody finds helps nobody.
func TestReadmeNamesThem(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for file := range pods(t) {
		require.Contains(t, string(readme), "image/examples/"+file)
	}
}
