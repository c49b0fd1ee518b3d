package modelfiles_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// TestText: the form that people and scripts know, for a model that is right, that is wrong
// in one place or another, and that was looked at in one way or another.
func TestText(t *testing.T) {
	const fastLine = "✓ svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors: 1.61 MB (qwen-image int4 rank 128, " +
		"variant qwen-image-edit-lightningv1.0-8steps by its sum alone"
	const plainLine = "✓ svdq-int4_r128-qwen-image-edit.safetensors: 1.61 MB (qwen-image int4 rank 128, variant qwen-image-edit by its sum alone"
	m := newModel(t)
	s := &stream{model: m}
	text := func(o modelfiles.Options, place modelfiles.Place) string {
		return m.check(t, place, o).Text(m.ModelConfig, "extra\n")
	}
	const found, total = "Found 2/2 Checkpoints\n", "extra\nTotal model cache size: 0.00 GB\n"
	require.Equal(t, "✓ Base Model found (o/base, 26 files, 0.88 MB)\n"+fastLine+")\n"+plainLine+")\n"+found+total, text(modelfiles.Options{}, s))
	require.Equal(t, "✓ Base Model found (o/base, 26 files, 0.88 MB, values judged)\n"+fastLine+", values judged)\n"+plainLine+", values judged)\n"+found+total,
		text(modelfiles.Options{Deep: true}, s))

	dir := t.TempDir()
	m.file(fast).Parts = []int64{5, m.file(fast).Size - 5}
	m.write(t, dir)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	place := modelfiles.Folder(dir, memo)
	text(modelfiles.Options{}, place)
	require.Equal(t, "✓ Base Model found (o/base, 26 files, 0.88 MB, unchanged since they were read)\n"+fastLine+", 2 parts)\n"+plainLine+", unchanged since it was read)\n"+found+total,
		text(modelfiles.Options{}, place), "parts are not remembered")

	m.bytes[plain] = flip(-1)(append([]byte(nil), m.bytes[plain]...))
	m.bytes[index] = append([]byte(nil), m.bytes[index]...)[1:]
	require.Regexp(t, `^✗ base/model_index.json: file is 1 byte short: 511 of 512\n✗ Base Model: 1 of 26 files is wrong\n`+
		`- Base Model: whether its files fit together was not checked: files of it, or a checkpoint, are wrong\n✓ .*-8steps.safetensors: .*\n`+
		`✗ svdq-int4_r128-qwen-image-edit.safetensors: sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}\nFound 1/2 Checkpoints\n`, text(modelfiles.Options{}, s))
}
