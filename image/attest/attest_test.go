package attest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	result "github.com/in-toto/attestation/go/predicates/test_result/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// both are the two inputs with the folders of their golden files.
func both() map[string]attest.Input {
	return map[string]attest.Input{"image": input(), "weights": weights()}
}

func documents(t *testing.T, in attest.Input) map[string]attest.Document {
	t.Helper()
	list, err := attest.Documents(in)
	require.NoError(t, err)
	out := map[string]attest.Document{}
	for _, d := range list {
		out[d.Name] = d
	}
	require.Len(t, out, 3)
	return out
}

func TestGolden(t *testing.T) {
	for folder, in := range both() {
		for name, d := range documents(t, in) {
			path := filepath.Join("testdata", folder+"-"+name)
			if *update {
				require.NoError(t, os.WriteFile(path, d.Data, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(d.Data), path)
		}
	}
}

// TestSame: documents are a function of their input, and no list of it is changed.
func TestSame(t *testing.T) {
	in := input()
	first := documents(t, in)
	require.Equal(t, first, documents(t, in))
	require.Equal(t, input(), in)
	in.Digest = "sha256:" + sum("another")
	for name, d := range documents(t, in) {
		require.NotEqual(t, first[name].Data, d.Data, "two images, two documents")
	}
}

// TestSchema holds the SBOMs against CycloneDX's own JSON schema, which lies beside its
// library; nothing is fetched.
func TestSchema(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	require.NoError(t, err)
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	c.AssertFormat = true
	c.LoadURL = func(url string) (io.ReadCloser, error) { return nil, errors.New("nothing is fetched: " + url) }
	for url, name := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, c.AddResource("http://cyclonedx.org/schema/"+url, bytes.NewReader(data)))
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	require.NoError(t, err)
	validate := func(data []byte) error {
		var document any
		require.NoError(t, json.Unmarshal(data, &document))
		return schema.Validate(document)
	}
	for _, in := range both() {
		sbom := documents(t, in)[attest.NameSBOM]
		require.Equal(t, attest.TypeCycloneDX, sbom.MediaType)
		require.NoError(t, validate(sbom.Data))
		for right, wrong := range map[string]string{`"type": "file"`: `"type": "fil"`, `"serialNumber": "urn:uuid:`: `"serialNumber": "urn:uuid:x`} {
			broken := strings.Replace(string(sbom.Data), right, wrong, 1)
			require.Error(t, validate([]byte(broken)), "the schema must be one that can say no")
		}
	}
}

// TestStatements lets in-toto's own reader judge the statements, strictly.
func TestStatements(t *testing.T) {
	for _, in := range both() {
		d := documents(t, in)
		for name, predicate := range map[string]proto.Message{
			attest.NameProvenance: &provenance.Provenance{}, attest.NameVerification: &result.TestResult{},
		} {
			var s intoto.Statement
			require.NoError(t, protojson.Unmarshal(d[name].Data, &s))
			require.NoError(t, s.Validate())
			require.Equal(t, attest.TypeInToto, d[name].MediaType)
			require.Equal(t, d[name].Predicate, s.PredicateType)
			require.Equal(t, in.Digest, "sha256:"+s.Subject[0].Digest["sha256"])
			data, err := protojson.Marshal(s.Predicate)
			require.NoError(t, err)
			require.NoError(t, protojson.Unmarshal(data, predicate), "no field that the predicate lacks")
			if p, ok := predicate.(*provenance.Provenance); ok {
				require.NoError(t, p.Validate())
			}
		}
	}
}

// TestNothingOfTheMachine: neither a time nor a path of the machine is in any document.
func TestNothingOfTheMachine(t *testing.T) {
	for _, in := range both() {
		for _, d := range documents(t, in) {
			for _, never := range []string{"timestamp", "startedOn", "finishedOn", "timeVerified", "invocationId", "/home/"} {
				require.NotContains(t, string(d.Data), never, d.Name)
			}
		}
	}
}

func TestVerificationResult(t *testing.T) {
	for want, v := range map[string]attest.Verification{
		"PASSED": {Passed: []string{"a"}},
		"WARNED": {Passed: []string{"a"}, Warned: []string{"b"}},
	} {
		in := input()
		in.Verification = v
		var got struct {
			Predicate struct{ Result string }
		}
		require.NoError(t, json.Unmarshal(documents(t, in)[attest.NameVerification].Data, &got))
		require.Equal(t, want, got.Predicate.Result)
	}
}

// TestContradictions: a document is refused rather than wrong.
func TestContradictions(t *testing.T) {
	for text, spoil := range map[string]func(*attest.Input){
		"want sha256:":                           func(in *attest.Input) { in.Digest = "latest" },
		"none of the form h1":                    func(in *attest.Input) { in.Source = "" },
		"q/w.safetensors is in 1 layers, want 2": func(in *attest.Input) { in.Layers = in.Layers[:2] },
		"a program is described: false":          func(in *attest.Input) { in.Program = nil },
		"a program is described: true":           func(in *attest.Input) { in.Runtime = manifests.RuntimeNone },
	} {
		in := input()
		spoil(&in)
		_, err := attest.Documents(in)
		require.ErrorContains(t, err, text)
	}
}

func TestParseOS(t *testing.T) {
	for text, want := range map[string]attest.OS{
		"PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n": {ID: "debian", Version: "13"},
		"ID='alpine'\r\nVERSION_ID=3.22":                                               {ID: "alpine", Version: "3.22"},
		"ID=debian\n":                                                                  {}, // as Debian's unstable has it
		"VERSION_ID=13\n":                                                              {},
		"":                                                                             {},
	} {
		require.Equal(t, want, attest.ParseOS([]byte(text)), text)
	}
}

// TestUnknownOS: without a version the suite is what is known.
func TestUnknownOS(t *testing.T) {
	in := input()
	in.OS = attest.OS{}
	sbom := string(documents(t, in)[attest.NameSBOM].Data)
	require.Contains(t, sbom, "arch=amd64&distro=trixie&upstream=glibc")
	require.NotContains(t, sbom, "operating-system")
}
