package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
)

func TestParse(t *testing.T) {
	o, err := config.Parse([]byte(` {"b": 2, "B": 3.5, "a": null, "l": [1, 2.5], "t": "x", "y": true} `))
	require.NoError(t, err)
	require.Equal(t, []string{"B", "a", "b", "l", "t", "y"}, o.Keys())
	require.True(t, o.Null("a"))
	require.True(t, o.Null("absent"))
	require.False(t, o.Null("b"))
	n, err := config.Get(o, "b", 0)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	f, err := config.Get(o, "B", 0.0)
	require.NoError(t, err)
	require.Equal(t, 3.5, f)
	l, err := o.Numbers("l")
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2.5}, l)
	n, err = config.Get(o, "absent", 7)
	require.NoError(t, err)
	require.Equal(t, 7, n)
}

func TestGetRefuses(t *testing.T) {
	o, err := config.Parse([]byte(`{"null": null, "text": "1", "half": 0.5, "huge": 1e400, "mixed": [1, "2"], "hole": [1, null], "long": "` + strings.Repeat("é", 100) + `"}`))
	require.NoError(t, err)
	_, err = config.Get(o, "null", 1)
	require.EqualError(t, err, "null is null, want a whole number")
	_, err = config.Get(o, "text", 1.0)
	require.EqualError(t, err, `text is "1", want a number`)
	_, err = config.Get(o, "half", 1)
	require.EqualError(t, err, "half is 0.5, want a whole number")
	_, err = config.Get(o, "huge", 1.0)
	require.EqualError(t, err, "huge is 1e400, want a number")
	_, err = o.Numbers("mixed")
	require.EqualError(t, err, `mixed is [1, "2"], want a list of numbers`)
	_, err = o.Numbers("hole")
	require.EqualError(t, err, "hole has null at 1, want a number")
	_, err = o.Numbers("absent")
	require.EqualError(t, err, "absent is missing, want a list of numbers")
	_, err = o.Numbers("null")
	require.EqualError(t, err, "null is null, want a list of numbers")
	_, err = config.Get(o, "long", false)
	require.ErrorContains(t, err, "é…, want true or false")
	_, err = config.Get(o, "half", "")
	require.EqualError(t, err, "half is 0.5, want text")
}

func TestParseRefuses(t *testing.T) {
	for document, want := range map[string]string{
		``:                                     "no JSON",
		`[]`:                                   "begins with [",
		`1`:                                    "begins with 1",
		`null`:                                 "want a JSON object",
		`{`:                                    "no JSON",
		`{"a":1`:                               "no JSON",
		`{"a":}`:                               `the value of "a" is no JSON`,
		`{"a":1,"a":2}`:                        `the key "a" is there twice`,
		`{"a":1,"\u0061":2}`:                   `the key "a" is there twice`,
		`{} {}`:                                "something behind",
		"{\"a\":\"\xff\"}":                     "not UTF-8",
		strings.Repeat(" ", config.MaxBytes+1): "at most 1048576 are read",
	} {
		_, err := config.Parse([]byte(document))
		require.ErrorContains(t, err, want, "%.20s", document)
	}
}

// FuzzParse: what passes is what encoding/json takes as an object, with as many keys.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":1}`, `{"a":1,"A":{"a":[]}}`, `{"a":1,"a":2}`, `[]`, `{"a":nul}`, "{\"a\":\"\xff\"}", `{"a":1}x`, ``} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		o, err := config.Parse(document)
		if err != nil {
			return
		}
		var m map[string]any
		require.NoError(t, json.Unmarshal(document, &m))
		require.Len(t, o.Keys(), len(m))
		for _, key := range o.Keys() {
			require.Contains(t, m, key)
			require.Equal(t, m[key] == nil, o.Null(key))
			require.LessOrEqual(t, len(o.Text(key)), 83)
			_, _ = config.Get(o, key, 0.0)
			_, _ = o.Numbers(key)
		}
	})
}
