package hubtest

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// The golden ids are those of git 2 for the same files, author and date.
func TestIDsAreGits(t *testing.T) {
	files := map[string]File{
		"a/b/x.txt": {Content: Bytes([]byte("hello\n"))},
		"a.txt":     {Content: Bytes([]byte("world\n"))},
		"a.d/empty": {Content: Bytes(nil)},
		"a-z":       {Content: Bytes([]byte("z"))},
	}
	s, err := newSnapshot(Repo{Name: "owner/model", Files: files})
	require.NoError(t, err)
	require.Equal(t, "d31fc333dd74e7ac44826e899bba628f100b7dd4", s.commit)
	want := map[string]string{
		"a": "89af6c91ef71caf173ae361787b90db078b80bcf", "a/b": "9fa6a6d71d42445400aef1e5fda85a9cd64eb517",
		"a/b/x.txt": "ce013625030ba8dba906f756967f9e9ca394464a", "a.txt": "cc628ccd10742baea8241c5924df992b5c019f71",
		"a.d": "417c01c8795a35b8e835113a85a5c0c1c77f67fb", "a.d/empty": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
		"a-z": "fa7af8bf5fdd704f73beb3adc5612682a98e1af5",
	}
	got := map[string]string{}
	for _, e := range s.entries {
		got[e.path] = e.oid
	}
	require.Equal(t, want, got)
}

func TestLFSPointer(t *testing.T) {
	e, err := newEntry("x", File{Content: Bytes([]byte("hello")), LFS: true})
	require.NoError(t, err)
	require.Equal(t, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", e.sha256)
	require.Equal(t, "d1ca116d6733584c13cb8bb50b21d5b5b81ee28f", e.oid)
	require.Equal(t, 126, e.pointer)
}

func TestGivenSumIsNotComputed(t *testing.T) {
	e, err := newEntry("x", File{Content: unreadable{}, LFS: true, SHA256: "claimed"})
	require.NoError(t, err)
	require.Equal(t, "claimed", e.sha256)
	_, err = newEntry("x", File{Content: unreadable{}, LFS: true})
	require.ErrorContains(t, err, "content has 0 bytes, its Size says 9")
}

// unreadable promises bytes that it does not have.
type unreadable struct{ empty }

type empty struct{}

func (empty) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (unreadable) Size() int64                  { return 9 }
