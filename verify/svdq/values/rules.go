package values

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// Codes of the findings.
const (
	CodeNotFinite   = "not-finite"   // error: NaN or Inf
	CodeNotPositive = "not-positive" // error: a scale or smooth factor that is not above zero (an e4m3 zero: warning)
	CodeRange       = "range"        // warning: a value that float16 cannot hold
	CodePeak        = "peak"         // warning: too few groups reach the largest code
	CodeLayout      = "layout"       // error: codes or biases are identified in another order
	CodeFormat      = "format"       // error: codes are identified as another format
	CodeForeign     = "foreign-code" // codes that a symmetric quantiser does not make: few a warning, many an error
	CodeLopsided    = "lopsided"     // warning: codes occur much more often than their opposites
	CodeErased      = "erased"       // a stretch of one value: of codes an error, of zeros in other tensors a warning
	CodeZeroPoint   = "zero-point"   // warning: wzeros is not -7·wscales
	CodeModulation  = "modulation"   // warning: the scales of a modulation bias do not carry the 1
	CodeIdentity    = "identity"     // info: a smooth factor of all ones
	CodePartial     = "partial"      // error: a qweight is no whole number of 64-byte fragments
	CodeUnjudged    = "unjudged"     // info: a dtype without a rule
)

// The thresholds. None has been calibrated on a genuine file; each says where it comes
// from.
const (
	// PeakShare is the share of groups that should reach the largest code. Scales are the
	// maxima over that code, and rounding them cannot lose it: all groups reach it unless
	// weights were adjusted after the scales were fixed (as GPTQ does). Wrong layouts keep
	// 75 to 95 %.
	PeakShare = 0.99

	// ForeignShare of codes that a symmetric quantiser never makes is an error: random bits
	// have 1/16 of each code. A quantiser that does use the code has it as a peak, in one or
	// two of a group's 64 columns, so in less than 3 %.
	ForeignShare = 0.04

	// Lopsided is the share of codes that may lack their opposite. Weights are nearly
	// symmetric about zero, and even the smallest tensor of 16,384 codes has less than 2 %
	// by chance. Codes of another format have 16 % or more.
	Lopsided = 0.05

	// Telling is how many times more lopsided codes must be in their own format than in
	// another for the other to be the right one.
	Telling = 3

	// ErasedRows is the length of a run of rows of 64 columns with one code each that is an
	// error: a group with a scale above zero has a peak, so its codes are not all zero, and
	// an erased disk sector of 512 bytes, wherever it begins, covers at least 14 such rows.
	ErasedRows = 14

	// ErasedWords is the same for other tensors in words of four zeros: 512 bytes cover at
	// least 63. It is a warning, because a low-rank branch may be padded and a bias may be
	// absent.
	ErasedWords = 63

	// MaxMagnitude and MinPositive are the largest and the smallest number of float16, in
	// which GPUs without bfloat16 run the same file.
	MaxMagnitude = 65504
	MinPositive  = 1.0 / (1 << 24)

	// ZeroPointError is the largest relative difference between wzeros and -7·wscales. Both
	// are rounded to bfloat16 on their own, which makes 2^-8 together.
	ZeroPointError = 1.0 / (1 << 7)

	// ScaleRaised is how much the mean of a modulation bias's scales should at least be
	// above that of its shifts and gates: half of the 1 that was added to them.
	ScaleRaised = 0.5

	awqZero = 7 // the zero point of a symmetric quantiser
)

// hints are the ways out.
var hints = map[string]string{
	CodeNotFinite:   damaged,
	CodeNotPositive: damaged,
	CodeErased:      damaged,
	CodeRange:       damaged,
	CodePartial:     damaged,
	CodeForeign:     damaged + "; a quantiser that is not symmetric makes a few of them too",
	CodeLayout:      "the file was packed for another loader: its pictures would be noise",
	CodeFormat:      "the file mixes precisions: take one that is whole",
	CodePeak:        "codes are in another order, have another group size, or were adjusted after scaling; no genuine file has set this threshold",
	CodeLopsided:    "weights are nearly symmetric: codes may be of another format; no genuine file has set this threshold",
	CodeZeroPoint:   "official files have the zero point 7 everywhere; a quantiser with true zero points has others",
	CodeModulation:  "loaders multiply by the scale as it is: without the 1 in it pictures would be noise",
}

