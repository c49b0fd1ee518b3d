package flow_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// document reads one of the built image's documents.
func (w *world) document(which string, into any) string {
	w.t.Helper()
	r, err := flow.Document(w.t.Context(), w.job(), "", which)
	require.NoError(w.t, err)
	require.NoError(w.t, json.Unmarshal([]byte(r.Text()), into))
	return r.Text()
}

// statement is what the tests read of an in-toto statement.
type statement struct {
	Subject   []struct{ Digest map[string]string }
	Predicate struct {
		Result        string
		PassedTests   []string
		Configuration []struct{ Annotations map[string]string }
	}
}

func (s statement) method() string { return s.Predicate.Configuration[1].Annotations["method"] }

// component is what the tests read of an SBOM's.
type component struct {
	Type, Name, Version, Purl string
	Hashes                    []struct{ Content string }
	Licenses                  []struct{ Expression string }
	Components                []component
}

// TestSBOM: all that is in the image is in the SBOM: every file with its sum, every package
// of the base, every module of the program.
func TestSBOM(t *testing.T) {
	w := newWorld(t).withBase()
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	var sbom struct {
		Metadata   struct{ Component component }
		Components []component
	}
	w.document("", &sbom)
	require.Equal(t, built.Digest, sbom.Metadata.Component.Version)
	has := map[string]component{}
	for _, c := range sbom.Components {
		has[c.Name] = c
		for _, f := range c.Components {
			has[c.Name+"/"+f.Name] = f
		}
	}
	lock, err := manifests.LoadLock(filepath.Join(w.dir, "demo.lock"))
	require.NoError(t, err)
	kept := 0
	for _, f := range lock.Files {
		if _, name, _ := strings.Cut(f.Repo, "/"); f.Keep {
			kept++
			require.Equal(t, f.SHA256, has[name+"/"+f.Path].Hashes[0].Content)
			require.Equal(t, "Apache-2.0", has[name+"/"+f.Path].Licenses[0].Expression)
			require.Contains(t, has[name+"/"+f.Path].Purl, f.Commit)
		}
	}
	require.Equal(t, 28, kept)
	require.Len(t, lock.Packages, 2)
	for _, p := range lock.Packages {
		require.Equal(t, p.Version, has[p.Name].Version)
		require.Equal(t, p.SHA256, has[p.Name].Hashes[0].Content)
	}
	require.Regexp(t, `distro=(debian-13|trixie)&upstream=`, has["libc6"].Purl)
	require.Regexp(t, `^1\.26\.`, has["stdlib"].Version)
	require.Equal(t, "BSD-3-Clause AND ISC AND OpenSSL", has["stdlib"].Licenses[0].Expression, "Go's own, and that of the assembly in crypto")
	purego := has["github.com/ebitengine/purego"]
	require.Equal(t, "pkg:golang/github.com/ebitengine/purego@"+purego.Version, purego.Purl)
	for _, c := range sbom.Components {
		if strings.HasPrefix(c.Purl, "pkg:golang/") {
			require.NotEmpty(t, c.Licenses, "the licence of %s is known", c.Name)
		}
	}
}

// TestBuildRefusesWhatIsKnownToBeWrong: the sums are right, and the tensors are not what the
// manifest claims. Nothing is written that says otherwise.
func TestBuildRefusesWhatIsKnownToBeWrong(t *testing.T) {
	w := newWorld(t)
	data, err := os.ReadFile(w.opts.Model)
	require.NoError(t, err)
	wrong := strings.Replace(string(data), "    rank: 128\n", "    rank: 32\n", 1)
	require.NotEqual(t, string(data), wrong)
	require.NoError(t, os.WriteFile(w.opts.Model, []byte(wrong), 0o644))
	j := w.job()
	_, err = flow.Lock(t.Context(), j, false)
	require.NoError(t, err)
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	_, err = flow.Build(t.Context(), j)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.NoDirExists(t, filepath.Join(j.Layout()))
}

