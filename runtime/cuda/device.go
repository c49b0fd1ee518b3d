package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// attribute is a CUdevice_attribute.
type attribute int32

const (
	attributeMultiprocessors attribute = 16 // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
	attributeL2CacheSize     attribute = 38 // CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
	attributeMajor           attribute = 75 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
	attributeMinor           attribute = 76 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
	attributeSharedMemory    attribute = 97 // CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
)

// Capability is a device's compute capability.
type Capability struct{ Major, Minor int }

// String returns "9.0".
func (c Capability) String() string { return fmt.Sprintf("%d.%d", c.Major, c.Minor) }

// MarshalText writes what String returns.
func (c Capability) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Device is what the driver says about one device. It does not change while the process
// lives. Sizes are in bytes.
type Device struct {
	// Ordinal counts from 0 among the devices that this process may see.
	Ordinal int    `json:"ordinal"`
	Name    string `json:"name"`
	// UUID has no prefix "GPU-" or "MIG-": the driver does not tell which it is.
	UUID string `json:"uuid"`
	// PCIBusID is "domain:bus:device.function" in hex.
	PCIBusID   string     `json:"pciBusId"`
	Capability Capability `json:"computeCapability"`
	// TotalMemory is the device's memory, free or not.
	TotalMemory     int64 `json:"totalMemory"`
	Multiprocessors int   `json:"multiprocessors"`
	// SharedMemory is the most that one thread block can have, opted in.
	SharedMemory int `json:"sharedMemoryPerBlock"`
	L2Cache      int `json:"l2Cache"`

	handle handle
}

// Devices lists the devices that this process may see, in the driver's order, which
// CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER decide. The error is of kind fault.Resource.
func (d *Driver) Devices() ([]Device, error) {
	var count int32
	if err := d.api.check("cuDeviceGetCount", d.api.cuDeviceGetCount(&count)); err != nil {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("counting CUDA devices: %w", err))
	}
	devices := make([]Device, count)
	for i := range devices {
		if err := d.device(i, &devices[i]); err != nil {
			return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("reading CUDA device %d of %d: %w", i, count, err))
		}
	}
	return devices, nil
}

func (d *Driver) device(ordinal int, out *Device) error {
	a := d.api
	var h handle
	if err := a.check("cuDeviceGet", a.cuDeviceGet(&h, int32(ordinal))); err != nil {
		return err
	}
	out.Ordinal, out.handle = ordinal, h
	return cmp.Or(
		a.text("cuDeviceGetName", a.cuDeviceGetName, h, &out.Name),
		a.text("cuDeviceGetPCIBusId", a.cuDeviceGetPCIBusId, h, &out.PCIBusID),
		a.uuid(h, &out.UUID),
		a.totalMemory(h, &out.TotalMemory),
		a.attribute(attributeMajor, h, &out.Capability.Major),
		a.attribute(attributeMinor, h, &out.Capability.Minor),
		a.attribute(attributeMultiprocessors, h, &out.Multiprocessors),
		a.attribute(attributeSharedMemory, h, &out.SharedMemory),
		a.attribute(attributeL2CacheSize, h, &out.L2Cache),
	)
}

// text reads a text that the driver writes into a buffer of ours.
func (a *api) text(call string, get func(*byte, int32, handle) Code, h handle, out *string) error {
	var buffer [256]byte // NVIDIA's own programs take 256; a longer name is cut
	if err := a.check(call, get(&buffer[0], int32(len(buffer)-1), h)); err != nil {
		return err
	}
	*out = cString(&buffer[0])
	return nil
}

func (a *api) uuid(h handle, out *string) error {
	var u [16]byte
	if err := a.check("cuDeviceGetUuid_v2", a.cuDeviceGetUuid(&u, h)); err != nil {
		return err
	}
	*out = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	return nil
}

func (a *api) totalMemory(h handle, out *int64) error {
	var n uint64
	if err := a.check("cuDeviceTotalMem_v2", a.cuDeviceTotalMem(&n, h)); err != nil {
		return err
	}
	*out = int64(n)
	return nil
}

func (a *api) attribute(which attribute, h handle, out *int) error {
	var n int32
	if err := a.check(fmt.Sprintf("cuDeviceGetAttribute %d", which), a.cuDeviceGetAttribute(&n, which, h)); err != nil {
		return err
	}
	*out = int(n)
	return nil
}

// FreeMemory returns the bytes that nobody has allocated on the device. The driver tells
// it only inside a context: one is made for the call, if the process has none yet, which
// takes about 0.1 s and 0.5 GB of the device (an H100); so the answer is what a program
// finds after it has started. The error is of kind fault.Resource, for instance where
// another process holds the device exclusively.
func (d *Driver) FreeMemory(dev Device) (int64, error) {
	var free, total uint64
	err := d.inContext(dev.handle, func() error {
		return d.api.check("cuMemGetInfo_v2", d.api.cuMemGetInfo(&free, &total))
	})
	if err != nil {
		return 0, fault.Wrap(fault.Resource, "", fmt.Errorf("reading free memory of CUDA device %d: %w", dev.Ordinal, err))
	}
	return int64(free), nil
}

// inContext runs f on a locked thread with the device's primary context current.
func (d *Driver) inContext(h handle, f func() error) (err error) {
	a := d.api
	var c contextPointer
	if err := a.check("cuDevicePrimaryCtxRetain", a.cuDevicePrimaryCtxRetain(&c, h)); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, a.check("cuDevicePrimaryCtxRelease_v2", a.cuDevicePrimaryCtxRelease(h)))
	}()
	runtime.LockOSThread()
	if err := a.check("cuCtxPushCurrent_v2", a.cuCtxPushCurrent(c)); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if popErr := a.check("cuCtxPopCurrent_v2", a.cuCtxPopCurrent(&c)); popErr != nil {
		// The thread still has a context that others must not inherit: it stays locked and
		// ends with the goroutine.
		return errors.Join(err, popErr)
	}
	runtime.UnlockOSThread()
	return err
}
