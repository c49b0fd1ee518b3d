package modelset_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// documents are the files of a set that are parsed.
func documents(m modelset.Map) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".txt") || strings.HasSuffix(name, ".jinja") {
			names = append(names, name)
		}
	}
	return names
}

// around are the files of a set that are looked at beside a document: its folder's, and the
// configurations of the others. Without the rest there are more inputs a second.
func around(m modelset.Map, name string) modelset.Map {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(other string, _ verify.Section) bool {
		return path.Dir(other) != path.Dir(name) && path.Base(other) != "config.json" && path.Dir(other) != "."
	})
	return out
}

// FuzzDocuments feeds foreign bytes to every document that is parsed. Whatever they are,
// all that looks at a set comes back, and its findings name what they are about.
func FuzzDocuments(f *testing.F) {
	right := base(f, modelsettest.Tiny())
	names := documents(right)
	for i, name := range names {
		if text := content(f, right, name); len(text) < 64<<10 {
			f.Add(i, text)
		}
		f.Add(i, []byte("{}"))
		f.Add(i, []byte(`{"vocab_size":-1,"weight_map":{"a":"/"},"model":null}`))
	}
	checkpoint := []manifests.ModelCheckpoint{{Path: "c", Checkpoint: manifests.Checkpoint{Scheduler: manifests.Scheduler{BaseShift: 1, MaxShift: 1}}}}
	f.Fuzz(func(t *testing.T, i int, document []byte) {
		name := names[uint(i)%uint(len(names))]
		m := around(right, name)
		m[name] = section(string(document))
		found := append(modelset.Check(m), modelset.CheckSchedules(m, checkpoint)...)
		for _, finding := range found {
			require.NotEmpty(t, finding.Code)
			require.NotEmpty(t, finding.Object)
			require.NotEqual(t, "unreadable", finding.Code)
			require.Less(t, len(finding.Message), 1<<20)
		}
		unused, err := modelset.Unused(m)
		for _, u := range unused {
			require.NoError(t, err)
			require.Positive(t, u.Bytes)
		}
		_, _ = modelset.Sum(m)
	})
}

// FuzzShardIndex feeds foreign bytes to the index of two shards. It passes only where it
// says of every tensor in which shard it lies, and how many bytes there are.
func FuzzShardIndex(f *testing.F) {
	const folder = "text_encoder/"
	right, want := modelset.Map{}, map[string]string{}
	for shard, tensors := range map[string][]string{"model-00001-of-00002.safetensors": {"a", "b"}, "model-00002-of-00002.safetensors": {"c"}} {
		var specs []safetensors.Spec
		for _, name := range tensors {
			specs = append(specs, safetensors.Spec{Name: name, DType: safetensors.BF16, Shape: []int64{4}})
			want[name] = shard
		}
		right[folder+shard] = section(string(zeros(f, specs)))
	}
	for _, text := range []string{
		`{"metadata":{"total_size":24},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}}`,
		`{"metadata":{"total_size":2.4e1},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}}`,
		`{"metadata":{"total_size":16},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors"}}`,
		`{"weight_map":{"a":"../model-00001-of-00002.safetensors","d":"model-00003-of-00002.safetensors"}}`,
		`{"metadata":null,"weight_map":{"":""}}`, `[]`, ``, `{"weight_map":{"a":"x","a":"y"}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		m := maps.Clone(right)
		m[folder+"model.safetensors.index.json"] = section(string(document))
		worst := verify.Severity(0)
		for _, finding := range modelset.Check(m) {
			if strings.HasPrefix(finding.Object, folder) {
				worst = max(worst, finding.Severity)
			}
		}
		if worst == verify.Error {
			return
		}
		var index struct {
			Metadata struct {
				Total *json.Number `json:"total_size"`
			} `json:"metadata"`
			WeightMap map[string]string `json:"weight_map"`
		}
		require.NoError(t, json.Unmarshal(document, &index))
		require.Equal(t, want, index.WeightMap)
		require.Equal(t, worst == verify.Warning, index.Metadata.Total == nil, "a size that is not stated is a warning")
		if index.Metadata.Total != nil {
			require.Equal(t, "24", index.Metadata.Total.String())
		}
	})
}

// zeros is a container of zeros.
func zeros(t testing.TB, specs []safetensors.Spec) []byte {
	t.Helper()
	_, head, err := safetensors.Layout(nil, specs)
	require.NoError(t, err)
	var size int64
	for _, s := range specs {
		size += 2 * s.Shape[0]
	}
	return append(bytes.Clone(head), make([]byte, size)...)
}

// FuzzConfig feeds foreign bytes to the configuration that a checkpoint carries. What
// passes agrees with the set in what both say.
func FuzzConfig(f *testing.F) {
	whole := base(f, modelsettest.Tiny())
	config := content(f, whole, "transformer/config.json")
	m := modelset.Map{}
	for _, name := range []string{"model_index.json", "text_encoder/config.json", "vae/config.json"} {
		m[name] = whole[name]
	}
	for _, text := range []string{string(config), "{}", "null", `{"joint_attention_dim":65}`, `{"in_channels":-64}`, `{"joint_attention_dim":1e3}`, `{"joint_attention_dim":"64"}`, "{"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		found := modelset.Check(m, modelset.Replacement{Component: "transformer", Config: config})
		worst := verify.Severity(0)
		for _, finding := range found {
			require.NotEmpty(t, finding.Object)
			if strings.HasPrefix(finding.Object, "transformer") {
				worst = max(worst, finding.Severity)
			}
		}
		if config == nil || worst == verify.Error {
			return
		}
		var doc struct {
			Joint json.RawMessage `json:"joint_attention_dim"`
			In    json.RawMessage `json:"in_channels"`
		}
		require.NoError(t, json.Unmarshal(config, &doc))
		require.Contains(t, []string{"", "null", "64"}, string(doc.Joint))
		require.Contains(t, []string{"", "null", "64"}, string(doc.In))
	})
}
