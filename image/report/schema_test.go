package report_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// The JSON Schema of the document is made from the Go types: keys and types by reflection,
// descriptions from the comments. The file in the repository must be the result:
//
//	go test ./image/report -run TestSchema -update
//
// Properties that it does not know are allowed, since a new field alone does not raise the
// version.
const schemaFile = "report.schema.json"

// enums are the values that a field of a string type takes.
var enums = map[string][]string{
	"Layer.kind":    {report.KindModel, report.KindBase, report.KindRuntime, report.KindConfig},
	"Addition.kind": {report.KindBase, report.KindRuntime, report.KindConfig, report.AddedFormat, report.AddedManifests, report.AddedFiles},
	"Scope.name":    {string(report.ScopeNaive), string(report.ScopePublished)},
	"Need.mode":     {string(gpu.ResidentInt8), string(gpu.Resident), string(gpu.Streamed)},
}

// signed are the whole numbers that may be below zero.
var signed = []string{"Row.saved", "Headroom.leftBytes", "BudgetLimit.used", "BudgetLimit.left"}

// comments maps "Type" and "Type.Field" to what the source says of them. A comment stands
// for the fields of its line and for those below it without one.
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range append([]string{"../../verify/gpu/memory.go"}, files...) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			d, ok := n.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				return true
			}
			spec := d.Specs[0].(*ast.TypeSpec)
			out[spec.Name.Name] = words(d.Doc)
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, n := range f.Names {
						out[spec.Name.Name+"."+n.Name] = words(f.Doc)
					}
				}
			}
			return false
		})
	}
	return out
}

func words(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }

// schemas collects the definitions of struct types.
type schemas struct {
	comments map[string]string
	defs     map[string]any
}

// of describes a type; at is the field that has it, "Row.saved".
func (s *schemas) of(t reflect.Type, at string) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem(), at)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem(), at)}
	case reflect.Struct:
		s.define(t)
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Int, reflect.Int64:
		out := map[string]any{"type": "integer", "minimum": 0}
		if slices.Contains(signed, at) {
			delete(out, "minimum")
		}
		return out
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	out := map[string]any{"type": "string"}
	if values := enums[at]; values != nil {
		out["enum"] = values
	}
	return out
}

func (s *schemas) define(t reflect.Type) {
	if s.defs[t.Name()] != nil {
		return
	}
	properties, required := map[string]any{}, []string{}
	s.defs[t.Name()] = map[string]any{"type": "object", "description": s.comments[t.Name()], "properties": properties, "required": &required}
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := s.of(f.Type, t.Name()+"."+key)
		if c := s.comments[t.Name()+"."+f.Name]; c != "" {
			p["description"] = c
		}
		properties[key] = p
		if options != "omitempty" {
			required = append(required, key)
		}
	}
}

// schema makes the schema.
func schema(t *testing.T) string {
	t.Helper()
	s := &schemas{comments: comments(t), defs: map[string]any{}}
	s.define(reflect.TypeFor[report.Report]())
	root := s.defs["Report"].(map[string]any)
	delete(s.defs, "Report")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "plimsoll's storage report"
	root["$defs"] = s.defs
	root["properties"].(map[string]any)["schemaVersion"] = map[string]any{"const": report.SchemaVersion, "description": s.comments["Report.SchemaVersion"]}
	data, err := json.MarshalIndent(root, "", "  ")
	require.NoError(t, err)
	return string(data) + "\n"
}

// TestSchema: the file is what the types say, and every type says what it is.
func TestSchema(t *testing.T) {
	got := schema(t)
	require.NotContains(t, got, `"description": ""`)
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestInteropSchema: another program's validator takes every golden document, and refuses
// what is none.
func TestInteropSchema(t *testing.T) {
	interoptest.Require(t, "python3")
	const validate = `
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for path in sys.argv[2:]:
    document = json.load(open(path))
    validator.validate(document)
    for spoil in (lambda d: d.pop("image"), lambda d: d["image"].update(bytes=-1), lambda d: d["layers"][0].update(kind="x"), lambda d: d.update(schemaVersion=99)):
        bad = json.loads(json.dumps(document))
        spoil(bad)
        if validator.is_valid(bad):
            sys.exit("a spoiled document passes")
print("checked", len(sys.argv) - 2)
`
	goldens, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, goldens, 3)
	out := interoptest.Run(t, "python3", append([]string{"-c", validate, schemaFile}, goldens...)...)
	require.Contains(t, out, "checked 3")
}
