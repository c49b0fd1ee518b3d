package verify

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Limits of the memo's file. A record is about 150 bytes.
const (
	memoVersion    = 1
	memoCompactAt  = 1 << 20 // files below this are not worth rewriting
	memoMaxRecords = 4096    // what a compaction keeps, newest last
	memoMaxLine    = 4096    // a longer line is not ours
	// memoTick is longer than the clock tick that Linux takes file times from (10 ms at
	// HZ=100): two changes of a file within one tick can leave equal times behind.
	memoTick = 20 * time.Millisecond
)

// Memo remembers the sha256 of files that were read before. A file is known only while its
// device, inode, size, modification time and change time all stand; anything else is a
// miss, and a miss costs nothing but one more read. The name of the file plays no part, so
// a link to a known file is known.
//
// The file behind it is JSON Lines: a header with a version, then one record a line, each
// appended by a single write. Several goroutines and several processes may use one file at
// a time: a torn or foreign line is skipped, and of two records about one inode the later
// one counts. A file of another version is replaced. Where a file system's times cannot be
// trusted the memo forgets rather than guesses. All methods are safe for concurrent use,
// and on a nil Memo they know nothing and keep nothing.
type Memo struct {
	path  string
	mu    sync.Mutex
	known map[fileID]stamp
}

// fileID is a file's identity on this machine.
type fileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// stamp is a file's state, and the sum that belongs to it.
type stamp struct {
	fileID
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"` // nanoseconds since 1970
	Ctime  int64  `json:"ctime"` // nanoseconds since 1970
	SHA256 string `json:"sha256,omitempty"`
}

type memoHeader struct {
	Memo    string `json:"memo"`
	Version int    `json:"version"`
}

// memoName tells the memo's file from other JSON Lines.
const memoName = "plimsoll verified files"

// OpenMemo reads the memo at path; a file that does not exist is an empty memo and is made,
// with its folder, by the first Remember. No handle stays open. A memo that grew large is
// compacted. The error is one of the file system.
func OpenMemo(path string) (*Memo, error) {
	m := &Memo{path: path, known: map[fileID]stamp{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening memo of verified files: %w", err)
	}
	defer f.Close()
	order, size, ok, err := m.load(f)
	if err != nil {
		return nil, fmt.Errorf("reading memo of verified files %s: %w", path, err)
	}
	if !ok || size > memoCompactAt {
		err = m.compact(order)
	}
	return m, err
}

// load fills known. order lists the records from the oldest to the newest, superseded ones
// included. ok is false if the header is not ours, if the last line is torn, or if both
// hold nothing: the file should then be written anew.
func (m *Memo) load(r io.Reader) (order []stamp, size int64, ok bool, err error) {
	lines := bufio.NewReaderSize(r, memoMaxLine)
	for first := true; ; first = false {
		line, err := lines.ReadSlice('\n')
		size += int64(len(line))
		switch {
		case err == io.EOF:
			return order, size, len(line) == 0 && !first, nil
		case err != nil && err != bufio.ErrBufferFull:
			return nil, size, false, err
		case first && !isMemoHeader(line):
			return nil, size, false, nil
		}
		if s, ok := parseStamp(line); ok {
			m.known[s.fileID] = s
			order = append(order, s)
		}
	}
}

func isMemoHeader(line []byte) bool {
	var h memoHeader
	return json.Unmarshal(line, &h) == nil && h == memoHeader{memoName, memoVersion}
}

func parseStamp(line []byte) (stamp, bool) {
	var s stamp
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&s) != nil || d.More() {
		return stamp{}, false
	}
	return s, isSHA256(s.SHA256)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == hex.EncodeToString(b)
}

// compact writes the newest record of each file to a new file and puts it in place. A
// record that another process appends meanwhile is lost, which is a miss and no more.
func (m *Memo) compact(order []stamp) error {
	var kept []stamp
	for _, s := range order {
		if m.known[s.fileID] == s {
			kept = append(kept, s)
		}
	}
	kept = kept[max(0, len(kept)-memoMaxRecords):]
	buf := encodeLine(nil, memoHeader{memoName, memoVersion})
	for _, s := range kept {
		buf = encodeLine(buf, s)
	}
	if err := replaceFile(m.path, buf); err != nil {
		return fmt.Errorf("compacting memo of verified files: %w", err)
	}
	return nil
}

