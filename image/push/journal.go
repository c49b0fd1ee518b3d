package push

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	journalVersion = 1
	// compactAbove is the size of a journal that is written anew when it is opened.
	compactAbove = 1 << 20
	// maxJournal bounds what is read of a journal: a line has about 500 bytes, and one is
	// written for each chunk.
	maxJournal = 64 << 20
	// sessionAge is how long an open upload is worth asking for; registries purge theirs
	// after a day to a week.
	sessionAge = 7 * 24 * time.Hour
)

// Journal remembers open uploads on disk, so that a new process goes on with them. One
// line of JSON is appended for each step; the last lines about an upload say everything,
// and a torn or foreign line is skipped: the worst that a lost line costs is bytes sent
// again, since what the registry has is always asked.
//
// Lines hold upload addresses, which give a right to write: the file is readable by its
// owner only. One process owns a journal at a time. It is safe for concurrent use, and a
// nil Journal remembers nothing.
type Journal struct {
	mu   sync.Mutex
	file *os.File
	open map[sessionKey]*session
}

// sessionKey is what an upload is about.
type sessionKey struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
}

// session is an open upload.
type session struct {
	Location string
	Chunk    int64
	Marks    []mark
}

// journalLine is one step of an upload.
type journalLine struct {
	Version int `json:"schemaVersion"`
	sessionKey
	// Time is when the line was written.
	Time time.Time `json:"time"`
	// Location is where the upload goes on; empty when it is over.
	Location string `json:"location,omitempty"`
	// Start begins an upload: what was remembered of another is forgotten.
	Start bool  `json:"start,omitempty"`
	Chunk int64 `json:"chunk,omitempty"`
	Mark  *mark `json:"mark,omitempty"`
}

// OpenJournal opens or makes the journal at path, and the folders above it. ok is false if
// another process has it: then the journal is nil, and that is no error.
func OpenJournal(path string) (j *Journal, ok bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, false, fmt.Errorf("opening journal of uploads: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("opening journal of uploads: %w", err)
	}
	if ok, err := lock(f); err != nil || !ok {
		f.Close()
		return nil, false, err
	}
	j = &Journal{file: f}
	if err := j.load(); err != nil {
		f.Close()
		return nil, false, fmt.Errorf("reading journal of uploads %s: %w", path, err)
	}
	return j, true, nil
}

// load reads the file and compacts it where it is large.
func (j *Journal) load() error {
	data, err := io.ReadAll(io.LimitReader(j.file, maxJournal))
	if err != nil {
		return err
	}
	j.open = parseJournal(bytes.NewReader(data), time.Now())
	if len(data) > 0 && data[len(data)-1] != '\n' {
		if _, err := j.file.Write([]byte("\n")); err != nil { // a torn line: the next one stands alone
			return err
		}
	}
	if len(data) <= compactAbove && len(j.open) > 0 {
		return nil
	}
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	for key, s := range j.open {
		if err := j.rewrite(key, s); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes all lines about one upload.
func (j *Journal) rewrite(key sessionKey, s *session) error {
	lines := []journalLine{{sessionKey: key, Location: s.Location, Chunk: s.Chunk, Start: true}}
	for _, m := range s.Marks {
		lines = append(lines, journalLine{sessionKey: key, Location: s.Location, Mark: &m})
	}
	for _, l := range lines {
		if err := j.write(l); err != nil {
			return err
		}
	}
	return nil
}

// parseJournal reads the uploads that are still open at a time.
func parseJournal(r io.Reader, now time.Time) map[sessionKey]*session {
	open := map[sessionKey]*session{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		var l journalLine
		if json.Unmarshal(lines.Bytes(), &l) != nil || !l.valid(now) {
			continue
		}
		switch s := open[l.sessionKey]; {
		case l.Location == "":
			delete(open, l.sessionKey)
		case l.Start || s == nil:
			s = &session{Chunk: l.Chunk}
			open[l.sessionKey] = s
			s.take(l)
		default:
			s.take(l)
		}
	}
	return open
}

// valid reports whether a line is one of ours and young enough.
func (l journalLine) valid(now time.Time) bool {
	if _, err := v1.NewHash(l.Digest); err != nil {
		return false
	}
	return l.Version == journalVersion && strings.HasPrefix(l.Digest, "sha256:") && now.Sub(l.Time) < sessionAge &&
		(l.Mark == nil || l.Mark.At > 0)
}

// take adds what a line says.
func (s *session) take(l journalLine) {
	s.Location = l.Location
	if l.Mark != nil && (len(s.Marks) == 0 || s.Marks[len(s.Marks)-1].At < l.Mark.At) {
		s.Marks = append(s.Marks, *l.Mark)
	}
}

// find returns the open upload, nil if there is none.
func (j *Journal) find(key sessionKey) *session {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open[key]
}

// note appends a line.
func (j *Journal) note(l journalLine) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if l.Location == "" || l.Start {
		delete(j.open, l.sessionKey)
	}
	if err := j.write(l); err != nil {
		return fmt.Errorf("writing journal of uploads: %w", err)
	}
	return nil
}

func (j *Journal) write(l journalLine) error {
	l.Version, l.Time = journalVersion, time.Now().UTC()
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(text, '\n'))
	return err
}

// Close releases the journal for other processes.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
