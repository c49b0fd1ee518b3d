package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Limits of a journal. A record has about 500 bytes, and 200 more for each layer and
// stretch; there is one for every half window.
const (
	journalVersion = 1
	journalName    = "plimsoll journal"
	maxJournal     = 64 << 20
)

// castagnoli is CRC-32C, which tells a torn or stale disk block from a line of ours. It is
// no protection against malice: the sums of the finished file are.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is the first line: which blob the journal is about.
type identity struct {
	Journal string `json:"journal"`
	Version int    `json:"version"`
	Etag    string `json:"etag"`
	Size    int64  `json:"size"`
}

func identityOf(w *want) identity {
	return identity{Journal: journalName, Version: journalVersion, Etag: w.slot.Etag, Size: w.first.Size}
}

// record is every further line: a complete state, so that the last one that is whole says
// everything.
type record struct {
	// Ranges are the stretches that are on disk, each [from, to).
	Ranges [][2]int64 `json:"ranges"`
	// Hashed is how many bytes from the start the Sums cover.
	Hashed int64 `json:"hashed"`
	// Sums are the marshalled states of the hashes, by key.
	Sums map[string][]byte `json:"sums"`
}

// spans returns the ranges as a set; ok is false if they are not one within size bytes, or
// if the hashes claim to have seen what is not on disk.
func (r record) spans(size int64) (have spans, ok bool) {
	for _, p := range r.Ranges {
		have = append(have, span{p[0], p[1]})
	}
	return have, have.valid(size) && r.Hashed >= 0 && r.Hashed <= have.front()
}

func newRecord(have spans, hashed int64, sums map[string][]byte) record {
	r := record{Ranges: make([][2]int64, len(have)), Hashed: hashed, Sums: sums}
	for i, s := range have {
		r.Ranges[i] = [2]int64{s.from, s.to}
	}
	return r
}

// encodeLine is the checksum of v's JSON in eight hex digits, a space, the JSON, a newline.
func encodeLine(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text), nil
}

// decodeLine fills v from the first line of data and returns the rest; ok is false if the
// line is torn, altered or not one of ours.
func decodeLine(data []byte, v any) (rest []byte, ok bool) {
	line, rest, found := bytes.Cut(data, []byte("\n"))
	if !found || len(line) < 10 || line[8] != ' ' {
		return data, false
	}
	text := line[9:]
	if fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) != string(line[:8]) {
		return data, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return rest, d.Decode(v) == nil
}

// parseJournal reads a journal about the given blob. last is its last whole and sensible
// record, the zero record if there is none; valid is the length of the part that was read.
// ok is false if the journal is about something else, or is none.
func parseJournal(data []byte, about identity) (last record, valid int64, ok bool) {
	var id identity
	rest, ok := decodeLine(data, &id)
	if !ok || id != about {
		return record{}, 0, false
	}
	for {
		var r record
		next, ok := decodeLine(rest, &r)
		if !ok {
			break
		}
		if _, ok := r.spans(about.Size); !ok {
			break
		}
		rest, last = next, r
	}
	return last, int64(len(data) - len(rest)), true
}

// readJournal reads and parses; a journal that cannot be one is not ok.
func readJournal(f *os.File, about identity) (last record, valid int64, ok bool, err error) {
	data, err := io.ReadAll(io.LimitReader(f, maxJournal+1))
	if err != nil {
		return record{}, 0, false, disk(fmt.Errorf("reading journal: %w", err))
	}
	if len(data) > maxJournal {
		return record{}, 0, false, nil
	}
	last, valid, ok = parseJournal(data, about)
	return last, valid, ok, nil
}

// journal is the open journal of a blob that is on the way. It has one writer.
type journal struct {
	file *os.File
	end  int64 // where the next line goes
}

// append writes one line and syncs it.
func (j *journal) append(v any) error {
	line, err := encodeLine(v)
	if err == nil {
		_, err = j.file.WriteAt(line, j.end)
	}
	if err == nil {
		err = datasync(j.file)
	}
	if err != nil {
		return disk(fmt.Errorf("writing journal: %w", err))
	}
	j.end += int64(len(line))
	return nil
}

// startJournal empties the file and writes the first line.
func startJournal(f *os.File, about identity) (*journal, error) {
	if err := f.Truncate(0); err != nil {
		return nil, disk(fmt.Errorf("starting journal: %w", err))
	}
	j := &journal{file: f}
	return j, j.append(about)
}

// continueJournal cuts a torn tail off, so that the next line follows a whole one.
func continueJournal(f *os.File, valid int64) (*journal, error) {
	if err := f.Truncate(valid); err != nil {
		return nil, disk(fmt.Errorf("continuing journal: %w", err))
	}
	return &journal{file: f, end: valid}, nil
}

// diskError is a failure of this machine's disk, which no other source can heal.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// disk marks a failure of this machine's disk.
func disk(err error) error {
	hint := ""
	if fault.Local(err) {
		hint = "free some space, or set HF_HUB_CACHE to a folder that can be written and has room; what is there already is kept"
	}
	return fault.Wrap(fault.Resource, hint, &diskError{err})
}

// isDisk reports whether err comes from disk.
func isDisk(err error) bool {
	var d *diskError
	return errors.As(err, &d)
}
