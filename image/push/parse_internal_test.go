package push

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRange(t *testing.T) {
	cases := []struct {
		text  string
		n     int64
		known bool
		ok    bool
	}{
		{"", 0, false, true}, {"0-0", 0, true, true}, {"0-99", 100, true, true}, {"bytes=0-99", 100, true, true},
		{"1-99", 0, false, false}, {"0-", 0, false, false}, {"0--1", 0, false, false}, {"x", 0, false, false},
		{"0-9223372036854775807", 0, false, false},
	}
	for _, c := range cases {
		n, known, err := parseRange(c.text)
		require.Equal(t, c.ok, err == nil, c.text)
		require.Equal(t, c.n, n, c.text)
		require.Equal(t, c.known, known, c.text)
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("0-99")
	f.Add("bytes=0-9223372036854775807")
	f.Fuzz(func(t *testing.T, text string) {
		n, known, err := parseRange(text)
		if n < 0 || err != nil && (n != 0 || known) {
			t.Fatalf("parsing %q: %d %v %v", text, n, known, err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	require.Equal(t, 7*time.Second, retryAfter("7", now))
	require.Equal(t, time.Minute, retryAfter(now.Add(time.Minute).Format(http.TimeFormat), now))
	for _, text := range []string{"", "soon", "-3", now.Add(-time.Minute).Format(http.TimeFormat)} {
		require.Zero(t, retryAfter(text, now), text)
	}
	require.Positive(t, retryAfter("9223372036854775807", now))
}

func TestLocation(t *testing.T) {
	at, err := url.Parse("https://registry.example/v2/m/blobs/uploads/")
	require.NoError(t, err)
	cases := map[string]string{
		"/v2/m/blobs/uploads/1?x=y":          "https://registry.example/v2/m/blobs/uploads/1?x=y",
		"https://storage.example/1?sig=s":    "https://storage.example/1?sig=s",
		"https://registry.example/v2/m/up/1": "https://registry.example/v2/m/up/1",
	}
	for header, want := range cases {
		got, err := answer{header: http.Header{"Location": {header}}, at: at}.location()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "https://169.254.169.254/x", "https://10.0.0.1/x", "https://[::1]/x", "https://localhost/x", "https://[::ffff:127.0.0.1]/x", "https://%zz/?secret"} {
		_, err := answer{header: http.Header{"Location": {bad}}, at: at}.location()
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "secret")
	}
}

// TestSumsGoBack: from any offset the sum comes out the same, and no more than one stretch
// is read for it.
func TestSumsGoBack(t *testing.T) {
	data := bytes.Repeat([]byte("plimsoll"), (3*markEvery+4096)/8)
	want := fmt.Sprintf("%x", sha256.Sum256(data))
	s := newSums()
	require.NoError(t, s.write(data))
	require.Len(t, s.marks, 3)
	for _, at := range []int64{2*markEvery + 5, 2 * markEvery, markEvery - 1, 0, 3*markEvery + 4096} {
		r := &counting{Reader: bytes.NewReader(data)}
		require.NoError(t, s.seek(r, at))
		require.Less(t, r.n, int64(markEvery))
		require.NoError(t, s.write(data[at:]))
		require.Equal(t, want, s.hex())
	}
	other := newSums()
	other.marks = s.marks
	require.NoError(t, other.seek(bytes.NewReader(data), 3*markEvery), "marks of another process")
	require.NoError(t, other.write(data[3*markEvery:]))
	require.Equal(t, want, other.hex())

	broken := newSums()
	broken.marks = []mark{{At: markEvery, State: []byte("no state")}}
	require.NoError(t, broken.seek(bytes.NewReader(data), markEvery+3), "a state that is none is not used")
	require.NoError(t, broken.write(data[markEvery+3:]))
	require.Equal(t, want, broken.hex())
}

type counting struct {
	*bytes.Reader
	n int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

func key(n int) sessionKey {
	return sessionKey{Registry: "r.example", Repository: "m", Digest: fmt.Sprintf("sha256:%064x", n)}
}

func reopen(t *testing.T, path string, j *Journal) *Journal {
	t.Helper()
	require.NoError(t, j.Close())
	j, ok, err := OpenJournal(path)
	require.NoError(t, err)
	require.True(t, ok)
	t.Cleanup(func() { j.Close() })
	return j
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "uploads.jsonl")
	j := reopen(t, path, nil)
	require.NoError(t, j.note(journalLine{sessionKey: key(1), Location: "one", Start: true, Chunk: 7}))
	require.NoError(t, j.note(journalLine{sessionKey: key(1), Location: "two", Mark: &mark{At: 5, State: []byte("s")}}))
	require.NoError(t, j.note(journalLine{sessionKey: key(2), Location: "other", Start: true}))
	require.NoError(t, j.note(journalLine{sessionKey: key(2)}))
	_, ok, err := OpenJournal(path)
	require.NoError(t, err)
	require.False(t, ok, "one process at a time")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	j = reopen(t, path, j)
	require.Nil(t, j.find(key(2)))
	require.Equal(t, &session{Location: "two", Chunk: 7, Marks: []mark{{At: 5, State: []byte("s")}}}, j.find(key(1)))

	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("{\"schemaVersion\":1,\"loc")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	j = reopen(t, path, j)
	require.NoError(t, j.note(journalLine{sessionKey: key(3), Location: "three", Start: true}))
	j = reopen(t, path, j)
	require.NotNil(t, j.find(key(1)))
	require.NotNil(t, j.find(key(3)), "a torn line does not swallow the next one")

	for range 4000 {
		require.NoError(t, j.note(journalLine{sessionKey: key(1), Location: strings.Repeat("l", 300)}))
	}
	j = reopen(t, path, j)
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(4096), "compacted")
	require.NotNil(t, reopen(t, path, j).find(key(1)))
}

func TestOldUploadsAreForgotten(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"schemaVersion":1,"registry":"r","repository":"m","digest":"sha256:%064x","time":"2026-01-01T00:00:00Z","location":"l"}`, 1)
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	require.Len(t, parseJournal(bytes.NewReader(b.Bytes()), now), 1)
	require.Empty(t, parseJournal(bytes.NewReader(b.Bytes()), now.Add(sessionAge)))
}

func FuzzParseJournal(f *testing.F) {
	f.Add(fmt.Appendf(nil, `{"schemaVersion":1,"registry":"r","repository":"m","digest":"sha256:%064x","time":"2026-01-01T00:00:00Z","location":"l","mark":{"at":3,"state":"cw=="}}`, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range parseJournal(bytes.NewReader(data), time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)) {
			last := int64(0)
			for _, m := range s.Marks {
				if m.At <= last {
					t.Fatalf("marks out of order: %v", s.Marks)
				}
				last = m.At
			}
			if s.Location == "" {
				t.Fatal("an open upload has no address")
			}
		}
	})
}
