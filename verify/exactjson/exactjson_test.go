package exactjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/exactjson"
)

type inner struct {
	Rank int64 `json:"rank"`
}

// document has every kind of field that documents of models are decoded into.
type document struct {
	inner
	Name    string                     `json:"name"`
	Pointer *int64                     `json:"pointer"`
	Nested  *inner                     `json:"nested"`
	List    []inner                    `json:"list"`
	Map     map[string]inner           `json:"map"`
	Raw     map[string]json.RawMessage `json:"raw"`
	Number  json.Number                `json:"number"`
	Bools   []bool                     `json:"bools"`
	Vocab   map[string]int64           `json:"vocab"`
}

func TestUnmarshal(t *testing.T) {
	seven := int64(7)
	for text, want := range map[string]document{
		`{"rank":3,"name":"x","pointer":7,"nested":{"rank":4},"list":[{"rank":5}],"map":{"A":{"rank":1},"a":{"rank":2}},"raw":{"k":[1]},"number":1e2,"bools":[true], "vocab" : { "a:\"{" : 1 ,
"\\":2 } } `: {
			inner: inner{3}, Name: "x", Pointer: &seven, Nested: &inner{4}, List: []inner{{5}}, Map: map[string]inner{"A": {1}, "a": {2}},
			Raw: map[string]json.RawMessage{"k": json.RawMessage("[1]")}, Number: "1e2", Bools: []bool{true},
			Vocab: map[string]int64{`a:"{`: 1, `\`: 2},
		},
		`{"Rank":3,"NAME":"x","pointeR":7,"Nested":{"rank":4}}`:             {},
		`{"rank":3,"Rank":4,"unknown":{"a":1,"a":2},"nested":{"RANK":1}}`:   {inner: inner{3}, Nested: &inner{}},
		`{"name":null,"pointer":null,"nested":null,"list":null,"map":null}`: {},
		"null": {},
		"{}":   {},
	} {
		var got document
		require.NoError(t, exactjson.Unmarshal([]byte(text), &got), text)
		require.Equal(t, want, got, text)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"vocab":{"a":1,"a":2}}`:           `"vocab": of 2 keys 1 are different: one occurs twice`,
		`{"vocab":{"a:{":1,"b":"x"}}`:       `"vocab": json: cannot unmarshal string`,
		"":                                  "unexpected end of JSON input",
		"{":                                 "unexpected end of JSON input",
		"{} {}":                             "invalid character",
		"[]":                                "cannot unmarshal array",
		`"x"`:                               "cannot unmarshal string",
		"true":                              "cannot unmarshal bool",
		"-1":                                "cannot unmarshal number",
		`{"rank":1,"rank":1}`:               `key "rank" occurs twice`,
		`{"rank":1,"\u0072ank":2}`:          `key "rank" occurs twice`,
		`{"nested":{"x":1,"x":2}}`:          `"nested": key "x" occurs twice`,
		`{"map":{"a":{},"a":{}}}`:           `"map": key "a" occurs twice`,
		`{"rank":"1"}`:                      `"rank": json: cannot unmarshal string`,
		`{"rank":1.5}`:                      `"rank": json: cannot unmarshal number 1.5`,
		`{"list":{"rank":1}}`:               `"list": json: cannot unmarshal object`,
		`{"list":[{"rank":1},{"rank":[]}]}`: `"list": "rank": json: cannot unmarshal array`,
		`{"map":[]}`:                        `"map": json: cannot unmarshal array`,
	} {
		var got document
		require.ErrorContains(t, exactjson.Unmarshal([]byte(text), &got), want, text)
	}
}

// FuzzUnmarshal: it takes no more than encoding/json does, and where all keys are those of
// the struct and occur once, the result is the same.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{
		`{"rank":3,"name":"x","pointer":7,"nested":{"rank":4},"list":[{"rank":5},null],"map":{"a":{"rank":1}},"raw":{"k":[1]},"number":1e2,"bools":[true]}`, `{"vocab":{"a":1,"A":2,"":-3}}`, ` { "vocab" : { } , "rank" : 1 } `, `{"vocab":{"a":null,"a":1}}`,
		`{"rank":1,"Rank":2}`, `{"rank":1,"rank":2}`, `[{}]`, `null`, `{"raw":{"":0,"\ud800":1}}`, `{"list":[[]]}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want document
		err, wantErr := exactjson.Unmarshal(data, &got), json.Unmarshal(data, &want)
		if err != nil {
			return
		}
		if strings.ToLower(string(data)) == string(data) && !strings.ContainsAny(string(data), "\\") && isASCII(data) {
			require.NoError(t, wantErr)
			require.Equal(t, want, got)
		}
	})
}

// isASCII: letters such as ſ fold to ASCII ones.
func isASCII(data []byte) bool {
	for _, b := range data {
		if b >= 0x80 {
			return false
		}
	}
	return true
}
