package bench

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// seconds are the times of contestants, entered without measuring.
type seconds map[string]float64

// enter declares a case and gives each contestant one sample; 0 seconds is a missing one.
func (s *session) enter(inCase string, took seconds, more Sample) {
	for name := range took {
		s.declare(inCase, inCase, contestant{name: name, needs: []string{name}})
	}
	for name, t := range took {
		if t > 0 {
			s.result.Programs = append(s.result.Programs, Program{Name: name, Path: name})
			sample := more
			sample.Seconds = t
			s.result.record(inCase, name, sample, nil)
		}
	}
	for i := range s.result.Cases {
		for j, x := range s.result.Cases[i].Contestants {
			if x.Median != nil {
				s.result.Cases[i].Contestants[j].Missing = nil
			}
		}
	}
}

// valueOf is a ratio's value; the test fails if there is none.
func valueOf(t *testing.T, r *Result, inCase, what string) float64 {
	t.Helper()
	x := ratioOf(t, r, inCase, what)
	require.NotNil(t, x.Value, x.Missing)
	return *x.Value
}

func TestFetchIsJudged(t *testing.T) {
	const size = 1000
	b := &fetchBench{session: newSession(t, size, 1)}
	moved := Sample{Usage: Usage{CallsRead: 2010, DiskWritten: 1001, DiskRead: 20}, Transferred: 1030}
	b.enter("unlimited", seconds{oursLocked: 4, oursFirst: 5, byCurl: 8, bySync: 10, byAria: 16}, moved)
	b.enter("throttled", seconds{oursLocked: 9, byAria: 12}, moved)
	b.enter("cut", seconds{oursLocked: 6, byAria: 12}, moved)
	b.result.floor(floorHash, size/2.0) // 2 s
	b.result.floor(floorDisk, size/1.0)
	b.judge()
	for what, want := range map[string]float64{
		oursLocked + " / " + byCurl + ", wall": 0.5, oursFirst + " / " + byCurl + ", wall": 0.625,
		oursLocked + " / " + bySync: 0.4, oursLocked + " / " + byAria: 0.25, oursLocked + ", wall / floor (" + floorHash: 2,
		oursLocked + ", disk written": 1.001, oursLocked + ", disk read": 0.02,
	} {
		require.InDelta(t, want, valueOf(t, b.result, "unlimited", what), 1e-9, what)
	}
	require.InDelta(t, 0.75, valueOf(t, b.result, "throttled", oursLocked+" / "+byAria), 1e-9)
	require.InDelta(t, 1.01, valueOf(t, b.result, "cut", oursLocked+", downloaded"), 1e-9, "what was read back is no download")
	require.InDelta(t, 1.03, valueOf(t, b.result, "cut", oursLocked+", served"), 1e-9)
	require.True(t, *ratioOf(t, b.result, "unlimited", oursLocked+", disk written").Met)
	require.False(t, *ratioOf(t, b.result, "unlimited", oursLocked+", disk read").Met)
}

// TestFetchAims: the aims are those that were promised, no others.
func TestFetchAims(t *testing.T) {
	b := &fetchBench{session: newSession(t, 1000, 1)}
	for _, c := range []string{"unlimited", "throttled", "cut"} {
		b.enter(c, seconds{oursLocked: 4, oursFirst: 5, byCurl: 8, bySync: 10, byAria: 16}, Sample{})
	}
	b.judge()
	aims := map[string]float64{}
	for _, x := range b.result.Ratios {
		if x.Aim != nil {
			require.Equal(t, AtMost, x.Sense)
			aims[x.Case+": "+x.What] = *x.Aim
		}
	}
	require.Equal(t, map[string]float64{
		"unlimited: " + oursLocked + " / " + byCurl + ", wall": 0.80,
		"throttled: " + oursLocked + " / " + byAria + ", wall": 0.90,
		"cut: " + oursLocked + ", downloaded / size":           1.02,
		"unlimited: " + oursLocked + ", disk written / size":   1, "unlimited: " + oursLocked + ", disk read / size": 0,
		"throttled: " + oursLocked + ", disk written / size": 1, "throttled: " + oursLocked + ", disk read / size": 0,
		"cut: " + oursLocked + ", disk written / size": 1, "cut: " + oursLocked + ", disk read / size": 0,
	}, aims)
}

