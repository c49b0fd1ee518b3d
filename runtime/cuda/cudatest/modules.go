package cudatest

import (
	"fmt"
	"strings"
	"unsafe"
)

// PTX is a module with the machine's own kernels.
const PTX = ".version 7.0\n.target sm_80\n.visible .entry scale()\n.visible .entry tiled()"

// cubin is what a compiled module begins with; its PTX follows. Other machine code the machine
// does not take.
const cubin = "\x7fELF of cudatest\n"

// Code is PTX, compiled.
const Code = cubin + PTX + "\x00"

// link is a linker: where it says what is wrong, and what it was given.
type link struct {
	log  []byte
	text string
	out  []byte
}

// createLink is cuLinkCreate.
func (m *Machine) createLink(a [12]uintptr) int32 {
	options, values := at[[2]int32](a[1]), at[[2]uintptr](a[2])
	if uint32(a[0]) != 2 || *options != [2]int32{5, 6} { // CU_JIT_ERROR_LOG_BUFFER and its size
		return invalidValue
	}
	h := m.make("link")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links[h] = &link{log: bytesAt(values[0], values[1])}
	return put(a[3], h)
}

// addData is cuLinkAddData of PTX: it takes what begins as PTX does, and says so otherwise.
func (m *Machine) addData(a [12]uintptr) int32 {
	text := textAt(a[2])
	m.mu.Lock()
	l := m.links[a[0]]
	m.mu.Unlock()
	if l == nil || int32(a[1]) != 1 || a[3] != uintptr(len(text)+1) {
		return invalidValue
	}
	if !strings.HasPrefix(text, ".version") {
		copy(l.log, fmt.Sprintf("ptxas %s: syntax error\n\x00", textAt(a[4])))
		return 218 // CUDA_ERROR_INVALID_PTX
	}
	l.text = text
	return 0
}

// completeLink is cuLinkComplete.
func (m *Machine) completeLink(h, out, size uintptr) int32 {
	m.mu.Lock()
	l := m.links[h]
	m.mu.Unlock()
	l.out = []byte(cubin + l.text + "\x00")
	put(size, uint64(len(l.out)))
	return put(out, uintptr(unsafe.Pointer(&l.out[0])))
}

// loadModule is cuModuleLoadData of a compiled module.
func (m *Machine) loadModule(out, image, _ uintptr) int32 {
	text, ok := strings.CutPrefix(textAt(image), cubin)
	if !ok {
		return 200 // CUDA_ERROR_INVALID_IMAGE
	}
	h := m.make("module")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.modules[h] = text
	return put(out, h)
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

// textAt is the NUL-terminated text at an address.
func textAt(address uintptr) string {
	p, n := unsafe.Pointer(at[byte](address)), 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
