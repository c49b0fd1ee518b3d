package selftest

import "math"

// bound is how far a result may be off.
type bound int

const (
	// exact is for values that are only moved.
	exact bound = iota
	// wide is for operations in float32 all through.
	wide
	// narrow is for activations: bfloat16 has 8 bits, one rounding is off by 1.7e-3 in the
	// mean, and a linear rounds up to three times, after Pre, its weights and its result. It
	// is what the kernels' conformance is held to.
	narrow
	// svdq is narrow, unless weights and inputs are rounded to whole numbers of 8 bits, which
	// puts rows off by 1 to 5 % (kernels.EightBits), or to 4, where a value that is nearly halfway
	// between two codes may become the other one: 2 % of a row of 256.
	svdq
)

// value is the bound as a Distance.
func (b bound) value(o Options) float64 {
	switch {
	case b == exact:
		return 0
	case b == wide:
		return 1e-5
	case b == svdq && o.EightBits:
		return 5e-2
	case b == svdq && o.W4A4:
		return 2e-2
	}
	return 1. / 256
}

// valueFactor is how many times the bound of a tensor a single value may be off.
const valueFactor = 8

// distance takes the Distance of rows from a truth that they repeat.
type distance struct {
	truth matrix
	// scale is, of each row, the root mean square.
	scale []float64
	row   int
	// rows is the sum of the squares of rows' relative errors, single the worst value's error.
	rows, single float64
	count        int
}

func newDistance(truth matrix) *distance {
	d := &distance{truth: truth}
	for at := 0; at < len(truth.values); at += truth.cols {
		sum := 0.0
		for _, v := range truth.values[at : at+truth.cols] {
			sum += float64(v) * float64(v)
		}
		d.scale = append(d.scale, math.Sqrt(sum/float64(truth.cols)))
	}
	return d
}

// add looks at further rows.
func (d *distance) add(values []float32) {
	cols := d.truth.cols
	for at := 0; at < len(values); at += cols {
		d.addRow(values[at:at+cols], d.truth.values[d.row*cols:][:cols], d.scale[d.row])
		d.row = (d.row + 1) % len(d.scale)
	}
}

func (d *distance) addRow(got, want []float32, scale float64) {
	sum := 0.0
	for i, w := range want {
		off := math.Abs(float64(got[i]) - float64(w))
		if off == 0 {
			continue
		}
		sum += off * off
		d.single = max(d.single, off/(math.Abs(float64(w))+scale)) // NaN stays
	}
	if sum != 0 {
		d.rows += sum / (scale * scale * float64(len(want)))
	}
	d.count++
}

// value is the Distance of all rows.
func (d *distance) value() float64 {
	return max(math.Sqrt(d.rows/float64(d.count)), d.single/valueFactor)
}
