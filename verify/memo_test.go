package verify_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
)

func open(t *testing.T, path string) *verify.Memo {
	t.Helper()
	m, err := verify.OpenMemo(path)
	require.NoError(t, err)
	return m
}

func sumOf(i int) string { return fmt.Sprintf("%064x", i) }

func TestMemoRemembersAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	memo := filepath.Join(dir, "new", "memo.jsonl")
	file := write(t, "abc")
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file, link))

	m := open(t, memo)
	_, ok := m.Lookup(file)
	require.False(t, ok)
	require.NoFileExists(t, memo, "looking must not write")
	require.NoError(t, m.Remember(file, abcSHA256))

	for _, m := range []*verify.Memo{m, open(t, memo)} {
		for _, path := range []string{file, link} {
			sum, ok := m.Lookup(path)
			require.True(t, ok)
			require.Equal(t, abcSHA256, sum)
		}
	}
	content, err := os.ReadFile(memo)
	require.NoError(t, err)
	require.NoError(t, open(t, memo).Remember(file, abcSHA256))
	again, err := os.ReadFile(memo)
	require.NoError(t, err)
	require.Equal(t, content, again, "what is known is not written twice")
}

func TestMemoMissesAChangedFile(t *testing.T) {
	later := time.Now().Add(time.Hour)
	changes := map[string]func(path string) error{
		"same bytes, new time": func(p string) error { return os.Chtimes(p, later, later) },
		"mode":                 func(p string) error { return os.Chmod(p, 0o600) },
		"longer":               func(p string) error { return os.WriteFile(p, []byte("abcd"), 0o644) },
		"same size, same mtime": func(p string) error {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			return firstErr(os.WriteFile(p, []byte("xyz"), 0o644), os.Chtimes(p, info.ModTime(), info.ModTime()))
		},
		"replaced": func(p string) error {
			return firstErr(os.WriteFile(p+".new", []byte("abc"), 0o644), os.Rename(p+".new", p))
		},
		"removed": os.Remove,
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			file := write(t, "abc")
			m := open(t, filepath.Join(t.TempDir(), "memo"))
			require.NoError(t, m.Remember(file, abcSHA256))
			_, ok := m.Lookup(file)
			require.True(t, ok)
			require.NoError(t, change(file))
			_, ok = m.Lookup(file)
			require.False(t, ok)
		})
	}
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestMemoSkipsWhatIsNotARecord(t *testing.T) {
	file := write(t, "abc")
	memo := filepath.Join(t.TempDir(), "memo")
	require.NoError(t, open(t, memo).Remember(file, abcSHA256))
	good, err := os.ReadFile(memo)
	require.NoError(t, err)
	header, record, _ := strings.Cut(string(good), "\n")

	cases := []struct {
		name, content string
		known         bool
	}{
		{"torn last line", string(good) + record[:len(record)/2], true},
		{"torn record", header + "\n" + record[:len(record)/2], false},
		{"torn middle", header + "\n" + record[:9] + "\n" + record, true},
		{"a long line", header + "\n" + strings.Repeat("x", 20000) + "\n" + record, true},
		{"two headers", header + "\n" + header + "\n" + record, true},
		{"bad sum", strings.Replace(string(good), abcSHA256, "BA78", 1), false},
		{"other version", strings.Replace(string(good), `"version":1`, `"version":2`, 1), false},
		{"foreign", "hello\n" + record, false},
		{"empty", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(memo, []byte(c.content), 0o644))
			m := open(t, memo)
			_, ok := m.Lookup(file)
			require.Equal(t, c.known, ok)
			require.NoError(t, m.Remember(file, abcSHA256))
			_, ok = open(t, memo).Lookup(file)
			require.True(t, ok, "after a repair the next record must be readable")
		})
	}
}

func TestMemoIsSharedByGoroutinesAndProcesses(t *testing.T) {
	dir := t.TempDir()
	memo := filepath.Join(dir, "memo")
	const files = 40
	var wg sync.WaitGroup
	errs := make([]error, files)
	for i := range files {
		path := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		m := open(t, memo) // one handle each, as separate processes would have
		wg.Go(func() { errs[i] = m.Remember(path, sumOf(i)) })
	}
	wg.Wait()
	m := open(t, memo)
	for i := range files {
		require.NoError(t, errs[i])
		sum, ok := m.Lookup(filepath.Join(dir, fmt.Sprint(i)))
		require.True(t, ok)
		require.Equal(t, sumOf(i), sum)
	}
}

