package verify_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

func TestSeverityText(t *testing.T) {
	for _, s := range []verify.Severity{verify.Info, verify.Warning, verify.Error} {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, `"`+s.String()+`"`, string(text))
		var back verify.Severity
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, s, back)
	}
	var s verify.Severity
	require.ErrorContains(t, json.Unmarshal([]byte(`"fatal"`), &s), `"fatal" is none of`)
	_, err := json.Marshal(verify.Severity(0))
	require.Error(t, err)
	require.Equal(t, "none", verify.Severity(0).String())
	require.Equal(t, "severity(9)", verify.Severity(9).String())
}

func TestFindingsErr(t *testing.T) {
	var fs verify.Findings
	require.NoError(t, fs.Err())
	require.Zero(t, fs.Worst())

	fs.Add(verify.Info, "unused", "a", "3 bytes unused")
	fs.Add(verify.Warning, "odd", "a", "odd")
	require.NoError(t, fs.Err())
	require.Equal(t, verify.Warning, fs.Worst())

	fs.Add(verify.Error, "size", "b", "size is %d, expected %d", 1, 2)
	fs.Hint("run %s", "fetch")
	require.EqualError(t, fs.Err(), "verifying b: size is 1, expected 2")
	require.Equal(t, fault.Invalid, fault.KindOf(fs.Err()))
	require.Equal(t, "run fetch", fault.HintOf(fs.Err()))

	fs.Add(verify.Error, "x", "c", "broken")
	fs.Add(verify.Error, "y", "b", "torn")
	require.EqualError(t, fs.Err(), "verifying: 2 objects are wrong:\n  b: size is 1, expected 2; torn\n  c: broken")
	require.Equal(t, verify.Error, fs.Worst())
}

func TestFindingsJSON(t *testing.T) {
	var fs verify.Findings
	text, err := json.Marshal(fs)
	require.NoError(t, err)
	require.Equal(t, "[]", string(text))

	fs.Add(verify.Error, "size", "a/b", "short")
	fs.Hint("fetch")
	text, err = json.Marshal(struct{ Findings verify.Findings }{fs})
	require.NoError(t, err)
	require.JSONEq(t, `{"Findings":[{"severity":"error","code":"size","object":"a/b","message":"short","hint":"fetch"}]}`, string(text))
	var back struct{ Findings verify.Findings }
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, fs, back.Findings)
}
