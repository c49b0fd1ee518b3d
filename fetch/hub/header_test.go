package hub

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseContentRange(t *testing.T) {
	good := map[string]span{
		"bytes 0-0/1":                     {0, 0, 1},
		"bytes 5-9/10":                    {5, 9, 10},
		"bytes 5-9/*":                     {5, 9, -1},
		"bytes */10":                      {-1, -1, 10},
		" bytes  5-9/10 ":                 {5, 9, 10},
		"bytes 0-9223372036854775806/*":   {0, 9223372036854775806, -1},
		"bytes 00-9/9223372036854775807":  {0, 9, 9223372036854775807},
		"bytes 11521979943-11521979943/*": {11521979943, 11521979943, -1},
	}
	for text, want := range good {
		got, err := parseContentRange(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "bytes", "bytes ", "items 0-1/2", "bytes 0-1", "bytes 0/1", "bytes 1-0/5", "bytes 0-5/5",
		"bytes -1-2/5", "bytes 0-1/-2", "bytes +0-1/2", "bytes 0-/5", "bytes -5/5", "bytes 0-1/x", "bytes 0 - 1/5",
		"bytes 0-9223372036854775808/*", "bytes 0-1/2/3", "bytes=0-1/2"} {
		_, err := parseContentRange(text)
		require.Error(t, err, text)
	}
}

func TestNextLink(t *testing.T) {
	cases := []struct {
		name    string
		headers []string
		want    string
	}{
		{"none", nil, ""},
		{"next", []string{`<https://h/x?cursor=a>; rel="next"`}, "https://h/x?cursor=a"},
		{"without quotes", []string{`</x?y=1>;rel=next`}, "/x?y=1"},
		{"second of one header", []string{`<https://h/a>; rel="xet-auth", <https://h/b>; rel="next"`}, "https://h/b"},
		{"second header", []string{`<https://h/a>; rel="prev"`, `<https://h/b>; rel="next"`}, "https://h/b"},
		{"comma in the target", []string{`<https://h/a?x=1,2>; rel="first", <https://h/b?x=1,2>; rel="next"`}, "https://h/b?x=1,2"},
		{"comma in a parameter", []string{`<https://h/a>; title="a, b"; rel="prev", <https://h/b>; rel="next"`}, "https://h/b"},
		{"list of relations", []string{`<https://h/a>; rel="last NEXT"`}, "https://h/a"},
		{"another relation", []string{`<https://h/a>; rel="nextish"`}, ""},
		{"no relation", []string{`<https://h/a>`}, ""},
		{"empty", []string{"", " , "}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := nextLink(tc.headers)
			require.NoError(t, err)
			if tc.want == "" {
				require.Nil(t, got)
				return
			}
			require.Equal(t, tc.want, got.String())
		})
	}
	for _, bad := range []string{"https://h/a; rel=next", "<https://h/a; rel=next", `<http://[::1>; rel="next"`} {
		_, err := nextLink([]string{bad})
		require.Error(t, err, bad)
	}
}