// TestVerificationSaysWhatWasRead: a build that had the bytes says so, one that had not
// says that.
func TestVerificationSaysWhatWasRead(t *testing.T) {
	w := newWorld(t)
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	var made, again, elsewhere statement
	text := w.document("verification", &made)
	require.Equal(t, strings.TrimPrefix(built.Digest, "sha256:"), made.Subject[0].Digest["sha256"])
	require.Contains(t, made.method(), "every byte of every model file was read")
	require.True(t, slices.ContainsFunc(made.Predicate.PassedTests, func(s string) bool {
		return strings.HasSuffix(s, "size, sha256, container, checkpoint lightning of qwen-image int4 rank 128")
	}), text)
	require.Contains(t, made.Predicate.PassedTests, "set base: the files fit together")

	_, err = flow.Build(t.Context(), w.job())
	require.NoError(t, err)
	require.Equal(t, text, w.document("verification", &again), "the memo knows what was read")
	provenance, sbom := w.document("provenance", &again), w.document("sbom", &again)

	w.env["HF_HOME"] = filepath.Join(w.dir, "empty")
	w.opts.Out = filepath.Join(w.dir, "elsewhere")
	_, err = flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	w.document("verification", &elsewhere)
	require.Contains(t, elsewhere.method(), "no byte of them was read")
	for _, passed := range elsewhere.Predicate.PassedTests {
		require.Regexp(t, `^layer app/models/.*: digest as in the lock$`, passed)
	}
	require.Equal(t, provenance, w.document("provenance", &again), "two machines, one provenance")
	require.Equal(t, sbom, w.document("sbom", &again))
}

// referrersOf lists what a registry says refers to a digest.
func (w *world) referrersOf(repo, digest string) (out []string) {
	w.t.Helper()
	d, err := name.NewDigest(w.registry + "/" + repo + "@" + digest)
	require.NoError(w.t, err)
	index, err := remote.Referrers(d)
	require.NoError(w.t, err)
	m, err := index.IndexManifest()
	require.NoError(w.t, err)
	for _, d := range m.Manifests {
		out = append(out, d.Digest.String())
	}
	slices.Sort(out)
	return out
}

// attached lists the documents of a result.
func attached(r push.Result) (digests []string, written int) {
	for _, d := range r.Referrers {
		digests = append(digests, d.Digest)
		if d.Written {
			written++
		}
	}
	slices.Sort(digests)
	return digests, written
}

// TestPublishAccompanied: the image takes its documents along to every target, and the
// weights alone go out under a tag of their own without a byte of a model file. A second
// time, and from an export, nothing is added.
func TestPublishAccompanied(t *testing.T) {
	w := newWorld(t)
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	o := flow.PublishOptions{Targets: []string{w.registry + "/a:1", w.registry + "/a:2", w.registry + "/b:1"}, Weights: "weights"}
	first, err := flow.PublishTo(t.Context(), w.job(), o)
	require.NoError(t, err)
	require.Len(t, first.Targets, 5, "three, and two repositories' weights")
	for _, got := range first.Targets {
		digests, written := attached(got)
		require.Len(t, digests, 3, got.Reference)
		require.Equal(t, got.Reference != w.registry+"/a:2", written == 3, got.Reference)
		_, repo, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(got.Reference, ":1"), ":2"), ":weights"), "/")
		require.Equal(t, digests, w.referrersOf(repo, got.Digest))
		if strings.HasSuffix(got.Reference, ":weights") {
			require.Zero(t, got.SentBytes)
			require.Equal(t, first.WeightsDigest, got.Digest)
		} else {
			require.Equal(t, built.Digest, got.Digest)
		}
	}
	require.Contains(t, first.Text(), "; 3 of 3 documents sent")
	require.Contains(t, first.Text(), "weights "+first.WeightsDigest)
	w.requireWeights(first.WeightsDigest, built)

	exported, err := flow.Export(t.Context(), w.job(), filepath.Join(w.dir, "full"))
	require.NoError(t, err)
	o.From = exported.Layout
	again, err := flow.PublishTo(t.Context(), w.job(), o)
	require.NoError(t, err)
	for i, got := range again.Targets {
		digests, written := attached(got)
		require.Zero(t, written, got.Reference)
		want, _ := attached(first.Targets[i])
		require.Equal(t, want, digests)
		require.Equal(t, first.Targets[i].Digest, got.Digest)
	}
}

