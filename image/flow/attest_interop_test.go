package flow_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// oras is the client of OCI artifacts that its specification's authors use.
const oras = "oras.land/oras/cmd/oras@v1.3.6"

// discovered is what oras says about one referrer.
type discovered struct {
	Reference    string
	Digest       string
	ArtifactType string
	Annotations  map[string]string
	Referrers    []discovered
}

// TestInteropReferrers: a registry of others, which has no referrers API, keeps the
// documents; a client of others finds them from the tag and gets them back.
func TestInteropReferrers(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo")
	program := interoptest.GoProgram(t, oras)
	w, r := newWorld(t).withBase(), registrytest.Start(t, registrytest.Options{})
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	o := flow.PublishOptions{Targets: []string{r.Host + "/team/model:1"}, Weights: "1-weights", DryRun: true}
	dry, err := flow.PublishTo(t.Context(), w.job(), o)
	require.NoError(t, err, "of a repository that is not there yet")
	require.Len(t, dry.Plans, 2)
	o.DryRun = false
	result, err := flow.PublishTo(t.Context(), w.job(), o)
	require.NoError(t, err)

	for i, ref := range []string{r.Host + "/team/model:1", r.Host + "/team/model:1-weights"} {
		var found discovered
		require.NoError(t, json.Unmarshal([]byte(interoptest.Run(t, program, "discover", "--plain-http", "--format", "json", ref)), &found))
		require.Equal(t, result.Targets[i].Digest, found.Digest)
		require.Len(t, found.Referrers, 3)
		require.Len(t, dry.Plans[i].Referrers, 3)
		for _, d := range found.Referrers {
			require.Contains(t, []string{attest.TypeCycloneDX, attest.TypeInToto}, d.ArtifactType)
			require.Equal(t, d.ArtifactType == attest.TypeInToto, d.Annotations["in-toto.io/predicate-type"] != "")
			interoptest.Run(t, program, "pull", "--plain-http", "--output", filepath.Join(w.dir, found.Digest), d.Reference)
		}
		for name, which := range map[string]string{attest.NameSBOM: "sbom", attest.NameProvenance: "provenance", attest.NameVerification: "verification"} {
			pulled, err := os.ReadFile(filepath.Join(w.dir, found.Digest, name))
			require.NoError(t, err)
			if i == 0 {
				require.Equal(t, w.document(which, &struct{}{}), string(pulled))
			}
		}
		readSBOM(t, filepath.Join(w.dir, found.Digest, attest.NameSBOM))
		pull(t, "docker://"+ref, "--src-tls-verify=false")
	}

	again, err := flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: o.Targets})
	require.NoError(t, err)
	want, _ := attached(result.Targets[0])
	got, written := attached(again.Targets[0])
	require.Equal(t, want, got)
	require.Zero(t, written)
}

// readSBOM lets CycloneDX's, package-url's and SPDX's own libraries read an SBOM.
func readSBOM(t *testing.T, path string) {
	t.Helper()
	out := interoptest.Output(t, interoptest.ScriptWith(t, interoptest.CycloneDX, `
import json, sys
from cyclonedx.model.bom import Bom
from license_expression import get_spdx_licensing
from packageurl import PackageURL
text = json.load(open(sys.argv[1]))
bom = Bom.from_json(text)
bom.validate()
files = 0
def walk(components):
    global files
    for c in components:
        files += c["type"] == "file"
        if c["type"] == "operating-system":
            continue
        assert PackageURL.from_string(c["purl"]).to_string() == c["purl"], c["purl"]
        for licence in c.get("licenses", []):
            assert not get_spdx_licensing().validate(licence["expression"]).errors, licence
        walk(c.get("components", []))
walk(text["components"])
print(bom.metadata.component.name, files)
`, []string{path}))
	require.Equal(t, "demo 28\n", out)
}

// TestInteropLayoutWithDocuments: the documents beside a layout disturb no tool that reads
// it without a name, and are a layout that oras reads.
func TestInteropLayoutWithDocuments(t *testing.T) {
	interoptest.Require(t, "skopeo")
	program := interoptest.GoProgram(t, oras)
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	exported, err := flow.Export(t.Context(), w.job(), filepath.Join(w.dir, "full"))
	require.NoError(t, err)
	requireSame(t, exported, pull(t, "oci:"+exported.Layout))

	inner := filepath.Join(exported.Layout, "referrers")
	data, err := os.ReadFile(filepath.Join(inner, "index.json"))
	require.NoError(t, err)
	var index struct{ Manifests []discovered }
	require.NoError(t, json.Unmarshal(data, &index))
	require.Len(t, index.Manifests, 6, "three about the image, three about its weights")
	for _, d := range index.Manifests {
		c := exec.CommandContext(t.Context(), program, "pull", "--oci-layout", "--output", t.TempDir(), inner+"@"+d.Digest)
		require.Contains(t, interoptest.Output(t, c), strings.TrimPrefix(d.Annotations["org.opencontainers.image.title"], "./"))
	}
}

// TestInteropWeightsAsVolume mounts the weights as image volumes do, into a container of the
// whole image: its program verifies them there, on a read-only root and with no rights.
func TestInteropWeightsAsVolume(t *testing.T) {
	interoptest.Require(t, "docker-registry", "podman", "runc", "umoci")
	w, r := newWorld(t), registrytest.Start(t, registrytest.Options{})
	w.opts.Mirrors, w.opts.BaseOptional = nil, false // Debian's own libc runs the program
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	full, weights := r.Host+"/team/model:1", r.Host+"/team/model:weights"
	_, err = flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{full}, Weights: "weights"})
	require.NoError(t, err)

	dir, err := os.MkdirTemp("", "pod") // podman takes no long runroot
	require.NoError(t, err)
	podman := func(args ...string) string {
		return interoptest.Run(t, "podman", append([]string{
			"--root=" + dir + "/root", "--runroot=" + dir + "/run", "--runtime=runc", "--cgroup-manager=cgroupfs",
		}, args...)...)
	}
	t.Cleanup(func() {
		_ = exec.Command("podman", "--root="+dir+"/root", "--runroot="+dir+"/run", "system", "reset", "--force").Run()
		require.NoError(t, os.RemoveAll(dir))
	})
	podman("pull", "--quiet", "--tls-verify=false", full, weights)
	require.Equal(t, "[]\n", podman("image", "inspect", "--format={{.Config.Entrypoint}}", weights))
	said := podman("run", "--rm", "--read-only", "--cap-drop=all", "--network=none", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096",
		"--mount=type=image,source="+weights+",destination=/weights", full,
		"verify", "-models=/weights/app/models", "-config=/weights/etc/plimsoll/model.json")
	require.Contains(t, said, "Found 2/2 Nunchaku Models")

	// The layout's folder of documents is none of umoci's business either.
	exported, err := flow.Export(t.Context(), w.job(), filepath.Join(w.dir, "full"))
	require.NoError(t, err)
	interoptest.Run(t, "umoci", "unpack", "--image="+exported.Layout+":latest", filepath.Join(w.dir, "bundle"))
	require.FileExists(t, filepath.Join(w.dir, "bundle", "rootfs", "etc", "plimsoll", "model.json"))
}
