package manifests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

func TestLicenceExpression(t *testing.T) {
	for text, want := range map[string]int{ // 0: it is none
		"Apache-2.0":                            1,
		"GPL-2.0+":                              1,
		"LicenseRef-openrail":                   1,
		"(MIT)":                                 1,
		"MIT OR BSD-3-Clause":                   2,
		"MIT  AND (ISC OR 0BSD)":                3,
		"((MIT) AND ISC)":                       2,
		"GPL-2.0-only WITH Bison-exception-2.2": 2,
		"(GPL-2.0-only WITH Bison-exception-2.2 OR MIT) AND ISC": 4,
		"":                        0,
		" ":                       0,
		"NOASSERTION":             0,
		"MIT OR NOASSERTION":      0,
		"MIT AND":                 0,
		"AND MIT":                 0,
		"AND":                     0,
		"MIT BSD-3-Clause":        0,
		"MIT and ISC":             0,
		"the one on our web site": 0,
		"MIT)":                    0,
		"(MIT":                    0,
		"()":                      0,
		")MIT(":                   0,
		"MIT WITH (ISC)":          0,
		"(MIT) WITH x":            0,
		"a WITH b WITH c":         0,
		"MIT/ISC":                 0,
		strings.Repeat("(", 1000) + "MIT" + strings.Repeat(")", 1000): 0,
	} {
		ids, ok := manifests.LicenceExpression(text)
		require.Equal(t, want > 0, ok, text)
		if ok {
			require.Equal(t, want, ids, text)
		}
	}
}

// FuzzLicenceExpression: an expression in brackets is one, and two make one.
func FuzzLicenceExpression(f *testing.F) {
	for _, seed := range []string{"MIT", "MIT AND (ISC OR GPL-2.0 WITH x)", "(MIT", "NOASSERTION"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, ok := manifests.LicenceExpression(text)
		if !ok {
			return
		}
		twice, ok := manifests.LicenceExpression("(" + text + ") AND " + text)
		require.True(t, ok || strings.Count(text, "(") >= 100)
		require.True(t, !ok || twice == 2*ids)
	})
}
