package cuda

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// resolver finds an exported function of the loaded library.
type resolver func(name string) (uintptr, error)

// handle is a CUdevice: a small number that the driver hands out.
type handle int32

// contextPointer is a CUcontext: an address in the driver's own memory, never looked into.
type contextPointer uintptr

// api holds the driver's functions under their own names, with out-parameters as typed
// pointers. purego keeps what they point to alive and in place during the call. Where a
// function has versions, the field is called by the plain name and bind names the version.
type api struct {
	cuInit               func(flags uint32) Code
	cuDriverGetVersion   func(out *Version) Code
	cuGetErrorName       func(code Code, out **byte) Code
	cuGetErrorString     func(code Code, out **byte) Code
	cuDeviceGetCount     func(out *int32) Code
	cuDeviceGet          func(out *handle, ordinal int32) Code
	cuDeviceGetName      func(out *byte, size int32, h handle) Code
	cuDeviceGetUuid      func(out *[16]byte, h handle) Code
	cuDeviceGetPCIBusId  func(out *byte, size int32, h handle) Code
	cuDeviceTotalMem     func(out *uint64, h handle) Code
	cuDeviceGetAttribute func(out *int32, a attribute, h handle) Code

	cuDevicePrimaryCtxRetain  func(out *contextPointer, h handle) Code
	cuDevicePrimaryCtxRelease func(h handle) Code
	cuCtxPushCurrent          func(c contextPointer) Code
	cuCtxPopCurrent           func(out *contextPointer) Code
	cuMemGetInfo              func(free, total *uint64) Code
}

// bind looks up every function of the api. The version suffixes are those that the public
// cuda.h maps the plain names to; cuDeviceGetUuid_v2, the youngest, came with CUDA 11.4.
func bind(resolve resolver) (*api, error) {
	a := &api{}
	for _, f := range []struct {
		name string
		into any
	}{
		{"cuInit", &a.cuInit},
		{"cuDriverGetVersion", &a.cuDriverGetVersion},
		{"cuGetErrorName", &a.cuGetErrorName},
		{"cuGetErrorString", &a.cuGetErrorString},
		{"cuDeviceGetCount", &a.cuDeviceGetCount},
		{"cuDeviceGet", &a.cuDeviceGet},
		{"cuDeviceGetName", &a.cuDeviceGetName},
		{"cuDeviceGetUuid_v2", &a.cuDeviceGetUuid},
		{"cuDeviceGetPCIBusId", &a.cuDeviceGetPCIBusId},
		{"cuDeviceTotalMem_v2", &a.cuDeviceTotalMem},
		{"cuDeviceGetAttribute", &a.cuDeviceGetAttribute},
		{"cuDevicePrimaryCtxRetain", &a.cuDevicePrimaryCtxRetain},
		{"cuDevicePrimaryCtxRelease_v2", &a.cuDevicePrimaryCtxRelease},
		{"cuCtxPushCurrent_v2", &a.cuCtxPushCurrent},
		{"cuCtxPopCurrent_v2", &a.cuCtxPopCurrent},
		{"cuMemGetInfo_v2", &a.cuMemGetInfo},
	} {
		address, err := resolve(f.name)
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", f.name, err)
		}
		purego.RegisterFunc(f.into, address)
	}
	return a, nil
}

// maxText bounds what is read of a text of the driver's.
const maxText = 1024

// cString copies the NUL-terminated text at p.
func cString(p *byte) string {
	n := 0
	for n < maxText && *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
