package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Result is what a verb returns: it prints itself for people and marshals as JSON.
type Result interface {
	Text() string
}

// Briefer is a result that can be shown in short.
type Briefer interface {
	Result
	Brief() string
}

// Brief returns a result whose text is the short one, and whose JSON is that of r.
func Brief(r Briefer) Result { return &brief{r} }

type brief struct{ Briefer }

func (b *brief) Text() string { return b.Brief() }

// Show writes a result to w, as indented JSON if asked.
func Show(w io.Writer, r Result, asJSON bool) error {
	if b, is := r.(*brief); is && asJSON {
		r = b.Briefer
	}
	if !asJSON {
		_, err := io.WriteString(w, r.Text())
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Exit is an error as the top of a program shows it: with its hint on a line of its own,
// and with the exit code of its kind, which mage asks for.
type Exit struct {
	err error
}

// Top prepares an error for the top of a program; nil stays nil.
func Top(err error) error {
	if err == nil {
		return nil
	}
	return &Exit{err: err}
}

// Error is the error's text, then the hint.
func (e *Exit) Error() string {
	text := strings.TrimSpace(e.err.Error())
	if hint := fault.HintOf(e.err); hint != "" {
		text = fmt.Sprintf("%s\nhint: %s", text, hint)
	}
	return text
}

// Unwrap returns the error itself.
func (e *Exit) Unwrap() error { return e.err }

// ExitStatus is the exit code, out of the one table for all targets.
func (e *Exit) ExitStatus() int { return fault.KindOf(e.err).ExitCode() }

// Do prepares a job, runs one verb on it and shows the result. A result that comes with an
// error is shown too: it says what was done before.
func Do(o Options, w io.Writer, asJSON bool, verb func(*Job) (Result, error)) error {
	return do(o, New, w, asJSON, verb)
}

// DoInCache is Do for the verbs that work on the cache: no model is needed, and none is the
// default.
func DoInCache(o Options, w io.Writer, asJSON bool, verb func(*Job) (Result, error)) error {
	prepared := New
	if o.Model == "" {
		prepared = prepare
	}
	return do(o, prepared, w, asJSON, verb)
}

func do(o Options, prepared func(Options) (*Job, error), w io.Writer, asJSON bool, verb func(*Job) (Result, error)) error {
	j, err := prepared(o)
	if err != nil {
		return err
	}
	defer j.Close()
	r, err := verb(j)
	if r != nil && !isNil(r) {
		err = errors.Join(err, Show(w, r, asJSON))
	}
	return err
}

// isNil reports whether a verb returned a nil pointer as its result.
func isNil(r Result) bool {
	if b, is := r.(*brief); is {
		r = b.Briefer
	}
	return reflect.ValueOf(r).IsNil()
}
