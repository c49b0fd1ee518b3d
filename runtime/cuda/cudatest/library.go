// Package cudatest is a CUDA driver library in this process, for tests where there is no
// GPU: its functions are Go functions behind C addresses, so that a test goes through the
// same calling convention, and the same memory rules, as with NVIDIA's library. It computes
// almost nothing: of kernels it knows only two of its own.
package cudatest

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Library is a driver library.
type Library struct {
	Version int32
	Devices []Device
	// Fail says which functions fail.
	Fail Failures
	// Absent names a function that the library does not export.
	Absent string
	// Depth counts pushed contexts, Retained the primary contexts in use.
	Depth, Retained atomic.Int32
	Machine         Machine
}

// Failures are functions by their exported names and the codes that they return in place of doing
// anything. It is safe for concurrent use, since a context's threads may be in the middle of a
// call.
type Failures struct{ codes sync.Map }

// Set has a function fail from now on.
func (f *Failures) Set(name string, code int32) { f.codes.Store(name, code) }

// Clear has no function fail.
func (f *Failures) Clear() { f.codes.Clear() }

func (f *Failures) of(name string) (code int32, fails bool) {
	v, fails := f.codes.Load(name)
	if fails {
		code = v.(int32)
	}
	return code, fails
}

// Device is a device, with its attributes by the driver's numbers.
type Device struct {
	Name, PCI   string
	UUID        [16]byte
	Total, Free uint64
	Attributes  map[int32]int32
}

// The numbers of attributes (CU_DEVICE_ATTRIBUTE_…).
const (
	Multiprocessors int32 = 16
	L2Cache         int32 = 38
	Major           int32 = 75
	Minor           int32 = 76
	SharedMemory    int32 = 97
)

// codeTexts are texts of the fake, kept alive for as long as the process.
var codeTexts = map[int32][2][]byte{
	2:   {[]byte("CUDA_ERROR_OUT_OF_MEMORY\x00"), []byte("out of memory\x00")},
	34:  {[]byte("CUDA_ERROR_STUB_LIBRARY\x00"), []byte("CUDA driver is a stub library\x00")},
	100: {[]byte("CUDA_ERROR_NO_DEVICE\x00"), []byte("no CUDA-capable device is detected\x00")},
	222: {[]byte("CUDA_ERROR_UNSUPPORTED_PTX_VERSION\x00"), []byte("the provided PTX was compiled with an unsupported toolchain.\x00")},
	700: {[]byte("CUDA_ERROR_ILLEGAL_ADDRESS\x00"), []byte("an illegal memory access was encountered\x00")},
	999: {[]byte("CUDA_ERROR_UNKNOWN\x00"), []byte("unknown error\x00")},
}

const (
	invalidValue int32 = 1 // CUDA_ERROR_INVALID_VALUE
	outOfMemory  int32 = 2 // CUDA_ERROR_OUT_OF_MEMORY
)

// cfunc is a function of the fake: it sees the arguments as registers hold them. longFunc is
// one with more of them than three.
type (
	cfunc    func(x, y, z uintptr) int32
	longFunc func(args [12]uintptr) int32
)

// exported lists the functions under the names that NVIDIA's library exports.
func (f *Library) exported() map[string]cfunc {
	functions := map[string]cfunc{
		"cuInit":                       func(flags, _, _ uintptr) int32 { return codeIf(flags != 0) },
		"cuDriverGetVersion":           func(out, _, _ uintptr) int32 { return put(out, f.Version) },
		"cuDeviceGetCount":             func(out, _, _ uintptr) int32 { return put(out, int32(len(f.Devices))) },
		"cuGetErrorName":               func(code, out, _ uintptr) int32 { return codeText(code, out, 0) },
		"cuGetErrorString":             func(code, out, _ uintptr) int32 { return codeText(code, out, 1) },
		"cuDeviceGet":                  func(out, ordinal, _ uintptr) int32 { return put(out, handleOf(ordinal)) },
		"cuDeviceGetName":              f.text(func(d Device) string { return d.Name }),
		"cuDeviceGetPCIBusId":          f.text(func(d Device) string { return d.PCI }),
		"cuDeviceGetUuid_v2":           func(out, h, _ uintptr) int32 { return put(out, f.at(h).UUID) },
		"cuDeviceTotalMem_v2":          func(out, h, _ uintptr) int32 { return put(out, f.at(h).Total) },
		"cuDeviceGetAttribute":         f.attribute,
		"cuDevicePrimaryCtxRetain":     f.retain,
		"cuDevicePrimaryCtxRelease_v2": func(_, _, _ uintptr) int32 { f.Retained.Add(-1); return 0 },
		"cuCtxPushCurrent_v2":          func(c, _, _ uintptr) int32 { f.Depth.Add(1); return codeIf(c < contextBase) },
		"cuCtxPopCurrent_v2":           func(_, _, _ uintptr) int32 { f.Depth.Add(-1); return 0 },
		"cuMemGetInfo_v2":              f.memGetInfo,
	}
	maps.Copy(functions, f.Machine.exported())
	return functions
}