func TestVerifyIsJudged(t *testing.T) {
	s := newSession(t, 1000, 1)
	s.enter("one file", seconds{oursVerify: 2, byOpenssl: 1.8, oursDeep: 4}, Sample{Usage: Usage{CallsRead: 1000, UserSeconds: 1}})
	s.result.floor(floorHash, 1000)
	s.judgeVerify("one file", 1000, 1, true)
	rate := ratioOf(t, s.result, "one file", byOpenssl+" / "+oursVerify+", wall")
	require.InDelta(t, 0.9, *rate.Value, 1e-9, "a longer time is a lower rate")
	require.Equal(t, AtLeast, rate.Sense)
	require.True(t, *rate.Met)
	require.InDelta(t, 1, valueOf(t, s.result, "one file", oursVerify+", read"), 1e-9)
	require.InDelta(t, 2, valueOf(t, s.result, "one file", oursVerify+", wall / floor"), 1e-9)
	require.InDelta(t, 1000/1e9/4, valueOf(t, s.result, "one file", oursDeep+", GB/s"), 1e-15)
	require.InDelta(t, 2, valueOf(t, s.result, "one file", oursDeep+" / "+oursVerify), 1e-9)
}

// published is a bench of publishing with known times.
func published(t *testing.T, others seconds) *publishBench {
	t.Helper()
	b := &publishBench{session: newSession(t, 1000, 1), again: map[string][]float64{}}
	b.model = &model{session: b.session, dir: b.dir}
	took := seconds{oursPublish: 10}
	for name, s := range others {
		took[name] = s
	}
	b.enter(yardstick, seconds{byOpenssl: 2}, Sample{})
	b.enter(cold, took, Sample{Usage: Usage{CallsRead: 1001, DiskWritten: 3}})
	b.enter(warmCase, seconds{oursPublish: 1}, Sample{Usage: Usage{CallsRead: 2}})
	b.enter(runtimeOnly, seconds{oursPublish: 4.5}, Sample{Usage: Usage{CallsWritten: 20}})
	b.enter(resumed, seconds{interrupted: 5, killed: 7}, Sample{})
	return b
}

func TestPublishIsJudged(t *testing.T) {
	b := published(t, seconds{byCrane: 8, bySkopeo: 20, byOras: 12})
	b.again[interrupted] = []float64{0.5, 0.01, 0.02}
	b.again[killed] = []float64{0.4}
	b.judge()
	r := b.result
	fastest := ratioOf(t, r, cold, oursPublish+" / "+byCrane)
	require.InDelta(t, 1.25, *fastest.Value, 1e-9)
	require.False(t, *fastest.Met)
	require.InDelta(t, 5, valueOf(t, r, cold, oursPublish+" / "+byOpenssl), 1e-9)
	require.InDelta(t, 10, valueOf(t, r, cold, bySkopeo+" / "+byOpenssl), 1e-9)
	require.True(t, *ratioOf(t, r, cold, oursPublish+", read").Met, "once, but for headers")
	require.True(t, *ratioOf(t, r, runtimeOnly, oursPublish+", wall").Met)
	require.Zero(t, valueOf(t, r, runtimeOnly, oursPublish+", downloaded"))
	require.InDelta(t, 0.02, valueOf(t, r, resumed, interrupted+", sent twice"), 1e-9, "the median of the cuts")
	require.InDelta(t, 0.4, valueOf(t, r, resumed, killed+", sent twice"), 1e-9)
	require.InDelta(t, 0.5, valueOf(t, r, resumed, interrupted+" / "+oursPublish), 1e-9)
}

func TestPublishWithoutOthers(t *testing.T) {
	b := published(t, seconds{byCrane: 0, bySkopeo: 0, byOras: 0})
	b.judge()
	require.Equal(t, "crane, skopeo, oras and oci-modelcar are missing", ratioOf(t, b.result, cold, oursPublish+" / the fastest").Missing)
	require.Equal(t, "crane push (layout) is missing", ratioOf(t, b.result, cold, byCrane).Missing)
	require.Equal(t, "nothing was cut", ratioOf(t, b.result, resumed, killed+", sent twice").Missing)

	one := published(t, seconds{byCrane: 0, bySkopeo: 20, byOras: 0})
	one.judge()
	require.InDelta(t, 0.5, valueOf(t, one.result, cold, oursPublish+" / "+bySkopeo), 1e-9, "the only other is the fastest")
}

// ratioOf finds a ratio by its case and the beginning of what it says.
func ratioOf(t *testing.T, r *Result, inCase, what string) Ratio {
	t.Helper()
	for _, x := range r.Ratios {
		if x.Case == inCase && strings.HasPrefix(x.What, what) {
			return x
		}
	}
	t.Fatalf("%s has no ratio %q of %s", r.Bench, what, inCase)
	return Ratio{}
}

// requireMedian finds a contestant's medians.
func requireMedian(t *testing.T, r *Result, inCase, contestant string) Sample {
	t.Helper()
	m, missing := r.median(entry{inCase, contestant})
	require.Empty(t, missing)
	return *m
}
