package manifests_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// The JSON Schema for editors is made from the Go types: keys and types by reflection,
// descriptions from the comments in manifest.go, and what a type cannot say from the table
// below. The file in the repository must be the result:
//
//	go test ./manifests -run TestSchema -update
var update = flag.Bool("update", false, "write manifest.schema.json")

const schemaFile = "manifest.schema.json"

// object is a JSON object in the order of its keys.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		for j, v := range []any{m.key, m.value} {
			if j > 0 {
				out.WriteByte(':')
			}
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(v); err != nil {
				return nil, err
			}
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

const (
	namePattern = `^[a-z0-9][a-z0-9._-]{0,62}$`
	linePattern = `\S`
	sizePattern = `^[0-9]+(\.[0-9]+)? ?([kKmMgGtT][iI]?[bB]|[bB])?$`
	urlPattern  = `^https?://[^@?#]+$`
	hexPattern  = `^[0-9a-f]{64}$`
)

// rules are what a Go type does not say, by type and key.
var rules = map[string]object{
	"Manifest.apiVersion":      {{"const", manifests.APIVersion}},
	"Manifest.name":            {{"pattern", namePattern}},
	"Manifest.title":           {{"pattern", linePattern}},
	"Manifest.runtime":         {{"enum", []manifests.Runtime{manifests.RuntimePlimsoll, manifests.RuntimeNone}}},
	"Manifest.partSize":        {{"minimum", 0}, {"pattern", sizePattern}, {"examples", []string{"9.5 GB"}}},
	"Manifest.sources":         {{"minItems", 1}},
	"Manifest.variants":        {{"propertyNames", object{{"pattern", namePattern}}}},
	"Source.name":              {{"pattern", namePattern}},
	"Source.title":             {{"pattern", linePattern}},
	"Source.role":              {{"enum", []manifests.Role{manifests.RoleBase, manifests.RoleCheckpoints}}},
	"Source.repo":              {{"pattern", `^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$`}},
	"Source.revision":          {{"pattern", `^[^ ?#\\]+$`}},
	"Source.license":           {{"pattern", linePattern}, {"examples", []string{"Apache-2.0", "NOASSERTION"}}},
	"Source.path":              {{"pattern", `^[^/\\]([^\\]*[^/\\])?$`}},
	"Source.endpoints":         {{"items", object{{"type", "string"}, {"pattern", urlPattern}}}},
	"Source.rules":             {{"minItems", 1}},
	"Rule.name":                {{"pattern", namePattern}},
	"Rule.keep":                {{"minItems", 1}},
	"Rule.drop":                {{"minItems", 1}},
	"Rule.because":             {{"enum", ruleCategories}},
	"Rule.reason":              {{"pattern", linePattern}},
	"Hint.size":                {{"minimum", 0}},
	"Hint.sha256":              {{"pattern", hexPattern}},
	"Hint.source":              {{"pattern", linePattern}},
	"Checkpoint.name":          {{"pattern", namePattern}},
	"Checkpoint.precision":     {{"enum", []string{"int4", "nvfp4"}}},
	"Checkpoint.rank":          {{"minimum", 16}, {"multipleOf", 16}},
	"Checkpoint.steps":         {{"minimum", 1}},
	"Checkpoint.trueCFGScale":  {{"exclusiveMinimum", 0}},
	"Scheduler.baseSeqLen":     {{"minimum", 1}},
	"Scheduler.maxSeqLen":      {{"minimum", 2}},
	"Scheduler.shiftTerminal":  {{"minimum", 0}, {"exclusiveMaximum", 1}},
	"Serve.priority":           {{"minItems", 1}, {"uniqueItems", true}},
	"Serve.supportedRanks":     {{"minItems", 1}},
	"Serve.defaultSteps":       {{"minimum", 1}},
	"Serve.pixelArea":          {{"minimum", 1}},
	"Serve.conditionArea":      {{"minimum", 1}},
	"Base.suite":               {{"pattern", namePattern}},
	"Base.packages":            {{"minItems", 1}, {"uniqueItems", true}, {"items", object{{"type", "string"}, {"pattern", `^[a-z0-9][a-z0-9+.-]+$`}}}},
	"Base.mirrors":             {{"items", object{{"type", "string"}, {"pattern", urlPattern}}}},
	"Budget.image":             {{"exclusiveMinimum", 0}, {"pattern", sizePattern}, {"examples", []string{"45 GB"}}},
	"Budget.outside":           {{"exclusiveMinimum", 0}, {"pattern", sizePattern}, {"examples", []string{"25 MB"}}},
	"Budget.growth":            {{"pattern", `^[0-9]+(\.[0-9]+)?( ?%|( ?([kKmMgGtT][iI]?[bB]|[bB]))?)$`}, {"examples", []string{"2%", "500 MB"}}},
	"Budget":                   {{"minProperties", 1}},
	"Software.name":            {{"pattern", linePattern}},
	"Software.bytes":           {{"minimum", 1}},
	"Software.compressedBytes": {{"minimum", 0}},
	"Software.source":          {{"pattern", linePattern}},
	// Exactly one of keep and drop; only a drop has a category.
	"Rule": {{"oneOf", []object{
		{{"required", []string{"keep"}}, {"not", object{{"anyOf", []object{
			{{"required", []string{"drop"}}}, {{"required", []string{"because"}}},
		}}}}},
		{{"required", []string{"drop", "because"}}, {"not", object{{"required", []string{"keep"}}}}},
	}}},
}

