package cubin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestName(t *testing.T) {
	require.Equal(t, "gemm.sm_90.e3b0c44298fc.cubin", Name("gemm", "sm_90", nil), "the sum of nothing")
}

func TestFind(t *testing.T) {
	require.Nil(t, Find("gemm", "sm_90", []byte("other PTX")))
}
