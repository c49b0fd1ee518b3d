package textencoder

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
)

// reader reads the keys of one part of a configuration. The first error is kept and shared
// with the parts below; values after it mean nothing.
type reader struct {
	path string
	// objects are where the part is stated. A key may be in any of them; those that have it
	// agree.
	objects []config.Object
	err     *error
}

// fail keeps the first error.
func (r *reader) fail(format string, args ...any) {
	if *r.err == nil {
		*r.err = fmt.Errorf(format, args...)
	}
}

// get is the value of a key that may be absent.
func get[T any](r *reader, key string) (value T, found bool) {
	for _, o := range r.objects {
		if !slices.Contains(o.Keys(), key) {
			continue
		}
		v, err := config.Get(o, key, value)
		switch {
		case err != nil:
			r.fail("%s%w", r.path, err)
		case found && !reflect.DeepEqual(v, value):
			r.fail("%s is stated twice, as %v and as %v", r.path+key, value, v)
		}
		value, found = v, true
	}
	return value, found
}

// must is the value of a key that has to be there.
func must[T any](r *reader, key string) T {
	v, found := get[T](r, key)
	if !found {
		r.fail("%s is missing", r.path+key)
	}
	return v
}

// size is a whole number from 1 to most.
func (r *reader) size(key string, most int) int {
	n := must[int](r, key)
	if n < 1 || n > most {
		r.fail("%s is %d, want 1 to %d", r.path+key, n, most)
	}
	return n
}

// positive is a finite number above zero.
func (r *reader) positive(key string) float64 {
	v := must[float64](r, key)
	if !(v > 0) || math.IsInf(v, 0) {
		r.fail("%s is %v, want a number above 0", r.path+key, v)
	}
	return v
}

// whole is a list of whole numbers within bounds.
func (r *reader) whole(key string, least, most int) []int {
	list := must[[]int](r, key)
	for _, n := range list {
		if n < least || n > most {
			r.fail("%s is %v, want numbers from %d to %d", r.path+key, list, least, most)
		}
	}
	return list
}

// only refuses other words than those that are implemented. An absent key has the first.
func (r *reader) only(key string, words ...string) {
	if v, found := get[string](r, key); found && !slices.Contains(words, v) {
		r.fail(`%s is %q, only "%s" is implemented`, r.path+key, v, strings.Join(words, `" or "`))
	}
}

// off refuses a switch that is on.
func (r *reader) off(key string) {
	if v, _ := get[bool](r, key); v {
		r.fail("%s is true, which is not implemented", r.path+key)
	}
}

// none refuses a key that has a value.
func (r *reader) none(key string) {
	for _, o := range r.objects {
		if !o.Null(key) {
			r.fail("%s is %s, which is not implemented", r.path+key, o.Text(key))
		}
	}
}

// part reads the object of a key that has to be there.
func (r *reader) part(key string) *reader {
	p := &reader{path: r.path + key + ".", err: r.err}
	for _, o := range r.objects {
		if o.Null(key) {
			continue
		}
		raw, err := config.Get[json.RawMessage](o, key, nil)
		if err == nil {
			var inner config.Object
			if inner, err = config.Parse(raw); err == nil {
				p.objects = append(p.objects, inner)
			}
		}
		if err != nil {
			r.fail("%s: %w", r.path+key, err)
		}
	}
	if len(p.objects) == 0 {
		r.fail("%s is missing", r.path+key)
	}
	return p
}
