package attest_test

import (
	"crypto/sha256"
	"fmt"
	"runtime/debug"

	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// sum is a sum that stands for a thing.
func sum(thing string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(thing))) }

// mit is the text of a licence, as a module has it.
const mit = `MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
`

// input is a small image with one of everything: a whole file and one in parts, licences
// that are known, foreign and unknown, a package, and a program with modules.
func input() attest.Input {
	return attest.Input{
		Digest: "sha256:" + sum("image"), Title: "Tiny, SVDQuant INT4", Runtime: manifests.RuntimePlimsoll,
		Layers: []attest.Layer{
			{Title: "app/models/base/vae/config.json", Digest: "sha256:" + sum("layer 0"), Size: 2048, File: "app/models/base/vae/config.json"},
			{Title: "app/models/q/w.safetensors.part-00-of-02", Digest: "sha256:" + sum("layer 1"), Size: 3 << 20, File: "app/models/q/w.safetensors"},
			{Title: "app/models/q/w.safetensors.part-01-of-02", Digest: "sha256:" + sum("layer 2"), Size: 2 << 20, File: "app/models/q/w.safetensors"},
			{Title: "base", Digest: "sha256:" + sum("layer 3"), Size: 10},
		},
		Model: &manifests.ModelConfig{
			SchemaVersion: 1, Name: "tiny", Title: "Tiny, SVDQuant INT4", Variant: "default", ModelsDir: "/app/models",
			Sources: []manifests.ModelSource{
				{Name: "base", Title: "Base", Role: manifests.RoleBase, Repo: "Owner/Base", Commit: "ac7f9318f633fc4b5778c59367c8128225f1e3de", License: "Apache-2.0", Path: "base"},
				{Name: "quantised", Title: "Quantised", Role: manifests.RoleCheckpoints, Repo: "o/q", Commit: "4d9f4f667ea571ab172e0ee29ac2c27b82a41a6b", License: "Somebody's own <licence>", Path: "q"},
				{Name: "unused", Title: "Unused", Role: manifests.RoleBase, Repo: "o/unused", Commit: "0000000000000000000000000000000000000001", License: "NOASSERTION", Path: "u"},
			},
			Files: []manifests.ModelFile{
				{Path: "base/vae/config.json", Source: "base", Size: 1000, SHA256: sum("config")},
				{Path: "q/w.safetensors", Source: "quantised", Size: 5 << 20, SHA256: sum("weights"), Parts: []int64{3 << 20, 2 << 20}},
			},
			Checkpoints: []manifests.ModelCheckpoint{{Path: "q/w.safetensors", Checkpoint: manifests.Checkpoint{Name: "fast", Precision: "int4", Rank: 128}}},
			Unused:      []manifests.ModelUnused{{Path: "q/w.safetensors", Part: "lm_head", Bytes: 7}},
		},
		ModelSHA256: sum("model.json"), ManifestName: "tiny.yaml", ManifestSHA256: sum("tiny.yaml"), PartSize: 3 << 20, Pack: 1,
		Packages: []manifests.Package{{Name: "libc6", Version: "2.41-12+deb13u1", Arch: "amd64", Suite: "trixie", Path: "pool/main/g/glibc/libc6_2.41-12+deb13u1_amd64.deb", Size: 5, SHA256: sum("deb")}},
		OS:       attest.OS{ID: "debian", Version: "13"},
		Program: &attest.Program{
			Path: "usr/bin/plimsoll-runtime", SHA256: sum("program"),
			Info: &debug.BuildInfo{
				GoVersion: "go1.26.8", Path: "github.com/plimsoll-oci/plimsoll/runtime",
				Deps: []*debug.Module{
					{Path: "example.com/Upper/dep", Version: "v1.2.3+incompatible", Sum: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="},
					{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0"}},
				},
				Settings: []debug.BuildSetting{{Key: "-trimpath", Value: "true"}, {Key: "GOAMD64", Value: "v1"}},
			},
			Licences: []attest.Licence{
				{Module: "example.com/Upper/dep", Path: "usr/share/doc/plimsoll-runtime/licenses/example.com/Upper/dep/LICENSE", Text: mit},
				{Module: "example.com/new", Path: "usr/share/doc/plimsoll-runtime/licenses/example.com/new/LICENSE", Text: "Do what you think is right.\n"},
				{Module: "std", Path: "usr/share/doc/plimsoll-runtime/licenses/std/LICENSE", Text: mit},
			},
		},
		Source: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=",
		Verification: attest.Verification{
			Method: "every byte was read",
			Passed: []string{"base/vae/config.json: size and sha256"}, Warned: []string{"q/w.safetensors: scale is 0 & odd"},
		},
	}
}

// weights is the image of the same weights.
func weights() attest.Input {
	in := input()
	return in.Weights("sha256:"+sum("weights image"), in.Layers[:3])
}
