package main

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/selftest"
)

// placement is how a model lies in a GPU's memory.
type placement struct {
	plan.Streaming
	arena int64
}

// place finds the placement in so many free bytes. All weights stay on the GPU where they fit,
// with an arena for larger pictures than the model's own. Packed ones may stream otherwise, as
// few as can be, with an arena that has a quarter to spare.
func (m machine) place(need plan.Result, free int64) (placement, error) {
	room := min(free, m.limit-gpuContext) - gpuReserve
	peak := max(need.Total.ArenaPeak, selftest.ArenaBytes)
	p := placement{Streaming: plan.Streaming{HeldBytes: need.WeightBytes}}
	fits := need.WeightBytes+peak <= room
	for _, arena := range []int64{peak + peak/4, peak} {
		if !fits && m.weights == weightsPacked {
			p.Streaming, fits = need.Stream(room - arena)
		}
	}
	if !fits {
		return p, m.noRoom(p.HeldBytes, peak, free)
	}
	p.arena = min(room-p.HeldBytes, max(gpuArena*need.Total.ArenaPeak, selftest.ArenaBytes))
	return p, nil
}

// noRoom says why a model does not fit whose weights and activations take so much at the least.
// Every share of the sum is named, that of the driver's context where it counts: free bytes are
// those beside it.
func (m machine) noRoom(held, peak, free int64) error {
	have := fmt.Sprintf("%d are free", free)
	if m.limited(free) {
		have = fmt.Sprintf("%d are free, of which -gpuMemory allows %d: %d less the %d of the driver's context", free, max(0, m.limit-gpuContext), m.limit, int64(gpuContext))
	}
	err := fmt.Errorf("loading the model into %s: %w: weights take %d bytes, activations %d and what stays free beside them %d; %s",
		m.device.Name, errRoom, held, peak, int64(gpuReserve), have)
	return fault.Wrap(fault.Resource, m.roomHint(held+peak+gpuReserve, free), err)
}

// limited reports whether -gpuMemory is what keeps a model out of so many free bytes.
func (m machine) limited(free int64) bool { return m.limit-gpuContext < free }

// roomHint is the way out of a GPU with so many free bytes, where the least is more.
func (m machine) roomHint(least, free int64) string {
	const (
		stream = "-weights=" + weightsPacked + " lets weights that do not fit stream from the host"
		other  = "free the GPU of other programs, or use one with more memory"
	)
	raise := fmt.Sprintf("raise -gpuMemory to %d or more", least+gpuContext)
	enough := m.limited(free) && least <= free
	switch {
	case m.weights != weightsPacked && enough:
		return stream + "; or " + raise
	case m.weights != weightsPacked:
		return stream
	case enough:
		return raise
	case m.limited(free):
		return raise + "; and " + other
	}
	return other
}

// options are those of the backend.
func (p placement) options(held kernels.Held) kernels.Options {
	o := kernels.Options{ArenaBytes: p.arena, Held: held}
	if len(p.Groups) > 0 {
		o.Streamed = func(group string) bool { return slices.Contains(p.Groups, group) }
	}
	return o
}

// say says what streams, before anything is loaded.
func (p placement) say(need plan.Result, log *slog.Logger) {
	if len(p.Groups) == 0 {
		return
	}
	log.Warn("not all weights fit into the GPU's memory: some stay on the host and stream",
		"groups", len(p.Groups), "of", len(need.Groups), "hostBytes", p.HostBytes, "editBytes", p.RunBytes, "windowBytes", p.WindowBytes, "gpuBytes", p.HeldBytes)
}

// parseMemory reads an amount of memory: "24GB" is 24·10⁹ bytes, "24GiB" 24·2³⁰, "" any amount.
func parseMemory(s string) (int64, error) {
	if s == "" {
		return anyMemory, nil
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 || n > anyMemory {
		return 0, fault.Wrap(fault.Usage, "write 24GB or 24GiB", fmt.Errorf("reading the flags: gpuMemory is %q", s))
	}
	return int64(n), nil
}
