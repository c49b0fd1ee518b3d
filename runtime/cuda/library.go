//go:build darwin || freebsd || linux

package cuda

import (
	"runtime"

	"github.com/ebitengine/purego"
)

// loader opens the named library. The thread is locked because the text of a failure is
// kept per thread.
func loader(name string) func() (resolver, error) {
	return func() (resolver, error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		library, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			return nil, err
		}
		return func(name string) (uintptr, error) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return purego.Dlsym(library, name)
		}, nil
	}
}
