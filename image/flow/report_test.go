package flow_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// stored counts what a registry sends of an image: manifest, config and each blob once.
func stored(t *testing.T, reference string) int64 {
	t.Helper()
	ref, err := name.ParseReference(reference)
	require.NoError(t, err)
	d, err := remote.Get(ref)
	require.NoError(t, err)
	m, err := v1.ParseManifest(strings.NewReader(string(d.Manifest)))
	require.NoError(t, err)
	sum, seen := int64(len(d.Manifest)), map[v1.Hash]bool{}
	for _, blob := range append(m.Layers, m.Config) {
		if seen[blob.Digest] {
			continue
		}
		seen[blob.Digest] = true
		l, err := remote.Layer(ref.Context().Digest(blob.Digest.String()))
		require.NoError(t, err)
		n, err := l.Size() // the registry's own Content-Length
		require.NoError(t, err)
		sum += n
	}
	return sum
}

// TestReportIsWhatTheRegistryHas: to the byte, and another image's layers are found in it.
func TestReportIsWhatTheRegistryHas(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	_, err = flow.Publish(t.Context(), j, []string{w.registry + "/demo:1"}, "")
	require.NoError(t, err)
	whole, err := flow.Report(t.Context(), j)
	require.NoError(t, err)
	require.Equal(t, stored(t, w.registry+"/demo:1"), whole.Image.RegistryBytes)
	require.Nil(t, whole.Shared)
	require.Len(t, whole.Limits, len(push.Registries))
	require.Len(t, whole.GPU.Checkpoints, 2)
	require.NotEmpty(t, whole.GPU.Checkpoints[0].Memory)
	require.NotEmpty(t, whole.GPU.Checkpoints[0].Generations)

	w.opts.Variant = "lightning"
	one := w.job()
	_, err = flow.Make(t.Context(), one)
	require.NoError(t, err)
	for _, where := range []string{"docker://" + w.registry + "/demo:1", w.registry + "/demo:1", "oci:" + j.Layout(), "oci:" + j.Layout() + ":latest"} {
		r, err := flow.ReportWith(t.Context(), one, flow.ReportOptions{SharedWith: where})
		require.NoError(t, err)
		require.Equal(t, whole.Image.Digest, r.Shared.Digest)
		require.Equal(t, where, r.Shared.With)
		sent, err := flow.PublishTo(t.Context(), one, flow.PublishOptions{Targets: []string{w.registry + "/demo:2"}, DryRun: true})
		require.NoError(t, err)
		require.Equal(t, sent.Plans[0].Bytes[push.ToSend]+r.Image.ManifestBytes, r.Shared.MissingBytes, "what publishing would send")
	}
	same, err := flow.ReportWith(t.Context(), one, flow.ReportOptions{SharedWith: "oci:" + one.Layout()})
	require.NoError(t, err)
	require.Zero(t, same.Shared.MissingBytes)
}

// TestInteropReportIsWhatAPullStores: Docker's registry says it of each blob, and skopeo has
// as many bytes on its disk.
func TestInteropReportIsWhatAPullStores(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo")
	w, registry := newWorld(t).widen().withBase(), registrytest.Start(t, registrytest.Options{})
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	reference := registry.Host + "/team/model:1"
	_, err = flow.Publish(t.Context(), j, []string{reference}, "")
	require.NoError(t, err)
	r, err := flow.Report(t.Context(), j)
	require.NoError(t, err)
	require.Equal(t, stored(t, reference), r.Image.RegistryBytes)

	blobs, err := os.ReadDir(filepath.Join(pull(t, "docker://"+reference, "--src-tls-verify=false"), "blobs", "sha256"))
	require.NoError(t, err)
	sum := int64(0)
	for _, b := range blobs {
		info, err := b.Info()
		require.NoError(t, err)
		sum += info.Size()
	}
	require.Equal(t, sum, r.Image.RegistryBytes)
}

func TestReportSharedWithNothing(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	for where, kind := range map[string]fault.Kind{
		"oci:" + filepath.Join(w.dir, "none"): fault.Usage, "docker://Not A Reference": fault.Usage, w.registry + "/demo:none": fault.Registry,
	} {
		_, err := flow.ReportWith(t.Context(), j, flow.ReportOptions{SharedWith: where})
		require.ErrorContains(t, err, "reading -sharedWith="+where)
		require.Equal(t, kind, fault.KindOf(err), err)
	}
}

// TestReportFiles: files are replaced, the runner's summary is added to.
func TestReportFiles(t *testing.T) {
	w := newWorld(t)
	summary := filepath.Join(w.dir, "summary.md")
	w.env["GITHUB_STEP_SUMMARY"] = summary
	require.NoError(t, os.WriteFile(summary, []byte("# An earlier step\n"), 0o644))
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	o := flow.ReportOptions{Markdown: filepath.Join(w.dir, "new", "report.md")}
	for range 2 {
		_, err = flow.ReportWith(t.Context(), j, o)
		require.NoError(t, err)
		_, err = flow.ReportWith(t.Context(), j, flow.ReportOptions{Markdown: summary})
		require.NoError(t, err)
	}
	text, err := os.ReadFile(o.Markdown)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "## Storage report: "))
	added, err := os.ReadFile(summary)
	require.NoError(t, err)
	require.Equal(t, "# An earlier step\n\n"+string(text)+"\n"+string(text), string(added))

	more := flow.ReportOptions{HTML: filepath.Join(w.dir, "a.html"), SVG: filepath.Join(w.dir, "a.svg")}
	_, err = flow.ReportWith(t.Context(), j, more)
	require.NoError(t, err)
	for path, begin := range map[string]string{more.HTML: "<!DOCTYPE html>", more.SVG: "<svg "} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(data), begin))
	}

	r, err := flow.ReportWith(t.Context(), j, flow.ReportOptions{Markdown: filepath.Join(o.Markdown, "below a file")})
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.ErrorContains(t, err, "writing report "+o.Markdown)
	require.NotNil(t, r, "the report itself is shown all the same")
}

// TestReportDocument: what -json prints is the documented document.
func TestReportDocument(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	r, err := flow.Report(t.Context(), j)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, flow.Show(&out, r, true))
	require.Equal(t, string(r.JSON()), out.String())
	var back report.Report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &back))
	require.Equal(t, *r, back)
}
