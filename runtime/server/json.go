package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bodies are JSON whose one large part is a picture in base64, so strings are passed over at
// the speed of memory: encoding/json looks at every byte several times, which for the largest
// picture takes seconds. Here keys are exact and one that occurs twice can be seen, where
// encoding/json takes any case and the last one.

// errNoObject and errNoArray are about JSON of another kind.
var (
	errNoObject = errors.New("it is no JSON object")
	errNoArray  = errors.New("it is no JSON array")
)

// maxDepth is how deep values may nest.
const maxDepth = 1000

// members calls each for every member of the JSON object that data is, in order, also for
// keys that occur again. Values are part of data and valid JSON, apart from arrays and
// objects, of which only brackets and strings are told apart: check tells the rest.
func members(data []byte, each func(key string, value json.RawMessage)) error {
	s := &scanner{data: data}
	if s.next() != '{' {
		return s.kind(errNoObject)
	}
	return s.list('}', func() error {
		quoted, err := s.value()
		if err != nil {
			return err
		}
		var key string
		if quoted[0] != '"' || json.Unmarshal(quoted, &key) != nil {
			return errors.New("a key is no string")
		}
		if s.next() != ':' {
			return s.unexpected()
		}
		s.at++
		value, err := s.value()
		if err == nil {
			each(key, value)
		}
		return err
	})
}

// elements returns the elements of the JSON array that data is, as members does.
func elements(data []byte) (out []json.RawMessage, err error) {
	s := &scanner{data: data}
	if s.next() != '[' {
		return nil, s.kind(errNoArray)
	}
	err = s.list(']', func() error {
		value, err := s.value()
		out = append(out, value)
		return err
	})
	return out, err
}

// check tells whether a value out of members or elements is valid JSON to its last byte.
func check(value json.RawMessage) error {
	if value[0] != '{' && value[0] != '[' {
		return nil
	}
	return json.Unmarshal(value, new(json.RawMessage))
}

// scanner reads JSON from left to right.
type scanner struct {
	data []byte
	at   int
}

// next passes over white space and returns the byte behind it, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		if !slices.Contains([]byte(" \t\r\n"), s.data[s.at]) {
			return s.data[s.at]
		}
	}
	return 0
}

// unexpected is the error of the byte at hand.
func (s *scanner) unexpected() error {
	if s.at >= len(s.data) {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("unexpected %q at byte %d", s.data[s.at], s.at)
}

// kind is the error of a document that is of another kind, or none.
func (s *scanner) kind(other error) error {
	if err := json.Unmarshal(s.data, new(json.RawMessage)); err != nil {
		return err
	}
	return other
}

// list reads what stands between the bracket at hand and its end, one item after the other,
// and then the end of the document.
func (s *scanner) list(end byte, item func() error) error {
	s.at++
	for empty := s.next() == end; !empty; {
		if err := item(); err != nil {
			return err
		}
		if s.next() == end {
			break
		}
		if s.next() != ',' {
			return s.unexpected()
		}
		s.at++
	}
	s.at++
	if s.next(); s.at < len(s.data) {
		return fmt.Errorf("there is more behind it, %w", s.unexpected())
	}
	return nil
}

// value reads the next value.
func (s *scanner) value() (json.RawMessage, error) {
	first := s.next()
	begin := s.at
	switch first {
	case '"':
		return s.text()
	case '{', '[':
		return s.nested()
	}
	for s.at < len(s.data) && !slices.Contains([]byte(",:]}[{\" \t\r\n"), s.data[s.at]) {
		s.at++
	}
	value := s.data[begin:s.at]
	if !json.Valid(value) {
		s.at = begin
		return nil, s.unexpected()
	}
	return value, nil
}

// text reads the string at hand, with its quotes. Each byte is looked at a fixed number of
// times: the next quote is kept until an escape reaches beyond it.
func (s *scanner) text() (json.RawMessage, error) {
	quote := -1
	for i := s.at + 1; ; {
		if quote < i {
			q := bytes.IndexByte(s.data[min(i, len(s.data)):], '"')
			if q < 0 {
				return nil, io.ErrUnexpectedEOF
			}
			quote = i + q
		}
		escape := bytes.IndexByte(s.data[i:quote], '\\')
		if escape < 0 {
			break
		}
		i += escape + 2
	}
	value := json.RawMessage(s.data[s.at : quote+1])
	if !plain(value) && !json.Valid(value) {
		return nil, fmt.Errorf("the string at byte %d has a control character or an unknown escape", s.at)
	}
	s.at = quote + 1
	return value, nil
}

// plain reports whether a string stands for its own bytes.
func plain(value json.RawMessage) bool {
	if bytes.IndexByte(value, '\\') >= 0 {
		return false
	}
	for _, b := range value {
		if b < ' ' {
			return false
		}
	}
	return true
}

// nested reads the array or object at hand up to its last bracket.
func (s *scanner) nested() (json.RawMessage, error) {
	begin, depth := s.at, 0
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case '"':
			if _, err := s.text(); err != nil {
				return nil, err
			}
			continue
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("it nests deeper than %d", maxDepth)
			}
		case '}', ']':
			depth--
		}
		if s.at++; depth == 0 {
			return s.data[begin:s.at], nil
		}
	}
	return nil, io.ErrUnexpectedEOF
}
