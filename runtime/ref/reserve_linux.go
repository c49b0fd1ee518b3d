package ref

import (
	"fmt"
	"syscall"
	"unsafe"
)

// reserve maps memory for n values that is committed page by page when it is written, and
// says how to give it back.
func reserve(n int) ([]float32, func() error) {
	b, err := syscall.Mmap(-1, 0, n*valueSize, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("ref: mapping an arena of %d bytes: %v", n*valueSize, err))
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n), func() error { return syscall.Munmap(b) }
}
