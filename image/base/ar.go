package base

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// The ar format as deb(5) uses it: a magic, then for each member a header of printable
// fields and the bytes, padded to an even offset.
const (
	arMagic  = "!<arch>\n"
	arHeader = 60
	arEnd    = "`\n"
)

// arMember is one member. Its data is a view of the archive.
type arMember struct {
	name string
	data []byte
}

// parseAr splits an ar archive into its members. Every byte of the archive is accounted
// for: a member that is cut off, or bytes behind the last one, are errors.
func parseAr(archive []byte) ([]arMember, error) {
	rest, ok := bytes.CutPrefix(archive, []byte(arMagic))
	if !ok {
		return nil, fmt.Errorf("reading an ar archive: it begins with %.8q, not with %q", archive, arMagic)
	}
	var out []arMember
	for len(rest) > 0 {
		at := len(archive) - len(rest)
		m, after, err := nextMember(rest)
		if err != nil {
			return nil, fmt.Errorf("reading an ar archive: at byte %d: %w", at, err)
		}
		out, rest = append(out, m), after
	}
	return out, nil
}

// nextMember takes one member off the front of rest.
func nextMember(rest []byte) (arMember, []byte, error) {
	if len(rest) < arHeader {
		return arMember{}, nil, fmt.Errorf("%d bytes are left, a header has %d", len(rest), arHeader)
	}
	header, body := string(rest[:arHeader]), rest[arHeader:]
	if header[58:] != arEnd {
		return arMember{}, nil, fmt.Errorf("the header ends with %q, not with %q", header[58:], arEnd)
	}
	size, err := strconv.ParseUint(strings.TrimRight(header[48:58], " "), 10, 40)
	if err != nil || size > uint64(len(body)) {
		return arMember{}, nil, fmt.Errorf("the member's size is %q, %d bytes are left", header[48:58], len(body))
	}
	m := arMember{name: strings.TrimSuffix(strings.TrimRight(header[:16], " "), "/"), data: body[:size]}
	after := body[size:]
	if size%2 == 1 && len(after) > 0 {
		after = after[1:]
	}
	return m, after, nil
}
