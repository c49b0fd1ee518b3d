package cudatest

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Machine is the part of a library that runs things: memory that is this process's own, and
// two kernels, "scale", which multiplies n float32 by a factor in place, and "tiled", which
// notes its parameters. Other kernels of modules that are loaded do nothing. Everything runs
// when it is put into a stream.
type Machine struct {
	mu sync.Mutex
	// Live is the allocations of all kinds, by address.
	Live map[uintptr][]byte
	// Made is streams, events, modules and functions, by handle.
	Made map[uintptr]string
	// Limit is how many bytes one allocation can have; 0 is 1 MiB.
	Limit uintptr
	// Hang, if it is there, is what streams wait for, once they have said so in Hung.
	Hang, Hung chan struct{}
	// Last is the last launch, and Launches how many there were of each kernel.
	Last     Launched
	Launches map[string]int
	// Clusters are the attributes of functions that were set, but for shared memory.
	Clusters [][2]int32

	times   map[uintptr]time.Time
	shared  map[uintptr]int32
	modules map[uintptr]string // their PTX
}

// TensorMap is a CUtensorMap, in which the fake keeps the arguments.
type TensorMap [16]uint64

// Launched is a launch.
type Launched struct {
	Grid, Block [3]uintptr
	Shared      uintptr
	// Tiled and Word are the parameters of the kernel "tiled".
	Tiled [2]TensorMap
	Word  uint64
}

// sharedAttribute is CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.
const sharedAttribute = 8

// PTX is a module with the machine's own kernels.
const PTX = ".version 7.0\n.target sm_80\n.visible .entry scale()\n.visible .entry tiled()"

// exported lists the functions of three arguments or less, long the others.
func (m *Machine) exported() map[string]cfunc {
	alloc := func(out, n, _ uintptr) int32 { return m.alloc(out, n) }
	free := func(p, _, _ uintptr) int32 { return m.free(p) }
	create := func(what string) cfunc { return func(out, _, _ uintptr) int32 { return put(out, m.make(what)) } }
	destroy := func(what string) cfunc { return func(h, _, _ uintptr) int32 { return m.destroy(what, h) } }
	copying := func(dst, src, n uintptr) int32 { copy(bytesAt(dst, n), bytesAt(src, n)); return 0 }
	return map[string]cfunc{
		"cuCtxSetCurrent":      func(c, _, _ uintptr) int32 { return codeIf(c < contextBase) },
		"cuStreamCreate":       create("stream"),
		"cuStreamDestroy_v2":   destroy("stream"),
		"cuStreamSynchronize":  func(s, _, _ uintptr) int32 { return m.synchronize(s) },
		"cuEventCreate":        create("event"),
		"cuEventDestroy_v2":    destroy("event"),
		"cuEventRecord":        func(e, s, _ uintptr) int32 { return m.record(e, s) },
		"cuEventSynchronize":   func(e, _, _ uintptr) int32 { return codeIf(m.is(e) != "event") },
		"cuEventElapsedTime":   m.elapsed,
		"cuModuleUnload":       destroy("module"),
		"cuModuleGetFunction":  m.function,
		"cuFuncSetAttribute":   m.setAttribute,
		"cuMemAlloc_v2":        alloc,
		"cuMemFree_v2":         free,
		"cuMemHostAlloc":       alloc,
		"cuMemFreeHost":        free,
		"cuMemcpyHtoDAsync_v2": copying,
		"cuMemcpyDtoHAsync_v2": copying,
		"cuMemcpyDtoDAsync_v2": copying,
		"cuMemsetD8Async": func(dst, value, n uintptr) int32 {
			b := bytesAt(dst, n)
			for i := range b {
				b[i] = byte(value)
			}
			return 0
		},
	}
}

func (m *Machine) long() map[string]longFunc {
	return map[string]longFunc{
		"cuLaunchKernel": m.launch, "cuModuleLoadDataEx": m.loadModule, "cuTensorMapEncodeTiled": m.encode,
	}
}

// Memory is how many bytes one allocation can have without a limit.
const Memory = 1 << 20

func (m *Machine) alloc(out, n uintptr) int32 {
	if n > max(m.Limit, Memory) {
		return outOfMemory
	}
	b := make([]byte, n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Live == nil {
		m.Live = map[uintptr][]byte{}
	}
	address := uintptr(unsafe.Pointer(&b[0]))
	m.Live[address] = b
	return put(out, address)
}

func (m *Machine) free(p uintptr) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.Live[p]
	delete(m.Live, p)
	return codeIf(!ok)
}

