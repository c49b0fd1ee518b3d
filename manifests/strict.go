package manifests

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The YAML library converts scalars where it can: 8.5 becomes the int 8, true the text
// "true", and a key without a value the zero value. A manifest must mean what it says, so
// its syntax tree is compared with the Go types before it is decoded.

// document parses one YAML document, without anchors, aliases, tags and merge keys: a
// manifest spells its values out. Duplicate keys are errors of the parser.
func document(data []byte) (ast.Node, error) {
	tokens := lexer.Tokenize(string(data))
	if err := checkDepth(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, excerpt(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentGroupType:
		case doc.Body.Type() == ast.DirectiveType:
			return nil, at(doc.Body.GetToken(), "YAML directives are not read")
		case body != nil:
			return nil, at(doc.Body.GetToken(), "more than one YAML document in one manifest")
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil, errors.New("the manifest is empty")
	}
	return body, nil
}

// maxDepth bounds the nesting of brackets. The parser's memory grows with the square of it,
// and a manifest needs three.
const maxDepth = 16

// checkDepth refuses deep nesting before the parser sees it.
func checkDepth(tokens token.Tokens) error {
	depth := 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("[%d:%d] more than %d brackets are open", tk.Position.Line, tk.Position.Column, maxDepth)
		}
	}
	return nil
}

// at is an error with line, column and an excerpt of the source.
func at(tk *token.Token, format string, args ...any) error {
	return excerpt(&yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: tk})
}

// excerpt formats an error of the YAML library with its place, without colours.
func excerpt(err error) error {
	return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
}

var (
	sizeType   = reflect.TypeFor[Size]()
	growthType = reflect.TypeFor[Growth]()
)

// checkTypes compares a node with the Go type that it will fill.
func checkTypes(node ast.Node, t reflect.Type) error {
	switch {
	case t == sizeType:
		return checkSize(node)
	case t == growthType:
		return checkGrowth(node)
	case t.Kind() == reflect.Pointer:
		return checkTypes(node, t.Elem())
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return checkMapping(node, t)
	case t.Kind() == reflect.Slice:
		return checkSequence(node, t)
	}
	return checkScalar(node, t)
}

// checkScalar accepts text for text, whole numbers for integers, finite numbers for floats.
func checkScalar(node ast.Node, t reflect.Type) error {
	kind, wanted := node.Type(), ""
	switch t.Kind() {
	case reflect.String:
		if kind == ast.StringType || kind == ast.LiteralType {
			return nil
		}
		wanted = "text (in quotes, if it looks like something else)"
	case reflect.Int, reflect.Int64:
		if kind == ast.IntegerType {
			return nil
		}
		wanted = "a whole number"
	case reflect.Float64:
		if kind == ast.IntegerType || kind == ast.FloatType {
			return nil
		}
		wanted = "a number"
	}
	return mismatch(node, wanted)
}

func checkSize(node ast.Node) error {
	text, is := node.(*ast.StringNode)
	if !is && node.Type() != ast.IntegerType {
		return mismatch(node, "a whole number or text such as 9.5 GB")
	}
	value := node.GetToken().Value
	if is {
		value = text.Value
	}
	if _, err := ParseSize(value); err != nil {
		return at(node.GetToken(), "%v", err)
	}
	return nil
}

func checkGrowth(node ast.Node) error {
	text, is := node.(*ast.StringNode)
	if !is {
		return mismatch(node, "text such as 2% or 500 MB")
	}
	if _, err := Growth(text.Value).Allowed(0); err != nil {
		return at(node.GetToken(), "%v", err)
	}
	return nil
}

func checkSequence(node ast.Node, t reflect.Type) error {
	sequence, is := node.(*ast.SequenceNode)
	if !is {
		return mismatch(node, "a list")
	}
	for _, value := range sequence.Values {
		if value.Type() == ast.NullType {
			return at(sequence.GetToken(), "an entry of this list is empty")
		}
		if err := checkTypes(value, t.Elem()); err != nil {
			return err
		}
	}
	return nil
}

// checkMapping checks keys and values of a struct or of a map with text as keys.
func checkMapping(node ast.Node, t reflect.Type) error {
	mapping, is := node.(ast.MapNode)
	if !is {
		return mismatch(node, "a mapping")
	}
	seen := map[string]bool{}
	for entry := mapping.MapRange(); entry.Next(); {
		key, is := entry.Key().(*ast.StringNode)
		if !is {
			return mismatch(entry.Key(), "a key in plain text")
		}
		if err := checkEntry(key, entry.Value(), t); err != nil {
			return err
		}
		seen[key.Value] = true
	}
	for _, k := range keysOf(t) {
		if !k.optional && !seen[k.name] {
			return at(node.GetToken(), "the key %q is missing", k.name)
		}
	}
	return nil
}

// checkEntry checks one key of a struct or map, and its value.
func checkEntry(key *ast.StringNode, value ast.Node, t reflect.Type) error {
	if value.Type() == ast.NullType {
		return at(key.GetToken(), "the key %q has no value", key.Value)
	}
	if t.Kind() == reflect.Map {
		return checkTypes(value, t.Elem())
	}
	var known []string
	for _, k := range keysOf(t) {
		if k.name == key.Value {
			return checkTypes(value, k.typ)
		}
		known = append(known, k.name)
	}
	return at(key.GetToken(), "unknown key %q; known here: %s", key.Value, strings.Join(known, ", "))
}

// yamlKey is one key of a struct, as its tag says.
type yamlKey struct {
	name     string
	optional bool
	typ      reflect.Type
}

// keysOf lists the keys of a struct in the order of its fields; a map has none of its own.
func keysOf(t reflect.Type) []yamlKey {
	if t.Kind() != reflect.Struct {
		return nil
	}
	keys := make([]yamlKey, t.NumField())
	for i := range keys {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		keys[i] = yamlKey{name: name, optional: options == "omitempty", typ: t.Field(i).Type}
	}
	return keys
}

// mismatch says what is there and what is wanted, in the words of YAML.
func mismatch(node ast.Node, wanted string) error {
	found := node.Type().YAMLName()
	switch node.Type() {
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		return at(node.GetToken(), "a YAML %s is not read here: write %s", found, wanted)
	}
	return at(node.GetToken(), "%s is there, %s is expected", found, wanted)
}
