package selftest_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
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

// few is for backends on a CPU.
var few = selftest.Options{Few: true}

// TestRight: the reference is as it is itself, leaves nothing behind, and gets the same
// numbers each time.
func TestRight(t *testing.T) {
	b := ref.New(ref.Options{Poison: true})
	kept := b.Alloc(compute.F32, 1, 3)
	b.Upload(kept, []float32{1, 2, 3})
	mark := b.Mark()
	r, err := selftest.Run(t.Context(), b, few)
	require.NoError(t, err)
	require.True(t, r.OK)
	names := map[string]bool{}
	for _, o := range r.Operations {
		require.Zero(t, o.Error, o.Name)
		require.True(t, o.OK, o.Name)
		require.False(t, names[o.Name], "%s is there twice", o.Name)
		names[o.Name] = true
	}
	require.Equal(t, mark, b.Mark())
	values := make([]float32, 3)
	require.NoError(t, b.Download(values, kept))
	require.Equal(t, []float32{1, 2, 3}, values)
	require.NoError(t, b.Close())
	t.Logf("%d operations in %.2f s", len(r.Operations), r.Seconds)
}

// TestArena: what a GPU needs for the whole test, as package plan counts it, which computes
// nothing and is found out.
func TestArena(t *testing.T) {
	for _, held := range []plan.Options{{Temporaries: true}, {Temporaries: true, SVDQ: plan.Int8}} {
		p := plan.New(held)
		r, err := selftest.Run(t.Context(), p, selftest.Options{})
		require.ErrorIs(t, err, selftest.ErrWrong)
		require.False(t, r.OK)
		require.LessOrEqual(t, p.Peak(), int64(selftest.ArenaBytes))
		require.Greater(t, p.Peak(), int64(selftest.ArenaBytes/2), "it may be smaller")
	}
}

// TestEightBits: what is computed in whole numbers of 8 bits is right for a backend that says
// so, and wrong for another.
func TestEightBits(t *testing.T) {
	b := ref.New(ref.Options{Numerics: ref.Int8})
	r, err := selftest.Run(t.Context(), b, selftest.Options{Few: true, EightBits: true})
	require.NoError(t, err, "%v", r)
	require.Contains(t, r.Worst().Name, "SVDQ")
	_, err = selftest.Run(t.Context(), b, few)
	require.ErrorIs(t, err, selftest.ErrWrong)
	require.ErrorContains(t, err, "3 of ")
	require.NoError(t, b.Close())
	t.Logf("\n%v", r)
}

// TestW4A4: codes of 4 bits are held against a reference that has them too. Without, they are
// wrong, and so is a backend that says it has them and has not.
func TestW4A4(t *testing.T) {
	exact := selftest.Options{Few: true, W4A4: true}
	b := ref.New(ref.Options{Numerics: ref.W4A4})
	r, err := selftest.Run(t.Context(), b, exact)
	require.NoError(t, err, "%v", r)
	_, err = selftest.Run(t.Context(), b, few)
	require.ErrorContains(t, err, "3 of ")
	require.NoError(t, b.Close())
	b = ref.New(ref.Options{})
	_, err = selftest.Run(t.Context(), b, exact)
	require.ErrorIs(t, err, selftest.ErrWrong)
	require.ErrorContains(t, err, "3 of ")
	require.NoError(t, b.Close())
}

// TestErrors: what goes wrong beside the results.
func TestErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := ref.New(ref.Options{})
	_, err := selftest.Run(ctx, b, few)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, b.Close())

	b = ref.New(ref.Options{ArenaBytes: 1 << 16})
	r, err := selftest.Run(t.Context(), b, few)
	require.ErrorContains(t, err, "testing the kernels: linear, ")
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.NotErrorIs(t, err, selftest.ErrWrong)
	require.False(t, r.OK)
	require.NotEmpty(t, r.Operations, "those before the arena was full")
	require.Error(t, b.Close())

	refused := errors.New("no such weights here")
	_, err = selftest.Run(t.Context(), &refusing{ref.New(ref.Options{}), refused}, few)
	require.ErrorIs(t, err, refused)
}

// refusing takes no convolutions.
type refusing struct {
	compute.Backend
	err error
}

func (r *refusing) LoadConv(compute.ConvSpec) (compute.Conv, error) { return nil, r.err }

func TestReport(t *testing.T) {
	r := selftest.Report{Seconds: 0.5, Operations: []selftest.Result{
		{Name: "gather", OK: true, Seconds: 0.001},
		{Name: "linear", Error: 0.00172, Bound: 0.00390625, OK: true, Seconds: 0.0234},
		{Name: "attention", Error: selftest.Distance(math.NaN()), Bound: 0.00390625},
	}}
	require.Equal(t, ""+
		"   OPERATION  ERROR   BOUND   MS\n"+
		"✓  gather     0       0       1.0\n"+
		"✓  linear     0.0017  0.0039  23.4\n"+
		"✗  attention  NaN     0.0039  0.0\n", r.String())
	require.Equal(t, "attention", r.Worst().Name)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.JSONEq(t, `{"ok":false,"seconds":0.5,"operations":[
		{"name":"gather","error":0,"bound":0,"ok":true,"seconds":0.001},
		{"name":"linear","error":0.00172,"bound":0.00390625,"ok":true,"seconds":0.0234},
		{"name":"attention","error":null,"bound":0.00390625,"ok":false,"seconds":0}]}`, string(text))
	r.Operations = r.Operations[:2]
	require.Equal(t, "linear", r.Worst().Name)
	r.Operations[0] = selftest.Result{Name: "gather", Error: 1e-9}
	require.Equal(t, "gather", r.Worst().Name)
	require.Zero(t, selftest.Report{}.Worst())
}

// TestGPUSelfTest: a GPU that passes the conformance suite passes this, with each set of
// kernels that it has.
func TestGPUSelfTest(t *testing.T) {
	driver, err := cuda.Open()
	if err != nil {
		if os.Getenv("PLIMSOLL_GPU") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs a GPU: %v", err)
	}
	devices, err := driver.Devices()
	require.NoError(t, err)
	options := []kernels.Options{{}, {Portable: true}, {Held: kernels.W4A4}}
	if devices[0].Capability == (cuda.Capability{Major: 9}) {
		options = append(options, kernels.Options{Held: kernels.EightBits})
	}
	for _, o := range options {
		o.ArenaBytes = selftest.ArenaBytes
		b, err := kernels.New(driver, devices[0], o)
		require.NoError(t, err)
		r, err := selftest.Run(t.Context(), b, selftest.Options{EightBits: o.Held == kernels.EightBits, W4A4: o.Held == kernels.W4A4})
		require.NoError(t, err)
		require.NoError(t, b.Close())
		t.Logf("%.2f s\n%v", r.Seconds, r)
	}
}