const damaged = "compare the file's sha256 with its publisher's and fetch it again"

// outcome implements probe.
func (f *floats) outcome(j job) outcome {
	o := outcome{numbers: []numbers{f.numbers(j.kinds[0])}}
	f.judge(&o.report, j.tensors[0].Name, j.kinds[0])
	return o
}

// judge holds a floating-point tensor against the rules.
func (f *floats) judge(r *report, tensor, kind string) {
	if bad := f.nan + f.inf; bad > 0 {
		r.add(verify.Error, CodeNotFinite, tensor, "has %d NaN and %d Inf among %d values, the first at element %d as stored", f.nan, f.inf, f.n, f.firstBad)
	}
	if f.positive {
		f.judgePositive(r, tensor, kind)
	}
	switch largest := max(f.max, -f.min); {
	case largest > MaxMagnitude:
		r.add(verify.Warning, CodeRange, tensor, "reaches from %.4g to %.4g, float16 ends at %d", f.min, f.max, MaxMagnitude)
	case largest > 0 && largest < MinPositive:
		r.add(verify.Warning, CodeRange, tensor, "has no value above %.4g, which is zero in float16", largest)
	}
	if f.longest >= ErasedWords {
		r.add(verify.Warning, CodeErased, tensor, "has a run of %d zeros, as long as a disk sector", lanes*f.longest)
	}
}

// judgePositive is about scales and smooth factors. An e4m3 scale may be zero by underflow:
// the largest is 2^18 times the smallest.
func (f *floats) judgePositive(r *report, tensor, kind string) {
	switch low := f.zeros + f.negative; {
	case f.negative > 0 || low > 0 && f.dtype != "F8_E4M3":
		r.add(verify.Error, CodeNotPositive, tensor, "has %s of %d not above zero, the first at element %d as stored", count(low, "value"), f.n, f.firstLow)
	case low > 0:
		r.add(verify.Warning, CodeNotPositive, tensor, "has %s of %d at zero, the first at element %d as stored", count(low, "scale"), f.n, f.firstLow)
	case f.min < MinPositive && f.max >= MinPositive:
		r.add(verify.Warning, CodeRange, tensor, "has values down to %.4g, the smallest of float16 is %.4g", f.min, MinPositive)
	case f.min == 1 && f.max == 1 && kind == "svdq.smooth_factor":
		r.add(verify.Info, CodeIdentity, tensor, "is 1 everywhere: the layer was not smoothed")
	}
}

// outcome implements probe.
func (z *zeroPoints) outcome(j job) outcome {
	o := outcome{numbers: []numbers{z.scales.numbers(j.kinds[0]), z.zeros.numbers(j.kinds[1])}}
	scales, zeros := j.tensors[0].Name, j.tensors[1].Name
	z.scales.judge(&o.report, scales, j.kinds[0])
	z.zeros.judge(&o.report, zeros, j.kinds[1])
	if z.off > 0 {
		o.add(verify.Warning, CodeZeroPoint, zeros, "is not -7·wscales in %d of %d places, first at element %d as stored, where it is %.5g beside a scale of %.5g",
			z.off, z.n, z.first, z.zero, z.scale)
	}
	return o
}

// outcome implements probe.
func (m *modulationBias) outcome(j job) outcome {
	o := m.floats.outcome(j)
	tensor, is, other := j.tensors[0].Name, raised(m.means(m.interleaved)), raised(m.means(m.planar))
	switch {
	case m.nan+m.inf > 0 || is >= ScaleRaised:
	case other >= ScaleRaised:
		o.add(verify.Error, CodeLayout, tensor, "is not interleaved: its second and fifth sixth carry the 1 of the scales, not every second and fifth of six")
	default:
		o.add(verify.Warning, CodeModulation, tensor, "has scales whose mean is %.3g above that of shifts and gates, want about 1", is)
	}
	return o
}

