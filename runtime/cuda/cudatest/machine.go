package cudatest

import (
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Machine is the part of a library that runs things: memory that is this process's own, and
// two kernels, "scale", which multiplies n float32 by a factor in place, and "tiled", which
// notes its parameters. Other kernels of modules that are loaded do nothing. Everything runs
// when it is put into a stream, but for copies from the host if Late says so.
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
	// Late makes a copy from the host run as late as a device may: when something that
	// follows it in its stream runs, or is waited for.
	Late bool
	// Watch, if it is there, is told of each launch before it runs, with the first 8 bytes of
	// its parameters, of which a smaller one has the low ones; of a tiled matrix it is the address.
	Watch func(kernel string, parameter func(i int) uint64)
	// Copies, if it is there, is told of each copy from the host before it is put into its
	// stream, by the thread that does so.
	Copies func(dst uint64, data []byte)
	// Uses, if it is there, says what memory a launch reads and writes, which only its kernel
	// knows. The machine then notes in Disorder what is put into a stream, or is given back, with
	// nothing that has it follow what still uses the same bytes: see order. Disorder is to be read
	// when nothing runs.
	Uses     func(kernel string, parameter func(i int) uint64) []Range
	Disorder []string
	// Last is the last launch, and Launches how many there were of each kernel.
	Last     Launched
	Launches map[string]int

	late    map[uintptr][]func() // by stream
	order   order
	maps    map[uintptr]bool // where tiled matrices were encoded
	marks   map[uintptr]mark // by event
	times   map[uintptr]time.Time
	shared  map[uintptr]int32
	modules map[uintptr]string // their PTX
	links   map[uintptr]*link
}

