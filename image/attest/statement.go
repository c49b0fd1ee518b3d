package attest

import "strings"

// statement is an in-toto statement (in-toto/attestation, spec/v1/statement.md).
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     any        `json:"predicate"`
}

// resource is in-toto's ResourceDescriptor (spec/v1/resource_descriptor.md).
type resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// about makes a statement about the image.
func (in Input) about(predicateType string, predicate any) statement {
	return statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []resource{{Name: in.Model.Name, Digest: sum256(strings.TrimPrefix(in.Digest, "sha256:"))}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
}

func sum256(hex string) map[string]string { return map[string]string{"sha256": hex} }

// plimsoll is the source of plimsoll itself. Input.check has read the sum.
func (in Input) plimsoll() resource {
	sum, _ := dirHash(in.Source)
	return resource{Name: "plimsoll", URI: moduleURL(home, ""), Digest: map[string]string{"dirHash1": sum}}
}

// testResult is in-toto's predicate for tests (spec/predicates/test-result.md), of which no
// test has failed.
type testResult struct {
	Result        string     `json:"result"`
	Configuration []resource `json:"configuration"`
	Passed        []string   `json:"passedTests,omitempty"`
	Warned        []string   `json:"warnedTests,omitempty"`
}

// verification says what was proven: against which description, and by which verifier. A
// test result fits where a SLSA verification summary does not: the checks are about bytes
// and tensors, and no SLSA level follows from them.
func (in Input) verification() statement {
	v := in.Verification
	verifier := in.plimsoll()
	verifier.Annotations = map[string]string{"method": v.Method}
	result := "PASSED"
	if len(v.Warned) > 0 {
		result = "WARNED"
	}
	return in.about(PredicateVerification, testResult{
		Result: result, Configuration: []resource{in.modelJSON(), verifier},
		Passed: v.Passed, Warned: v.Warned,
	})
}

// modelJSON is the image's own description of the model, which holds every file's sum.
func (in Input) modelJSON() resource {
	return resource{Name: "etc/plimsoll/model.json", Digest: sum256(in.ModelSHA256), MediaType: "application/json"}
}