// Handles and contexts of the fake differ from ordinals, so that a mix-up shows.
const (
	handleBase  = 7
	contextBase = 0x1000
)

func handleOf(ordinal uintptr) int32            { return int32(ordinal) + handleBase }
func (f *Library) at(h uintptr) Device          { return f.Devices[int32(h)-handleBase] }
func codeIf(wrong bool) int32                   { return map[bool]int32{true: invalidValue}[wrong] }
func put[T any](out uintptr, v T) int32         { *at[T](out) = v; return 0 }
func at[T any](address uintptr) *T              { return *(**T)(unsafe.Pointer(&address)) }
func bytesAt(address uintptr, n uintptr) []byte { return unsafe.Slice(at[byte](address), n) }

func (f *Library) text(get func(Device) string) cfunc {
	return func(out, size, h uintptr) int32 {
		buffer := bytesAt(out, size)
		n := copy(buffer[:len(buffer)-1], get(f.at(h)))
		buffer[n] = 0
		return 0
	}
}

func (f *Library) attribute(out, which, h uintptr) int32 {
	v, ok := f.at(h).Attributes[int32(which)]
	if !ok {
		return invalidValue
	}
	return put(out, v)
}

func (f *Library) retain(out, h, _ uintptr) int32 {
	f.Retained.Add(1)
	return put(out, contextBase+h)
}

func (f *Library) memGetInfo(free, total, _ uintptr) int32 {
	if f.Depth.Load() != 1 || f.Retained.Load() != 1 {
		return 201 // CUDA_ERROR_INVALID_CONTEXT
	}
	put(free, f.Devices[0].Free)
	return put(total, f.Devices[0].Total)
}

func codeText(code, out uintptr, which int) int32 {
	texts, ok := codeTexts[int32(code)]
	if !ok {
		put[*byte](out, nil)
		return invalidValue
	}
	return put(out, &texts[which][0])
}

// callbacks are C addresses by exported name. purego never frees one and has 2000 of them,
// so that there is one for each name, and it calls what current has.
var (
	callbacks = map[string]uintptr{}
	current   atomic.Pointer[loaded]
)

// loaded is a fake that was opened.
type loaded struct {
	*Library
	functions map[string]cfunc
}

// call is a call through a C address.
func (l *loaded) call(name string, args [12]uintptr) uintptr {
	if code, fails := l.Fail.of(name); fails {
		return uintptr(code)
	}
	if long, ok := l.Machine.long()[name]; ok {
		return uintptr(long(args))
	}
	return uintptr(l.functions[name](args[0], args[1], args[2]))
}

func address(name string) uintptr {
	if _, ok := callbacks[name]; !ok {
		callbacks[name] = purego.NewCallback(func(a, b, c, d, e, f, g, h, i, j, k, l uintptr) uintptr {
			return current.Load().call(name, [12]uintptr{a, b, c, d, e, f, g, h, i, j, k, l})
		})
	}
	return callbacks[name]
}

// Load makes the library the one that this process's calls go to, and returns what finds
// its functions.
func (f *Library) Load() func(name string) (uintptr, error) {
	l := &loaded{f, f.exported()}
	current.Store(l)
	return func(name string) (uintptr, error) {
		_, short := l.functions[name]
		_, long := l.Machine.long()[name]
		if !short && !long || name == f.Absent {
			return 0, errors.New("undefined symbol: " + name)
		}
		return address(name), nil
	}
}

// TwoDevices is a machine with two unequal devices.
func TwoDevices() *Library {
	attributes := func(major, minor, sms, shared, l2 int32) map[int32]int32 {
		return map[int32]int32{Major: major, Minor: minor, Multiprocessors: sms, SharedMemory: shared, L2Cache: l2}
	}
	return &Library{Version: 13000, Devices: []Device{
		{
			Name: "NVIDIA H100 80GB HBM3", PCI: "0000:0A:00.0", UUID: [16]byte{0xde, 0xad, 0xbe, 0xef, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff},
			Total: 85_899_345_920, Free: 84_000_000_001, Attributes: attributes(9, 0, 132, 232448, 52428800),
		},
		{Name: "NVIDIA GeForce RTX 4090", PCI: "0000:0B:00.0", Total: 25_757_220_864, Attributes: attributes(8, 9, 128, 101376, 75497472)},
	}}
}
