package push

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// markEvery is the distance of the marks: so much is read a second time, at most, when an
// upload goes back to what a registry has.
const markEvery = 16 << 20

// mark is the state of a hash after a number of bytes, so that it can go on there.
type mark struct {
	At    int64  `json:"at"`
	State []byte `json:"state"`
}

// sums hashes a blob as it leaves, in order, and can go back to any offset. It is for one
// goroutine.
type sums struct {
	hash  hash.Hash
	at    int64
	marks []mark
}

func newSums() *sums { return &sums{hash: sha256.New()} }

// write hashes the bytes that follow.
func (s *sums) write(p []byte) error {
	for len(p) > 0 {
		n := min(int64(len(p)), markEvery-s.at%markEvery)
		s.hash.Write(p[:n])
		s.at, p = s.at+n, p[n:]
		if s.at%markEvery == 0 {
			if err := s.mark(); err != nil {
				return err
			}
		}
	}
	return nil
}

// mark remembers the state.
func (s *sums) mark() error {
	state, err := s.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("keeping the state of a hash: %w", err)
	}
	s.marks = append(s.marks, mark{At: s.at, State: state})
	return nil
}

// last is the latest mark, ok is false where there is none.
func (s *sums) last() (m mark, ok bool) {
	if len(s.marks) == 0 {
		return mark{}, false
	}
	return s.marks[len(s.marks)-1], true
}

// seek makes the next byte that is hashed the one at the offset. What lies between the
// nearest mark and the offset is read from the source.
func (s *sums) seek(source io.ReaderAt, offset int64) error {
	if offset == s.at {
		return nil
	}
	for len(s.marks) > 0 && s.marks[len(s.marks)-1].At > offset {
		s.marks = s.marks[:len(s.marks)-1]
	}
	m, ok := s.last()
	if offset < s.at || ok && m.At > s.at {
		s.restore(m, ok)
	}
	rest := io.NewSectionReader(source, s.at, offset-s.at)
	_, err := io.CopyBuffer(writer(s.write), rest, make([]byte, 256<<10))
	return err
}

// restore goes back to a mark, or to the start where there is none or it is no state.
func (s *sums) restore(m mark, ok bool) {
	s.hash, s.at = sha256.New(), 0
	if ok && s.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(m.State) == nil {
		s.at = m.At
		return
	}
	s.hash, s.marks = sha256.New(), nil
}

// hex is the sum of what was written.
func (s *sums) hex() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// writer makes an io.Writer of a function that takes everything or fails.
type writer func([]byte) error

// Write calls the function.
func (w writer) Write(p []byte) (int, error) { return len(p), w(p) }
