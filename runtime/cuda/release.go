package cuda

import (
	"bytes"
	"io"
	"os"
	"regexp"
)

// kernelModuleFile is where NVIDIA's kernel module describes itself; the NVIDIA container
// runtime shows it inside containers too.
const kernelModuleFile = "/proc/driver/nvidia/version"

// releaseForm is what a release looks like: 535.54.03, 580.159.04.
var releaseForm = regexp.MustCompile(`^[0-9]{2,4}(\.[0-9]{1,4}){1,3}$`)

// kernelModuleRelease reads the release of the kernel module, "" if the file is not there
// or says nothing that looks like one.
func kernelModuleRelease(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 4096)) // what was read before an error may do
	return parseRelease(text)
}

// parseRelease finds the release in a text such as
//
//	NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (…)
//	GCC version:  …
func parseRelease(text []byte) string {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("NVRM version:"))
		if !ok {
			continue
		}
		for _, field := range bytes.Fields(rest) {
			if releaseForm.Match(field) {
				return string(field)
			}
		}
	}
	return ""
}
