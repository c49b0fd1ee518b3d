package exactjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzValid: what is JSON is what encoding/json says.
func FuzzValid(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-0.5e+3,0E0,true,false,null,"\"\\\/\b\f\n\r\t\u00aF"], "" : {} , "b":[ ]}`, " 1\t\r\n", `""`, "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{,}`, `[,]`, `[1,]`, `[1 2]`, `{"a" 1}`, `{1:2}`,
		"01", "-", "1.", ".5", "1e", "1e+", "+1", "--1", "tru", "nulll", "\"\x1f\"", "\"\x7f\xff\"", `"\x"`, `"\u12g4"`, `"\u12`, `"\`, `"`, "[1]]", "1 2", "", " ", "\v1", "\x00",
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		require.Equal(t, json.Valid(data), valid(data), "%.200q", data)
	})
}

// TestVocabulary: whole numbers that an int64 holds are taken, what else there is goes
// encoding/json's way, whose results are the same.
func TestVocabulary(t *testing.T) {
	for _, number := range []string{
		"0", "-0", "-7", "999999999999999999", "-999999999999999999", "1000000000000000000", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "1.0", "1e2", "null", "true", `"1"`, "[1]", "{}",
	} {
		text := fmt.Sprintf(`{ "a" : 1 , "\u00e9\n" :2,"é":3, "" :%s }`, number)
		var got, want map[string]int64
		err, wantErr := Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		require.Equal(t, wantErr, err, text)
		require.Equal(t, want, got, text)
	}
}

// BenchmarkUnmarshal decodes what a tokenizer's file mostly is, in its published form.
func BenchmarkUnmarshal(b *testing.B) {
	var vocabulary, merges []string
	for i := range 151643 {
		vocabulary = append(vocabulary, fmt.Sprintf("\n      \"Ġ%x\": %d", i, i))
		merges = append(merges, fmt.Sprintf("\n      [\n        \"Ġ%x\",\n        \"%x\"\n      ]", i/16, i%16))
	}
	text := []byte(`{"model":{"vocab":{` + strings.Join(vocabulary, ",") + `},"merges":[` + strings.Join(merges, ",") + `]}}`)
	b.Run("valid", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			require.True(b, valid(text))
		}
	})
	b.Run("vocabulary", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var d struct {
				Model struct {
					Vocab map[string]int64 `json:"vocab"`
				} `json:"model"`
			}
			require.NoError(b, Unmarshal(text, &d))
		}
	})
}
