// Package cuda talks to NVIDIA's driver without cgo and without a CUDA toolkit: it loads
// libcuda.so.1, the library that comes with the driver, at run time through purego. A
// program that imports it therefore starts on any machine, and learns from Open whether
// there is a driver (ErrNoDriver) and a device (ErrNoDevice).
//
// A Context runs work on a device: a thread of its own makes the driver's calls, and streams,
// events, modules, memory and copies belong to it. What takes long has further threads: the
// compiling of modules, and a Feed, which copies weights.
//
// The package holds to four rules.
//
//   - Every return code is looked at. A failure is an *Error with the call, the code and
//     the driver's own name and text for it.
//   - No Go memory is handed to the driver beyond the call that it is passed to: copies
//     that run behind read and write pinned memory, which is the driver's.
//   - A context belongs to an OS thread, and goroutines move between threads: a Context
//     has a locked thread of its own, and what needs a context for one call locks its
//     thread first and puts it back as it was.
//   - The driver is asked, not guessed about. Which devices there are is its business,
//     CUDA_VISIBLE_DEVICES included.
//
// The program is linked dynamically against libdl, libpthread and libc even with
// CGO_ENABLED=0, so it needs a C library and its loader at run time.
//
// Names, types and values of the driver API are those of NVIDIA's public CUDA Driver API
// reference.
package cuda

import (
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// libraryName is the driver library's name for programs; libcuda.so is for linkers only.
const libraryName = "libcuda.so.1"

var (
	// ErrNoDriver says that this machine, or this container, has no CUDA driver.
	ErrNoDriver = errors.New("no CUDA driver")
	// ErrNoDevice says that there is a driver, but no device that this process may see.
	ErrNoDevice = errors.New("no CUDA device")
)

// The ways out of the failures that Open can explain.
const (
	noDriverHint = "install the NVIDIA driver on the host and give the container its GPUs (docker run --gpus all)"
	noDeviceHint = "check that nvidia-smi lists a GPU here and that CUDA_VISIBLE_DEVICES does not hide it"
	oldHint      = "install an NVIDIA driver of CUDA 11.4 or later"
)

// Version is a CUDA version as the driver counts: 1000*major + 10*minor.
type Version int32

// String returns "13.0" for 13000.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// Driver is the loaded and initialised driver library. It is never unloaded. All methods
// are safe for concurrent use.
type Driver struct {
	api     *api
	version Version
	release string
}

// Open loads the driver library and initialises it, which takes about 0.1 s. The error is
// of kind fault.Resource and wraps ErrNoDriver if there is no library, or only a
// toolkit's stub of one, and ErrNoDevice if the driver shows this process no device.
func Open() (*Driver, error) {
	return open(loader(libraryName), kernelModuleFile)
}

// OpenLibrary is Open with another library than the system's, by what finds its functions.
// It is for tests without a GPU (package cudatest).
func OpenLibrary(resolve func(name string) (uintptr, error)) (*Driver, error) {
	return open(func() (resolver, error) { return resolve, nil }, kernelModuleFile)
}

func open(load func() (resolver, error), moduleFile string) (*Driver, error) {
	resolve, err := load()
	if err != nil {
		return nil, fault.Wrap(fault.Resource, noDriverHint, fmt.Errorf("%w: %w", ErrNoDriver, err))
	}
	a, err := bind(resolve)
	if err != nil {
		return nil, fault.Wrap(fault.Resource, oldHint, fmt.Errorf("binding %s: %w", libraryName, err))
	}
	d := &Driver{api: a, release: kernelModuleRelease(moduleFile)}
	if err := d.init(); err != nil {
		return nil, err
	}
	return d, nil
}

// init is cuInit, with its failures told apart.
func (d *Driver) init() error {
	err := d.api.check("cuInit", d.api.cuInit(0))
	switch {
	case err == nil:
	case errors.Is(err, ErrNoDevice):
		return fault.Wrap(fault.Resource, noDeviceHint, fmt.Errorf("%w: %w", ErrNoDevice, err))
	case errors.Is(err, ErrNoDriver):
		return fault.Wrap(fault.Resource, noDriverHint, fmt.Errorf("%w: %w", ErrNoDriver, err))
	default:
		return fault.Wrap(fault.Resource, "", fmt.Errorf("starting the CUDA driver: %w", err))
	}
	err = d.api.check("cuDriverGetVersion", d.api.cuDriverGetVersion(&d.version))
	return fault.Wrap(fault.Resource, "", err)
}

// Version is the latest CUDA version that the driver supports.
func (d *Driver) Version() Version { return d.version }

// Release is the release of the driver's kernel module, such as "580.159.04"; "" where the
// system does not tell.
func (d *Driver) Release() string { return d.release }
