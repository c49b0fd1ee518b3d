package manifests_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

const (
	baseCommit       = "ac7f9318f633fc4b5778c59367c8128225f1e3de"
	checkpointCommit = "2222222222222222222222222222222222222222"

	// baseTotal is the published size of all files of Qwen/Qwen-Image-Edit.
	baseTotal = 57_718_778_989
	// int4R32 and int4R128 are the sizes of int4 checkpoints. Those of fp4 checkpoints are
	// approximations: no exact size is known.
	int4R32  = 11_521_979_944
	int4R128 = 12_654_443_144
	fp4R32   = 11_950_000_000
	fp4R128  = 13_090_000_000
)

// shardSizes are the exact sizes of the base transformer's shards.
var shardSizes = []int64{
	4_989_364_312, 4_984_214_160, 4_946_470_000, 4_984_213_736, 4_946_471_896,
	4_946_451_560, 4_908_690_520, 4_984_232_856, 1_170_918_840,
}

// encoderSizes are the exact sizes of the text encoder's shards.
var encoderSizes = []int64{4_968_243_304, 4_991_495_816, 4_932_751_040, 1_691_924_384}

// smallFiles are the other names of the base repository. How their bytes are divided is
// not known; their sum is what the known sizes leave of the total.
const smallFiles = `.gitattributes README.md model_index.json processor/added_tokens.json processor/chat_template.jinja
processor/merges.txt processor/preprocessor_config.json processor/special_tokens_map.json processor/tokenizer.json
processor/tokenizer_config.json processor/video_preprocessor_config.json processor/vocab.json scheduler/scheduler_config.json
text_encoder/config.json text_encoder/generation_config.json text_encoder/model.safetensors.index.json
tokenizer/added_tokens.json tokenizer/chat_template.jinja tokenizer/merges.txt tokenizer/special_tokens_map.json
tokenizer/tokenizer_config.json tokenizer/vocab.json transformer/config.json
transformer/diffusion_pytorch_model.safetensors.index.json vae/config.json`

// large is an LFS file: the Hub knows its sha256. The sum stands for bytes that no test has.
func large(path string, size int64) manifests.File {
	return manifests.File{Path: path, Size: size, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(path)))}
}

// small is a file of which the Hub knows the git blob id.
func small(path string, size int64) manifests.File {
	return manifests.File{Path: path, Size: size, SHA1: fmt.Sprintf("%x", sha1.Sum([]byte(path)))}
}

// baseListing is Qwen/Qwen-Image-Edit: 39 files.
func baseListing() manifests.Listing {
	l := manifests.Listing{Repo: "Qwen/Qwen-Image-Edit", Commit: baseCommit, License: "apache-2.0"}
	rest := int64(baseTotal)
	add := func(f manifests.File) {
		l.Files = append(l.Files, f)
		rest -= f.Size
	}
	for i, size := range shardSizes {
		add(large(fmt.Sprintf("transformer/diffusion_pytorch_model-%05d-of-00009.safetensors", i+1), size))
	}
	for i, size := range encoderSizes {
		add(large(fmt.Sprintf("text_encoder/model-%05d-of-00004.safetensors", i+1), size))
	}
	add(large("vae/diffusion_pytorch_model.safetensors", 253_806_966))
	for _, name := range strings.Fields(smallFiles) {
		if name != "processor/tokenizer.json" {
			add(small(name, 1000))
		}
	}
	add(large("processor/tokenizer.json", rest))
	return l
}

// checkpointListing is nunchaku-ai/nunchaku-qwen-image-edit: 12 checkpoints and two small
// files. Its real commit is not known.
func checkpointListing() manifests.Listing {
	l := manifests.Listing{Repo: "nunchaku-ai/nunchaku-qwen-image-edit", Commit: checkpointCommit, License: "apache-2.0"}
	sizes := map[string]int64{"int4_r32": int4R32, "int4_r128": int4R128, "fp4_r32": fp4R32, "fp4_r128": fp4R128}
	for kind, size := range sizes {
		for _, distilled := range []string{"", "-lightningv1.0-4steps", "-lightningv1.0-8steps"} {
			l.Files = append(l.Files, large("svdq-"+kind+"-qwen-image-edit"+distilled+".safetensors", size))
		}
	}
	l.Files = append(l.Files, small(".gitattributes", 1500), small("README.md", 9000))
	return l
}

func qwenListings() map[string]manifests.Listing {
	return map[string]manifests.Listing{"base": baseListing(), "checkpoints": checkpointListing()}
}

// tinyListings are the upstream files of testdata/tiny.yaml.
func tinyListings() map[string]manifests.Listing {
	config := large("config.json", 12)
	config.SHA1 = small("config.json", 12).SHA1
	return map[string]manifests.Listing{
		"base": {Repo: "maker/tiny", Commit: strings.Repeat("1", 40), Files: []manifests.File{small("README.md", 7), config}},
		"checkpoints": {Repo: "packer/tiny-quantised", Commit: strings.Repeat("2", 40), Files: []manifests.File{
			large("tiny-r128-fast.safetensors", 5<<20), large("tiny-r128.safetensors", 5<<20), large("tiny-r32.safetensors", 4<<20),
		}},
	}
}

func tinyPackages() []manifests.Package {
	return []manifests.Package{{
		Name: "libc6", Version: "2.41-12", Arch: "amd64", Suite: "trixie",
		Path: "pool/main/g/glibc/libc6_2.41-12_amd64.deb", Size: 2_847_000, SHA256: strings.Repeat("c", 64),
	}}
}

// load parses a manifest of this folder.
func load(t testing.TB, path string) *manifests.Manifest {
	t.Helper()
	m, err := manifests.Load(filepath.FromSlash(path))
	require.NoError(t, err)
	return m
}

// edited is the text of a manifest with old replaced by new, once; old must be there.
func edited(t testing.TB, path, old, new string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	return []byte(strings.Replace(string(data), old, new, 1))
}

func tinyLock(t testing.TB) *manifests.Lock {
	t.Helper()
	l, err := manifests.NewLock(load(t, "testdata/tiny.yaml"), tinyListings(), tinyPackages())
	require.NoError(t, err)
	return l
}
