package flow

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// The elements of JUnit's XML that CI systems agree on. There is no schema of its own; this
// is the subset that Jenkins, GitLab and GitHub's readers take.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Skipped *junitProblem `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// junit is the result in JUnit's XML: one test case for each file, each set and each other
// layer. A file that could not be read is an error, everything else that is wrong a
// failure; warnings are output.
func (r *VerifyResult) junit() []byte {
	s := junitSuite{Name: fmt.Sprintf("verify %s, variant %s, in %s", r.Model, r.Variant, r.In)}
	for _, f := range r.Files {
		s.add("files."+f.Source, f.Path, f.Findings)
	}
	for _, set := range r.Sets {
		c := s.add("sets", set.Source, set.Findings)
		if set.Skipped != "" {
			s.Skipped++
			c.Skipped = &junitProblem{Message: set.Skipped}
		}
	}
	for _, l := range r.Layers {
		s.add("layers", l.Kind+": "+l.Title, l.Findings)
	}
	s.Tests = len(s.Cases)
	var out bytes.Buffer
	out.WriteString(xml.Header)
	e := xml.NewEncoder(&out)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Suites: []junitSuite{s}}); err != nil {
		panic(fmt.Sprintf("encoding JUnit report: %v", err)) // plain values always encode
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// add adds a case, which stays valid until the next one is added. Readers take one failure
// a case, so all that is wrong is in its text.
func (s *junitSuite) add(class, name string, found verify.Findings) *junitCase {
	s.Cases = append(s.Cases, junitCase{Class: class, Name: name})
	c := &s.Cases[len(s.Cases)-1]
	var first *verify.Finding
	var wrong, other []string
	for i, f := range found {
		switch {
		case f.Severity < verify.Error:
			other = append(other, f.Severity.String()+": "+junitText(f))
		case first == nil:
			first = &found[i]
			fallthrough
		default:
			wrong = append(wrong, junitText(f))
		}
	}
	c.Output = strings.Join(other, "\n")
	if first == nil {
		return c
	}
	problem := &junitProblem{Message: first.String(), Type: first.Code, Text: strings.Join(wrong, "\n")}
	if first.Code == modelfiles.CodeUnreadable {
		c.Error = problem
		s.Errors++
	} else {
		c.Failure = problem
		s.Failures++
	}
	return c
}

// junitText is a finding with its way out.
func junitText(f verify.Finding) string {
	if f.Hint == "" {
		return f.String()
	}
	return f.String() + "\nhint: " + f.Hint
}
