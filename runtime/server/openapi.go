package server

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
)

// openAPI is the contract, with the limits of Default. Tests hold it against routes and types.
//
//go:embed openapi.json
var openAPI []byte

// document returns the contract with the limits in effect.
func document(c Config, version string) ([]byte, error) {
	var d map[string]any
	if err := json.Unmarshal(openAPI, &d); err != nil {
		return nil, fmt.Errorf("reading openapi.json: %w", err)
	}
	if version != "" {
		at(d, "info")["version"] = version
	}
	schemas := at(d, "components", "schemas")
	for _, name := range []string{"ImageEditRequest", "BatchOfImages"} {
		for _, prompt := range []string{"prompt", "negative_prompt"} {
			at(schemas, name, "properties", prompt)["maxLength"] = c.PromptChars
		}
	}
	at(schemas, "BatchOfImages", "properties", "images")["maxItems"] = c.Batch
	at(schemas, "BatchOfRequests", "properties", "requests")["maxItems"] = c.Batch
	at(schemas, "BatchArray")["maxItems"] = c.Batch
	if c.APIKey == "" {
		delete(at(d, "components"), "securitySchemes")
		for _, path := range at(d, "paths") {
			for _, operation := range path.(map[string]any) {
				o := operation.(map[string]any)
				delete(o, "security")
				delete(at(o, "responses"), "401")
			}
		}
	}
	return json.MarshalIndent(d, "", " ")
}

// at goes down a document; a way that is not there is a defect of openapi.json, which the
// package's tests would have shown.
func at(d map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		d = d[k].(map[string]any)
	}
	return d
}

func (s *Server) description(w http.ResponseWriter, _ *http.Request) {
	s.send(w, http.StatusOK, "application/json", s.openapi)
}