// mark is where an event lies in a stream: so many late copies are before it, and all that is
// over by a clock.
type mark struct {
	stream uintptr
	copies int
	over   clock
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

// exported lists the functions of three arguments or less, long the others.
func (m *Machine) exported() map[string]cfunc {
	alloc := func(out, n, _ uintptr) int32 { return m.alloc(out, n) }
	free := func(p, _, _ uintptr) int32 { return m.free(p) }
	create := func(what string) cfunc { return func(out, _, _ uintptr) int32 { return put(out, m.make(what)) } }
	destroy := func(what string) cfunc { return func(h, _, _ uintptr) int32 { return m.destroy(what, h) } }
	return map[string]cfunc{
		"cuCtxSetCurrent":     func(c, _, _ uintptr) int32 { return codeIf(c < contextBase) },
		"cuStreamCreate":      create("stream"),
		"cuStreamDestroy_v2":  destroy("stream"),
		"cuStreamSynchronize": func(s, _, _ uintptr) int32 { return m.synchronize(s) },
		"cuEventCreate":       create("event"),
		"cuEventDestroy_v2":   destroy("event"),
		"cuEventRecord":       func(e, s, _ uintptr) int32 { return m.record(e, s) },
		"cuStreamWaitEvent":   m.streamWaits,
		"cuEventSynchronize":  m.awaitEvent,
		"cuEventElapsedTime":  m.elapsed,
		"cuLinkComplete":      m.completeLink,
		"cuLinkDestroy":       destroy("link"),
		"cuModuleLoadData":    m.loadModule,
		"cuModuleUnload":      destroy("module"),
		"cuModuleGetFunction": m.function,
		"cuFuncSetAttribute":  m.setAttribute,
		"cuMemAlloc_v2":       alloc,
		"cuMemFree_v2":        free,
		"cuMemHostAlloc":      alloc,
		"cuMemFreeHost":       free,
	}
}

func (m *Machine) long() map[string]longFunc {
	return map[string]longFunc{
		"cuLaunchKernel": m.launch, "cuTensorMapEncodeTiled": m.encode,
		"cuMemcpyHtoDAsync_v2": m.copyFromHost, "cuMemcpyDtoHAsync_v2": m.copyDevice, "cuMemcpyDtoDAsync_v2": m.copyDevice, "cuMemsetD8Async": m.set,
		"cuLinkCreate_v2": m.createLink, "cuLinkAddData_v2": m.addData,
	}
}

// copyDevice is cuMemcpyDto…Async(dst, src, bytes, stream), set cuMemsetD8Async(dst, value,
// bytes, stream).
func (m *Machine) copyDevice(a [12]uintptr) int32 {
	m.puts(a[3], "a copy", written(a[0], a[2]), read(a[1], a[2]))
	return m.copy(a)
}

func (m *Machine) copy(a [12]uintptr) int32 {
	m.runLate(a[3], -1)
	copy(bytesAt(a[0], a[2]), bytesAt(a[1], a[2]))
	return 0
}

func (m *Machine) set(a [12]uintptr) int32 {
	m.puts(a[3], "a fill", written(a[0], a[2]))
	m.runLate(a[3], -1)
	b := bytesAt(a[0], a[2])
	for i := range b {
		b[i] = byte(a[1])
	}
	return 0
}

func (m *Machine) copyFromHost(a [12]uintptr) int32 {
	if m.Copies != nil {
		m.Copies(uint64(a[0]), bytesAt(a[1], a[2]))
	}
	m.puts(a[3], "a copy from the host", written(a[0], a[2]))
	if !m.Late {
		return m.copy(a)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.late == nil {
		m.late = map[uintptr][]func(){}
	}
	m.late[a[3]] = append(m.late[a[3]], func() { copy(bytesAt(a[0], a[2]), bytesAt(a[1], a[2])) })
	return 0
}

// runLate runs the late copies of a stream, the first n or all if n is negative.
func (m *Machine) runLate(stream uintptr, n int) {
	m.mu.Lock()
	all := m.late[stream]
	if n < 0 || n > len(all) {
		n = len(all)
	}
	for i, run := range all[:n] {
		if run != nil {
			run()
		}
		all[i] = nil // numbers of copies go on counting
	}
	m.mu.Unlock()
}

// streamWaits is cuStreamWaitEvent(stream, event, flags), awaitEvent cuEventSynchronize: what is
// before the event has run.
func (m *Machine) streamWaits(s, e, _ uintptr) int32 { return m.await(s, e) }
func (m *Machine) awaitEvent(e, _, _ uintptr) int32  { return m.await(host, e) }

func (m *Machine) await(stream, e uintptr) int32 {
	if m.is(e) != "event" {
		return invalidValue
	}
	m.waits(stream, func() clock { return m.marks[e].over })
	m.mu.Lock()
	at := m.marks[e]
	m.mu.Unlock()
	m.runLate(at.stream, at.copies)
	return 0
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
	b, ok := m.Live[p]
	delete(m.Live, p)
	m.mu.Unlock()
	// cuMemFree may wait for what runs, and may not (CUDA Driver API, cuMemFree).
	m.puts(host, "giving back", written(p, uintptr(len(b))))
	return codeIf(!ok)
}

// make is a new handle.
func (m *Machine) make(what string) uintptr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Made == nil {
		m.Made, m.times, m.marks = map[uintptr]string{}, map[uintptr]time.Time{}, map[uintptr]mark{}
		m.maps, m.shared, m.modules, m.links = map[uintptr]bool{}, map[uintptr]int32{}, map[uintptr]string{}, map[uintptr]*link{}
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
	m.runLate(s, -1)
	m.waits(host, func() clock { return m.order.of(s) })
	return codeIf(m.is(s) != "stream")
}

func (m *Machine) record(e, s uintptr) int32 {
	if m.is(e) != "event" || m.is(s) != "stream" {
		return invalidValue
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[e] = time.Now()
	m.marks[e] = mark{s, len(m.late[s]), m.order.point(s)}
	return 0
}

func (m *Machine) elapsed(out, start, end uintptr) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return put(out, float32(m.times[end].Sub(m.times[start]).Seconds()*1000))
}

func (m *Machine) setAttribute(f, attribute, value uintptr) int32 {
	if int32(attribute) != sharedAttribute || int32(value) > 232448 {
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
	m.mu.Lock()
	m.maps[a[0]] = true
	m.mu.Unlock()
	return put(a[0], TensorMap{
		uint64(uint32(a[1])), uint64(uint32(a[2])), uint64(a[3]), sizes[0], sizes[1], *at[uint64](a[5]), uint64(box[0]), uint64(box[1]),
		uint64(uint32(a[8])), uint64(uint32(a[9])), uint64(uint32(a[10])), uint64(uint32(a[11])),
	})
}

// parameter is the first 8 bytes of a parameter, or a tiled matrix' address.
func (m *Machine) parameter(p uintptr) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.maps[p] {
		return at[TensorMap](p)[2]
	}
	return *at[uint64](p)
}

// launch is cuLaunchKernel of scale(float *x, int n, float factor).
func (m *Machine) launch(a [12]uintptr) int32 {
	if !strings.HasPrefix(m.is(a[0]), "function") || m.is(a[8]) != "stream" || int32(a[7]) > max(m.shared[a[0]], 48<<10) {
		return invalidValue
	}
	m.runLate(a[8], -1)
	m.Last = Launched{Grid: [3]uintptr{a[1], a[2], a[3]}, Block: [3]uintptr{a[4], a[5], a[6]}, Shared: a[7]}
	kernel := strings.TrimPrefix(m.is(a[0]), "function ")
	if m.Launches == nil {
		m.Launches = map[string]int{}
	}
	m.Launches[kernel]++
	parameter := func(i int) uint64 { return m.parameter(*at[uintptr](a[9] + uintptr(8*i))) }
	if m.Uses != nil {
		m.puts(a[8], kernel, m.Uses(kernel, parameter)...)
	}
	if m.Watch != nil {
		m.Watch(kernel, parameter)
	}
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

// Bytes are those at an address that the machine gave out.
func Bytes(address uintptr, n int) []byte { return bytesAt(address, uintptr(n)) }
