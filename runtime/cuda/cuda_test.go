package cuda

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
)

func loadOf(l *cudatest.Library) func() (resolver, error) {
	return func() (resolver, error) { return l.Load(), nil }
}

func openFake(t *testing.T, l *cudatest.Library) (*Driver, error) {
	t.Helper()
	return open(loadOf(l), t.TempDir()+"/version")
}

func TestNoDriver(t *testing.T) {
	_, err := open(loader("libplimsoll-absent.so.1"), "")
	require.ErrorIs(t, err, ErrNoDriver)
	require.NotErrorIs(t, err, ErrNoDevice)
	require.ErrorContains(t, err, "no CUDA driver: libplimsoll-absent.so.1: ")
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "--gpus all")
}

func TestNotADriver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs glibc's libc.so.6")
	}
	_, err := open(loader("libc.so.6"), "") // any library that is no CUDA driver
	require.ErrorContains(t, err, "binding libcuda.so.1: function cuInit: ")
	require.NotErrorIs(t, err, ErrNoDriver)
	require.Equal(t, fault.Resource, fault.KindOf(err))
}

func TestOldDriver(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Absent = "cuDeviceGetUuid_v2"
	_, err := openFake(t, f)
	require.EqualError(t, err, "binding libcuda.so.1: function cuDeviceGetUuid_v2: undefined symbol: cuDeviceGetUuid_v2")
	require.Contains(t, fault.HintOf(err), "CUDA 11.4")
}

func TestOpenFails(t *testing.T) {
	cases := []struct {
		name, call string
		code       Code
		want       string
		is         error
	}{
		{"no device", "cuInit", 100, "no CUDA device: cuInit: CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected", ErrNoDevice},
		{"stub", "cuInit", 34, "no CUDA driver: cuInit: CUDA_ERROR_STUB_LIBRARY (34): CUDA driver is a stub library", ErrNoDriver},
		{"other", "cuInit", 999, "starting the CUDA driver: cuInit: CUDA_ERROR_UNKNOWN (999): unknown error", nil},
		{"unnamed", "cuInit", 4242, "starting the CUDA driver: cuInit: CUDA error 4242", nil},
		{"version", "cuDriverGetVersion", 999, "cuDriverGetVersion: CUDA_ERROR_UNKNOWN (999): unknown error", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Fail.Set(c.call, int32(c.code))
			_, err := openFake(t, f)
			require.EqualError(t, err, c.want)
			require.Equal(t, fault.Resource, fault.KindOf(err))
			for _, sentinel := range []error{ErrNoDevice, ErrNoDriver} {
				require.Equal(t, sentinel == c.is, errors.Is(err, sentinel), sentinel)
			}
		})
	}
}

func TestDevices(t *testing.T) {
	d, err := openFake(t, cudatest.TwoDevices())
	require.NoError(t, err)
	require.Equal(t, "13.0", d.Version().String())
	require.Empty(t, d.Release())

	devices, err := d.Devices()
	require.NoError(t, err)
	require.Equal(t, []Device{
		{
			Ordinal: 0, Name: "NVIDIA H100 80GB HBM3", UUID: "deadbeef-0405-0607-0809-0a0b0c0d0eff", PCIBusID: "0000:0A:00.0",
			Capability: Capability{9, 0}, TotalMemory: 85_899_345_920, Multiprocessors: 132, SharedMemory: 232448, L2Cache: 52428800, handle: 7,
		},
		{
			Ordinal: 1, Name: "NVIDIA GeForce RTX 4090", UUID: "00000000-0000-0000-0000-000000000000", PCIBusID: "0000:0B:00.0",
			Capability: Capability{8, 9}, TotalMemory: 25_757_220_864, Multiprocessors: 128, SharedMemory: 101376, L2Cache: 75497472, handle: 8,
		},
	}, devices)

	text, err := json.Marshal(devices[1])
	require.NoError(t, err)
	require.JSONEq(t, `{"ordinal":1,"name":"NVIDIA GeForce RTX 4090","uuid":"00000000-0000-0000-0000-000000000000",
		"pciBusId":"0000:0B:00.0","computeCapability":"8.9","totalMemory":25757220864,"multiprocessors":128,
		"sharedMemoryPerBlock":101376,"l2Cache":75497472}`, string(text))
}

