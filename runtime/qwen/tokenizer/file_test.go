package tokenizer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer/tokenizertest"
)

type object = map[string]any

// edited is the small file after an edit.
func edited(t testing.TB, edit func(doc object)) []byte {
	var doc object
	require.NoError(t, json.Unmarshal(tokenizertest.Small(t), &doc))
	edit(doc)
	data, err := json.Marshal(doc)
	require.NoError(t, err)
	return data
}

func step(doc object, i int) object {
	return doc["pre_tokenizer"].(object)["pretokenizers"].([]any)[i].(object)
}

func model(doc object) object        { return doc["model"].(object) }
func vocab(doc object) object        { return model(doc)["vocab"].(object) }
func added(doc object, i int) object { return doc["added_tokens"].([]any)[i].(object) }

func TestFilesThatAreRefused(t *testing.T) {
	for want, edit := range map[string]func(object){
		`normalizer is "NFKC", only "NFC" is implemented`:                        func(d object) { d["normalizer"] = object{"type": "NFKC"} },
		`normalizer is "", only "NFC" is implemented`:                            func(d object) { d["normalizer"] = nil },
		`pre-tokenizer is "ByteLevel", only "Sequence" is implemented`:           func(d object) { d["pre_tokenizer"] = object{"type": "ByteLevel"} },
		`number of pre-tokenizers is "0", only "2"`:                              func(d object) { d["pre_tokenizer"].(object)["pretokenizers"] = []any{} },
		`first pre-tokenizer is "Digits", only "Split"`:                          func(d object) { step(d, 0)["type"] = "Digits" },
		`pattern of the pre-tokenizer is "\\p{N}{1,3}", only "(?i:'s|'t|'re|`:    func(d object) { step(d, 0)["pattern"] = object{"Regex": `\p{N}{1,3}`} },
		`pattern of the pre-tokenizer is "", only`:                               func(d object) { step(d, 0)["pattern"] = object{"String": " "} },
		`behavior of the pre-tokenizer is "Removed", only "Isolated"`:            func(d object) { step(d, 0)["behavior"] = "Removed" },
		`invert of the pre-tokenizer is "true", only "false"`:                    func(d object) { step(d, 0)["invert"] = true },
		`second pre-tokenizer is "Metaspace", only "ByteLevel"`:                  func(d object) { step(d, 1)["type"] = "Metaspace" },
		`add_prefix_space is "true", only "false"`:                               func(d object) { step(d, 1)["add_prefix_space"] = true },
		`use_regex is "missing", only "false"`:                                   func(d object) { delete(step(d, 1), "use_regex") },
		`decoder is "WordPiece", only "ByteLevel"`:                               func(d object) { d["decoder"] = object{"type": "WordPiece"} },
		`post-processor is "TemplateProcessing", only "ByteLevel"`:               func(d object) { d["post_processor"] = object{"type": "TemplateProcessing"} },
		`model is "Unigram", only "BPE"`:                                         func(d object) { model(d)["type"] = "Unigram" },
		`dropout is "0.1", only "null"`:                                          func(d object) { model(d)["dropout"] = 0.1 },
		`truncation is "{\"max_length\":8}", only "null"`:                        func(d object) { d["truncation"] = object{"max_length": 8} },
		`padding is "{}", only "null"`:                                           func(d object) { d["padding"] = object{} },
		`byte_fallback is "true", only "false"`:                                  func(d object) { model(d)["byte_fallback"] = true },
		`ignore_merges is "true", only "false"`:                                  func(d object) { model(d)["ignore_merges"] = true },
		`end_of_word_suffix is "</w>", only ""`:                                  func(d object) { model(d)["end_of_word_suffix"] = "</w>" },
		`continuing_subword_prefix is "##", only ""`:                             func(d object) { model(d)["continuing_subword_prefix"] = "##" },
		`merge is ["a" "b" "c"], a merge has two tokens`:                         func(d object) { model(d)["merges"] = []any{"a b c"} },
		`merge 0 needs token "aaaaaaaaaaaaaaaa", which is not in the vocabulary`: func(d object) { model(d)["merges"] = []any{"aaaaaaaaaaaaaaaa a"} },
		` is merge 0, too`:                                                func(d object) { m := model(d)["merges"].([]any); model(d)["merges"] = append(m, m[0]) },
		`id of token "!" is -1, the vocabulary has`:                       func(d object) { vocab(d)["!"] = -1 },
		`id of token "!" is 100000, the vocabulary has`:                   func(d object) { vocab(d)["!"] = 100000 },
		`which belongs to another token, too`:                             func(d object) { vocab(d)["!"] = 1 },
		`byte 0x00 has no token: 'Ā' is not in the vocabulary`:            func(d object) { v := vocab(d); v["ĀĀĀ"] = v["Ā"]; delete(v, "Ā") },
		`contains ' ', which stands for no byte`:                          func(d object) { v := vocab(d); v[" x"] = v["!"]; delete(v, "!") },
		`a token of the vocabulary is empty`:                              func(d object) { v := vocab(d); v[""] = v["!"]; delete(v, "!") },
		`id of added token "<|endoftext|>" is 7, behind`:                  func(d object) { added(d, 0)["id"] = 7 },
		`flags of added token "<|im_end|>" are lstrip true, rstrip false`: func(d object) { added(d, 2)["lstrip"] = true },
		`normalized missing, only false is implemented`:                   func(d object) { delete(added(d, 2), "normalized") },
		`added token "<|endoftext|>" occurs twice`:                        func(d object) { added(d, 1)["content"] = "<|endoftext|>" },
		`id of added token "!" is`:                                        func(d object) { added(d, 1)["content"] = "!" },
		` is empty`:                                                       func(d object) { added(d, 0)["content"] = "" },
	} {
		_, err := tokenizer.Read(bytes.NewReader(edited(t, edit)))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "reading tokenizer: ")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.NotEmpty(t, fault.HintOf(err))
	}
}

