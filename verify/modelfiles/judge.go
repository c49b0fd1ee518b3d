package modelfiles

import (
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// judge is the keeper of a container whose values are judged as they go by: what lies
// behind the header goes to package values, in the same read that takes the sum. So a
// stream can be judged as well as a file.
type judge struct {
	*keeper
	read   bool
	header *safetensors.Header // nil if what was kept is no sound one
	err    error
	values *values.Checker
}

// Write takes bytes of the file; it never fails.
func (j *judge) Write(p []byte) (int, error) {
	n, before := len(p), len(j.bytes)
	j.keeper.Write(p)
	if data := p[len(j.bytes)-before:]; len(data) > 0 && j.begin() == nil {
		j.values.Write(data)
	}
	return n, nil
}

// begin reads the header that was kept, once.
func (j *judge) begin() error {
	if !j.read {
		j.read = true
		if j.header, j.err = j.keeper.parse(); j.err == nil {
			j.values = values.New(j.header)
		}
	}
	return j.err
}

// parse returns the header.
func (j *judge) parse() (*safetensors.Header, error) {
	err := j.begin()
	return j.header, err
}

// finish returns what the values are, where parse returned a header.
func (j *judge) finish() (values.Stats, verify.Findings, error) { return j.values.Finish() }

// close ends the judging.
func (j *judge) close() {
	if j.values != nil {
		j.values.Close()
	}
}
