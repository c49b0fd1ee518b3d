package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/selftest"
)

// TestSelfTestWithoutGPU: -selftest says what devices says where there is no GPU.
func TestSelfTestWithoutGPU(t *testing.T) {
	if _, err := cuda.Open(); err == nil {
		t.Skip("there is a GPU: TestGPUDevicesSelfTest tests it")
	}
	require.Equal(t, runProgram(t, nil, "devices"), runProgram(t, nil, "devices", "-selftest"))
	require.Equal(t, runProgram(t, nil, "devices", "-json"), runProgram(t, nil, "devices", "-selftest", "-json"))
}

// TestGPUDevicesSelfTest: the GPU that there is computes rightly.
func TestGPUDevicesSelfTest(t *testing.T) {
	if _, err := cuda.Open(); err != nil {
		t.Skipf("needs a GPU: %v", err)
	}
	text := runProgram(t, nil, "devices", "-selftest")
	require.Zero(t, text.code, text.stderr)
	require.Contains(t, text.stdout, "packed weights: computes as the CPU does")
}

// TestDeviceTests: which kernels are tried, what is said of them, and that the list is whole
// although one of them cannot be made and another, which counts instead of computing, is
// wrong.
func TestDeviceTests(t *testing.T) {
	refused := fault.Wrap(fault.Resource, "", errors.New("no memory"))
	open := func(o kernels.Options) (compute.Backend, error) {
		require.Equal(t, int64(selftest.ArenaBytes), o.ArenaBytes)
		switch {
		case o.Portable:
			return nil, refused
		case o.Held == kernels.EightBits:
			return ref.New(ref.Options{Numerics: ref.Int8}), nil
		}
		return plan.New(plan.Options{}), nil
	}
	few := selftest.Options{Few: true}
	list := deviceList{SchemaVersion: 2, Devices: []deviceStatus{
		{Device: cuda.Device{Name: "H", Capability: hopper}},
		{Device: cuda.Device{Ordinal: 1, Name: "A", Capability: cuda.Capability{Major: 8}}},
	}}
	err := list.test(func(d cuda.Device) ([]selfTest, error) { return testDevice(t.Context(), d, few, open) })
	require.ErrorIs(t, err, selftest.ErrWrong)
	require.ErrorContains(t, err, "GPU 0, H: testing the kernels")
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.NotEmpty(t, fault.HintOf(err))

	tests := list.Devices[0].SelfTests
	require.Len(t, tests, 3)
	require.Len(t, list.Devices[1].SelfTests, 1, "it has no kernels of its own")
	require.Equal(t, []string{"packed", "int8", "packed"}, []string{tests[0].Weights, tests[1].Weights, tests[2].Weights})
	require.Equal(t, []bool{false, true, false}, []bool{tests[0].OK, tests[1].OK, tests[2].OK})
	require.Contains(t, tests[0].Error, "compute wrongly")
	require.Empty(t, tests[1].Error)
	require.True(t, tests[2].Portable)

	text := list.text()
	require.Contains(t, text, "\n✗ GPU 0, packed weights: does not compute as the CPU does (")
	require.Contains(t, text, "\n✓ GPU 0, int8 weights: computes as the CPU does (")
	require.Contains(t, text, "\n✗ GPU 0, packed weights, kernels of every GPU: no memory\n")
	require.Contains(t, text, "\n✗ GPU 1, packed weights: does not")

	data, err := json.Marshal(list.Devices[0].SelfTests[2])
	require.NoError(t, err)
	require.JSONEq(t, `{"weights":"packed","portable":true,"error":"no memory","ok":false,"seconds":0,"operations":[]}`, string(data))
	_, err = json.Marshal(list)
	require.NoError(t, err)
}

// TestProve: a backend that computes rightly is logged in a line; another is an error.
func TestProve(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	few := selftest.Options{Few: true}
	right := ref.New(ref.Options{})
	require.NoError(t, prove(t.Context(), right, few, log))
	require.Regexp(t, `msg=self-test seconds=\S+ operations=\d+ worst="[^"]+" off=0 bound=\S+\n$`, out.String())
	require.NoError(t, right.Close())

	out.Reset()
	require.ErrorIs(t, prove(t.Context(), plan.New(plan.Options{}), few, log), selftest.ErrWrong)
	require.Empty(t, out.String())
}
