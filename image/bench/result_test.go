package bench

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sampled is a result with one case: a took 2 s, b 4 s, c could not be measured.
func sampled(t *testing.T) *session {
	t.Helper()
	s := newSession(t, 1000, 1)
	s.result.Programs = []Program{{Name: "curl", Path: "/usr/bin/curl", Version: "curl 8"}, {Name: "aria2c", Get: "apt-get install aria2"}}
	s.declare("case", "the case", contestant{name: "a"}, contestant{name: "b"}, contestant{name: "c", needs: []string{"curl", "aria2c"}})
	s.result.record("case", "a", Sample{Usage: Usage{Seconds: 2, DiskWritten: 1004}}, []string{"a --fast"})
	s.result.record("case", "b", Sample{Usage: Usage{Seconds: 4, DiskWritten: 3000}}, nil)
	return s
}

func TestRecordKeepsMediansUpToDate(t *testing.T) {
	s := sampled(t)
	s.result.record("case", "a", Sample{Usage: Usage{Seconds: 8}}, nil)
	s.result.record("case", "a", Sample{Usage: Usage{Seconds: 3}}, []string{"a --slow"})
	a := s.result.Cases[0].Contestants[0]
	require.Len(t, a.Samples, 3)
	require.Equal(t, 3.0, a.Median.Seconds)
	require.Equal(t, []string{"a --slow"}, a.Commands)
}

func TestCompare(t *testing.T) {
	r := sampled(t).result
	a, b, c := entry{"case", "a"}, entry{"case", "b"}, entry{"case", "c"}
	r.compare(a, b, "wall", wall, aim{AtMost, 0.80})
	r.compare(b, a, "wall", wall, aim{AtMost, 0.80})
	r.compare(a, c, "wall", wall, aim{AtMost, 0.80})
	r.compare(c, a, "wall", wall, aim{})
	r.compare(a, entry{"other", "a"}, "wall", wall, aim{AtLeast, 1})
	r.share(a, "written / size", 1000, diskWritten, aim{AtMost, 1})
	r.share(b, "written / size", 1000, diskWritten, aim{AtMost, 1})
	r.share(c, "written / size", 1000, diskWritten, aim{})
	want := []struct {
		what, missing string
		value         any
		met           any
	}{
		{"a / b, wall", "", 0.5, true},
		{"b / a, wall", "", 2.0, false},
		{"a / c, wall", "aria2c is missing", nil, nil},
		{"c / a, wall", "aria2c is missing", nil, nil},
		{"a / a, wall", "a was not measured", nil, nil},
		{"a, written / size", "", 1.004, true},
		{"b, written / size", "", 3.0, false},
		{"c, written / size", "aria2c is missing", nil, nil},
	}
	require.Len(t, r.Ratios, len(want))
	for i, w := range want {
		got := r.Ratios[i]
		require.Equal(t, "case", got.Case)
		require.Equal(t, w.what, got.What)
		require.Equal(t, w.missing, got.Missing)
		requirePointer(t, w.value, got.Value)
		requirePointer(t, w.met, got.Met)
	}
}

// requirePointer compares with a pointer's target; a want of nil is a nil pointer.
func requirePointer[T any](t *testing.T, want any, got *T) {
	t.Helper()
	if want == nil {
		require.Nil(t, got)
		return
	}
	require.NotNil(t, got)
	require.Equal(t, want, any(*got))
}

func TestMetAtTwoDecimals(t *testing.T) {
	for _, c := range []struct {
		value float64
		aim   aim
		met   bool
	}{
		{0.80, aim{AtMost, 0.80}, true},
		{0.804, aim{AtMost, 0.80}, true},
		{0.806, aim{AtMost, 0.80}, false},
		{0.004, aim{AtMost, 0}, true},
		{0.01, aim{AtMost, 0}, false},
		{0.896, aim{AtLeast, 0.90}, true},
		{0.89, aim{AtLeast, 0.90}, false},
	} {
		require.Equal(t, c.met, met(c.value, c.aim), "%v", c)
	}
}

// TestNothingIsNoRatio: a division by nothing is reported as not measured.
func TestNothingIsNoRatio(t *testing.T) {
	r := sampled(t).result
	r.share(entry{"case", "a"}, "wall / nothing", 0, wall, aim{AtMost, 1})
	require.Nil(t, r.Ratios[0].Value)
	require.Nil(t, r.Ratios[0].Met)
	_, err := json.Marshal(r)
	require.NoError(t, err)
}

func TestText(t *testing.T) {
	r := sampled(t).result
	r.floor("hashing", 2000)
	r.compare(entry{"case", "a"}, entry{"case", "b"}, "wall", wall, aim{AtMost, 0.80})
	r.compare(entry{"case", "b"}, entry{"case", "a"}, "wall", wall, aim{AtMost, 0.80})
	r.compare(entry{"case", "a"}, entry{"case", "c"}, "wall", wall, aim{AtMost, 0.80})
	r.Notes = []string{"a word"}
	text := r.Text()
	for _, line := range []string{
		`bench:test of 1.0 kB, medians of 1 round on `,
		`curl: curl 8`,
		`missing: aria2c; install it with: apt-get install aria2`,
		`hashing  0.50     0`,
		`the case  wall s  CPU s  peak MB  disk read  disk written`,
		`a         2.00    0.00   0        0 B        1.0 kB`,
		`c         missing: aria2c`,
		`case: a / b, wall  0.50   at most 0.80  met`,
		`case: b / a, wall  2.00   at most 0.80  MISSED`,
		`case: a / c, wall  -      at most 0.80  aria2c is missing`,
		`note: a word`,
	} {
		require.Contains(t, text, line)
	}
	require.NotContains(t, text, "\t")
}

func TestJSON(t *testing.T) {
	r := sampled(t).result
	r.compare(entry{"case", "a"}, entry{"case", "c"}, "wall", wall, aim{AtMost, 0.80})
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var back Result
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, *r, back)
	require.Equal(t, 1, back.SchemaVersion)
	require.NotContains(t, string(data), `"value"`, "what was not measured is absent, not zero")
}

func TestFloorsAreOfTheWholeSize(t *testing.T) {
	r := &Result{Size: 4000}
	r.floor("hash", 2000)
	r.floor("disk", 4000)
	r.floor("wire", 400)
	require.Equal(t, Floor{Name: "hash", Seconds: 2, BytesPerSecond: 2000}, r.Floors[0])
	require.Equal(t, "hash", r.highest("hash", "disk").Name)
	require.Equal(t, "wire", r.highest("hash", "disk", "wire").Name)
	require.Zero(t, r.highest("none"))
}

// TestLongTables: columns stay columns whatever the names.
func TestLongTables(t *testing.T) {
	var b strings.Builder
	table(&b, "name\tvalue", []string{"a\t1", "a very long name\t2"})
	require.Equal(t, "\nname              value\na                 1\na very long name  2\n", b.String())
	b.Reset()
	table(&b, "name\tvalue", nil)
	require.Empty(t, b.String())
}
