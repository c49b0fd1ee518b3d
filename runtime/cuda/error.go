package cuda

import "fmt"

// Code is a CUresult of the driver API; 0 is success.
type Code int32

// The codes that this package tells apart. The driver names all others itself.
const (
	codeStubLibrary Code = 34  // CUDA_ERROR_STUB_LIBRARY: a toolkit's libcuda, made for linking
	codeNoDevice    Code = 100 // CUDA_ERROR_NO_DEVICE
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

// Is makes errors.Is(err, ErrNoDevice) and errors.Is(err, ErrNoDriver) true for the codes
// that mean them.
func (e *Error) Is(target error) bool {
	return target == ErrNoDevice && e.Code == codeNoDevice || target == ErrNoDriver && e.Code == codeStubLibrary
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