// ruleCategories are the categories that a rule may name: all but Select's own.
var ruleCategories = []manifests.Category{
	manifests.BecausePrecision, manifests.BecauseRank, manifests.BecauseSteps,
	manifests.BecauseReplaced, manifests.BecauseDuplicate, manifests.BecauseDocs,
}

// comments maps "Type" and "Type.Field" to the comments of manifest.go.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "manifest.go", nil, parser.ParseComments)
	require.NoError(t, err)
	out := map[string]string{}
	line := func(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
	for _, d := range file.Decls {
		general, is := d.(*ast.GenDecl)
		if !is || general.Tok != token.TYPE {
			continue
		}
		spec := general.Specs[0].(*ast.TypeSpec)
		out[spec.Name.Name] = line(general.Doc)
		if fields, is := spec.Type.(*ast.StructType); is {
			for _, f := range fields.Fields.List {
				require.Len(t, f.Names, 1, "every key has a line and a comment of its own")
				out[spec.Name.Name+"."+f.Names[0].Name] = line(f.Doc)
			}
		}
	}
	return out
}

// generator makes the schema.
type generator struct {
	t        *testing.T
	comments map[string]string
	defs     object
	used     map[string]bool
}

func keyOf(f reflect.StructField) (name string, optional bool) {
	name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name, option == "omitempty"
}

// describe puts the keys of YAML into a comment that uses the names of Go.
func (g *generator) describe(typ reflect.Type, comment string) string {
	require.NotEmpty(g.t, comment, typ.Name())
	for i := range typ.NumField() {
		name, _ := keyOf(typ.Field(i))
		comment = regexp.MustCompile(`\b`+typ.Field(i).Name+`\b`).ReplaceAllString(comment, name)
	}
	return comment
}

// of is the schema of a type; structs become definitions.
func (g *generator) of(typ reflect.Type) object {
	switch typ.Kind() {
	case reflect.Pointer:
		return g.of(typ.Elem())
	case reflect.Struct:
		g.define(typ)
		return object{{"$ref", "#/$defs/" + typ.Name()}}
	case reflect.Slice:
		return object{{"type", "array"}, {"items", g.of(typ.Elem())}}
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", g.of(typ.Elem())}}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Float64:
		return object{{"type", "number"}}
	}
	if typ == reflect.TypeFor[manifests.Size]() {
		return object{{"type", []string{"integer", "string"}}}
	}
	require.Contains(g.t, []reflect.Kind{reflect.Int, reflect.Int64}, typ.Kind())
	return object{{"type", "integer"}}
}

func (g *generator) define(typ reflect.Type) {
	if g.used[typ.Name()] {
		return
	}
	g.used[typ.Name()] = true
	at := len(g.defs)
	g.defs = append(g.defs, member{typ.Name(), nil})
	g.defs[at].value = g.structure(typ)
}

// structure is the schema of a struct's keys.
func (g *generator) structure(typ reflect.Type) object {
	var properties object
	required := []string{}
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, optional := keyOf(field)
		if !optional {
			required = append(required, name)
		}
		schema := object{{"description", g.describe(typ, g.comments[typ.Name()+"."+field.Name])}}
		schema = append(schema, g.of(field.Type)...)
		properties = append(properties, member{name, g.merge(schema, typ.Name()+"."+name)})
	}
	out := object{
		{"description", g.describe(typ, g.comments[typ.Name()])}, {"type", "object"},
		{"additionalProperties", false}, {"required", required}, {"properties", properties},
	}
	return g.merge(out, typ.Name())
}

// merge adds the table's rules, which replace what reflection says.
func (g *generator) merge(schema object, where string) object {
	g.used["rule "+where] = true
	for _, rule := range rules[where] {
		replaced := false
		for i := range schema {
			if schema[i].key == rule.key {
				schema[i].value, replaced = rule.value, true
			}
		}
		if !replaced {
			schema = append(schema, rule)
		}
	}
	return schema
}

func generateSchema(t *testing.T) []byte {
	t.Helper()
	g := &generator{t: t, comments: comments(t), used: map[string]bool{}}
	out := object{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "plimsoll manifest"}}
	out = append(out, g.structure(reflect.TypeFor[manifests.Manifest]())...)
	out = append(out, member{"$defs", g.defs})
	for where := range rules {
		require.True(t, g.used["rule "+where], "the rules of %s belong to no key", where)
	}
	compact, err := json.Marshal(out)
	require.NoError(t, err)
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, compact, "", "  "))
	indented.WriteByte('\n')
	return indented.Bytes()
}

