package flow_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/image-spec/schema"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
)

// requireSchemas holds every document of a layout against the OCI image specification's own
// schemas, and every blob that the layout has against its descriptor. A blob that a thin
// layout lacks is passed over if it is a layer.
func requireSchemas(t *testing.T, layout string) {
	t.Helper()
	requireSchema(t, schema.ValidatorMediaTypeLayoutHeader, readFile(t, filepath.Join(layout, "oci-layout")), "oci-layout")
	index := readFile(t, filepath.Join(layout, "index.json"))
	requireSchema(t, schema.ValidatorMediaTypeImageIndex, index, "index.json")
	var list v1.IndexManifest
	require.NoError(t, json.Unmarshal(index, &list))
	require.NotEmpty(t, list.Manifests)
	for _, d := range list.Manifests {
		require.EqualValues(t, schema.ValidatorMediaTypeManifest, d.MediaType)
		manifest := described(t, layout, d)
		requireSchema(t, schema.ValidatorMediaTypeManifest, manifest, d.Digest.String())
		var m v1.Manifest
		require.NoError(t, json.Unmarshal(manifest, &m))
		config := described(t, layout, m.Config)
		if m.Config.MediaType == types.OCIConfigJSON {
			requireSchema(t, schema.ValidatorMediaTypeImageConfig, config, m.Config.Digest.String())
		}
		for _, l := range m.Layers {
			if _, err := os.Stat(blobPath(layout, l.Digest.String())); err == nil {
				described(t, layout, l)
			}
		}
	}
}

func requireSchema(t *testing.T, s schema.Validator, document []byte, name string) {
	t.Helper()
	require.NoError(t, s.Validate(bytes.NewReader(document)), "%s: %s", name, document)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// described is a blob that is what its descriptor says.
func described(t *testing.T, layout string, d v1.Descriptor) []byte {
	t.Helper()
	data := readFile(t, blobPath(layout, d.Digest.String()))
	require.EqualValues(t, d.Size, len(data), d.Digest)
	require.Equal(t, d.Digest.Hex, fmt.Sprintf("%x", sha256.Sum256(data)))
	return data
}

// TestLayoutsFollowTheSchemas: the thin layout that build writes, and the full one that
// export writes.
func TestLayoutsFollowTheSchemas(t *testing.T) {
	w := newWorld(t)
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	requireSchemas(t, built.Layout)
	full, err := flow.Export(t.Context(), w.job(), filepath.Join(w.dir, "full"))
	require.NoError(t, err)
	requireSchemas(t, full.Layout)
}
