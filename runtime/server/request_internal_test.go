package server

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var bodies = []string{
	`{"image": "aGk=", "prompt": "x", "negative_prompt": null, "num_inference_steps": 8, "true_cfg_scale": 1.0, "seed": 18446744073709551615, "rank": 64, "model": "plain"}`,
	`{"images": ["a", "b"], "prompt": "x", "size": {}}`, `{"requests": [{"image": "a", "prompt": "b"}]}`, `[{"image": "a", "prompt": "b", "seed": -1}]`,
	`{"image": "a", "image": "b"}`, `{"prompt": "\ud800", "image": ""}`, `{"seed": 1e19, "rank": 1e-400}`, `[[`, `{"requests": [null]}`, "\xff", `{"a`, ``,
}

// FuzzParseEdit: any bytes are a request within the documented ranges, or a 422 that can be
// answered, and JSON decides alike in encoding/json.
func FuzzParseEdit(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	l := limits{promptChars: 50, batch: 3}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEdit(data, l)
		if err == nil {
			require.True(t, json.Valid(data))
			checkRequest(t, e, l)
		} else {
			checkUnfit(t, err)
		}
		all, err := parseBatch(data, l)
		if err != nil {
			checkUnfit(t, err)
			return
		}
		require.True(t, json.Valid(data))
		require.NotEmpty(t, all)
		require.LessOrEqual(t, len(all), l.batch)
		for _, e := range all {
			checkRequest(t, e, l)
		}
	})
}

func checkRequest(t *testing.T, e *editRequest, l limits) {
	require.LessOrEqual(t, utf8.RuneCountInString(e.prompt), l.promptChars)
	if e.steps != nil {
		require.True(t, *e.steps >= 1 && *e.steps <= 50)
	}
	if e.scale != nil {
		require.True(t, *e.scale >= 0.1 && *e.scale <= 10)
	}
	if e.rank != nil {
		require.LessOrEqual(t, *e.rank, math.MaxInt32)
	}
	for _, text := range append(e.unknown, e.prompt, e.model) {
		require.True(t, utf8.ValidString(text))
	}
}

func checkUnfit(t *testing.T, err error) {
	f := judge(t.Context(), err)
	require.Equal(t, 422, f.status)
	require.NotEmpty(t, f.invalid)
	_, err = json.Marshal(f.invalid)
	require.NoError(t, err)
	require.True(t, utf8.ValidString(f.detail), "%q", f.detail)
}

// TestParseEditAbsent: a request that says only what it must has no opinion on the rest.
func TestParseEditAbsent(t *testing.T) {
	e, err := parseEdit([]byte(`{"image": "a", "prompt": ""}`), limits{promptChars: 1, batch: 1})
	require.NoError(t, err)
	empty := ""
	require.Equal(t, &editRequest{image: "a", negative: &empty}, e)
}

// FuzzMembers: what is taken apart here is what encoding/json takes apart, to the byte.
func FuzzMembers(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	for _, b := range []string{`{"a":"\\\"","b":[1,{"c":"]}"}],"d":-0.1e2}`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{"a":1 2}`, `{"a":tru}`, `{"a":"\x"}`, `{"a":[}]}`, "{\"a\":\"\n\"}", `{"a":"\`} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]json.RawMessage{}
		err := members(data, func(key string, value json.RawMessage) { got[key] = value })
		for _, v := range got {
			if err == nil {
				err = check(v)
			}
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(data, &want) != nil || want == nil {
			if err == nil { // a key that came again hides a broken value
				require.Less(t, len(got), bytes.Count(data, []byte(":")), "%q", data)
			}
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
		list := append(append([]byte("["), data...), ']')
		all, err := elements(list)
		require.NoError(t, err)
		require.Equal(t, string(bytes.TrimSpace(data)), string(all[0]))
	})
}