func TestSchemaFollowsFromTheTypes(t *testing.T) {
	want := generateSchema(t)
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o644))
	}
	got, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go test ./manifests -run TestSchema -update")
}

// asJSON is a YAML document as encoding/json would read it.
func asJSON(t *testing.T, data []byte) any {
	t.Helper()
	var document, out any
	require.NoError(t, yaml.Unmarshal(data, &document))
	text, err := json.Marshal(document)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

func TestSchemaAcceptsTheManifests(t *testing.T) {
	for _, path := range []string{"qwen-image-edit.yaml", "demo.yaml", "testdata/tiny.yaml"} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Empty(t, validate(t, asJSON(t, data)), path)
		first, _, _ := strings.Cut(string(data), "\n")
		if !strings.HasPrefix(path, "testdata") {
			require.Equal(t, "# yaml-language-server: $schema="+schemaFile, first)
		}
	}
}

// An editor reports what Parse reports.
func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	cases := []struct{ old, new, want string }{
		{"apiVersion: plimsoll/v1", "apiVersion: plimsoll/v2", "/apiVersion: const"},
		{"name: tiny\n", "name: Tiny\n", "/name: pattern"},
		{"name: tiny\n", "", "required name"},
		{"name: tiny\n", "name: tiny\nnames: x\n", "additionalProperties names"},
		{"    role: base\n", "    role: base\n    rol: base\n", "/sources/0: additionalProperties rol"},
		{"    role: base\n", "    role: weights\n", "/sources/0/role: enum"},
		{"    repo: maker/tiny\n", "    repo: tiny\n", "/sources/0/repo: pattern"},
		{"    path: maker--tiny\n", "    path: /tiny\n", "/sources/0/path: pattern"},
		{"partSize: 3 MiB", "partSize: 9,5 GB", "/partSize: pattern"},
		{"partSize: 3 MiB", "partSize: [1]", "/partSize: type"},
		{"partSize: 3 MiB", "partSize: -1", "/partSize: minimum"},
		{"runtime: plimsoll", "runtime: vllm", "/runtime: enum"},
		{"drop: [README.md]", "drop: README.md", "/sources/0/rules/1/drop: type"},
		{"drop: [README.md]", "drop: []", "/sources/0/rules/1/drop: minItems"},
		{"drop: [README.md]", "drop: [1]", "/sources/0/rules/1/drop/0: type"},
		{"        drop: [README.md]\n", "        keep: [README.md]\n", "/sources/0/rules/1: oneOf"},
		{"        drop: [README.md]\n", "        keep: [x]\n        drop: [README.md]\n", "/sources/0/rules/1: oneOf"},
		{"        drop: [README.md]\n        because: docs\n", "        keep: [x]\n        drop: [README.md]\n", "/sources/0/rules/1: oneOf"},
		{"        drop: [README.md]\n        because: docs\n", "", "/sources/0/rules/1: oneOf"},
		{"        because: docs\n", "", "/sources/0/rules/1: oneOf"},
		{"        because: docs\n", "        because: variant\n", "/sources/0/rules/1/because: enum"},
		{"    steps: 8\n", "    steps: 8.5\n", "/checkpoints/0/steps: type"},
		{"    steps: 8\n", "    steps: \"8\"\n", "/checkpoints/0/steps: type"},
		{"    rank: 128\n", "    rank: 100\n", "/checkpoints/0/rank: multipleOf"},
		{"    trueCFGScale: 1\n", "    trueCFGScale: 0\n", "/checkpoints/0/trueCFGScale: exclusiveMinimum"},
		{"shiftTerminal: 0.02", "shiftTerminal: 1", "/checkpoints/1/scheduler/shiftTerminal: exclusiveMaximum"},
		{"  fast: [fast]\n", "  Fast: [fast]\n", "/variants: propertyNames Fast"},
		{"  fast: [fast]\n", "  fast: fast\n", "/variants/fast: type"},
		{"priority: [fast, plain, hub]", "priority: [fast, fast]", "/serve/priority: uniqueItems"},
		{"before:\n", "budget: {}\nbefore:\n", "/budget: minProperties"},
		{"before:\n", "budget: {image: 0}\nbefore:\n", "/budget/image: exclusiveMinimum"},
		{"before:\n", "budget: {images: 1 GB}\nbefore:\n", "/budget: additionalProperties images"},
		{"before:\n", "budget: {outside: lots}\nbefore:\n", "/budget/outside: pattern"},
		{"before:\n", "budget: {growth: 2 percent}\nbefore:\n", "/budget/growth: pattern"},
		{"before:\n", "budget: {growth: 2}\nbefore:\n", "/budget/growth: type"},
		{"packages: [libc6]", "packages: [../libc6]", "/image/base/packages/0: pattern"},
	}
	for _, c := range cases {
		t.Run(c.new, func(t *testing.T) {
			data := edited(t, "testdata/tiny.yaml", c.old, c.new)
			_, err := manifests.Parse(data)
			require.Error(t, err)
			require.Contains(t, strings.Join(validate(t, asJSON(t, data)), "\n"), c.want)
		})
	}
}
