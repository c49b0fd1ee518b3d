package referrers_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// subject is the manifest of an image.
func subject(digit string) v1.Descriptor {
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: 1234, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)},
		Annotations: map[string]string{"of": "an index"}, Platform: &v1.Platform{OS: "linux"},
	}
}

func artifacts(t *testing.T, digit string) (out []*referrers.Artifact) {
	t.Helper()
	for _, d := range []attest.Document{
		{Name: "sbom.cdx.json", Title: "SBOM", MediaType: attest.TypeCycloneDX, Data: []byte(`{"bomFormat": "CycloneDX"}`)},
		{Name: "p.json", Title: "Provenance", MediaType: attest.TypeInToto, Predicate: attest.PredicateProvenance, Data: []byte(`{"a": "` + digit + `"}`)},
	} {
		a, err := referrers.New(subject(digit), d)
		require.NoError(t, err)
		out = append(out, a)
	}
	return out
}

// TestManifest holds the form of an artifact, byte for byte: its digest depends on it.
func TestManifest(t *testing.T) {
	got := artifacts(t, "1")[1]
	require.Equal(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},`+
		`"layers":[{"mediaType":"application/vnd.in-toto+json","size":10,"digest":"sha256:452647e07c48d5e6dbdad452d4f4715de98ad66f3397952966e13ffa37b3523f",`+
		`"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1","org.opencontainers.image.description":"Provenance","org.opencontainers.image.title":"p.json"}}],`+
		`"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1","org.opencontainers.image.description":"Provenance","org.opencontainers.image.title":"p.json"},`+
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1234,"digest":"sha256:`+strings.Repeat("1", 64)+`"},`+
		`"artifactType":"application/vnd.in-toto+json"}`, string(got.Manifest.Data))
	require.Equal(t, got, artifacts(t, "1")[1])
}

func TestSaveAndOpen(t *testing.T) {
	dir := t.TempDir()
	none, err := referrers.Open(dir)
	require.NoError(t, err)
	require.Nil(t, none)

	want := append(artifacts(t, "1"), artifacts(t, "2")...)
	require.NoError(t, referrers.Save(dir, want))
	got, err := referrers.Open(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, want[2:], referrers.About(got, subject("2").Digest))
	require.Empty(t, referrers.About(got, subject("3").Digest))

	require.NoError(t, referrers.Save(dir, want[2:]))
	got, err = referrers.Open(dir)
	require.NoError(t, err)
	require.Equal(t, want[2:], got)
	blobs, err := os.ReadDir(filepath.Join(dir, referrers.Folder, "blobs", "sha256"))
	require.NoError(t, err)
	require.Len(t, blobs, 5, "two documents, two manifests, one empty config")
}

// TestForeignBytes: the folder may come from anywhere.
func TestForeignBytes(t *testing.T) {
	index := func(change func(*v1.IndexManifest)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, "index.json")
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			var m v1.IndexManifest
			require.NoError(t, json.Unmarshal(data, &m))
			change(&m)
			data, err = json.Marshal(m)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, data, 0o644))
		}
	}
	blob := func(hash v1.Hash, data string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", hash.Hex), []byte(data), 0o644))
		}
	}
	first := artifacts(t, "1")[0]
	for text, spoil := range map[string]func(*testing.T, string){
		"parsing index.json": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644))
		},
		"not a regular file": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "blobs", "sha256", first.Document.Descriptor.Digest.Hex)
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o644)) // that nobody writes to
		},
		"larger than 4194304 bytes": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "index.json"), 5<<20))
		},
		"the index lists 101 artifacts": index(func(m *v1.IndexManifest) {
			m.Manifests = slices.Repeat(m.Manifests[:1], 101)
		}),
		`its digest is "sha256:../x"`: index(func(m *v1.IndexManifest) { m.Manifests[0].Digest.Hex = "../x" }),
		"of 7 bytes: it has":          index(func(m *v1.IndexManifest) { m.Manifests[0].Size = 7 }),
		"it is no artifact":           index(func(m *v1.IndexManifest) { m.Manifests[0] = first.Document.Descriptor }),
		"its digest is sha256:":       blob(first.Document.Descriptor.Digest, "[]"),
		"no such file": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "blobs", "sha256", first.Document.Descriptor.Digest.Hex)))
		},
	} {
		t.Run(text, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, referrers.Save(dir, artifacts(t, "1")))
			spoil(t, filepath.Join(dir, referrers.Folder))
			_, err := referrers.Open(dir)
			if strings.HasPrefix(text, `its digest is "`) {
				require.Error(t, err) // the library refuses the digest first
			} else {
				require.ErrorContains(t, err, text)
			}
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
}

// FuzzOpen: whatever index and manifest say, what Open returns is what its digests say.
func FuzzOpen(f *testing.F) {
	seed, err := referrers.New(subject("1"), attest.Document{Name: "sbom", MediaType: attest.TypeCycloneDX, Data: []byte("[]")})
	require.NoError(f, err)
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{seed.Manifest.Descriptor}})
	require.NoError(f, err)
	f.Add(index, seed.Manifest.Data)
	f.Add([]byte(`{"manifests":[{"digest":"sha256:../../x","size":-1}]}`), []byte(`{"subject":{},"layers":[{}]}`))
	f.Fuzz(func(t *testing.T, index, manifest []byte) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, referrers.Folder, "blobs", "sha256")
		require.NoError(t, os.MkdirAll(blobs, 0o755))
		for _, b := range []referrers.Blob{seed.Config, seed.Document} {
			require.NoError(t, os.WriteFile(filepath.Join(blobs, b.Descriptor.Digest.Hex), b.Data, 0o644))
		}
		hash, _, err := v1.SHA256(bytes.NewReader(manifest))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(blobs, hash.Hex), manifest, 0o644))
		index = bytes.ReplaceAll(index, []byte(seed.Manifest.Descriptor.Digest.Hex), []byte(hash.Hex))
		require.NoError(t, os.WriteFile(filepath.Join(dir, referrers.Folder, "index.json"), index, 0o644))
		got, err := referrers.Open(dir)
		for _, a := range got {
			require.NoError(t, err)
			require.NotEmpty(t, a.Manifest.Descriptor.ArtifactType)
			for _, b := range []referrers.Blob{a.Manifest, a.Config, a.Document} {
				hash, size, err := v1.SHA256(bytes.NewReader(b.Data))
				require.NoError(t, err)
				require.Equal(t, b.Descriptor.Digest, hash)
				require.Equal(t, b.Descriptor.Size, size)
			}
		}
	})
}