// make is a new handle.
func (m *Machine) make(what string) uintptr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Made == nil {
		m.Made, m.times, m.shared, m.modules = map[uintptr]string{}, map[uintptr]time.Time{}, map[uintptr]int32{}, map[uintptr]string{}
	}
	h := uintptr(0x100 + len(m.Made))
	m.Made[h] = what
	return h
}

func (m *Machine) is(h uintptr) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Made[h]
}

func (m *Machine) destroy(what string, h uintptr) int32 {
	wrong := m.is(h) != what
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Made[h] = "destroyed " + what
	return codeIf(wrong)
}

func (m *Machine) synchronize(s uintptr) int32 {
	if m.Hang != nil {
		m.Hung <- struct{}{}
		<-m.Hang
	}
	return codeIf(m.is(s) != "stream")
}

func (m *Machine) record(e, s uintptr) int32 {
	if m.is(e) != "event" || m.is(s) != "stream" {
		return invalidValue
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[e] = time.Now()
	return 0
}

func (m *Machine) elapsed(out, start, end uintptr) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return put(out, float32(m.times[end].Sub(m.times[start]).Seconds()*1000))
}

// loadModule is cuModuleLoadDataEx: it takes what begins as PTX does, and says so
// otherwise.
func (m *Machine) loadModule(a [12]uintptr) int32 {
	if text := textAt(a[1]); strings.HasPrefix(text, ".version") {
		h := m.make("module")
		m.mu.Lock()
		m.modules[h] = text
		m.mu.Unlock()
		return put(a[0], h)
	}
	options, values := at[[2]int32](a[3]), at[[2]uintptr](a[4])
	log := fmt.Sprintf("ptxas: syntax error; %d options, %d and %d\n\x00", a[2], options[0], options[1])
	copy(bytesAt(values[0], values[1]), log)
	return 218 // CUDA_ERROR_INVALID_PTX
}

func (m *Machine) function(out, module, name uintptr) int32 {
	text := textAt(name)
	m.mu.Lock()
	found := strings.Contains(m.modules[module], ".entry "+text+"(")
	m.mu.Unlock()
	if m.is(module) != "module" || !found {
		return 500 // CUDA_ERROR_NOT_FOUND
	}
	return put(out, m.make("function "+text))
}

func (m *Machine) setAttribute(f, attribute, value uintptr) int32 {
	if int32(attribute) != sharedAttribute {
		m.Clusters = append(m.Clusters, [2]int32{int32(attribute), int32(value)})
		return codeIf(int32(value) > 8)
	}
	if int32(value) > 232448 {
		return invalidValue
	}
	m.shared[f] = int32(value)
	return 0
}

// encode is cuTensorMapEncodeTiled: the map holds the arguments, pointers followed.
func (m *Machine) encode(a [12]uintptr) int32 {
	sizes, box := *at[[2]uint64](a[4]), *at[[2]uint32](a[6])
	if a[0]%64 != 0 || box[0]*2 > 128 {
		return invalidValue
	}
	return put(a[0], TensorMap{
		uint64(uint32(a[1])), uint64(uint32(a[2])), uint64(a[3]), sizes[0], sizes[1], *at[uint64](a[5]), uint64(box[0]), uint64(box[1]),
		uint64(uint32(a[8])), uint64(uint32(a[9])), uint64(uint32(a[10])), uint64(uint32(a[11])),
	})
}

// launch is cuLaunchKernel of scale(float *x, int n, float factor).
func (m *Machine) launch(a [12]uintptr) int32 {
	if !strings.HasPrefix(m.is(a[0]), "function") || m.is(a[8]) != "stream" || int32(a[7]) > max(m.shared[a[0]], 48<<10) {
		return invalidValue
	}
	m.Last = Launched{Grid: [3]uintptr{a[1], a[2], a[3]}, Block: [3]uintptr{a[4], a[5], a[6]}, Shared: a[7]}
	kernel := strings.TrimPrefix(m.is(a[0]), "function ")
	if m.Launches == nil {
		m.Launches = map[string]int{}
	}
	m.Launches[kernel]++
	p := at[[3]uintptr](a[9])
	if kernel == "tiled" {
		m.Last.Tiled = [2]TensorMap{*at[TensorMap](p[0]), *at[TensorMap](p[1])}
		m.Last.Word = *at[uint64](p[2])
		return 0
	}
	if kernel != "scale" {
		return 0
	}
	x, n, factor := *at[uintptr](p[0]), *at[int32](p[1]), *at[float32](p[2])
	for i := range n {
		*at[float32](x + uintptr(4*i)) *= factor
	}
	return 0
}

// textAt is the NUL-terminated text at an address.
func textAt(address uintptr) string {
	p, n := unsafe.Pointer(at[byte](address)), 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
