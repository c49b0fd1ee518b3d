package flow

import (
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TestWaysOut: a folder that takes nothing comes with the setting that names another; what
// is not the folder's fault does not.
func TestWaysOut(t *testing.T) {
	for _, refusal := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EACCES} {
		err := &fs.PathError{Op: "write", Path: "x", Err: refusal}
		require.Contains(t, fault.HintOf(inOut(err)), "PLIMSOLL_OUT")
		require.Contains(t, fault.HintOf(exportError(err)), "-to=DIR")
		require.Equal(t, fault.Resource, fault.KindOf(exportError(err)))
	}
	wrong := fault.Wrap(fault.Invalid, "", fmt.Errorf("its digest is not the one of its name"))
	require.Empty(t, fault.HintOf(inOut(wrong)))
	require.Empty(t, fault.HintOf(exportError(wrong)))
}
