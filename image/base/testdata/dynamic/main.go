// Command dynamic is a dynamic binary without cgo. It calls into three of the C library's
// shared libraries, as the runtime does with the CUDA driver's, and prints what they say.
package main

import (
	"fmt"
	"os"

	"github.com/ebitengine/purego"
)

func main() {
	var cVersion func() string
	var cosine func(float64) float64
	var resolver func() uintptr
	load("libc.so.6", "gnu_get_libc_version", &cVersion)
	load("libm.so.6", "cos", &cosine)
	load("librt.so.1", "clock_gettime", nil)
	load("libresolv.so.2", "__res_state", &resolver)
	fmt.Printf("glibc %s, cos(0) %g, resolver %t\n", cVersion(), cosine(0), resolver() != 0)
}

// load binds a function of a library, or only loads the library where fn is nil.
func load(library, name string, fn any) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if fn != nil {
		purego.RegisterLibFunc(fn, handle, name)
	}
}
