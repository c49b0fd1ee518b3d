package server

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func contract(t *testing.T) map[string]any {
	t.Helper()
	var d map[string]any
	require.NoError(t, json.Unmarshal(openAPI, &d))
	return d
}

// TestContractRoutes: openapi.json has the service's routes, all and only them, and says of
// each whether it wants a key.
func TestContractRoutes(t *testing.T) {
	d := contract(t)
	s, err := New(Default(), Options{})
	require.NoError(t, err)
	var want, got []string
	for _, r := range s.routes {
		want = append(want, r.method+" "+r.path)
	}
	for path, operations := range at(d, "paths") {
		for method, o := range operations.(map[string]any) {
			got = append(got, strings.ToUpper(method)+" "+path)
			i := slices.IndexFunc(s.routes, func(r route) bool { return r.path == path })
			require.GreaterOrEqual(t, i, 0, path)
			_, secured := o.(map[string]any)["security"]
			require.Equal(t, !s.routes[i].open, secured, path)
			_, documented := at(o.(map[string]any), "responses")["401"]
			require.Equal(t, secured, documented, path)
		}
	}
	require.ElementsMatch(t, want, got)
}

// TestContractFields: every answer's type has the fields of its schema, all and only them,
// and those that it may leave out are not required.
func TestContractFields(t *testing.T) {
	schemas := at(contract(t), "components", "schemas")
	answers := map[string]any{
		"ImageEditResponse": editAnswer{}, "ModelUsed": modelUsed{}, "BatchImageEditResponse": batchAnswer{}, "Health": healthAnswer{},
		"GPUMemory": deviceMemory{}, "Probe": probeAnswer{}, "ModelInfo": modelInfoAnswer{}, "ModelLoaded": modelLoaded{},
		"ModelSettings": modelSettings{}, "ModelConfigResponse": modelConfigAnswer{}, "SystemInfo": systemInfoAnswer{},
		"Error": errorAnswer{}, "Invalid": invalid{},
	}
	for name, v := range answers {
		schema := at(schemas, name)
		require.Equal(t, false, schema["additionalProperties"], name)
		var all, required []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			all = append(all, key)
			if options == "" {
				required = append(required, key)
			}
			require.Contains(t, at(schema, "properties"), key, name)
		}
		require.Len(t, at(schema, "properties"), len(all), name)
		var documented []string
		if list, ok := schema["required"].([]any); ok {
			for _, k := range list {
				documented = append(documented, k.(string))
			}
		}
		require.ElementsMatch(t, required, documented, name)
	}
	for name := range schemas {
		if _, answer := answers[name]; !answer {
			require.Contains(t, []string{"ImageEditRequest", "BatchOfImages", "BatchOfRequests", "BatchArray", "ModelConfigRequest", "Code"}, name)
		}
	}
}

// TestContractRequests: every field of a request's schema is read, with the ranges that it
// documents, and everything else is told to be unknown.
func TestContractRequests(t *testing.T) {
	schemas := at(contract(t), "components", "schemas")
	properties := at(schemas, "ImageEditRequest", "properties")
	body := map[string]any{"image": "a", "prompt": "b"}
	l := limits{promptChars: Default().PromptChars, batch: Default().Batch}
	parse := func(key string, value any) error {
		body[key] = value
		data, err := json.Marshal(body)
		require.NoError(t, err)
		e, err := parseEdit(data, l)
		if err == nil {
			require.Empty(t, e.unknown, key)
		}
		return err
	}
	for key, p := range properties {
		was := body[key]
		for _, bound := range []string{"minimum", "maximum"} {
			v, ok := p.(map[string]any)[bound].(float64)
			if !ok || key == "seed" {
				continue
			}
			require.NoError(t, parse(key, v), key)
			if bound == "minimum" {
				v -= 2
			}
			require.Error(t, parse(key, v+1), key)
		}
		if was == nil {
			delete(body, key)
		} else {
			body[key] = was
		}
	}
	require.Equal(t, float64(l.promptChars), at(properties, "prompt")["maxLength"])
	require.Equal(t, float64(l.batch), at(schemas, "BatchArray")["maxItems"])
	require.Len(t, properties, 3+len(editKeys))
	for _, key := range editKeys {
		require.Contains(t, at(properties, key)["type"], "null")
		require.NoError(t, parse(key, nil))
	}
}

// TestContractCodes: every code that is declared is documented, but for the one that no
// client sees.
func TestContractCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	var want []any
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			if code(text) != codeClientGone {
				want = append(want, text)
			}
		}
		return true
	})
	require.Greater(t, len(want), 10)
	require.ElementsMatch(t, want, at(contract(t), "components", "schemas", "Code")["enum"])
}

// TestContractLimits: the document that is served has the limits in effect.
func TestContractLimits(t *testing.T) {
	c := Default()
	c.PromptChars, c.Batch, c.APIKey = 7, 3, "k"
	data, err := document(c, "9.9")
	require.NoError(t, err)
	var d map[string]any
	require.NoError(t, json.Unmarshal(data, &d))
	require.Equal(t, "9.9", at(d, "info")["version"])
	require.Equal(t, 7.0, at(d, "components", "schemas", "BatchOfImages", "properties", "prompt")["maxLength"])
	require.Equal(t, 3.0, at(d, "components", "schemas", "BatchOfRequests", "properties", "requests")["maxItems"])
	require.Contains(t, at(d, "components"), "securitySchemes")
	c.APIKey = ""
	data, err = document(c, "")
	require.NoError(t, err)
	require.NotContains(t, string(data), "security")
	require.NotContains(t, string(data), `"401"`)
}
