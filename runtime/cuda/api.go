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

// Addresses in the driver's own memory, never looked into.
type (
	contextPointer  uintptr // CUcontext
	streamPointer   uintptr // CUstream
	eventPointer    uintptr // CUevent
	modulePointer   uintptr // CUmodule
	functionPointer uintptr // CUfunction
	linkPointer     uintptr // CUlinkState
)

type (
	jitOption         int32 // CUjit_option
	jitInput          int32 // CUjitInputType
	functionAttribute int32 // CUfunction_attribute
)

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

	cuCtxSetCurrent     func(c contextPointer) Code
	cuStreamCreate      func(out *streamPointer, flags uint32) Code
	cuStreamDestroy     func(s streamPointer) Code
	cuStreamSynchronize func(s streamPointer) Code
	cuEventCreate       func(out *eventPointer, flags uint32) Code
	cuEventDestroy      func(e eventPointer) Code
	cuEventRecord       func(e eventPointer, s streamPointer) Code
	cuStreamWaitEvent   func(s streamPointer, e eventPointer, flags uint32) Code
	cuEventSynchronize  func(e eventPointer) Code
	cuEventElapsedTime  func(milliseconds *float32, start, end eventPointer) Code
	cuLinkCreate        func(n uint32, options *jitOption, values *uintptr, out *linkPointer) Code
	cuLinkAddData       func(l linkPointer, kind jitInput, data *byte, size uint64, name *byte, n uint32, options *jitOption, values *uintptr) Code
	cuLinkComplete      func(l linkPointer, cubin **byte, size *uint64) Code
	cuLinkDestroy       func(l linkPointer) Code
	cuModuleLoadData    func(out *modulePointer, image *byte) Code
	cuModuleUnload      func(m modulePointer) Code
	cuModuleGetFunction func(out *functionPointer, m modulePointer, name *byte) Code
	cuFuncSetAttribute  func(f functionPointer, a functionAttribute, value int32) Code
	cuMemAlloc          func(out *Pointer, size uint64) Code
	cuMemFree           func(p Pointer) Code
	cuMemHostAlloc      func(out *unsafe.Pointer, size uint64, flags uint32) Code
	cuMemFreeHost       func(p unsafe.Pointer) Code
	cuMemcpyHtoDAsync   func(dst Pointer, src unsafe.Pointer, size uint64, s streamPointer) Code
	cuMemcpyDtoHAsync   func(dst unsafe.Pointer, src Pointer, size uint64, s streamPointer) Code
	cuMemcpyDtoDAsync   func(dst, src Pointer, size uint64, s streamPointer) Code
	cuMemsetD8Async     func(dst Pointer, value uint8, size uint64, s streamPointer) Code

	// cuTensorMapEncodeTiled came with CUDA 12.0; nil before.
	cuTensorMapEncodeTiled func(out *tensorMap, format, rank uint32, p Pointer, sizes, strides *uint64, box, steps *uint32,
		interleave, swizzle, promotion, fill uint32) Code

	// cuLaunchKernel is the function's bare address: it is called thousands of times a
	// second, and through reflection a call takes 2 µs longer.
	cuLaunchKernel uintptr
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
		{"cuCtxSetCurrent", &a.cuCtxSetCurrent},
		{"cuStreamCreate", &a.cuStreamCreate},
		{"cuStreamDestroy_v2", &a.cuStreamDestroy},
		{"cuStreamSynchronize", &a.cuStreamSynchronize},
		{"cuEventCreate", &a.cuEventCreate},
		{"cuEventDestroy_v2", &a.cuEventDestroy},
		{"cuEventRecord", &a.cuEventRecord},
		{"cuStreamWaitEvent", &a.cuStreamWaitEvent},
		{"cuEventSynchronize", &a.cuEventSynchronize},
		{"cuEventElapsedTime", &a.cuEventElapsedTime},
		{"cuLinkCreate_v2", &a.cuLinkCreate},
		{"cuLinkAddData_v2", &a.cuLinkAddData},
		{"cuLinkComplete", &a.cuLinkComplete},
		{"cuLinkDestroy", &a.cuLinkDestroy},
		{"cuModuleLoadData", &a.cuModuleLoadData},
		{"cuModuleUnload", &a.cuModuleUnload},
		{"cuModuleGetFunction", &a.cuModuleGetFunction},
		{"cuFuncSetAttribute", &a.cuFuncSetAttribute},
		{"cuMemAlloc_v2", &a.cuMemAlloc},
		{"cuMemFree_v2", &a.cuMemFree},
		{"cuMemHostAlloc", &a.cuMemHostAlloc},
		{"cuMemFreeHost", &a.cuMemFreeHost},
		{"cuMemcpyHtoDAsync_v2", &a.cuMemcpyHtoDAsync},
		{"cuMemcpyDtoHAsync_v2", &a.cuMemcpyDtoHAsync},
		{"cuMemcpyDtoDAsync_v2", &a.cuMemcpyDtoDAsync},
		{"cuMemsetD8Async", &a.cuMemsetD8Async},
	} {
		address, err := resolve(f.name)
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", f.name, err)
		}
		purego.RegisterFunc(f.into, address)
	}
	if address, err := resolve("cuTensorMapEncodeTiled"); err == nil {
		purego.RegisterFunc(&a.cuTensorMapEncodeTiled, address)
	}
	address, err := resolve("cuLaunchKernel")
	if err != nil {
		return nil, fmt.Errorf("function cuLaunchKernel: %w", err)
	}
	a.cuLaunchKernel = address
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
