package verify_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// openFile opens a file for the test.
func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestProve(t *testing.T) {
	file := write(t, "abc")
	m := open(t, filepath.Join(t.TempDir(), "memo"))
	want := verify.Want{Size: 3, SHA256: abcSHA256}
	f := openFile(t, file)
	_, ok := m.Prove(f, want)
	require.False(t, ok, "nobody has read it")
	require.NoError(t, m.Remember(file, abcSHA256))
	p, ok := m.Prove(f, want)
	require.True(t, ok)
	require.NoError(t, p.Unchanged())
	_, ok = m.Prove(f, verify.Want{Size: -1, SHA256: abcSHA256})
	require.True(t, ok)
	for _, other := range []verify.Want{{Size: 4, SHA256: abcSHA256}, {Size: 3, SHA256: emptySHA256}, {Size: 3}, {Size: 3, SHA1: helloSHA1}} {
		_, ok = m.Prove(f, other)
		require.False(t, ok, "%+v", other)
	}
	var none *verify.Memo
	_, ok = none.Prove(f, want)
	require.False(t, ok)
	require.NoError(t, f.Close())
	require.ErrorIs(t, p.Unchanged(), os.ErrClosed)
	_, ok = m.Prove(f, want)
	require.False(t, ok)
}

// TestUnchanged: whatever is done to a proven file afterwards ends the proof, also where its
// size and its modification time are put back.
func TestUnchanged(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for name, change := range map[string]func(path string) error{
		"rewritten": func(p string) error { return os.WriteFile(p, []byte("abd"), 0o644) },
		"rewritten, with its old time": func(p string) error {
			info, err := os.Stat(p)
			return firstErr(err, os.WriteFile(p, []byte("abd"), 0o644), os.Chtimes(p, info.ModTime(), info.ModTime()))
		},
		"longer":    func(p string) error { return os.WriteFile(p, []byte("abcd"), 0o644) },
		"truncated": func(p string) error { return os.Truncate(p, 2) },
		"new time":  func(p string) error { return os.Chtimes(p, later, later) },
		"replaced": func(p string) error {
			return firstErr(os.WriteFile(p+".new", []byte("abc"), 0o644), os.Rename(p+".new", p))
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "abc")
			m := open(t, filepath.Join(t.TempDir(), "memo"))
			require.NoError(t, m.Remember(file, abcSHA256))
			p, ok := m.Prove(openFile(t, file), verify.Want{Size: 3, SHA256: abcSHA256})
			require.True(t, ok)
			require.NoError(t, p.Unchanged())
			require.NoError(t, change(file))
			require.ErrorContains(t, p.Unchanged(), "the file has changed")
		})
	}
}