func TestMemoIsCompacted(t *testing.T) {
	file := write(t, "abc")
	memo := filepath.Join(t.TempDir(), "memo")
	require.NoError(t, open(t, memo).Remember(file, abcSHA256))
	good, err := os.ReadFile(memo)
	require.NoError(t, err)
	header, record, _ := bytes.Cut(good, []byte("\n"))
	var large bytes.Buffer
	large.Write(append(header, '\n'))
	for i := range 9000 {
		fmt.Fprintf(&large, `{"device":1,"inode":%d,"size":3,"mtime":1,"ctime":1,"sha256":"%s"}`+"\n", i%5000, sumOf(i))
	}
	large.Write(record)
	require.NoError(t, os.WriteFile(memo, large.Bytes(), 0o644))

	_, ok := open(t, memo).Lookup(file)
	require.True(t, ok)
	compacted, err := os.ReadFile(memo)
	require.NoError(t, err)
	require.Less(t, len(compacted), large.Len()*6/10)
	require.Equal(t, 1+4096, bytes.Count(compacted, []byte("\n")))
	require.True(t, bytes.HasSuffix(compacted, record), "the newest records must survive")
	entries, err := os.ReadDir(filepath.Dir(memo))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file may stay")
}

func TestWatchSparesASecondRead(t *testing.T) {
	file := write(t, "abc")
	memo := filepath.Join(t.TempDir(), "memo")
	m := open(t, memo)
	want := verify.Want{Size: 3, SHA256: abcSHA256}
	w := m.Watch(file)
	require.False(t, w.Known(want))
	w.Keep(abcSHA256)
	for _, m := range []*verify.Memo{m, open(t, memo)} {
		require.True(t, m.Watch(file).Known(want))
		require.True(t, m.Watch(file).Known(verify.Want{Size: -1, SHA256: abcSHA256}))
		require.False(t, m.Watch(file).Known(verify.Want{Size: 3, SHA256: emptySHA256}), "a memo must not answer for another sum")
		require.False(t, m.Watch(file).Known(verify.Want{Size: 4, SHA256: abcSHA256}))
		require.False(t, m.Watch(file).Known(verify.Want{Size: 3}))
	}
	require.NoError(t, os.WriteFile(file, []byte("abd"), 0o644))
	require.False(t, m.Watch(file).Known(want))
}

// What changed while it was read is not remembered, whatever it was found to be.
func TestWatchKeepsNothingOfAChangedFile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"rewritten": func(p string) error { return os.WriteFile(p, []byte("abd"), 0o644) },
		"replaced": func(p string) error {
			return firstErr(os.WriteFile(p+".new", []byte("abc"), 0o644), os.Rename(p+".new", p))
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "abc")
			memo := filepath.Join(t.TempDir(), "memo")
			w := open(t, memo).Watch(file)
			require.NoError(t, change(file))
			w.Keep(abcSHA256)
			require.NoFileExists(t, memo)
		})
	}
}

func TestMemoRefusals(t *testing.T) {
	file := write(t, "abc")
	var none *verify.Memo
	require.NoError(t, none.Remember(file, abcSHA256))
	_, ok := none.Lookup(file)
	require.False(t, ok)
	none.Watch(file).Keep(abcSHA256)
	require.False(t, none.Watch(file).Known(verify.Want{Size: 3, SHA256: abcSHA256}))

	m := open(t, filepath.Join(t.TempDir(), "memo"))
	require.ErrorContains(t, m.Remember(file, "abc"), "not a sha256")
	require.ErrorIs(t, m.Remember(file+".absent", abcSHA256), os.ErrNotExist)
	require.Equal(t, verify.Watch{}, m.Watch(file+".absent"))
	_, err := verify.OpenMemo(t.TempDir())
	require.Error(t, err)
	below, err := verify.OpenMemo(filepath.Join(file, "memo"))
	if err == nil {
		require.Error(t, below.Remember(file, abcSHA256))
	}
}

func FuzzOpenMemo(f *testing.F) {
	dir := f.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(f, os.WriteFile(file, []byte("abc"), 0o644))
	seed := filepath.Join(dir, "seed")
	m, err := verify.OpenMemo(seed)
	require.NoError(f, err)
	require.NoError(f, m.Remember(file, abcSHA256))
	content, err := os.ReadFile(seed)
	require.NoError(f, err)
	f.Add(content)
	f.Add(content[:len(content)-5])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "memo")
		require.NoError(t, os.WriteFile(path, content, 0o644))
		first := open(t, path)
		sum, ok := first.Lookup(file)
		again, okAgain := open(t, path).Lookup(file)
		require.Equal(t, ok, okAgain, "a repair must not change what is known")
		require.Equal(t, sum, again)
		require.True(t, !ok || len(sum) == 64)
	})
}
