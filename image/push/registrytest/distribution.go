package registrytest

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// Distribution3 is the path of the registry of distribution 3, for Options.Program; see
// interoptest.GoProgram.
//
// Version 3 tells an upload's status to whoever knows its number, where 2.8 wants the signed
// offset that it gave out last: it loses nothing to a client that is killed.
func Distribution3(t testing.TB) (program string) {
	t.Helper()
	return interoptest.GoProgram(t, "github.com/distribution/distribution/v3/cmd/registry@v3.1.2")
}
