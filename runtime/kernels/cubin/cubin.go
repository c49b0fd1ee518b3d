// Package cubin holds machine code of kernels, made of their PTX by package build: a program
// that has some for its device starts seconds sooner, since the driver compiles nothing.
//
// A file is named by the sum of its PTX. What was made of other PTX, and was forgotten, is
// never found.
package cubin

import (
	"crypto/sha256"
	"embed"
	"fmt"
)

// The machine code, and whatever else lies here: there may be none.
//
//go:embed *
var files embed.FS

// Name is the file of a module's machine code: gemm.sm_90.0123456789ab.cubin for what gemm's
// PTX becomes for sm_90.
func Name(module, architecture string, ptx []byte) string {
	return fmt.Sprintf("%s.%s.%.6x.cubin", module, architecture, sha256.Sum256(ptx))
}

// Find is the machine code of a module for an architecture, nil where there is none.
func Find(module, architecture string, ptx []byte) []byte {
	code, err := files.ReadFile(Name(module, architecture, ptx))
	if err != nil {
		return nil
	}
	return code
}
