package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// TestDevices runs on both kinds of machine, and demands something of each.
func TestDevices(t *testing.T) {
	_, err := cuda.Open()
	text, asJSON := runProgram(t, nil, "devices"), runProgram(t, nil, "devices", "-json")
	var list struct {
		SchemaVersion int
		Error         string
		Devices       []struct {
			Name        string
			TotalMemory int64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &list))
	require.Equal(t, 2, list.SchemaVersion)
	require.NotNil(t, list.Devices)
	if err == nil {
		require.Zero(t, text.code, text.stderr)
		require.Zero(t, asJSON.code, asJSON.stderr)
		require.NotEmpty(t, list.Devices)
		require.Contains(t, text.stdout, list.Devices[0].Name)
		require.Positive(t, list.Devices[0].TotalMemory)
		return
	}
	require.Equal(t, 6, text.code)
	require.Equal(t, 6, asJSON.code)
	require.Empty(t, text.stdout)
	require.Equal(t, err.Error(), list.Error)
	require.Equal(t, fmt.Sprintf("plimsoll-runtime: %v\nhint: %s\n", err, fault.HintOf(err)), text.stderr)
	require.Equal(t, text.stderr, asJSON.stderr)
}

func TestDevicesWithoutDriver(t *testing.T) {
	refuse := func() (*cuda.Driver, error) {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("%w: libcuda.so.1: not found", cuda.ErrNoDriver))
	}
	var out bytes.Buffer
	p := &program{stdout: &out}
	err := p.listDevices(true, refuse, nil, nil)
	require.ErrorIs(t, err, cuda.ErrNoDriver)
	require.JSONEq(t, `{"schemaVersion":2,"error":"no CUDA driver: libcuda.so.1: not found","devices":[]}`, out.String())

	out.Reset()
	require.ErrorIs(t, p.listDevices(false, refuse, nil, nil), cuda.ErrNoDriver)
	require.Empty(t, out.String())

	p.stdout = fullDisk{}
	err = p.listDevices(true, refuse, nil, nil)
	require.EqualError(t, err, "writing the result: no space")
}

// fullDisk is a redirection to a disk without space.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestDeviceListText(t *testing.T) {
	free := int64(84_437_303_296)
	list := deviceList{SchemaVersion: 2, Driver: "580.159.04", CUDA: "13.0", Devices: []deviceStatus{
		{
			Device: cuda.Device{
				Name: "NVIDIA H100 80GB HBM3", UUID: "deadbeef-0405-0607-0809-0a0b0c0d0eff", PCIBusID: "0000:0A:00.0",
				Capability: cuda.Capability{Major: 9}, TotalMemory: 85_029_158_912, Multiprocessors: 132,
			},
			FreeMemory: &free,
		},
		{
			Device:          cuda.Device{Ordinal: 1, Name: "RTX", Capability: cuda.Capability{Major: 8, Minor: 9}, TotalMemory: 25_757_220_864, Multiprocessors: 128, UUID: "u"},
			FreeMemoryError: "reading free memory of CUDA device 1: busy",
		},
	}}
	require.Equal(t, `NVIDIA driver 580.159.04, CUDA 13.0
GPU  NAME                   COMPUTE  MEMORY    FREE      SMS  UUID
0    NVIDIA H100 80GB HBM3  9.0      85.03 GB  84.44 GB  132  deadbeef-0405-0607-0809-0a0b0c0d0eff
1    RTX                    8.9      25.76 GB  unknown   128  u
⚠ GPU 1: reading free memory of CUDA device 1: busy
`, list.text())

	text, err := json.Marshal(list.Devices[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"ordinal":0,"name":"NVIDIA H100 80GB HBM3","uuid":"deadbeef-0405-0607-0809-0a0b0c0d0eff",
		"pciBusId":"0000:0A:00.0","computeCapability":"9.0","totalMemory":85029158912,"multiprocessors":132,
		"sharedMemoryPerBlock":0,"l2Cache":0,"freeMemory":84437303296}`, string(text))

	list.Driver = ""
	require.Contains(t, list.text(), "CUDA 13.0\nGPU")
	require.NotContains(t, list.text(), "driver")
}