func TestDamagedFiles(t *testing.T) {
	good := edited(t, func(object) {}) // without white space
	for name, data := range map[string][]byte{
		"empty": {}, "cut off": good[:len(good)/2], "null": []byte("null"), "list": []byte("[]"), "two": append(good[:len(good):len(good)], good...),
		"not UTF-8":       bytes.Replace(good, []byte("NFC"), []byte("N\xffC"), 1),
		"a key twice":     bytes.Replace(good, []byte(`"normalizer":`), []byte(`"normalizer":{"type":"NFC"},"normalizer":`), 1),
		"a token twice":   bytes.Replace(good, []byte(`"vocab":{`), []byte(`"vocab":{"!":0,`), 1),
		"number of words": bytes.Replace(good, []byte(`"merges":[`), []byte(`"merges":[5,`), 1),
	} {
		_, err := tokenizer.Read(bytes.NewReader(data))
		require.Error(t, err, name)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	_, err := tokenizer.Read(io.LimitReader(zeros{}, tokenizer.MaxFile+1))
	require.ErrorContains(t, err, "file has more than 67108864 bytes")
	broken := errors.New("the disk is gone")
	_, err = tokenizer.Read(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)
	require.Equal(t, fault.Internal, fault.KindOf(err), "the file is not to blame")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestBothFormsOfMerges: "a b" is ["a", "b"].
func TestBothFormsOfMerges(t *testing.T) {
	lines := edited(t, func(d object) {
		var out []any
		for _, m := range model(d)["merges"].([]any) {
			out = append(out, m.([]any)[0].(string)+" "+m.([]any)[1].(string))
		}
		model(d)["merges"] = out
	})
	a, b := small(t), tokenizertest.Read(t, lines)
	require.Equal(t, a, b)
}

func FuzzRead(f *testing.F) {
	f.Add(tokenizertest.Small(f))
	f.Add([]byte(`{"added_tokens":[{}],"normalizer":{"type":"NFC"},"model":{"type":"BPE","vocab":{"a":0},"merges":["a a"]}}`))
	f.Add(edited(f, func(d object) { model(d)["merges"] = []any{"a b", []any{"c", "d"}} }))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := tokenizer.Read(bytes.NewReader(data))
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		text := "any text <|im_end|>" + strings.Repeat("x", 99)
		ids, err := tok.EncodePlain(text)
		require.NoError(t, err)
		back, err := tok.Decode(ids)
		require.NoError(t, err)
		require.Equal(t, text, back)
	})
}

// TestRules: rules that need more than a look at their quotes are read as JSON says.
func TestRules(t *testing.T) {
	good := string(edited(t, func(object) {}))
	at := strings.Index(good, `"merges":[`) + len(`"merges":[`)
	end := at + strings.Index(good[at:], "]") + 1
	want := tokenizertest.Read(t, []byte(good))
	var first [2]string
	require.NoError(t, json.Unmarshal([]byte(good[at:end]), &first))
	for _, rule := range []string{
		fmt.Sprintf("[ %q\n,\t%q ]", first[0], first[1]),
		fmt.Sprintf(`[%q,"\u%04x%s"]`, first[0], first[1][0], first[1][1:]),
		fmt.Sprintf("%q", first[0]+" "+first[1]),
		fmt.Sprintf(`"%s\u0020%s"`, first[0], first[1]),
	} {
		require.Equal(t, want, tokenizertest.Read(t, []byte(good[:at]+rule+good[end:])), rule)
	}
	for rule, message := range map[string]string{
		`["a"]`:            `merge is ["a"], a merge has two tokens`,
		`["a","b","c"]`:    `merge is ["a" "b" "c"], a merge has two tokens`,
		`["","b"]`:         `merge is ["" "b"], a merge has two tokens`,
		`["a",""]`:         `merge is ["a" ""], a merge has two tokens`,
		`"a"`:              `merge is ["a"], a merge has two tokens`,
		`"a b c"`:          `merge is ["a" "b" "c"], a merge has two tokens`,
		`" b"`:             `merge is ["" "b"], a merge has two tokens`,
		`"\u0061"`:         `merge is ["a"], a merge has two tokens`,
		`{"a":"b"}`:        "cannot unmarshal object",
		`["a",1,"b"]`:      "cannot unmarshal number",
		`["a",["b"]]`:      "cannot unmarshal array",
		`null`:             "merge is [], a merge has two tokens",
		`7`:                "cannot unmarshal number",
		`["a","no token"]`: `merge 0 needs token "no token", which is not in the vocabulary`,
	} {
		_, err := tokenizer.Parse([]byte(good[:at] + rule + good[end:]))
		require.ErrorContains(t, err, message, rule)
	}
	twice := good[:end] + "," + good[at:end] + good[end:]
	_, err := tokenizer.Parse([]byte(twice))
	require.ErrorContains(t, err, fmt.Sprintf("merge 1 of %q is merge 0, too", first))
}
