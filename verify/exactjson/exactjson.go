// Package exactjson decodes JSON documents of others as the programs that use them do.
//
// encoding/json gives a struct's field the value of any key that differs from its name in
// case alone, and of a key that occurs twice it takes now the last value, now a mixture of
// both. The loaders of models, in Python, know exact keys only: what would be verified was
// not what is loaded. So keys are exact here, and one that occurs twice is an error, in
// every object that is decoded into a struct or a map.
//
// A tokenizer's file has 11 MB and is read at every start of a model. So a document is gone
// through twice, once to see whether it is JSON and once to decode it, however deep its values
// lie. What is wrong with a text or a value encoding/json says: its errors are the errors here.
package exactjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Unmarshal decodes one JSON value, and nothing behind it, into v, a pointer. Types and
// tags are those of encoding/json; every field of a struct has a tag with its name, or is
// an embedded struct. A type with an UnmarshalJSON of its own is left to it.
func Unmarshal(data []byte, v any) error {
	if !valid(data) {
		var whole json.RawMessage
		if err := json.Unmarshal(data, &whole); err != nil {
			return err
		}
	}
	t := text{data: data}
	return t.decode(reflect.ValueOf(v).Elem())
}

var (
	stringType = reflect.TypeFor[string]()
	vocabulary = reflect.TypeFor[*map[string]int64]()
)

// decode decodes the next value.
func (t *text) decode(v reflect.Value) error {
	first, to := t.peek(), v.Addr().Interface()
	if own, ok := to.(json.Unmarshaler); ok {
		return own.UnmarshalJSON(t.value())
	}
	if first != 'n' { // null
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			return t.decode(v.Elem())
		case reflect.Struct:
			return t.decodeStruct(v)
		case reflect.Map:
			return t.decodeMap(v)
		case reflect.Slice:
			return t.decodeSlice(v)
		}
	}
	if v.Type() == stringType && first == '"' {
		value, err := t.string(nil)
		v.SetString(string(value))
		return err
	}
	return json.Unmarshal(t.value(), to)
}

// decodeStruct sets the fields that an object has members for.
func (t *text) decodeStruct(v reflect.Value) error {
	fields := map[string]reflect.Value{}
	addFields(fields, v)
	return t.object(v.Type(), func(key string) error {
		field, ok := fields[key]
		if !ok {
			t.value()
			return nil
		}
		return within(key, t.decode(field))
	})
}

// addFields lists the fields of a struct by the names of their tags; those of an embedded
// struct, which outer ones hide, first.
func addFields(out map[string]reflect.Value, v reflect.Value) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			addFields(out, v.Field(i))
		}
	}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = v.Field(i)
		}
	}
}

// decodeMap adds an object's members to an empty map. Where there is nothing to descend
// into the members are counted instead.
func (t *text) decodeMap(v reflect.Value) error {
	switch v.Type().Elem().Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer, reflect.Slice, reflect.Interface:
	default:
		return t.decodeFlat(v)
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	return t.object(v.Type(), func(key string) error {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := t.decode(element); err != nil {
			return within(key, err)
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
		return nil
	})
}

// decodeFlat adds members whose values have no members.
func (t *text) decodeFlat(v reflect.Value) error {
	start := t.at
	if to := v.Addr(); to.CanConvert(vocabulary) && t.peek() == '{' {
		if n, ok := t.decodeVocabulary(to.Convert(vocabulary).Interface().(*map[string]int64)); ok {
			return different(n, v.Len())
		}
		t.at = start
	}
	data := t.value()
	if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
		return err
	}
	inner, n := text{data: data}, 0
	if inner.peek() == '{' {
		err := inner.list('}', func() error {
			n++
			_, err := inner.key()
			inner.value()
			return err
		})
		if err != nil {
			return err
		}
	}
	return different(n, v.Len())
}

// different is an error where n keys made a map of another length.
func different(n, length int) error {
	if n != length {
		return fmt.Errorf("of %d keys %d are different: one occurs twice", n, length)
	}
	return nil
}

// decodeVocabulary adds the members of an object whose values are all whole numbers, such as
// 150,000 tokens, and counts them; their names share one piece of memory. Of another object
// nothing is added, and ok is false.
func (t *text) decodeVocabulary(m *map[string]int64) (n int, ok bool) {
	type member struct {
		end int // of the name
		id  int64
	}
	var names []byte
	var members []member
	err := t.list('}', func() (err error) {
		if len(members) == cap(members) {
			members, names = slices.Grow(members, max(len(members), 8)), slices.Grow(names, len(names))
		}
		if names, err = t.string(names); err != nil {
			return err
		}
		t.colon()
		id, ok := t.integer()
		if !ok {
			return errOther
		}
		members = append(members, member{len(names), id})
		return nil
	})
	if err != nil {
		return 0, false
	}
	if len(*m) == 0 {
		*m = make(map[string]int64, len(members))
	}
	all, start := string(names), 0
	for _, e := range members {
		(*m)[all[start:e.end]] = e.id
		start = e.end
	}
	return len(members), true
}

// errOther ends the reading of a vocabulary that is none.
var errOther = errors.New("not a whole number")

// decodeSlice replaces a slice by an array's elements.
func (t *text) decodeSlice(v reflect.Value) error {
	if t.peek() != '[' {
		return json.Unmarshal(t.value(), &[]json.RawMessage{})
	}
	all := reflect.New(v.Type()).Elem()
	all.Set(reflect.MakeSlice(v.Type(), 0, 0))
	err := t.list(']', func() error {
		n := all.Len()
		if n == all.Cap() {
			all.Grow(max(n, 4))
		}
		all.SetLen(n + 1)
		return t.decode(all.Index(n))
	})
	v.Set(all)
	return err
}

// object calls member behind the name of each member of an object, in order.
func (t *text) object(into reflect.Type, member func(key string) error) error {
	if t.peek() != '{' {
		return &json.UnmarshalTypeError{Value: kind(t.data[t.at]), Type: into}
	}
	seen := map[string]bool{}
	return t.list('}', func() error {
		key, err := t.key()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %.100q occurs twice", key)
		}
		seen[key] = true
		return member(key)
	})
}

// kind names a value that is no object by its first byte.
func kind(first byte) string {
	switch first {
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	}
	return "number"
}

// within says under which key an error lies.
func within(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%.100q: %w", key, err)
}