// outcome implements probe.
func (t *tally) outcome(j job) outcome {
	o := outcome{numbers: []numbers{t.numbers(j.kinds[0])}}
	tensor := j.tensors[0].Name
	if t.rest > 0 {
		o.add(verify.Error, CodePartial, tensor, "has %d bytes, which are no whole number of %d-byte fragments", j.tensors[0].Size(), fragment)
	}
	t.judgeForeign(&o.report, tensor)
	t.judgeConstant(&o.report, tensor)
	if !t.judgeFormat(&o.report, tensor) {
		t.judgePeaks(&o.report, tensor)
	}
	return o
}

// judgeForeign is about the code that a symmetric quantiser leaves out.
func (t *tally) judgeForeign(r *report, tensor string) {
	if t.format.foreign == none {
		return
	}
	n, total := t.hist[t.format.foreign], t.codes()
	if n == 0 {
		return
	}
	severity, code := verify.Warning, t.format.foreign
	if share(n, total) >= ForeignShare {
		severity = verify.Error
	}
	if t.format == int4 {
		code -= 16
	}
	r.add(severity, CodeForeign, tensor, "has the code %d in %d of %d places (%.2g %%), a symmetric quantiser never makes it", code, n, total, 100*share(n, total))
}

// codes is the number of codes.
func (t *tally) codes() (total int64) {
	for _, n := range t.hist {
		total += n
	}
	return total
}

// judgeConstant is about rows of 64 columns that have a single code.
func (t *tally) judgeConstant(r *report, tensor string) {
	switch {
	case t.longest >= ErasedRows:
		r.add(verify.Error, CodeErased, tensor, "has %d bytes in a row in which each 64 columns have a single code, as long as a disk sector", t.longest*rowBytes)
	case t.constant > 0:
		r.add(verify.Warning, CodeErased, tensor, "has %s of 64 columns with a single code", count(t.constant, "row"))
	}
}

// judgeFormat is about the balance of codes and their opposites. It reports whether the
// codes are of another format; their groups then say nothing.
func (t *tally) judgeFormat(r *report, tensor string) bool {
	is := t.lopsided(t.format)
	if is < Lopsided {
		return false
	}
	for _, f := range []*format{int4, e2m1, awq} {
		// Codes around a zero point of 8 balance like int4's, but 8 is their zero.
		offset := f == int4 && t.hist[8] > t.hist[0]
		if f != t.format && !offset && Telling*t.lopsided(f) < is {
			r.add(verify.Error, CodeFormat, tensor, "holds %s codes, not %s: %.2g %% of its codes lack their opposite in %s, %.2g %% in %s",
				f.name, t.format.name, 100*is, t.format.name, 100*t.lopsided(f), f.name)
			return true
		}
	}
	r.add(verify.Warning, CodeLopsided, tensor, "has codes of which %.2g %% lack their opposite, want less than %.2g %%", 100*is, 100*Lopsided)
	return false
}

// judgePeaks is about groups that reach the largest code.
func (t *tally) judgePeaks(r *report, tensor string) {
	is := share(t.peaked, t.groups)
	if t.groups == 0 || is >= PeakShare {
		return
	}
	if other := share(t.otherPeaked, t.otherGroups); other >= PeakShare {
		right, wrong := "rows", "tiles"
		if !t.format.tiled {
			right, wrong = wrong, right
		}
		r.add(verify.Error, CodeLayout, tensor, "lies in %s, not in %s: %s %% of its groups would have the largest code, instead of %s %%",
			right, wrong, percent(other), percent(is))
		return
	}
	r.add(verify.Warning, CodePeak, tensor, "has the largest code in %s %% of its %d groups, want at least %s %%", percent(is), t.groups, percent(PeakShare))
}

// percent rounds down, so that 99.996 is not written as 100.
func percent(share float64) string { return trim(math.Floor(share*1e4) / 100) }
