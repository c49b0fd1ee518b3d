package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	jitErrorLog     jitOption = 5 // CU_JIT_ERROR_LOG_BUFFER
	jitErrorLogSize jitOption = 6 // CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES

	jitPTX jitInput = 1 // CU_JIT_INPUT_PTX

	functionSharedMemory functionAttribute = 8 // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
)

// machineCode is what a cubin, which is an ELF file, begins with.
const machineCode = "\x7fELF"

// Module is a loaded set of kernels.
type Module struct {
	context *Context
	name    string
	m       modulePointer
}

// Function is a kernel.
type Function struct {
	context *Context
	name    string
	f       functionPointer
}

// Load loads machine code, a cubin, or PTX, which the driver compiles for the device: 0.1 to
// 1 s of one processor, less where it finds the result in its cache on disk
// (CUDA_CACHE_PATH). It has a thread of its own, so that modules can be loaded side by side,
// and beside what runs; it must return before the context is closed. The error names the
// module and has what the compiler says. An error of kind fault.Resource is about a driver
// that is too old; one of kind fault.Internal is about the module.
//
// The driver's linker does the compiling: cuModuleLoadData would hold a lock meanwhile that
// even copies wait for, and compile one module at a time.
func (c *Context) Load(name string, image []byte) (*Module, error) {
	a := c.api
	m := &Module{context: c, name: name}
	err := c.beside(func() error {
		load := func(cubin *byte) error {
			return a.check("cuModuleLoadData", a.cuModuleLoadData(&m.m, cubin))
		}
		if bytes.HasPrefix(image, []byte(machineCode)) {
			return load(&image[0])
		}
		return a.compile(name, image, load)
	})
	if err != nil {
		return nil, loading(name, err)
	}
	c.own(m, func() error { return a.check("cuModuleUnload", a.cuModuleUnload(m.m)) })
	return m, nil
}

// compile compiles PTX for the current context's device, and has the result used.
func (a *api) compile(name string, ptx []byte, use func(cubin *byte) error) (err error) {
	log := make([]byte, 16<<10)
	var pin runtime.Pinner // the log's address travels as a number, and is kept
	defer pin.Unpin()
	pin.Pin(&log[0])
	options := [2]jitOption{jitErrorLog, jitErrorLogSize}
	values := [2]uintptr{uintptr(unsafe.Pointer(&log[0])), uintptr(len(log))}
	pin.Pin(&options)
	pin.Pin(&values)
	var l linkPointer
	if err := a.check("cuLinkCreate_v2", a.cuLinkCreate(uint32(len(options)), &options[0], &values[0], &l)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.check("cuLinkDestroy", a.cuLinkDestroy(l))) }()
	image, title := terminated(ptx), terminated([]byte(name))
	code := a.cuLinkAddData(l, jitPTX, &image[0], uint64(len(image)), &title[0], 0, nil, nil)
	if err := a.check("cuLinkAddData_v2", code); err != nil {
		return withLog(err, cString(&log[0]))
	}
	var cubin *byte // the linker's
	var size uint64
	if err := a.check("cuLinkComplete", a.cuLinkComplete(l, &cubin, &size)); err != nil {
		return withLog(err, cString(&log[0]))
	}
	return use(cubin)
}

// terminated is a text as C has it.
func terminated(text []byte) []byte { return append(append(make([]byte, 0, len(text)+1), text...), 0) }

// withLog adds what the compiler says to an error.
func withLog(err error, log string) error {
	log = strings.TrimSpace(log)
	if err == nil || log == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, log)
}

// loading says whose fault it is that a module does not load.
func loading(name string, err error) error {
	var code *Error
	wrapped := fmt.Errorf("loading CUDA module %s: %w", name, err)
	switch {
	case !errors.As(err, &code) || errors.Is(err, ErrLost) || errors.Is(err, ErrMemory):
		return wrapped
	case code.Code == codeNewPTX:
		return fault.Wrap(fault.Resource, "update the NVIDIA driver: it is older than the program's kernels", wrapped)
	case code.Code == codeNoBinary:
		return fault.Wrap(fault.Resource, "use a GPU of compute capability 8.0 or later", wrapped)
	}
	return fault.Wrap(fault.Internal, "", wrapped)
}

// Function finds a kernel. A name that the module does not have is a defect, of kind
// fault.Internal.
func (m *Module) Function(name string) (*Function, error) {
	a := m.context.api
	f := &Function{context: m.context, name: name}
	text := terminated([]byte(name))
	err := m.context.do(func() error {
		return a.check("cuModuleGetFunction", a.cuModuleGetFunction(&f.f, m.m, &text[0]))
	})
	if err != nil {
		defect := m.context.Err() == nil // and not what sticks, or a device that is lost
		err = fmt.Errorf("finding kernel %s in CUDA module %s: %w", name, m.name, err)
		if defect {
			err = fault.Wrap(fault.Internal, "", err)
		}
		return nil, err
	}
	return f, nil
}

// Name is the kernel's name.
func (f *Function) Name() string { return f.name }

// AllowShared lets launches have so many bytes of dynamic shared memory; without it 48 KiB
// is the limit.
func (f *Function) AllowShared(bytes int) error {
	api := f.context.api
	err := f.context.do(func() error {
		return api.check("cuFuncSetAttribute", api.cuFuncSetAttribute(f.f, functionSharedMemory, int32(bytes)))
	})
	if err != nil {
		return fmt.Errorf("allowing kernel %s %d bytes of shared memory: %w", f.name, bytes, err)
	}
	return nil
}
