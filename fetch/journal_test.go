package fetch

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

var about = identity{Journal: journalName, Version: journalVersion, Etag: strings.Repeat("a", 64), Size: 1000}

// lines is a journal of the given records, and where each line ends.
func lines(t testing.TB, about identity, records ...record) (data []byte, ends []int) {
	t.Helper()
	for i := range len(records) + 1 {
		var v any = about
		if i > 0 {
			v = records[i-1]
		}
		line, err := encodeLine(v)
		require.NoError(t, err)
		data = append(data, line...)
		ends = append(ends, len(data))
	}
	return data, ends
}

func someRecords() []record {
	return []record{
		newRecord(spans{{0, 10}}, 10, map[string][]byte{sha256Key: []byte("state")}),
		newRecord(spans{{0, 500}, {600, 700}}, 400, map[string][]byte{sha256Key: []byte("other")}),
		newRecord(spans{{0, 1000}}, 1000, nil),
	}
}

// TestJournalTorn: cut anywhere, the last whole record counts.
func TestJournalTorn(t *testing.T) {
	records := someRecords()
	data, ends := lines(t, about, records...)
	for cut := range len(data) + 1 {
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		last, valid, ok := parseJournal(data[:cut], about)
		require.Equal(t, whole > 0, ok, "cut at %d", cut)
		if whole == 0 {
			continue
		}
		require.EqualValues(t, ends[whole-1], valid)
		want := record{}
		if whole > 1 {
			want = records[whole-2]
		}
		require.Equal(t, want, last, "cut at %d", cut)
	}
}

// TestJournalAltered: a changed byte never changes a record, it only loses the tail.
func TestJournalAltered(t *testing.T) {
	records := someRecords()
	data, _ := lines(t, about, records...)
	known := append([]record{{}}, records...)
	for i := range data {
		for _, flip := range []byte{1, 0x80} {
			changed := bytes.Clone(data)
			changed[i] ^= flip
			last, valid, ok := parseJournal(changed, about)
			if ok {
				require.Contains(t, known, last, "byte %d", i)
				require.LessOrEqual(t, valid, int64(i))
			}
		}
	}
}

func TestJournalIdentity(t *testing.T) {
	data, _ := lines(t, about, someRecords()...)
	for _, change := range []func(*identity){
		func(i *identity) { i.Etag = strings.Repeat("b", 64) },
		func(i *identity) { i.Size++ },
		func(i *identity) { i.Version++ },
	} {
		other := about
		change(&other)
		_, _, ok := parseJournal(data, other)
		require.False(t, ok)
	}
}

// TestJournalSense: a record with a good checksum that cannot be is not believed.
func TestJournalSense(t *testing.T) {
	for name, r := range map[string]record{
		"behind the end":    {Ranges: [][2]int64{{0, 1001}}},
		"overlap":           {Ranges: [][2]int64{{0, 10}, {5, 20}}},
		"not sorted":        {Ranges: [][2]int64{{50, 60}, {0, 10}}},
		"empty":             {Ranges: [][2]int64{{5, 5}}},
		"negative":          {Ranges: [][2]int64{{-5, 5}}},
		"hashed not there":  {Ranges: [][2]int64{{0, 10}}, Hashed: 11},
		"hashed in a hole":  {Ranges: [][2]int64{{1, 10}}, Hashed: 5},
		"hashed below zero": {Ranges: [][2]int64{{0, 10}}, Hashed: -1},
	} {
		good := someRecords()[0]
		data, ends := lines(t, about, good, r)
		last, valid, ok := parseJournal(data, about)
		require.True(t, ok, name)
		require.Equal(t, good, last, name)
		require.EqualValues(t, ends[1], valid, name)
	}
}

func FuzzJournal(f *testing.F) {
	data, _ := lines(f, about, someRecords()...)
	f.Add(data)
	f.Add(data[:len(data)-7])
	f.Add([]byte("00000000 {}\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		last, valid, ok := parseJournal(data, about)
		if !ok {
			require.Zero(t, valid)
			return
		}
		have, sensible := last.spans(about.Size)
		require.True(t, sensible)
		require.LessOrEqual(t, have.total(), about.Size)
		require.LessOrEqual(t, valid, int64(len(data)))
		// What was valid is a journal of the same meaning.
		again, end, ok := parseJournal(data[:valid], about)
		require.True(t, ok)
		require.Equal(t, valid, end)
		require.Equal(t, last, again)
	})
}

