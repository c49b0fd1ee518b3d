package base

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
)

func TestParseAr(t *testing.T) {
	want := []arMember{{"debian-binary", []byte("2.0\n")}, {"odd", []byte("xyz")}, {"empty", []byte{}}, {"last", []byte("1")}}
	got, err := parseAr(writeAr(want))
	require.NoError(t, err)
	require.Equal(t, want, got)

	unpadded := bytes.TrimSuffix(writeAr(want), []byte("\n"))
	got, err = parseAr(unpadded)
	require.NoError(t, err, "the last member's padding may be missing")
	require.Equal(t, want, got)

	got, err = parseAr([]byte(arMagic))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestParseArTakesGNUNames(t *testing.T) {
	got, err := parseAr(writeAr([]arMember{{"control.tar.xz/", nil}}))
	require.NoError(t, err)
	require.Equal(t, "control.tar.xz", got[0].name)
}

func TestParseArRefuses(t *testing.T) {
	whole := writeAr([]arMember{{"a", []byte("1234")}})
	size := bytes.Replace(whole, []byte("4         `"), []byte("-1        `"), 1)
	cases := []struct {
		name, want string
		data       []byte
	}{
		{"empty", "begins with", nil},
		{"another format", "begins with", []byte("PK\x03\x04 and more")},
		{"cut header", "a header has 60", whole[:40]},
		{"cut member", "4 ", whole[:len(whole)-1]},
		{"bytes behind", "a header has 60", append(bytes.Clone(whole), "junk"...)},
		{"negative size", "-1", size},
		{"no header end", "ends with", bytes.Replace(whole, []byte(arEnd), []byte("xx"), 1)},
		{"huge size", "99999999", bytes.Replace(whole, []byte("4         `"), []byte("9999999999`"), 1)},
	}
	for _, c := range cases {
		_, err := parseAr(c.data)
		require.ErrorContains(t, err, c.want, c.name)
	}
}

func FuzzParseAr(f *testing.F) {
	f.Add(writeAr([]arMember{{"debian-binary", []byte("2.0\n")}, {"odd", []byte("xyz")}}))
	f.Add(debBytes(f, basetest.Libc("")))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := parseAr(data)
		if err != nil {
			return
		}
		total := len(arMagic)
		for _, m := range members {
			total += arHeader + len(m.data)
		}
		require.LessOrEqual(t, total, len(data))
		require.GreaterOrEqual(t, total+len(members), len(data), "at most one byte of padding a member is not accounted for")
	})
}
