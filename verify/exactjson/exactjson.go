// Package exactjson decodes JSON documents of others as the programs that use them do.
//
// encoding/json gives a struct's field the value of any key that differs from its name in
// case alone, and of a key that occurs twice it takes now the last value, now a mixture of
// both. The loaders of models, in Python, know exact keys only: what would be verified was
// not what is loaded. So keys are exact here, and one that occurs twice is an error, in
// every object that is decoded into a struct or a map.
package exactjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Unmarshal decodes one JSON value, and nothing behind it, into v, a pointer. Types and
// tags are those of encoding/json; every field of a struct has a tag with its name, or is
// an embedded struct. A type with an UnmarshalJSON of its own is left to it.
func Unmarshal(data []byte, v any) error {
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return err
	}
	return decode(bytes.TrimSpace(whole), reflect.ValueOf(v).Elem())
}

// decode decodes a value that is known to be JSON.
func decode(data json.RawMessage, v reflect.Value) error {
	_, own := v.Addr().Interface().(json.Unmarshaler)
	switch {
	case own || string(data) == "null":
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return decode(data, v.Elem())
	case v.Kind() == reflect.Struct:
		fields := map[string]reflect.Value{}
		addFields(fields, v)
		return object(data, v.Type(), func(key string, value json.RawMessage) error {
			if field, ok := fields[key]; ok {
				return within(key, decode(value, field))
			}
			return nil
		})
	case v.Kind() == reflect.Map:
		return decodeMap(data, v)
	case v.Kind() == reflect.Slice:
		return decodeSlice(data, v)
	}
	return json.Unmarshal(data, v.Addr().Interface())
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
// into, as in a vocabulary of 150,000 tokens, the members are counted instead.
func decodeMap(data json.RawMessage, v reflect.Value) error {
	switch v.Type().Elem().Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer, reflect.Slice, reflect.Interface:
	default:
		if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
			return err
		}
		if n := count(data); n != v.Len() {
			return fmt.Errorf("of %d keys %d are different: one occurs twice", n, v.Len())
		}
		return nil
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	return object(data, v.Type(), func(key string, value json.RawMessage) error {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := decode(value, element); err != nil {
			return within(key, err)
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
		return nil
	})
}

// decodeSlice replaces a slice by an array's elements.
func decodeSlice(data json.RawMessage, v reflect.Value) error {
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), len(elements), len(elements)))
	for i, e := range elements {
		if err := decode(e, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// object calls member for each member of an object, in order.
func object(data json.RawMessage, into reflect.Type, member func(key string, value json.RawMessage) error) error {
	if data[0] != '{' {
		return &json.UnmarshalTypeError{Value: kind(data), Type: into}
	}
	seen := map[string]bool{}
	for rest := skipSpace(data[1:]); rest[0] != '}'; {
		end := valueEnd(rest)
		var key string
		if err := json.Unmarshal(rest[:end], &key); err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %.100q occurs twice", key)
		}
		seen[key] = true
		rest = skipSpace(skipSpace(rest[end:])[1:]) // the colon
		end = valueEnd(rest)
		if err := member(key, rest[:end]); err != nil {
			return err
		}
		if rest = skipSpace(rest[end:]); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
	return nil
}

// count counts the members of an object.
func count(data json.RawMessage) (n int) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i += valueEnd(data[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ':':
			if depth == 1 {
				n++
			}
		}
	}
	return n
}

// The following look at bytes of which encoding/json said that they are JSON.

// skipSpace cuts white space off the front.
func skipSpace(data json.RawMessage) json.RawMessage {
	for data[0] == ' ' || data[0] == '\t' || data[0] == '\n' || data[0] == '\r' {
		data = data[1:]
	}
	return data
}

// valueEnd is the length of the value that data begins with.
func valueEnd(data json.RawMessage) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // behind a number or word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(data)
}

// kind names a value that is no object.
func kind(data json.RawMessage) string {
	switch data[0] {
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
