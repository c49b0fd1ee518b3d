package image_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// TestReadAnnotations: what Annotations writes is read back, and what contradicts itself is
// refused.
func TestReadAnnotations(t *testing.T) {
	sum := strings.Repeat("a", 64)
	parts, err := pack.Parts("app/models/m/w", 5<<20, 3<<20)
	require.NoError(t, err)
	require.Len(t, parts, 3)
	whole := pack.Part{Name: "app/models/m/w", Count: 1, Length: 5 << 20}
	for _, p := range append(parts, whole) {
		d := v1.Descriptor{Size: p.LayerSize(), Annotations: image.Annotations("base", "app/models/m/w", 5<<20, sum, p)}
		got, err := image.ReadAnnotations(d)
		require.NoError(t, err)
		require.Equal(t, image.ModelLayer{Source: "base", File: "app/models/m/w", Size: 5 << 20, SHA256: sum, Part: p, Pack: fmt.Sprint(pack.Version)}, got)
	}
	good := v1.Descriptor{Size: parts[1].LayerSize(), Annotations: image.Annotations("base", "app/models/m/w", 5<<20, sum, parts[1])}
	for key, value := range map[string]string{
		image.AnnotationKind: "runtime", image.AnnotationFile: "../w", image.AnnotationFileSize: "-1", image.AnnotationFileSHA256: "A",
		image.AnnotationPart: "4/3", image.AnnotationPartOffset: "-1", image.AnnotationPartLength: "7",
	} {
		bad := good
		bad.Annotations = maps.Clone(good.Annotations)
		bad.Annotations[key] = value
		_, err := image.ReadAnnotations(bad)
		require.Error(t, err, key)
	}
	for _, loose := range []string{"0x500000", "5_242_880", "05242880", "+5242880", "5242880 ", "5242880 more"} {
		bad := good
		bad.Annotations = maps.Clone(good.Annotations)
		bad.Annotations[image.AnnotationFileSize] = loose
		_, err := image.ReadAnnotations(bad)
		require.Error(t, err, loose)
	}
	for _, size := range []string{"12", "2097153"} {
		bad := good
		bad.Annotations = maps.Clone(good.Annotations)
		bad.Annotations[image.AnnotationFileSize] = size
		_, err := image.ReadAnnotations(bad)
		require.ErrorContains(t, err, "of a file of", "the part lies behind the file's end")
	}
}
