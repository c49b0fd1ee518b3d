package verify_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
)

func section(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

func TestConcatIsAReader(t *testing.T) {
	cases := [][]string{{}, {""}, {"abc"}, {"abc", "", "d"}, {"", "", "x", "yz", ""}, {strings.Repeat("q", 5000), "tail"}}
	for _, parts := range cases {
		var sections []verify.Section
		for _, p := range parts {
			sections = append(sections, section(p))
		}
		whole := strings.Join(parts, "")
		j := verify.Concat(sections...)
		require.Equal(t, int64(len(whole)), j.Size())
		require.NoError(t, iotest.TestReader(io.NewSectionReader(j, 0, j.Size()), []byte(whole)))
	}
}

func TestConcatAtAnyOffset(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var whole bytes.Buffer
	var sections []verify.Section
	for range 9 {
		p := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(40))
		whole.WriteString(p)
		sections = append(sections, section(p))
	}
	j := verify.Concat(sections...)
	for range 2000 {
		off := rng.Int64N(j.Size() + 5)
		p := make([]byte, rng.IntN(60))
		n, err := j.ReadAt(p, off)
		want := make([]byte, len(p))
		wantN, wantErr := bytes.NewReader(whole.Bytes()).ReadAt(want, off)
		if len(p) == 0 {
			wantErr = err // bytes.Reader answers EOF to an empty read behind the end; either is allowed
		}
		require.Equal(t, wantN, n)
		require.Equal(t, want, p)
		require.Equal(t, wantErr, err)
	}
}

// lying says that it is larger than it is.
type lying struct{ *io.SectionReader }

func (l lying) Size() int64 { return l.SectionReader.Size() + 2 }

func TestConcatNeverHidesAGap(t *testing.T) {
	j := verify.Concat(lying{section("abc")}, section("def"))
	_, err := j.ReadAt(make([]byte, 8), 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "part 0 of 2 at byte 3")
	_, err = j.ReadAt(make([]byte, 1), -1)
	require.ErrorContains(t, err, "below zero")
}
