package tokenizer

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzRules: rules are read as one by one.
func FuzzRules(f *testing.F) {
	for _, text := range []string{
		`["a b", "c d"]`, "[[\"a\",\"b\"] , [ \"c\"\n,\t\"d\" ]]", `[["a b","c"],"d e"]`, `["a b c"]`, `["a"]`, `[" b"]`, `["b "]`, `[["a"]]`, `[["a","b","c"]]`, `[["","b"]]`, `[["a",""]]`,
		`[]`, ` [ ] `, `null`, `[null]`, `[1]`, `{}`, `["\"a \\"]`, `[["\"","\\\""],["Ġ","ł"]]`, `["\u0061 b"]`, `[["\/","\n"]]`, `["a\u0020b"]`, `[["a",["b"]]]`, `[{"a":"b"}]`, `"a b"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) || !utf8.Valid(data) {
			return
		}
		var got mergeRules
		var want []mergeRule
		err, wantErr := json.Unmarshal(data, &got), json.Unmarshal(data, &want)
		if wantErr != nil {
			require.EqualError(t, err, wantErr.Error())
			return
		}
		require.NoError(t, err)
		require.Equal(t, len(want), got.len())
		for i, rule := range want {
			left, right, joined := got.rule(i)
			require.Equal(t, rule, mergeRule{left, right})
			require.Equal(t, left+right, joined)
		}
	})
}
