package cuda

import (
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

// fakeDriver is a driver library in this process: its functions are Go functions behind C
// addresses, so that a test goes through the same calling convention, and the same memory
// rules, as with NVIDIA's library.
type fakeDriver struct {
	version int32
	devices []fakeDevice
	// fail maps an exported name to the code that it returns.
	fail map[string]Code
	// absent names a function that the library does not export.
	absent string
	// depth counts pushed contexts, retained the primary contexts in use.
	depth, retained atomic.Int32
	machine         fakeMachine
}

type fakeDevice struct {
	name, pci   string
	uuid        [16]byte
	total, free uint64
	attributes  map[attribute]int32
}

// codeTexts are texts of the fake, kept alive for as long as the process.
var codeTexts = map[Code][2][]byte{
	2:   {[]byte("CUDA_ERROR_OUT_OF_MEMORY\x00"), []byte("out of memory\x00")},
	34:  {[]byte("CUDA_ERROR_STUB_LIBRARY\x00"), []byte("CUDA driver is a stub library\x00")},
	100: {[]byte("CUDA_ERROR_NO_DEVICE\x00"), []byte("no CUDA-capable device is detected\x00")},
	222: {[]byte("CUDA_ERROR_UNSUPPORTED_PTX_VERSION\x00"), []byte("the provided PTX was compiled with an unsupported toolchain.\x00")},
	700: {[]byte("CUDA_ERROR_ILLEGAL_ADDRESS\x00"), []byte("an illegal memory access was encountered\x00")},
	999: {[]byte("CUDA_ERROR_UNKNOWN\x00"), []byte("unknown error\x00")},
}

// invalidValue is CUDA_ERROR_INVALID_VALUE.
const invalidValue Code = 1

// cfunc is a function of the fake: it sees the arguments as registers hold them. longFunc is
// one with more of them than three.
type (
	cfunc    func(x, y, z uintptr) Code
	longFunc func(args [12]uintptr) Code
)

// exported lists the functions under the names that NVIDIA's library exports.
func (f *fakeDriver) exported() map[string]cfunc {
	functions := map[string]cfunc{
		"cuInit":                       func(flags, _, _ uintptr) Code { return codeIf(flags != 0) },
		"cuDriverGetVersion":           func(out, _, _ uintptr) Code { return put(out, f.version) },
		"cuDeviceGetCount":             func(out, _, _ uintptr) Code { return put(out, int32(len(f.devices))) },
		"cuGetErrorName":               func(code, out, _ uintptr) Code { return codeText(code, out, 0) },
		"cuGetErrorString":             func(code, out, _ uintptr) Code { return codeText(code, out, 1) },
		"cuDeviceGet":                  func(out, ordinal, _ uintptr) Code { return put(out, handleOf(ordinal)) },
		"cuDeviceGetName":              f.text(func(d fakeDevice) string { return d.name }),
		"cuDeviceGetPCIBusId":          f.text(func(d fakeDevice) string { return d.pci }),
		"cuDeviceGetUuid_v2":           func(out, h, _ uintptr) Code { return put(out, f.at(h).uuid) },
		"cuDeviceTotalMem_v2":          func(out, h, _ uintptr) Code { return put(out, f.at(h).total) },
		"cuDeviceGetAttribute":         f.attribute,
		"cuDevicePrimaryCtxRetain":     f.retain,
		"cuDevicePrimaryCtxRelease_v2": func(_, _, _ uintptr) Code { f.retained.Add(-1); return 0 },
		"cuCtxPushCurrent_v2":          func(c, _, _ uintptr) Code { f.depth.Add(1); return codeIf(c < contextBase) },
		"cuCtxPopCurrent_v2":           func(_, _, _ uintptr) Code { f.depth.Add(-1); return 0 },
		"cuMemGetInfo_v2":              f.memGetInfo,
	}
	maps.Copy(functions, f.machine.exported())
	return functions
}

// Handles and contexts of the fake differ from ordinals, so that a mix-up shows.
const (
	handleBase  = 7
	contextBase = 0x1000
)

func handleOf(ordinal uintptr) int32            { return int32(ordinal) + handleBase }
func (f *fakeDriver) at(h uintptr) fakeDevice   { return f.devices[int32(h)-handleBase] }
func codeIf(wrong bool) Code                    { return map[bool]Code{true: invalidValue}[wrong] }
func put[T any](out uintptr, v T) Code          { *at[T](out) = v; return 0 }
func at[T any](address uintptr) *T              { return *(**T)(unsafe.Pointer(&address)) }
func bytesAt(address uintptr, n uintptr) []byte { return unsafe.Slice(at[byte](address), n) }

func (f *fakeDriver) text(get func(fakeDevice) string) cfunc {
	return func(out, size, h uintptr) Code {
		buffer := bytesAt(out, size)
		n := copy(buffer[:len(buffer)-1], get(f.at(h)))
		buffer[n] = 0
		return 0
	}
}

func (f *fakeDriver) attribute(out, which, h uintptr) Code {
	v, ok := f.at(h).attributes[attribute(which)]
	if !ok {
		return invalidValue
	}
	return put(out, v)
}

func (f *fakeDriver) retain(out, h, _ uintptr) Code {
	f.retained.Add(1)
	return put(out, contextBase+h)
}

func (f *fakeDriver) memGetInfo(free, total, _ uintptr) Code {
	if f.depth.Load() != 1 || f.retained.Load() != 1 {
		return 201 // CUDA_ERROR_INVALID_CONTEXT
	}
	put(free, f.devices[0].free)
	return put(total, f.devices[0].total)
}

func codeText(code, out uintptr, which int) Code {
	texts, ok := codeTexts[Code(code)]
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
	*fakeDriver
	functions map[string]cfunc
}

// call is a call through a C address.
func (l *loaded) call(name string, args [12]uintptr) uintptr {
	if code, fails := l.fail[name]; fails {
		return uintptr(code)
	}
	if long, ok := l.machine.long()[name]; ok {
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

// load returns the fake as a loader does, with real C addresses.
func (f *fakeDriver) load() (resolver, error) {
	l := &loaded{f, f.exported()}
	current.Store(l)
	return func(name string) (uintptr, error) {
		_, short := l.functions[name]
		_, long := l.machine.long()[name]
		if !short && !long || name == f.absent {
			return 0, errors.New("undefined symbol: " + name)
		}
		return address(name), nil
	}, nil
}

// twoDevices is a machine with two unequal devices.
func twoDevices() *fakeDriver {
	attributes := func(major, minor, sms, shared, l2 int32) map[attribute]int32 {
		return map[attribute]int32{
			attributeMajor: major, attributeMinor: minor, attributeMultiprocessors: sms,
			attributeSharedMemory: shared, attributeL2CacheSize: l2,
		}
	}
	return &fakeDriver{version: 13000, devices: []fakeDevice{
		{
			name: "NVIDIA H100 80GB HBM3", pci: "0000:0A:00.0", uuid: [16]byte{0xde, 0xad, 0xbe, 0xef, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff},
			total: 85_899_345_920, free: 84_000_000_001, attributes: attributes(9, 0, 132, 232448, 52428800),
		},
		{name: "NVIDIA GeForce RTX 4090", pci: "0000:0B:00.0", total: 25_757_220_864, attributes: attributes(8, 9, 128, 101376, 75497472)},
	}}
}

func openFake(t *testing.T, f *fakeDriver) (*Driver, error) {
	t.Helper()
	return open(f.load, t.TempDir()+"/version")
}
