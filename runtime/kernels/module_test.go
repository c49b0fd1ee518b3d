package kernels

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels/cubin"
)

// Every kernel that asks for shared memory is one that there is, and no name is there twice.
func TestKernelsOfTheModules(t *testing.T) {
	files, err := ptx.ReadDir("ptx")
	require.NoError(t, err)
	all := map[string]string{}
	for _, f := range files {
		text, err := ptx.ReadFile("ptx/" + f.Name())
		require.NoError(t, err)
		found := entries(text)
		require.Len(t, found, strings.Count(string(text), ".entry "), f.Name())
		for name, params := range found {
			require.Positive(t, params, name)
			require.Empty(t, all[name], "%s is in %s", name, f.Name())
			all[name] = f.Name()
		}
		target := strings.Split(f.Name(), ".")[1]
		require.Contains(t, []string{ampere, hopper}, target, f.Name())
		require.Contains(t, string(text), ".target "+target+"\n", f.Name())
	}
	for name, n := range shared {
		require.NotEmpty(t, all[name], name)
		if strings.Contains(all[name], ampere) {
			require.LessOrEqual(t, n, 99<<10, "%s: an Ada has 99 KiB", name)
		}
	}
}

func TestEntries(t *testing.T) {
	require.Equal(t, map[string]int{"a": 2, "b_c": 1}, entries([]byte(`.visible .entry a(
	.param .u64 a_param_0,
	.param .align 64 .b8 a_param_1[128]
)
.maxntid 128
{
	ld.param.u64 %rd1, [a_param_0];
}
.visible .entry b_c(
	.param .u32 b_c_param_0
)
`)))
}

func TestLaunchesThatAreDefects(t *testing.T) {
	f := &functions{named: map[string]*function{"a": {params: 2}}}
	require.PanicsWithValue(t, "kernels: launching b, which no file has", func() { _, _ = f.find("b", 2) })
	require.PanicsWithValue(t, "kernels: launching a with 3 parameters, it takes 2", func() { _, _ = f.find("a", 3) })
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		o            Options
		major, minor int
		version      cuda.Version
		want         []string
	}{
		{Options{}, 9, 0, 13000, []string{hopper, ampere}},
		{Options{Portable: true}, 9, 0, 13000, []string{ampere}},
		{Options{}, 9, 0, 11080, []string{ampere}},
		{Options{}, 8, 9, 13000, []string{ampere}},
		{Options{}, 12, 0, 13000, []string{ampere}},
	} {
		require.Equal(t, c.want, c.o.targets(cuda.Device{Capability: cuda.Capability{Major: c.major, Minor: c.minor}}, c.version))
	}
}

// BenchmarkGPUCompile is what the driver takes for each module: with CUDA_CACHE_DISABLE=1
// for what a first start takes.
func BenchmarkGPUCompile(b *testing.B) {
	driver, err := cuda.Open()
	if err != nil {
		b.Skipf("needs a GPU: %v", err)
	}
	devices, err := driver.Devices()
	require.NoError(b, err)
	c, err := driver.Context(devices[0], cuda.Options{})
	require.NoError(b, err)
	files, err := ptx.ReadDir("ptx")
	require.NoError(b, err)
	for _, f := range files {
		if strings.Contains(f.Name(), hopper) && devices[0].Capability.Major != 9 {
			continue
		}
		b.Run(f.Name(), func(b *testing.B) {
			text, err := ptx.ReadFile("ptx/" + f.Name())
			require.NoError(b, err)
			for range b.N {
				_, err := c.Load(f.Name(), text)
				require.NoError(b, err)
			}
		})
		b.Run("machine code of "+f.Name(), func(b *testing.B) {
			text, err := ptx.ReadFile("ptx/" + f.Name())
			require.NoError(b, err)
			name, target, _ := strings.Cut(strings.TrimSuffix(f.Name(), ".ptx"), ".")
			code := cubin.Find(name, architecture(target, devices[0].Capability), text)
			if code == nil {
				b.Skip("there is none for the device")
			}
			for range b.N {
				_, err := c.Load(f.Name(), code)
				require.NoError(b, err)
			}
		})
	}
	require.NoError(b, c.Close())
}

// Machine code is for the device's architecture; who has none gets PTX.
func TestArchitecture(t *testing.T) {
	require.Equal(t, "sm_90a", architecture(hopper, cuda.Capability{Major: 9}))
	require.Equal(t, "sm_90", architecture(ampere, cuda.Capability{Major: 9}))
	require.Equal(t, "sm_80", architecture(ampere, cuda.Capability{Major: 8, Minor: 9}))
	require.Empty(t, architecture(ampere, cuda.Capability{Major: 12}))
}

// Sources and comments are in the tree, not in the program.
func TestOnlyPTXIsEmbedded(t *testing.T) {
	_, err := ptx.Open("ptx/sources.txt")
	require.ErrorIs(t, err, os.ErrNotExist)
}
