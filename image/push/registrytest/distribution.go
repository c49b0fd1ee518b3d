package registrytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// distribution is the module of distribution's registry, at the version that is tested.
const distribution, distributionVersion = "github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"

// Distribution3 is the path of the registry of distribution 3, for Options.Program. It is
// built once, into out/interop, which takes Go's module proxy and a minute or two.
//
// Version 3 tells an upload's status to whoever knows its number, where 2.8 wants the signed
// offset that it gave out last: it loses nothing to a client that is killed.
func Distribution3(t testing.TB) (program string) {
	t.Helper()
	dir := filepath.Join(interoptest.Root(t), "out", "interop", "distribution-"+distributionVersion)
	program = filepath.Join(dir, "registry")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	c := exec.CommandContext(t.Context(), "go", "install", distribution+"@"+distributionVersion)
	c.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	interoptest.Output(t, c)
	return program
}
