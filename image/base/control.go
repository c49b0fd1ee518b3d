package base

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxStanza bounds one stanza of a control file in bytes.
const maxStanza = 4 << 20

// stanza is one paragraph of a control file: lower-case field name to value. Lines of a
// folded value are joined with \n, without their leading white space.
type stanza map[string]string

// words splits a field at white space.
func (s stanza) words(field string) []string { return strings.Fields(s[field]) }

// controlReader reads a control file (Debian Policy 5.1; deb822(5)) stanza by stanza, so
// that an index of 60 MB needs the memory of one stanza.
type controlReader struct {
	lines *bufio.Scanner
	line  int
}

func newControlReader(r io.Reader) *controlReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxStanza)
	return &controlReader{lines: lines}
}

// next returns the next stanza that has a field, io.EOF behind the last one.
func (c *controlReader) next() (stanza, error) {
	out, last, size := stanza{}, "", 0
	for c.lines.Scan() {
		c.line++
		line := strings.TrimRight(c.lines.Text(), " \t\r")
		if line == "" && len(out) > 0 {
			return out, nil
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if size += len(line); size > maxStanza {
			return nil, fmt.Errorf("reading line %d of a control file: the stanza is over %d bytes", c.line, maxStanza)
		}
		var err error
		if last, err = out.read(line, last); err != nil {
			return nil, fmt.Errorf("reading line %d of a control file: %w", c.line, err)
		}
	}
	if err := c.lines.Err(); err != nil {
		return nil, fmt.Errorf("reading line %d of a control file: %w", c.line+1, err)
	}
	if len(out) == 0 {
		return nil, io.EOF
	}
	return out, nil
}

// read adds a line to the stanza and returns the field that it belongs to.
func (s stanza) read(line, last string) (string, error) {
	if line[0] == ' ' || line[0] == '\t' {
		if last == "" {
			return "", fmt.Errorf("%.60q continues a field, and there is none", line)
		}
		s[last] += "\n" + strings.TrimSpace(line)
		return last, nil
	}
	name, value, ok := strings.Cut(line, ":")
	name = strings.ToLower(name)
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return "", fmt.Errorf("%.60q is no field", line)
	}
	if _, twice := s[name]; twice {
		return "", fmt.Errorf("the field %q is there twice", name)
	}
	s[name] = strings.TrimSpace(value)
	return name, nil
}

// readStanza returns the only stanza of a control file.
func readStanza(r io.Reader) (stanza, error) {
	c := newControlReader(r)
	s, err := c.next()
	if err != nil {
		return nil, err
	}
	if _, err := c.next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading line %d of a control file: one stanza is expected, there is more", c.line)
	}
	return s, nil
}
