package fault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestKindAndHint(t *testing.T) {
	base := errors.New("boom")
	cases := []struct {
		name string
		err  error
		kind fault.Kind
		hint string
	}{
		{"nil", nil, 0, ""},
		{"unmarked", base, fault.Internal, ""},
		{"marked", fault.Wrap(fault.Lock, "run lock", base), fault.Lock, "run lock"},
		{"context above", fmt.Errorf("doing x: %w", fault.Wrap(fault.Usage, "h", base)), fault.Usage, "h"},
		{"outermost wins", fault.Wrap(fault.Registry, "outer", fault.Wrap(fault.Upstream, "inner", base)), fault.Registry, "outer"},
		{"hint from inside", fault.Wrap(fault.Registry, "", fault.Wrap(0, "inner", base)), fault.Registry, "inner"},
		{"joined", errors.Join(base, fault.Wrap(fault.Invalid, "j", base)), fault.Invalid, "j"},
		{"full disk", fmt.Errorf("writing: %w", syscall.ENOSPC), fault.Resource, ""},
		{"permission", &os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, fault.Resource, ""},
		{"interrupted", fault.Wrap(fault.Upstream, "", fmt.Errorf("x: %w", context.Canceled)), fault.Canceled, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.kind, fault.KindOf(c.err))
			require.Equal(t, c.hint, fault.HintOf(c.err))
		})
	}
}

func TestWrapKeepsTextAndChain(t *testing.T) {
	base := errors.New("boom")
	err := fault.Wrap(fault.Usage, "hint", fmt.Errorf("reading: %w", base))
	require.ErrorIs(t, err, base)
	require.EqualError(t, err, "reading: boom")
	require.NoError(t, fault.Wrap(fault.Usage, "hint", nil))
}

func TestExitCodesAreFixed(t *testing.T) {
	want := map[string]int{
		"internal": 1, "usage": 2, "lock": 3, "upstream": 4, "invalid": 5,
		"resource": 6, "registry": 7, "budget": 8, "canceled": 130,
	}
	got := map[string]int{}
	for _, k := range fault.Kinds() {
		got[k.String()] = k.ExitCode()
	}
	require.Equal(t, want, got)
}