// Every call that Devices makes is checked: whichever fails, the error names it.
func TestDevicesChecksEveryCall(t *testing.T) {
	for _, call := range []string{
		"cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetPCIBusId", "cuDeviceGetUuid_v2", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute",
	} {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Fail.Set(call, 999)
			d, err := openFake(t, f)
			require.NoError(t, err)
			devices, err := d.Devices()
			require.Nil(t, devices)
			require.ErrorContains(t, err, call)
			require.ErrorContains(t, err, "CUDA_ERROR_UNKNOWN (999)")
			require.Equal(t, fault.Resource, fault.KindOf(err))
			var driverErr *Error
			require.ErrorAs(t, err, &driverErr)
			require.Equal(t, Code(999), driverErr.Code)
		})
	}
}

func TestAttributeThatTheDriverDoesNotKnow(t *testing.T) {
	f := cudatest.TwoDevices()
	delete(f.Devices[1].Attributes, cudatest.SharedMemory)
	d, err := openFake(t, f)
	require.NoError(t, err)
	_, err = d.Devices()
	require.EqualError(t, err, "reading CUDA device 1 of 2: cuDeviceGetAttribute 97: CUDA error 1")
}

func TestLongName(t *testing.T) {
	f := cudatest.TwoDevices()
	f.Devices[0].Name = strings.Repeat("x", 1000)
	d, err := openFake(t, f)
	require.NoError(t, err)
	devices, err := d.Devices()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 254), devices[0].Name)
}

func TestFreeMemory(t *testing.T) {
	f := cudatest.TwoDevices()
	d, err := openFake(t, f)
	require.NoError(t, err)
	devices, err := d.Devices()
	require.NoError(t, err)
	free, err := d.FreeMemory(devices[0])
	require.NoError(t, err)
	require.Equal(t, int64(84_000_000_001), free)
	require.Zero(t, f.Depth.Load(), "a context stayed behind")
	require.Zero(t, f.Retained.Load(), "the primary context is still held")
}

func TestFreeMemoryFails(t *testing.T) {
	for call, retained := range map[string]int32{
		"cuDevicePrimaryCtxRetain": 0, "cuCtxPushCurrent_v2": 0, "cuMemGetInfo_v2": 0, "cuCtxPopCurrent_v2": 0,
		"cuDevicePrimaryCtxRelease_v2": 1, // the call that would let go is the one that fails
	} {
		t.Run(call, func(t *testing.T) {
			f := cudatest.TwoDevices()
			f.Fail.Set(call, 2)
			d, err := openFake(t, f)
			require.NoError(t, err)
			devices, err := d.Devices()
			require.NoError(t, err)
			done := make(chan error)
			go func() { // a failed pop leaves its thread locked; it must end with its goroutine
				_, err := d.FreeMemory(devices[0])
				done <- err
			}()
			err = <-done
			require.EqualError(t, err, "reading free memory of CUDA device 0: "+call+": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory")
			require.Equal(t, retained, f.Retained.Load())
		})
	}
}

func TestReleaseFromModuleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "version")
	require.NoError(t, os.WriteFile(path, []byte(openModule), 0o644))
	d, err := open(loadOf(cudatest.TwoDevices()), path)
	require.NoError(t, err)
	require.Equal(t, "580.159.04", d.Release())
}

const openModule = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (dvs-builder@U22)  Tue Sep 2\nGCC version:  gcc version 12.3.0 (Ubuntu)\n"

func TestParseRelease(t *testing.T) {
	cases := map[string]string{
		openModule: "580.159.04",
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version:  gcc version 11.3.0\n": "535.54.03",
		"GCC version: 12.3.0\n":   "",
		"NVRM version: 7\n":       "",
		"":                        "",
		"\x00\xffNVRM version: 1": "",
	}
	for text, want := range cases {
		require.Equal(t, want, parseRelease([]byte(text)), text)
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte(openModule))
	f.Add([]byte("NVRM version: 535.54.03"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := parseRelease(text); got != "" {
			require.Regexp(t, `^[0-9.]{4,20}$`, got)
			require.Contains(t, string(text), got)
		}
	})
}

func TestVersionString(t *testing.T) {
	for v, want := range map[Version]string{11040: "11.4", 12080: "12.8", 13000: "13.0"} {
		require.Equal(t, want, v.String())
	}
}
