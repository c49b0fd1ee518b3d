package cuda

import (
	"errors"
	"fmt"
	"slices"
)

// Code is a CUresult of the driver API; 0 is success.
type Code int32

// The codes that this package tells apart. The driver names all others itself.
const (
	codeOutOfMemory Code = 2   // CUDA_ERROR_OUT_OF_MEMORY
	codeStubLibrary Code = 34  // CUDA_ERROR_STUB_LIBRARY: a toolkit's libcuda, made for linking
	codeNoDevice    Code = 100 // CUDA_ERROR_NO_DEVICE
	codeNoBinary    Code = 209 // CUDA_ERROR_NO_BINARY_FOR_GPU
	codeNewPTX      Code = 222 // CUDA_ERROR_UNSUPPORTED_PTX_VERSION
)

// lostCodes are those after which, says the driver API's reference, the process can run
// nothing more on the device and must be ended; and 999, CUDA_ERROR_UNKNOWN, which is what
// a device that fell off its bus returns.
var lostCodes = []Code{
	214, // CUDA_ERROR_ECC_UNCORRECTABLE
	220, // CUDA_ERROR_NVLINK_UNCORRECTABLE
	700, // CUDA_ERROR_ILLEGAL_ADDRESS
	702, // CUDA_ERROR_LAUNCH_TIMEOUT
	709, // CUDA_ERROR_CONTEXT_IS_DESTROYED
	710, // CUDA_ERROR_ASSERT
	714, // CUDA_ERROR_HARDWARE_STACK_ERROR
	715, // CUDA_ERROR_ILLEGAL_INSTRUCTION
	716, // CUDA_ERROR_MISALIGNED_ADDRESS
	717, // CUDA_ERROR_INVALID_ADDRESS_SPACE
	718, // CUDA_ERROR_INVALID_PC
	719, // CUDA_ERROR_LAUNCH_FAILED
	999, // CUDA_ERROR_UNKNOWN
}

var (
	// ErrMemory says that the device, or the host where memory is pinned, has too little
	// memory left. What is there stays usable.
	ErrMemory = errors.New("out of CUDA memory")
	// ErrLost says that this process can run nothing more on the device and has to be
	// started again.
	ErrLost = errors.New("the CUDA device is lost to this process")
	// ErrHung is ErrLost because the device did not get on with its work.
	ErrHung = fmt.Errorf("%w: it gets no further", ErrLost)
)

// Error is a driver call that failed.
type Error struct {
	// Call is the function's exported name, such as "cuInit".
	Call string
	Code Code
	// Name is the driver's name for the code, such as "CUDA_ERROR_NO_DEVICE", and Text its
	// sentence; both are "" for a code that the driver does not know.
	Name, Text string
}

// Error returns "cuInit: CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected".
func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s: CUDA error %d", e.Call, e.Code)
	}
	return fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
}

// Is makes errors.Is(err, ErrNoDevice), ErrNoDriver, ErrMemory and ErrLost true for the
// codes that mean them.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNoDevice:
		return e.Code == codeNoDevice
	case ErrNoDriver:
		return e.Code == codeStubLibrary
	case ErrMemory:
		return e.Code == codeOutOfMemory
	case ErrLost:
		return slices.Contains(lostCodes, e.Code)
	}
	return false
}

// check turns a return code into an error, nil for success.
func (a *api) check(call string, code Code) error {
	if code == 0 {
		return nil
	}
	return &Error{Call: call, Code: code, Name: a.describe(a.cuGetErrorName, code), Text: a.describe(a.cuGetErrorString, code)}
}

// describe asks the driver for the name or the text of a code.
func (a *api) describe(get func(Code, **byte) Code, code Code) string {
	var text *byte
	if get(code, &text) != 0 || text == nil {
		return ""
	}
	return cString(text)
}
