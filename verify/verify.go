// Package verify says what is true about bytes, from the bytes alone.
//
// Three things live here, and the packages below verify build on them:
//
//   - Findings. A check never stops at the first fault: it returns a list of findings, each
//     with a severity, a stable code, the object (a file, a tensor), a message with both
//     values and, where one exists, the way out. Findings.Err turns the list into one error
//     for callers that only want to know whether to go on. An error that is returned beside
//     findings means that the check itself could not be done (the disk failed, the context
//     ended) and says nothing about the bytes.
//   - Sums. File and Reader compare size first, because a wrong size is free to see and the
//     most useful thing to say about a truncated download, and then read the bytes once.
//     sha256 decides; the git blob sha1 only does where an upstream knows nothing else.
//     Memory does not depend on the size of the file.
//   - Memory of work done. A Memo remembers which sha256 a file had, for as long as its
//     size, times, inode and device stand, so that 57 GB need not be read to be believed. A
//     Proven file is an open one that a Memo answers for.
//
// The package knows neither network nor locks: what the bytes should be is the caller's Want.
package verify

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Severity ranks a finding. The zero value ranks below all and stands for "nothing found".
type Severity int

// Severities, in ascending order. Only Error makes Findings.Err return an error.
const (
	Info    Severity = iota + 1 // worth knowing: an unused part, a value that could not be judged
	Warning                     // unlikely or unproven, but the bytes may be right
	Error                       // the bytes are not what they must be
)

var severityNames = [...]string{"none", "info", "warning", "error"}

// String returns "error", "warning" or "info"; "none" for the zero value.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severityNames) {
		return fmt.Sprintf("severity(%d)", int(s))
	}
	return severityNames[s]
}

// MarshalText writes the name of the severity, which is how it appears in JSON.
func (s Severity) MarshalText() ([]byte, error) {
	if s < Info || s > Error {
		return nil, fmt.Errorf("encoding severity: %d is not a severity", int(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *Severity) UnmarshalText(text []byte) error {
	for v := Info; v <= Error; v++ {
		if severityNames[v] == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("decoding severity: %q is none of info, warning, error", text)
}

// Finding is one thing that a check saw.
type Finding struct {
	Severity Severity `json:"severity"`
	// Code is a stable lower-case word for programs, such as "size" or "sha256".
	Code string `json:"code"`
	// Object names what the finding is about: a file, or a tensor in a file.
	Object string `json:"object"`
	// Message is a sentence without the object, with both values where two disagree.
	Message string `json:"message"`
	// Hint is the way out, "" where there is none.
	Hint string `json:"hint,omitempty"`
}

// String is "object: message".
func (f Finding) String() string {
	if f.Object == "" {
		return f.Message
	}
	return f.Object + ": " + f.Message
}

// Findings are the results of one or more checks, in the order in which they were made.
// nil means that nothing was found. JSON is always an array, never null.
type Findings []Finding

// MarshalJSON writes an array, [] for no findings.
func (fs Findings) MarshalJSON() ([]byte, error) {
	if fs == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]Finding(fs))
}

// Add appends a finding whose message is formatted as fmt.Sprintf does it.
func (fs *Findings) Add(severity Severity, code, object, format string, args ...any) {
	*fs = append(*fs, Finding{Severity: severity, Code: code, Object: object, Message: fmt.Sprintf(format, args...)})
}

// Hint sets the hint of the finding that was added last.
func (fs Findings) Hint(format string, args ...any) {
	fs[len(fs)-1].Hint = fmt.Sprintf(format, args...)
}

// Worst returns the highest severity in the list, 0 for an empty one.
func (fs Findings) Worst() Severity {
	var worst Severity
	for _, f := range fs {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Err returns nil if no finding is an Error. Otherwise the error has kind fault.Invalid,
// the first hint among the errors, and a text that lists every error, one line for each
// object, in order of appearance. Warnings and infos are left to the caller.
func (fs Findings) Err() error {
	lines, hint := fs.errorLines()
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return fault.Wrap(fault.Invalid, hint, fmt.Errorf("verifying %s", lines[0]))
	}
	text := strings.Join(lines, "\n  ")
	return fault.Wrap(fault.Invalid, hint, fmt.Errorf("verifying: %d objects are wrong:\n  %s", len(lines), text))
}

// errorLines groups the errors by object.
func (fs Findings) errorLines() (lines []string, hint string) {
	at := map[string]int{}
	for _, f := range fs {
		if f.Severity != Error {
			continue
		}
		if hint == "" {
			hint = f.Hint
		}
		if i, ok := at[f.Object]; ok {
			lines[i] += "; " + f.Message
			continue
		}
		at[f.Object] = len(lines)
		lines = append(lines, f.String())
	}
	return lines, hint
}
