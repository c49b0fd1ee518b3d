package flow_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// built is a world with an image in the cache, in a full layout and in the registry.
func built(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.ship()
	return w
}

// ship builds, exports and publishes the world's image.
func (w *world) ship() {
	w.t.Helper()
	_, err := flow.Make(w.t.Context(), w.job())
	require.NoError(w.t, err)
	_, err = flow.Export(w.t.Context(), w.job(), w.full())
	require.NoError(w.t, err)
	_, err = flow.Publish(w.t.Context(), w.job(), []string{w.registry + "/demo:1"}, "")
	require.NoError(w.t, err)
}

func (w *world) full() string { return filepath.Join(w.dir, "full") }

// places are all the places where the world's image lies.
func (w *world) places() []string {
	return []string{"", "cache", "oci:" + w.job().Layout(), "oci:" + w.full(), "oci:" + w.full() + ":latest", "docker://" + w.registry + "/demo:1"}
}

func TestVerifyInEveryPlace(t *testing.T) {
	w := built(t)
	var digest string
	for _, in := range w.places() {
		for _, force := range []bool{false, true} {
			r, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in, Force: force})
			require.NoError(t, err, in)
			require.True(t, r.OK, in)
			require.Empty(t, r.Findings, in)
			require.Equal(t, r.Report.Bytes(), r.Bytes, in)
			require.Len(t, r.Sets, 1, in)
			if in == "" || in == "cache" {
				require.Equal(t, "cache", r.In)
				require.Empty(t, r.Image)
				require.Equal(t, !force, r.Files[0].Remembered)
				continue
			}
			require.NotEmpty(t, r.Image)
			require.Len(t, r.Layers, 2, "runtime and configuration; this world has no base")
			if digest == "" {
				digest = r.Image
			}
			require.Equal(t, digest, r.Image, in)
		}
	}
}

// TestVerifyParts: a file that is cut into layers is one file wherever it lies.
func TestVerifyParts(t *testing.T) {
	w := newWorld(t).widen()
	w.ship()
	for i, in := range w.places() {
		r, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in})
		require.NoError(t, err, in)
		parts := 0
		for _, f := range r.Files {
			parts = max(parts, f.Parts)
		}
		require.Equal(t, i > 2, parts > 1, "the cache, and a thin layout over it, hold whole files: %s", in)
	}
}

// TestInteropVerifyRegistry: a registry that others wrote gives the blobs out, once, for
// sums and values alike.
func TestInteropVerifyRegistry(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	w, registry := newWorld(t).widen(), registrytest.Start(t, registrytest.Options{})
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	_, err = flow.Publish(t.Context(), w.job(), []string{registry.Host + "/demo:1"}, "")
	require.NoError(t, err)
	in := flow.VerifyOptions{In: "docker://" + registry.Host + "/demo:1", Deep: true}
	r, err := flow.VerifyIn(t.Context(), w.job(), in)
	require.NoError(t, err)
	require.True(t, r.OK)
	require.Empty(t, r.Findings)
	require.NotNil(t, r.Files[len(r.Files)-1].Values, "parts of a checkpoint, judged as they come")
	registry.Stop()
	_, err = flow.VerifyIn(t.Context(), w.job(), in)
	require.Equal(t, fault.Registry, fault.KindOf(err))
}

func TestVerifyInNoPlace(t *testing.T) {
	w := built(t)
	for _, in := range []string{"dir", "dir:", "oci:", "docker:", "docker://", "lock:x", "out", "CACHE"} {
		_, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in})
		require.Equal(t, fault.Usage, fault.KindOf(err), in)
		require.Contains(t, fault.HintOf(err), "-in=cache, -in=dir:PATH, -in=oci:PATH, -in=oci:PATH:NAME or -in=docker://", in)
	}
	file := filepath.Join(w.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, in := range []string{"dir:" + file, "dir:" + file + ".none", "oci:" + w.dir, "docker://demo"} {
		_, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in})
		require.Equal(t, fault.Usage, fault.KindOf(err), in)
		require.NotEmpty(t, fault.HintOf(err), in)
	}
	empty, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: "dir:" + t.TempDir()})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Len(t, empty.Wrong(), len(empty.Files))
}

// TestVerifyAnImageOfAnotherState: what the image's runtime goes by is held against the
// manifest, and an old setting is no damage.
func TestVerifyAnImageOfAnotherState(t *testing.T) {
	w := built(t)
	data, err := os.ReadFile(w.opts.Model)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		old, new string
		severity verify.Severity
		text     string
	}{
		"setting": {"defaultSteps: 8", "defaultSteps: 9", verify.Warning, "another state of the manifest"},
		"name":    {"name: demo", "name: other", verify.Error, "the image holds demo, variant default, not other, variant default"},
		"path":    {"path: nunchaku-qwen-image-edit", "path: nunchaku", verify.Error, "the image has no layer for it"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(data), tc.old)
			require.NoError(t, os.WriteFile(w.opts.Model, bytes.Replace(data, []byte(tc.old), []byte(tc.new), 1), 0o644))
			_, err = flow.Lock(t.Context(), w.job(), false)
			require.NoError(t, err)
			r, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: "oci:" + w.full()})
			require.NotNil(t, r, err)
			require.Equal(t, tc.severity, r.Findings.Worst())
			require.Equal(t, tc.severity == verify.Error, err != nil)
			var text []string
			for _, f := range r.Findings {
				text = append(text, f.Message)
			}
			require.Contains(t, strings.Join(text, "\n"), tc.text)
		})
	}
}