func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// encodeLine appends v as one line of JSON. v is one of the structs above, which always
// encode.
func encodeLine(buf []byte, v any) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(append(buf, line...), '\n')
}

// Lookup returns the sha256 that the file at path had when it was read, if nothing about
// it has changed since. A file that cannot be looked at is not known.
func (m *Memo) Lookup(path string) (sha256 string, ok bool) {
	if m == nil {
		return "", false
	}
	now, err := stampOf(path)
	if err != nil {
		return "", false
	}
	m.mu.Lock()
	known := m.known[now.fileID]
	m.mu.Unlock()
	sha256 = known.SHA256
	known.SHA256 = ""
	return sha256, sha256 != "" && known == now
}

// Remember records that the file at path, as it is now, has the given sha256. The caller
// must have read the file and know that nobody changed it since, as Watch does. It
// waits for up to 20 ms if the file changed just now, so that a later change cannot hide
// in the same clock tick. An error means that nothing was kept.
func (m *Memo) Remember(path, sha256 string) error {
	if m == nil {
		return nil
	}
	if !isSHA256(sha256) {
		return fmt.Errorf("remembering %s: %q is not a sha256", path, sha256)
	}
	before, err := stampOf(path)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remembering %s: %w", path, err)
	}
	if !settle(before) {
		return nil
	}
	after, err := stampOf(path)
	if err != nil || after != before {
		return fmt.Errorf("remembering %s: the file is being changed", path)
	}
	after.SHA256 = sha256
	return m.append(after)
}

// settle waits until the file's change time lies in the past by a clock tick. It reports
// false where that would take too long: times in whole seconds, or in the future.
func settle(s stamp) bool {
	age := time.Since(time.Unix(0, s.Ctime))
	if s.Ctime%int64(time.Second) == 0 {
		return age > 2*time.Second
	}
	if age < 0 && age > -memoTick || age >= 0 && age < memoTick {
		time.Sleep(memoTick - age)
		return true
	}
	return age >= memoTick
}

// append writes one record, and the header before it if the file is new.
func (m *Memo) append(s stamp) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[s.fileID] == s {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
		return fmt.Errorf("remembering a verified file: %w", err)
	}
	f, err := os.OpenFile(m.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("remembering a verified file: %w", err)
	}
	defer f.Close()
	var buf []byte
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		buf = encodeLine(buf, memoHeader{memoName, memoVersion})
	}
	if _, err := f.Write(encodeLine(buf, s)); err != nil {
		return fmt.Errorf("remembering a verified file: %w", err)
	}
	m.known[s.fileID] = s
	return nil
}

// Watch is a file's state before somebody reads it. The zero value knows nothing and keeps
// nothing.
type Watch struct {
	memo   *Memo
	path   string
	before stamp
}

// Watch looks at the file at path; it is to be called before the file is opened. It waits
// for up to 20 ms if the file changed just now, as Remember does. On a nil Memo, and for a
// file that cannot be looked at or that is being changed, the watch is the zero value.
func (m *Memo) Watch(path string) Watch {
	if m == nil {
		return Watch{}
	}
	first, err := stampOf(path)
	if err != nil || !settle(first) {
		return Watch{}
	}
	if now, err := stampOf(path); err != nil || now != first {
		return Watch{}
	}
	return Watch{memo: m, path: path, before: first}
}

// Known reports whether the file was found to have the wanted sha256 and size when it was
// last read, and has not changed since. Such a file need not be read again.
func (w Watch) Known(want Want) bool {
	if w.memo == nil || want.Size >= 0 && want.Size != w.before.Size {
		return false
	}
	known := w.before
	known.SHA256 = want.SHA256
	w.memo.mu.Lock()
	defer w.memo.mu.Unlock()
	return want.SHA256 != "" && w.memo.known[w.before.fileID] == known
}

// Keep remembers the sha256 that the file was found to have, if the file stands as it did
// when the watch began. That the memo could not be written is no fault of the file: the
// next check reads it again.
func (w Watch) Keep(sha256 string) {
	if w.memo == nil {
		return
	}
	if after, err := stampOf(w.path); err == nil && after == w.before {
		_ = w.memo.Remember(w.path, sha256)
	}
}