// TestJournalFile: appended, torn and gone on with.
func TestJournalFile(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "j"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	records := someRecords()
	j, err := startJournal(f, about)
	require.NoError(t, err)
	require.NoError(t, j.append(records[0]))
	require.NoError(t, j.append(records[1]))
	require.NoError(t, f.Truncate(j.end-1))

	_, err = f.Seek(0, 0)
	require.NoError(t, err)
	last, valid, ok, err := readJournal(f, about)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, records[0], last)
	j, err = continueJournal(f, valid)
	require.NoError(t, err)
	require.NoError(t, j.append(records[2]))

	_, err = f.Seek(0, 0)
	require.NoError(t, err)
	last, _, ok, err = readJournal(f, about)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, records[2], last)
}

// TestSpans compares the set with a plain array of flags.
func TestSpans(t *testing.T) {
	const size = 40
	rapid.Check(t, func(rt *rapid.T) {
		var s spans
		var flags [size]bool
		for range rapid.IntRange(0, 12).Draw(rt, "adds") {
			from := rapid.Int64Range(0, size).Draw(rt, "from")
			to := rapid.Int64Range(from, size).Draw(rt, "to")
			s = s.add(span{from, to})
			for i := from; i < to; i++ {
				flags[i] = true
			}
		}
		require.True(rt, s.valid(size))
		total, front := int64(0), int64(0)
		for i, on := range flags {
			if on {
				total++
			}
			if on && front == int64(i) {
				front++
			}
		}
		require.Equal(rt, total, s.total())
		require.Equal(rt, front, s.front())
		from := rapid.Int64Range(0, size).Draw(rt, "gap from")
		want := span{from, from}
		for want.from < size && flags[want.from] {
			want.from++
		}
		for want.to = want.from; want.to < size && !flags[want.to]; {
			want.to++
		}
		got, ok := s.gap(from, size)
		require.Equal(rt, want.from < size, ok)
		if ok {
			require.Equal(rt, want, got)
		}
		if from < size {
			require.Equal(rt, want.from, s.after(from))
		}
	})
}

// TestSums: all sums in one pass, saved and restored at random places, are those of the
// definition.
func TestSums(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "data")
		size := int64(len(data))
		f := File{Repo: "a/b", Path: "x", Size: size, SHA1: gitID(data)}
		for range rapid.IntRange(0, 3).Draw(rt, "layers") {
			from := rapid.Int64Range(0, size).Draw(rt, "from")
			f.Layers = append(f.Layers, pack.Part{Name: "x", Count: 1, Offset: from, Length: rapid.Int64Range(0, size-from).Draw(rt, "length")})
		}
		layers, err := layerLanes(f)
		require.NoError(rt, err)
		specs := append(fileLanes(f), layers...)
		s := newSums(specs)
		for at := int64(0); at < size; {
			n := rapid.Int64Range(1, size-at).Draw(rt, "piece")
			s.write(data[at : at+n])
			at += n
			if rand.N(2) == 0 {
				done, states, err := s.state()
				require.NoError(rt, err)
				s = newSums(specs)
				require.True(rt, s.restore(done, states))
				require.Equal(rt, at, s.offset())
			}
		}
		require.Equal(rt, f.SHA1, s.hex(sha1Key))
		for range 2 {
			digests := s.digests(f)
			for i, p := range f.Layers {
				require.Equal(rt, layerDigest(t, p, data), digests[i])
			}
		}
	})
}

func TestSumsRestoreRefuses(t *testing.T) {
	f := File{Repo: "a/b", Path: "x", Size: 10, Layers: []pack.Part{{Name: "x", Count: 1, Length: 10}}}
	layers, err := layerLanes(f)
	require.NoError(t, err)
	all := append(fileLanes(f), layers...)
	old := newSums(all[:1])
	old.write([]byte("12345"))
	done, states, err := old.state()
	require.NoError(t, err)

	s := newSums(all)
	require.False(t, s.restore(done, states), "the layer's sum is missing")
	require.Zero(t, s.offset())
	states[all[1].key] = []byte("no state")
	require.False(t, s.restore(done, states))
	require.Zero(t, s.offset())
	s.write([]byte("1234567890"))
	require.Equal(t, layerDigest(t, f.Layers[0], []byte("1234567890")), s.digests(f)[0])
}

func TestLayerOutsideOfTheFile(t *testing.T) {
	for _, p := range []pack.Part{{Offset: -1, Length: 2}, {Offset: 0, Length: 11}, {Offset: 5, Length: 6}, {Offset: 1 << 62, Length: 1 << 62}} {
		p.Name, p.Count = "x", 1
		_, err := layerLanes(File{Repo: "a/b", Path: "x", Size: 10, Layers: []pack.Part{p}})
		require.Error(t, err)
	}
}