// suites is JUnit's XML as a CI system reads it.
type suites struct {
	Suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Cases    []struct {
			Class   string    `xml:"classname,attr"`
			Name    string    `xml:"name,attr"`
			Failure []problem `xml:"failure"`
			Error   []problem `xml:"error"`
			Skipped []problem `xml:"skipped"`
			Output  string    `xml:"system-out"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type problem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junit verifies and reads the report.
func (w *world) junit(in string) (s suites, err error) {
	w.t.Helper()
	path := filepath.Join(w.dir, "junit.xml")
	_, err = flow.VerifyIn(w.t.Context(), w.job(), flow.VerifyOptions{In: in, JUnit: path})
	data, readErr := os.ReadFile(path)
	require.NoError(w.t, readErr)
	require.NoError(w.t, xml.Unmarshal(data, &s))
	return s, err
}

func TestJUnit(t *testing.T) {
	w := built(t)
	s, err := w.junit("oci:" + w.full())
	require.NoError(t, err)
	require.Equal(t, 28+1+2, s.Suite.Tests)
	require.Len(t, s.Suite.Cases, s.Suite.Tests)
	require.Zero(t, s.Suite.Failures+s.Suite.Errors+s.Suite.Skipped)
	require.Equal(t, "files.base", s.Suite.Cases[0].Class)
	require.Equal(t, "sets", s.Suite.Cases[28].Class)
	require.Equal(t, "config: model configuration", s.Suite.Cases[30].Name)

	blob := w.largestBlob()
	require.NoError(t, flip(blob, 4096))
	s, err = w.junit("cache")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, []int{29, 1, 0, 1}, []int{s.Suite.Tests, s.Suite.Failures, s.Suite.Errors, s.Suite.Skipped})
	for _, c := range s.Suite.Cases {
		if len(c.Failure) > 0 {
			require.Equal(t, "sha256", c.Failure[0].Type)
			require.Contains(t, c.Failure[0].Message, "sha256 is")
			require.Contains(t, c.Failure[0].Text, "hint: run the fetch target")
		}
	}

	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.Symlink(blob, blob))
	s, err = w.junit("cache")
	require.Equal(t, fault.Resource, fault.KindOf(err), "a file that cannot be read proves nothing")
	require.Equal(t, []int{0, 1, 1}, []int{s.Suite.Failures, s.Suite.Errors, s.Suite.Skipped})
}

// TestVerifyResultAsJSON: the names that programs rely on.
func TestVerifyResultAsJSON(t *testing.T) {
	w := built(t)
	var out bytes.Buffer
	in := "docker://" + w.registry + "/demo:1"
	require.NoError(t, flow.Do(w.opts, &out, true, func(j *flow.Job) (flow.Result, error) {
		return flow.VerifyIn(t.Context(), j, flow.VerifyOptions{In: in})
	}))
	var r struct {
		SchemaVersion             int
		Model, Variant, In, Image string
		OK                        bool
		Bytes                     int64
		Files                     []struct {
			Path, Source, SHA256 string
			Size                 int64
			Parts                int
			OK                   bool
			Checkpoint           *struct {
				Name, Family, Precision string
				Rank, Blocks            int
				Variant                 struct{ Name, Evidence, Claim, Locked string }
			}
			Findings verify.Findings
		}
		Sets []struct {
			Source   string
			OK       bool
			Findings verify.Findings
		}
		Layers []struct {
			Kind, Title, Digest string
			Size                int64
			OK                  bool
			Findings            verify.Findings
		}
	}
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	require.Equal(t, 1, r.SchemaVersion)
	require.Equal(t, []string{"demo", "default", in}, []string{r.Model, r.Variant, r.In})
	require.True(t, r.OK)
	require.NotZero(t, r.Bytes)
	require.Len(t, r.Files, 28)
	require.Equal(t, 128, r.Files[27].Checkpoint.Rank)
	require.Equal(t, "qwen-image-edit", r.Files[27].Checkpoint.Variant.Claim)
	require.Contains(t, r.Files[27].Checkpoint.Variant.Locked, "nunchaku-ai/nunchaku-qwen-image-edit@")
	require.Len(t, r.Sets, 1)
	require.Len(t, r.Layers, 2)
}