// requireWeights pulls the image of the weights: an ordinary one with nothing that runs.
func (w *world) requireWeights(digest string, built *flow.BuildResult) {
	w.t.Helper()
	ref, err := name.ParseReference(w.registry + "/a:weights")
	require.NoError(w.t, err)
	img, err := remote.Image(ref)
	require.NoError(w.t, err)
	m, err := img.Manifest()
	require.NoError(w.t, err)
	var want, got []string
	for _, l := range built.Layers {
		if l.Kind == string(image.KindModel) || l.Kind == string(image.KindConfig) {
			want = append(want, l.Digest)
		}
	}
	for _, l := range m.Layers {
		got = append(got, l.Digest.String())
	}
	require.Equal(w.t, want, got)
	require.Equal(w.t, types.OCIConfigJSON, m.Config.MediaType, "containerd mounts images, no artifacts")
	c, err := img.ConfigFile()
	require.NoError(w.t, err)
	require.Empty(w.t, c.Config.Entrypoint)
	require.Equal(w.t, "none", c.Config.Labels[image.LabelRuntime])
	is, err := img.Digest()
	require.NoError(w.t, err)
	require.Equal(w.t, digest, is.String())
}

// TestPublishAlone: without documents where they are not wanted, with a note where there
// are none, and never with those of another image.
func TestPublishAlone(t *testing.T) {
	w := newWorld(t)
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	r, err := flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/a:1"}, NoReferrers: true})
	require.NoError(t, err)
	require.Empty(t, r.Targets[0].Referrers)
	require.Empty(t, w.referrersOf("a", built.Digest))

	full := filepath.Join(built.Layout, "referrers")
	require.NoError(t, os.Rename(full, filepath.Join(w.dir, "aside")))
	r, err = flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/a:1"}})
	require.NoError(t, err)
	require.Empty(t, r.Targets[0].Referrers)
	require.Contains(t, w.stderr.String(), "run the build target again")

	w.opts.Variant = "lightning"
	other, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(other.Layout, "referrers")))
	require.NoError(t, os.Rename(filepath.Join(w.dir, "aside"), filepath.Join(other.Layout, "referrers")))
	_, err = flow.Document(t.Context(), w.job(), "", "sbom")
	require.Equal(t, fault.Usage, fault.KindOf(err), "%v", err)
	r, err = flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/a:1"}})
	require.NoError(t, err)
	require.Empty(t, r.Targets[0].Referrers, "they are about another image")
}

// TestWeightsTag: a tag that cannot be is refused before anything is sent.
func TestWeightsTag(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	for tag, text := range map[string]string{"a b": "parsing tag", "1": "is a target of the whole image"} {
		_, err := flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/a:1"}, Weights: tag})
		require.Equal(t, fault.Usage, fault.KindOf(err))
		require.ErrorContains(t, err, text)
	}
	_, err = flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/a:1"}, Weights: "w", Tag: "prod"})
	require.Equal(t, fault.Usage, fault.KindOf(err))
	_, err = remote.List(mustRepo(t, w.registry+"/a"))
	require.Error(t, err, "nothing was sent")
	_, err = flow.Document(t.Context(), w.job(), "", "licence")
	require.Equal(t, fault.Usage, fault.KindOf(err))
}

func mustRepo(t *testing.T, text string) name.Repository {
	t.Helper()
	r, err := name.NewRepository(text)
	require.NoError(t, err)
	return r
}
