package values

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// TestKeepingIsBounded: a file in which every wscales comes before every wzeros is judged
// in full at the published size; one that would make more of them wait than memory is meant
// for says which were not compared.
func TestKeepingIsBounded(t *testing.T) {
	for linears, alone := range map[int]int{120: 0, 160: 160 - 151} { // 151 × 1,769,472 bytes are below 256 MiB
		p := plan(scalesFirst(t, linears, 48*18432))
		require.Len(t, p.spans, 2*linears)
		require.Len(t, p.jobs, linears+alone, "two for each that was not compared")
		require.Zero(t, p.kept)
		require.Len(t, p.faults, alone)
		for _, f := range p.faults {
			require.Equal(t, fault{verify.Warning, CodeUnjudged, f.tensor, "is not compared with wscales: more than 256 MiB of scales would wait for their wzeros"}, f)
		}
	}
}

// scalesFirst is the header of a file with all wscales in front of all wzeros.
func scalesFirst(t *testing.T, linears, elements int) *safetensors.Header {
	var entries []string
	at := 0
	for _, suffix := range []string{"wscales", "wzeros"} {
		for i := range linears {
			entries = append(entries, fmt.Sprintf(`"b.%d.%s":{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}`, i, suffix, elements, at, at+2*elements))
			at += 2 * elements
		}
	}
	json := "{" + strings.Join(entries, ",") + "}"
	file := string(binary.LittleEndian.AppendUint64(nil, uint64(len(json)))) + json
	h, err := safetensors.Read(strings.NewReader(file), int64(len(file)+at))
	require.NoError(t, err)
	return h
}
