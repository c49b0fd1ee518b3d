package base

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
)

// readAll returns every stanza of a control file.
func readAll(text string) ([]stanza, error) {
	var out []stanza
	for c := newControlReader(strings.NewReader(text)); ; {
		s, err := c.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
}

func TestControl(t *testing.T) {
	text := "# a comment\n\n\nPackage: libc6\nDescription: short\n long\n .\n\tlast\n# between\nDepends: a,\n b\r\n\n \t\nPackage: x\nempty:\n"
	got, err := readAll(text)
	require.NoError(t, err)
	require.Equal(t, []stanza{
		{"package": "libc6", "description": "short\nlong\n.\nlast", "depends": "a,\nb"},
		{"package": "x", "empty": ""},
	}, got)
	require.Equal(t, []string{"a,", "b"}, got[0].words("depends"))
}

func TestControlRefuses(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"continuation first", " x\n", "line 1 of a control file: \" x\" continues"},
		{"continuation after a blank line", "A: b\n\n c\n", "line 3"},
		{"no colon", "A: b\nnonsense\n", "line 2 of a control file: \"nonsense\" is no field"},
		{"blank in a name", "A b: c\n", "no field"},
		{"no name", ": c\n", "no field"},
		{"twice", "A: b\na: c\n", `"a" is there twice`},
		{"huge line", "A: " + strings.Repeat("x", maxStanza+1), "too long"},
		{"huge stanza", "A: x\n" + strings.Repeat(" "+strings.Repeat("y", 1<<20)+"\n", 5), "over 4194304 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAll(c.text)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestReadStanza(t *testing.T) {
	s, err := readStanza(strings.NewReader("A: b\n\n\n"))
	require.NoError(t, err)
	require.Equal(t, stanza{"a": "b"}, s)
	_, err = readStanza(strings.NewReader("A: b\n\nC: d\n"))
	require.ErrorContains(t, err, "there is more")
	_, err = readStanza(strings.NewReader("\n"))
	require.ErrorIs(t, err, io.EOF)
}

func FuzzControl(f *testing.F) {
	f.Add(basetest.Libc("").Control())
	f.Add("A: b\n c\n\n# x\nD:\n")
	f.Fuzz(func(t *testing.T, text string) {
		stanzas, err := readAll(text)
		if err != nil {
			return
		}
		// What was read, written again, reads the same.
		var out strings.Builder
		for _, s := range stanzas {
			require.NotEmpty(t, s)
			names := make([]string, 0, len(s))
			for name := range s {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				if slices.Contains(strings.Split(s[name], "\n")[1:], "") {
					return // cannot be written: an empty line ends a stanza
				}
				out.WriteString(name + ": " + strings.ReplaceAll(s[name], "\n", "\n ") + "\n")
			}
			out.WriteString("\n")
		}
		again, err := readAll(out.String())
		require.NoError(t, err)
		require.Equal(t, stanzas, again)
	})
}
