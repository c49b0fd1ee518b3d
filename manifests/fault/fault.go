// Package fault gives an error the two things that the top of a program needs and the
// middle must not decide: a Kind, which becomes the exit code, and a hint, the way out.
//
// An error is wrapped once, at the place where its kind is known; everything above adds
// context with %w as usual. Only the top of a program prints the hint, on a line of its
// own behind the error. Both travel inside the error chain, so errors.Is and errors.As
// keep working.
package fault

import (
	"context"
	"errors"
	"syscall"
)

// Kind says whose turn it is to act on an error. Its value is the exit code of every
// plimsoll command, so the values are part of the interface and never change.
type Kind int

// The exit-code table. 0 is success.
const (
	Internal Kind = 1   // a defect of plimsoll, or a failure that nothing below explains
	Usage    Kind = 2   // a flag, a name or a manifest that the caller wrote
	Lock     Kind = 3   // the lock is missing, stale or unreadable
	Upstream Kind = 4   // the Hub or a Debian mirror: unreachable, refusing, or changed
	Invalid  Kind = 5   // bytes that are not what they must be
	Resource Kind = 6   // this machine: disk full, cache not writable, memory
	Registry Kind = 7   // the registry: unreachable or refusing
	Budget   Kind = 8   // the image is larger than its manifest allows
	Canceled Kind = 130 // interrupted by the user, as shells report SIGINT
)

// kindNames are the words used in documentation and in JSON.
var kindNames = map[Kind]string{
	Internal: "internal", Usage: "usage", Lock: "lock", Upstream: "upstream", Invalid: "invalid",
	Resource: "resource", Registry: "registry", Budget: "budget", Canceled: "canceled",
}

// Kinds lists every kind in ascending order of exit codes.
func Kinds() []Kind {
	return []Kind{Internal, Usage, Lock, Upstream, Invalid, Resource, Registry, Budget, Canceled}
}

// String returns the kind's name, such as "upstream".
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return "internal"
}

// ExitCode returns the exit code of the kind.
func (k Kind) ExitCode() int { return int(k) }

// marked is an error with its kind and hint.
type marked struct {
	kind Kind
	hint string
	err  error
}

func (m *marked) Error() string { return m.err.Error() }
func (m *marked) Unwrap() error { return m.err }

// Wrap marks err with a kind and a hint; either may be zero. It returns nil for a nil err.
// The text of the error does not change.
func Wrap(kind Kind, hint string, err error) error {
	if err == nil {
		return nil
	}
	return &marked{kind: kind, hint: hint, err: err}
}

// KindOf returns the outermost kind in err's chain. Errors that nobody marked are judged
// by what they wrap: a cancelled context is Canceled; a full, read-only or forbidden file
// system is Resource; anything else is Internal. KindOf(nil) is 0.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	if m := find(err, func(m *marked) bool { return m.kind != 0 }); m != nil {
		return m.kind
	}
	if Local(err) {
		return Resource
	}
	return Internal
}

// HintOf returns the outermost hint in err's chain, "" if there is none.
func HintOf(err error) string {
	if m := find(err, func(m *marked) bool { return m.hint != "" }); m != nil {
		return m.hint
	}
	return ""
}

// Local reports whether err came from this machine's own file system refusing: no space,
// over quota, read-only or no permission.
func Local(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// find walks err's chain, branches of errors.Join included, outermost first.
func find(err error, ok func(*marked) bool) *marked {
	if m, is := err.(*marked); is && ok(m) {
		return m
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if next := u.Unwrap(); next != nil {
			return find(next, ok)
		}
	case interface{ Unwrap() []error }:
		for _, next := range u.Unwrap() {
			if m := find(next, ok); m != nil {
				return m
			}
		}
	}
	return nil
}
