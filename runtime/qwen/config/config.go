// Package config reads the JSON configurations of a model's components, exactly as they
// stand: one object, keys that differ in case are different keys, no key twice, nothing
// behind it, no text for a number. What a component does with a key is the component's
// matter; here it is only made sure that two readers can't understand two things.
//
// Errors name the key and what is there. They carry no kind and not the file's name, which
// the caller knows.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"
)

// MaxBytes is the largest document that is read; the largest published one has 10 kB.
const MaxBytes = 1 << 20

// Object is a configuration. It is read-only and safe for concurrent use.
type Object struct{ values map[string]json.RawMessage }

// Parse reads one JSON object.
func Parse(data []byte) (Object, error) {
	if len(data) > MaxBytes {
		return Object{}, fmt.Errorf("the document has %d bytes, at most %d are read", len(data), MaxBytes)
	}
	if !utf8.Valid(data) {
		return Object{}, errors.New("the document is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	values, err := object(d)
	if err != nil {
		return Object{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Object{}, errors.New("there is something behind the JSON object")
	}
	return Object{values}, nil
}

// object reads the keys and raw values of the next value, which must be an object.
func object(d *json.Decoder) (map[string]json.RawMessage, error) {
	start, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	if start != json.Delim('{') {
		return nil, fmt.Errorf("the document begins with %v, want a JSON object", start)
	}
	values := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("the document is no JSON: %w", err)
		}
		name, _ := key.(string) // between '{' and '}' the decoder gives nothing else here
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("the key %q is there twice", name)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("the value of %q is no JSON: %w", name, err)
		}
		values[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	return values, nil
}

// Keys lists the keys in ascending order.
func (o Object) Keys() []string { return slices.Sorted(maps.Keys(o.values)) }

// Null reports whether a key is absent or null, which are the same to the Python classes
// whose default is None.
func (o Object) Null(key string) bool {
	raw, ok := o.values[key]
	return !ok || string(raw) == "null"
}

// Text is the value of a key as it is written, for messages: at most 80 bytes of it, and
// "nothing" where the key is absent.
func (o Object) Text(key string) string {
	raw, ok := o.values[key]
	switch {
	case !ok:
		return "nothing"
	case len(raw) > 80:
		return string(bytes.ToValidUTF8(raw[:80], nil)) + "…"
	}
	return string(raw)
}

// Get returns the value of a key, and absent where the key is not there. A null, and a
// value of another type or out of its range, is an error.
func Get[T any](o Object, key string, absent T) (T, error) {
	raw, ok := o.values[key]
	if !ok {
		return absent, nil
	}
	var v T
	err := json.Unmarshal(raw, &v)
	if err != nil || string(raw) == "null" {
		return v, fmt.Errorf("%s is %s, want %s", key, o.Text(key), wanted(v))
	}
	return v, nil
}

// wanted names a Go type in JSON's words.
func wanted(v any) string {
	switch v.(type) {
	case bool:
		return "true or false"
	case string:
		return "text"
	case int:
		return "a whole number"
	case float64:
		return "a number"
	case []*float64:
		return "a list of numbers"
	}
	return fmt.Sprintf("a value of type %T", v)
}

// Numbers returns the list of numbers of a key, which must be there.
func (o Object) Numbers(key string) ([]float64, error) {
	list, err := Get[[]*float64](o, key, nil)
	if err == nil && list == nil {
		err = fmt.Errorf("%s is missing, want a list of numbers", key)
	}
	out := make([]float64, len(list))
	for i, v := range list {
		if v == nil && err == nil {
			err = fmt.Errorf("%s has null at %d, want a number", key, i)
		}
		if err != nil {
			return nil, err
		}
		out[i] = *v
	}
	return out, err
}