func TestParseRateLimit(t *testing.T) {
	cases := []struct {
		text             string
		remaining, reset int64
		ok               bool
	}{
		{`"api";r=0;t=55`, 0, 55, true},
		{`"resolve" ; r = 12 ; t = 7`, 12, 7, true},
		{`"api";t=55;r=0`, 0, 55, true},
		{`"api";r=3;t=9, "resolve";r=0;t=8`, 0, 8, true},
		{`"api";r=0;t=9, "resolve";r=0;t=8`, 0, 9, true},
		{`"api";r=3;t=9, "resolve";r=4;t=8`, 3, 9, true},
		{`"api";r=0;t=99999999999`, 0, 86400, true},
		{`"api";r=0`, 0, 0, false},
		{`"api";r=x;t=1`, 0, 0, false},
		{`"api";r=-1;t=1`, 0, 0, false},
		{`limit=100, remaining=0`, 0, 0, false},
		{``, 0, 0, false},
	}
	for _, tc := range cases {
		remaining, reset, ok := parseRateLimit(tc.text)
		require.Equal(t, tc.ok, ok, tc.text)
		if ok {
			require.Equal(t, []int64{tc.remaining, tc.reset}, []int64{remaining, reset}, tc.text)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		name, rate, after string
		status            int
		want              time.Duration
	}{
		{"rate limit", `"api";r=0;t=55`, "", 429, 56 * time.Second},
		{"rate limit first", `"api";r=0;t=55`, "3", 429, 56 * time.Second},
		{"not used up", `"api";r=5;t=55`, "3", 429, 3 * time.Second},
		{"another status", `"api";r=0;t=55`, "", 503, 0},
		{"seconds", "", "120", 503, 2 * time.Minute},
		{"date", "", "Sun, 01 Nov 2026 12:00:30 GMT", 503, 30 * time.Second},
		{"past date", "", "Sun, 01 Nov 2026 11:00:00 GMT", 503, 0},
		{"far date", "", "Sun, 01 Nov 2099 11:00:00 GMT", 503, 24 * time.Hour},
		{"overflow", "", "9223372036854775807", 503, 24 * time.Hour},
		{"nonsense", "", "soon", 503, 0},
		{"negative", "", "-5", 503, 0},
		{"nothing", "", "", 503, 0},
	}
	for _, tc := range cases {
		h := http.Header{"Ratelimit": {tc.rate}, "Retry-After": {tc.after}}
		require.Equal(t, tc.want, retryDelay(tc.status, h, now), tc.name)
	}
}

func TestParseETag(t *testing.T) {
	sha256, sha1 := strings.Repeat("ab", 32), strings.Repeat("cd", 20)
	for text, want := range map[string]string{
		`"` + sha256 + `"`:                     sha256,
		`W/"` + sha1 + `"`:                     sha1,
		sha1:                                   sha1,
		"":                                     "",
		`"abc"`:                                "",
		strings.ToUpper(sha256):                "",
		`"d41d8cd98f00b204e9800998ecf8427e-2"`: "",
	} {
		require.Equal(t, want, parseETag(text), text)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"gpt2", "Qwen/Qwen-Image-Edit", "a.b_c/D-1", strings.Repeat("a", 96)} {
		require.NoError(t, checkRepo(good))
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a/b/c", "a--b/c", "a/..", "a..b", "-a", "a/b.", "a/b.git", "a b", "ä", strings.Repeat("a", 97)} {
		require.Error(t, checkRepo(bad), bad)
	}
	for _, good := range []string{"main", "v1.0", "refs/pr/1", strings.Repeat("a", 40)} {
		require.NoError(t, checkRevision(good))
	}
	for _, bad := range []string{"", ".", "..", "a b", "a\n", "ä", strings.Repeat("a", 256)} {
		require.Error(t, checkRevision(bad), bad)
	}
	require.True(t, isCommit("0123456789abcdef0123456789abcdef01234567"))
	require.False(t, isCommit("0123456789ABCDEF0123456789abcdef01234567"))
	require.False(t, isCommit("main"))
}

func TestRangeHeader(t *testing.T) {
	require.Equal(t, "bytes=0-0", rangeHeader(0, 1))
	require.Equal(t, "bytes=10-", rangeHeader(10, -1))
	require.Equal(t, "bytes=10-19", rangeHeader(10, 10))
	require.Equal(t, "bytes=10-", rangeHeader(10, 1<<63-1), "an end that overflows is the file's end")
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes */10", "bytes 5-9/*", "bytes 1-0/5", "items 0-1/2", "bytes 0-99999999999999999999/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseContentRange(text)
		if err != nil {
			return
		}
		satisfied := s.first >= 0 && s.last >= s.first && (s.total == -1 || s.last < s.total)
		if !satisfied && (s.first != -1 || s.last != -1) {
			t.Fatalf("%q is read as %+v", text, s)
		}
	})
}

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`<https://h/x?cursor=a>; rel="next"`, `<a>; rel="prev", <b>; rel="next"`, `<a`, `a>`, `,,<>;rel=next`, `<a>;"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := nextLink([]string{text})
		if u != nil && (err != nil || !strings.Contains(strings.ToLower(text), "next")) {
			t.Fatalf("%q links to %v, %v", text, u, err)
		}
	})
}

func FuzzParseRateLimit(f *testing.F) {
	for _, s := range []string{`"api";r=0;t=55`, `"a";r=1;t=2,"b";r=0;t=3`, `;;;`, `r=0;t=1`, `"x";r=00000000000000000000000001;t=1`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		remaining, reset, ok := parseRateLimit(text)
		if ok && (remaining < 0 || reset < 0 || reset > int64(maxDelay/time.Second)) {
			t.Fatalf("%q is read as r=%d t=%d", text, remaining, reset)
		}
		h := http.Header{"Ratelimit": {text}, "Retry-After": {text}}
		if d := retryDelay(429, h, time.Unix(0, 0)); d < 0 || d > maxDelay+time.Second {
			t.Fatalf("%q asks to wait for %v", text, d)
		}
	})
}
