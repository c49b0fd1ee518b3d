//go:build !(darwin || freebsd || linux)

package cuda

import (
	"fmt"
	"runtime"
)

// loader knows no way to open a library on this system.
func loader(name string) func() (resolver, error) {
	return func() (resolver, error) {
		return nil, fmt.Errorf("%s cannot be loaded on %s", name, runtime.GOOS)
	}
}
