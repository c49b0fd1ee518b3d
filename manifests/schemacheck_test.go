package manifests_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// schema is one JSON Schema of draft 2020-12, as far as ours uses the language. A keyword
// that is not here fails the test that meets it.
type schema struct {
	root     map[string]any
	t        *testing.T
	problems []string
}

// validate checks a document against manifest.schema.json and returns what is wrong, each
// with its place.
func validate(t *testing.T, document any) []string {
	t.Helper()
	s := &schema{t: t, root: readSchema()}
	s.check(s.root, document, "")
	return s.problems
}

// readSchema parses the file once.
var readSchema = sync.OnceValue(func() (root map[string]any) {
	data, err := os.ReadFile(schemaFile)
	if err == nil {
		err = json.Unmarshal(data, &root)
	}
	if err != nil {
		panic(err)
	}
	return root
})

func (s *schema) fail(at, what string) { s.problems = append(s.problems, at+": "+what) }

// accepts reports whether the document fits, without keeping problems.
func (s *schema) accepts(rules map[string]any, v any) bool {
	inner := &schema{root: s.root, t: s.t}
	inner.check(rules, v, "")
	return len(inner.problems) == 0
}

// check applies every keyword of a schema to a value.
func (s *schema) check(rules map[string]any, v any, at string) {
	for keyword, want := range rules {
		switch keyword {
		case "description", "title", "examples", "$schema", "$defs":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			s.check(s.root["$defs"].(map[string]any)[name].(map[string]any), v, at)
		case "type", "const", "enum":
			s.checkValue(keyword, want, v, at)
		case "pattern":
			if text, is := v.(string); is && !regexp.MustCompile(want.(string)).MatchString(text) {
				s.fail(at, keyword)
			}
		case "minimum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
			s.checkNumber(keyword, want.(float64), v, at)
		case "oneOf", "anyOf", "not":
			s.checkCombination(keyword, want, v, at)
		case "items", "minItems", "uniqueItems":
			s.checkArray(keyword, want, v, at)
		case "minProperties":
			if o, is := v.(map[string]any); is && len(o) < int(want.(float64)) {
				s.fail(at, keyword)
			}
		case "properties", "required", "additionalProperties", "propertyNames":
			s.checkObject(keyword, want, rules, v, at)
		default:
			s.t.Fatalf("the keyword %s is not known here", keyword)
		}
	}
}

func (s *schema) checkValue(keyword string, want, v any, at string) {
	ok := false
	switch keyword {
	case "type":
		types, is := want.([]any)
		if !is {
			types = []any{want}
		}
		number, isNumber := v.(float64)
		ok = slices.Contains(types, any(typeName(v))) || isNumber && number == math.Trunc(number) && slices.Contains(types, any("integer"))
	case "const":
		ok = reflect.DeepEqual(want, v)
	case "enum":
		ok = slices.ContainsFunc(want.([]any), func(w any) bool { return reflect.DeepEqual(w, v) })
	}
	if !ok {
		s.fail(at, keyword)
	}
}

// typeName is JSON Schema's name for the type of a value.
func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "null"
}

func (s *schema) checkNumber(keyword string, want float64, v any, at string) {
	n, is := v.(float64)
	ok := map[string]bool{
		"minimum": n >= want, "exclusiveMinimum": n > want, "exclusiveMaximum": n < want, "multipleOf": math.Mod(n, want) == 0,
	}
	if is && !ok[keyword] {
		s.fail(at, keyword)
	}
}

func (s *schema) checkCombination(keyword string, want, v any, at string) {
	if keyword == "not" {
		if s.accepts(want.(map[string]any), v) {
			s.fail(at, keyword)
		}
		return
	}
	fits := 0
	for _, alternative := range want.([]any) {
		if s.accepts(alternative.(map[string]any), v) {
			fits++
		}
	}
	if fits == 0 || keyword == "oneOf" && fits > 1 {
		s.fail(at, keyword)
	}
}

func (s *schema) checkArray(keyword string, want, v any, at string) {
	list, is := v.([]any)
	if !is {
		return
	}
	switch keyword {
	case "items":
		for i, entry := range list {
			s.check(want.(map[string]any), entry, fmt.Sprintf("%s/%d", at, i))
		}
	case "minItems":
		if float64(len(list)) < want.(float64) {
			s.fail(at, keyword)
		}
	case "uniqueItems":
		for i := range list {
			if slices.ContainsFunc(list[:i], func(o any) bool { return reflect.DeepEqual(o, list[i]) }) {
				s.fail(at, keyword)
			}
		}
	}
}

func (s *schema) checkObject(keyword string, want any, rules map[string]any, v any, at string) {
	fields, is := v.(map[string]any)
	if !is {
		return
	}
	properties, _ := rules["properties"].(map[string]any)
	switch keyword {
	case "required":
		for _, key := range want.([]any) {
			if _, ok := fields[key.(string)]; !ok {
				s.fail(at, "required "+key.(string))
			}
		}
	case "properties":
		for key, rule := range properties {
			if value, ok := fields[key]; ok {
				s.check(rule.(map[string]any), value, at+"/"+key)
			}
		}
	case "additionalProperties", "propertyNames":
		for key, value := range fields {
			s.checkKey(keyword, want, properties, key, value, at)
		}
	}
}

func (s *schema) checkKey(keyword string, want any, properties map[string]any, key string, value any, at string) {
	if keyword == "propertyNames" {
		if !s.accepts(want.(map[string]any), key) {
			s.fail(at, "propertyNames "+key)
		}
		return
	}
	if _, known := properties[key]; known {
		return
	}
	if rule, is := want.(map[string]any); is {
		s.check(rule, value, at+"/"+key)
		return
	}
	s.fail(at, "additionalProperties "+key)
}
