package cuda

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// fakeMachine is the part of the fake that runs things: memory that is this process's own,
// and two kernels, "scale", which
// multiplies n float32 by a factor in place, and "tiled", which notes its parameters. Everything runs
// when it is put into a stream.
type fakeMachine struct {
	mu     sync.Mutex
	live   map[uintptr][]byte // allocations of all kinds, by address
	made   map[uintptr]string // streams, events, modules and functions, by handle
	times  map[uintptr]time.Time
	shared map[uintptr]int32
	last   launched
	// clusters are the attributes of functions that were set, but for shared memory.
	clusters [][2]int32
	// hang, if it is there, is what streams wait for, once they have said so in hung.
	hang, hung chan struct{}
}

type launched struct {
	grid, block [3]uintptr
	shared      uintptr
	// tiled and word are the parameters of the kernel "tiled".
	tiled [2]tensorMap
	word  uint64
}

const ptx = ".version 7.0\n.target sm_80\n.visible .entry scale()"

func (m *fakeMachine) exported() map[string]cfunc {
	alloc := func(out, n, _ uintptr) Code { return m.alloc(out, n) }
	free := func(p, _, _ uintptr) Code { return m.free(p) }
	create := func(what string) cfunc { return func(out, _, _ uintptr) Code { return put(out, m.make(what)) } }
	destroy := func(what string) cfunc { return func(h, _, _ uintptr) Code { return m.destroy(what, h) } }
	copying := func(dst, src, n uintptr) Code { copy(bytesAt(dst, n), bytesAt(src, n)); return 0 }
	return map[string]cfunc{
		"cuCtxSetCurrent":      func(c, _, _ uintptr) Code { return codeIf(c < contextBase) },
		"cuStreamCreate":       create("stream"),
		"cuStreamDestroy_v2":   destroy("stream"),
		"cuStreamSynchronize":  func(s, _, _ uintptr) Code { return m.synchronize(s) },
		"cuEventCreate":        create("event"),
		"cuEventDestroy_v2":    destroy("event"),
		"cuEventRecord":        func(e, s, _ uintptr) Code { return m.record(e, s) },
		"cuEventSynchronize":   func(e, _, _ uintptr) Code { return codeIf(m.is(e) != "event") },
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
		"cuMemsetD8Async": func(dst, value, n uintptr) Code {
			b := bytesAt(dst, n)
			for i := range b {
				b[i] = byte(value)
			}
			return 0
		},
	}
}

func (m *fakeMachine) long() map[string]longFunc {
	return map[string]longFunc{
		"cuLaunchKernel": m.launch, "cuModuleLoadDataEx": m.loadModule, "cuTensorMapEncodeTiled": m.encode,
	}
}

// fakeMemory is how many bytes one allocation can have.
const fakeMemory = 1 << 20

func (m *fakeMachine) alloc(out, n uintptr) Code {
	if n > fakeMemory {
		return codeOutOfMemory
	}
	b := make([]byte, n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[uintptr][]byte{}
	}
	address := uintptr(unsafe.Pointer(&b[0]))
	m.live[address] = b
	return put(out, address)
}

func (m *fakeMachine) free(p uintptr) Code {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.live[p]
	delete(m.live, p)
	return codeIf(!ok)
}

// make is a new handle.
func (m *fakeMachine) make(what string) uintptr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made == nil {
		m.made, m.times, m.shared = map[uintptr]string{}, map[uintptr]time.Time{}, map[uintptr]int32{}
	}
	h := uintptr(0x100 + len(m.made))
	m.made[h] = what
	return h
}

func (m *fakeMachine) is(h uintptr) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.made[h]
}

func (m *fakeMachine) destroy(what string, h uintptr) Code {
	wrong := m.is(h) != what
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made[h] = "destroyed " + what
	return codeIf(wrong)
}

func (m *fakeMachine) synchronize(s uintptr) Code {
	if m.hang != nil {
		m.hung <- struct{}{}
		<-m.hang
	}
	return codeIf(m.is(s) != "stream")
}

func (m *fakeMachine) record(e, s uintptr) Code {
	if m.is(e) != "event" || m.is(s) != "stream" {
		return invalidValue
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[e] = time.Now()
	return 0
}

func (m *fakeMachine) elapsed(out, start, end uintptr) Code {
	m.mu.Lock()
	defer m.mu.Unlock()
	return put(out, float32(m.times[end].Sub(m.times[start]).Seconds()*1000))
}

// loadModule is cuModuleLoadDataEx: it takes what begins as PTX does, and says so
// otherwise.
func (m *fakeMachine) loadModule(a [12]uintptr) Code {
	if strings.HasPrefix(cString(at[byte](a[1])), ".version") {
		return put(a[0], m.make("module"))
	}
	options, values := at[[2]jitOption](a[3]), at[[2]uintptr](a[4])
	log := fmt.Sprintf("ptxas: syntax error; %d options, %d and %d\n\x00", a[2], options[0], options[1])
	copy(bytesAt(values[0], values[1]), log)
	return 218 // CUDA_ERROR_INVALID_PTX
}

func (m *fakeMachine) function(out, module, name uintptr) Code {
	text := cString(at[byte](name))
	if m.is(module) != "module" || text != "scale" && text != "tiled" {
		return 500 // CUDA_ERROR_NOT_FOUND
	}
	return put(out, m.make("function "+text))
}

func (m *fakeMachine) setAttribute(f, attribute, value uintptr) Code {
	if functionAttribute(attribute) != functionSharedMemory {
		m.clusters = append(m.clusters, [2]int32{int32(attribute), int32(value)})
		return codeIf(int32(value) > 8)
	}
	if int32(value) > 232448 {
		return invalidValue
	}
	m.shared[f] = int32(value)
	return 0
}

// encode is cuTensorMapEncodeTiled: the map holds the arguments, pointers followed.
func (m *fakeMachine) encode(a [12]uintptr) Code {
	sizes, box := *at[[2]uint64](a[4]), *at[[2]uint32](a[6])
	if a[0]%64 != 0 || box[0]*2 > 128 {
		return invalidValue
	}
	return put(a[0], tensorMap{
		uint64(uint32(a[1])), uint64(uint32(a[2])), uint64(a[3]), sizes[0], sizes[1], *at[uint64](a[5]), uint64(box[0]), uint64(box[1]),
		uint64(uint32(a[8])), uint64(uint32(a[9])), uint64(uint32(a[10])), uint64(uint32(a[11])),
	})
}

// launch is cuLaunchKernel of scale(float *x, int n, float factor).
func (m *fakeMachine) launch(a [12]uintptr) Code {
	if !strings.HasPrefix(m.is(a[0]), "function") || m.is(a[8]) != "stream" || int32(a[7]) > max(m.shared[a[0]], 48<<10) {
		return invalidValue
	}
	m.last = launched{grid: [3]uintptr{a[1], a[2], a[3]}, block: [3]uintptr{a[4], a[5], a[6]}, shared: a[7]}
	p := at[[3]uintptr](a[9])
	if m.is(a[0]) == "function tiled" {
		m.last.tiled = [2]tensorMap{*at[tensorMap](p[0]), *at[tensorMap](p[1])}
		m.last.word = *at[uint64](p[2])
		return 0
	}
	x, n, factor := *at[uintptr](p[0]), *at[int32](p[1]), *at[float32](p[2])
	for i := range n {
		*at[float32](x + uintptr(4*i)) *= factor
	}
	return 0
}
