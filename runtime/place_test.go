package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
)

// twoLayers is a model of 10 GB, of which 4 GB are layers of which an edit uses one 8 times.
func twoLayers() plan.Result {
	r := plan.Result{WeightBytes: 10e9, Total: plan.StageResult{ArenaPeak: 1e9}}
	for i := range 8 {
		r.Groups = append(r.Groups, plan.Group{Name: fmt.Sprint(i), Bytes: 5e8, WindowBytes: 5e8, Uses: 1 + 7*int64(i%2)})
	}
	return r
}

// TestPlace: all weights stay where there is memory; else packed ones stream, as many as must,
// and the arena gets what is left.
func TestPlace(t *testing.T) {
	const all = 10e9 + 1e9 + gpuReserve // the least without streaming
	for name, c := range map[string]struct {
		free, limit int64
		weights     string
		groups      []string
		arena       int64
	}{
		"much":                  {80e9, anyMemory, weightsInt8, nil, 3e9},
		"some":                  {all + 1e9, anyMemory, weightsPacked, nil, 2e9},
		"just enough":           {all, anyMemory, weightsInt8, nil, 1e9},
		"packed and enough":     {all, anyMemory, weightsPacked, nil, 1e9},
		"not allowed":           {80e9, all - 1 + gpuContext, weightsPacked, []string{"0", "2", "4"}, 15e8 - 1},
		"too little":            {all - 1, anyMemory, weightsPacked, []string{"0", "2", "4"}, 15e8 - 1},
		"less":                  {all - 3e9 + 2e8, anyMemory, weightsPacked, []string{"0", "1", "2", "3", "4", "5", "6", "7"}, 12e8},
		"the least":             {all - 3e9, anyMemory, weightsPacked, []string{"0", "1", "2", "3", "4", "5", "6", "7"}, 1e9},
		"less than the least":   {all - 3e9 - 1, anyMemory, weightsPacked, nil, 0},
		"8 bits do not stream":  {all - 1, anyMemory, weightsInt8, nil, 0},
		"whole ones do neither": {all - 1, anyMemory, weightsWhole, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine{weights: c.weights, limit: c.limit, device: cuda.Device{Name: "a GPU"}}
			p, err := m.place(twoLayers(), c.free)
			if c.arena == 0 {
				require.ErrorIs(t, err, errRoom)
				require.ErrorContains(t, err, fmt.Sprintf("%d are free", c.free))
				require.Equal(t, fault.Resource, fault.KindOf(err))
				require.Equal(t, c.weights != weightsPacked, strings.Contains(fault.HintOf(err), "stream"))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.groups, p.Groups)
			require.Equal(t, c.arena, p.arena)
			o := p.options(forms[c.weights].held)
			require.Equal(t, c.groups != nil, o.Streamed != nil)
			if o.Streamed != nil {
				require.True(t, o.Streamed("4"))
				require.False(t, o.Streamed("text encoder"))
			}
		})
	}
}

// TestNoRoom: a refusal names every share, so that its numbers explain it, and the way out that
// there is; a limit that is raised as it says is enough.
func TestNoRoom(t *testing.T) {
	const (
		peak   = 1e9
		whole  = 10e9 + peak + gpuReserve // resident
		least  = 7e9 + peak + gpuReserve  // with all layers on the host
		stream = "-weights=packed lets weights that do not fit stream from the host"
		other  = "free the GPU of other programs, or use one with more memory"
	)
	for name, c := range map[string]struct {
		weights           string
		free, limit       int64
		held              int64
		have, hint, raise string
	}{
		"packed": {weightsPacked, least - 1, anyMemory, 7e9, "9073741823 are free", other, ""},
		"packed and a limit that does not matter": {weightsPacked, least - 1, least - 1 + gpuContext, 7e9, "9073741823 are free", other, ""},
		"limited":                        {weightsPacked, 80e9, least - 1 + gpuContext, 7e9, "80000000000 are free, of which -gpuMemory allows 9073741823: 9573741823 less the 500000000 of the driver's context", "raise -gpuMemory to 9573741824 or more", "9573741824"},
		"limited by less than a context": {weightsPacked, 80e9, 1, 7e9, "80000000000 are free, of which -gpuMemory allows 0: 1 less the 500000000 of the driver's context", "raise -gpuMemory to 9573741824 or more", "9573741824"},
		"limited and little free":        {weightsPacked, least - 1, least - 2 + gpuContext, 7e9, "of which -gpuMemory allows 9073741822: ", "raise -gpuMemory to 9573741824 or more; and " + other, ""},
		"whole":                          {weightsWhole, whole - 1, anyMemory, 10e9, "12073741823 are free", stream, ""},
		"whole and limited":              {weightsWhole, 80e9, whole - 1 + gpuContext, 10e9, "of which -gpuMemory allows 12073741823: ", stream + "; or raise -gpuMemory to 12573741824 or more", "12573741824"},
		"whole, limited and little free": {weightsWhole, whole - 1, whole - 2 + gpuContext, 10e9, "of which -gpuMemory allows 12073741822: ", stream, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine{weights: c.weights, limit: c.limit, device: cuda.Device{Name: "a GPU"}}
			_, err := m.place(twoLayers(), c.free)
			require.ErrorIs(t, err, errRoom)
			require.ErrorContains(t, err, fmt.Sprintf("weights take %d bytes, activations 1000000000 and what stays free beside them 1073741824; ", c.held))
			require.ErrorContains(t, err, c.have)
			require.Equal(t, strings.Contains(c.have, "-gpuMemory"), strings.Contains(err.Error(), "-gpuMemory"))
			require.Equal(t, c.hint, fault.HintOf(err))
			if c.raise != "" {
				m.limit, err = parseMemory(c.raise)
				require.NoError(t, err)
				_, err = m.place(twoLayers(), c.free)
				require.NoError(t, err)
			}
		})
	}
}

// TestPlacementIsSaid: what streams, and what of the host that takes.
func TestPlacementIsSaid(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	need := twoLayers()
	m := machine{weights: weightsPacked, limit: anyMemory}
	p, err := m.place(need, 80e9)
	require.NoError(t, err)
	p.say(need, log)
	require.Empty(t, out.String())
	p, err = m.place(need, 8e9+125e7+gpuReserve)
	require.NoError(t, err)
	p.say(need, log)
	require.Contains(t, out.String(), "some stay on the host and stream")
	require.Contains(t, out.String(), "groups=6 of=8 hostBytes=3000000000 editBytes=10000000000 windowBytes=1000000000 gpuBytes=8000000000")
}

// TestParseMemory: decimal and binary units, and nothing for no limit.
func TestParseMemory(t *testing.T) {
	for s, want := range map[string]int64{"": anyMemory, "24GB": 24e9, "24GiB": 24 << 30, "1500 MB": 15e8} {
		got, err := parseMemory(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"0", "much", "-1GB", "20EB"} {
		_, err := parseMemory(s)
		require.Equal(t, fault.Usage, fault.KindOf(err), s)
	}
}
