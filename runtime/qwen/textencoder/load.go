package textencoder

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// loading takes a model's tensors, all of them, before any is loaded: a set that lacks one
// costs no time and no memory. Destinations are filled by into.
type loading struct {
	set   *weights.Set
	steps []func(compute.Loader) error
}

// into loads everything, unless a tensor was missing.
func (l *loading) into(b compute.Loader) error {
	if err := l.set.Err(); err != nil {
		return err
	}
	for _, step := range l.steps {
		if err := step(b); err != nil {
			return err
		}
	}
	return nil
}

// group begins a group of weights that are used together.
func (l *loading) group(name string) {
	l.steps = append(l.steps, func(b compute.Loader) error {
		b.Group(name)
		return nil
	})
}

// rows are the name of a linear and the number of its outputs.
type rows struct {
	name string
	n    int
}

// linear takes linears that read one input, with a bias each or none.
func (l *loading) linear(dst *compute.Linear, in int, bias bool, outputs ...rows) {
	var spec compute.Dense
	for _, o := range outputs {
		spec.Weights = append(spec.Weights, l.set.Take(o.name+".weight", int64(o.n), int64(in)))
		if bias {
			spec.Biases = append(spec.Biases, l.set.Take(o.name+".bias", int64(o.n)))
		}
	}
	l.dense(dst, spec)
}

func (l *loading) dense(dst *compute.Linear, spec compute.Dense) {
	l.steps = append(l.steps, func(b compute.Loader) (err error) {
		*dst, err = b.LoadLinear(spec)
		return err
	})
}

// norm takes the weight of a norm.
func (l *loading) norm(dst *compute.Vector, name string, n int) {
	w := l.set.Take(name+".weight", int64(n))
	l.steps = append(l.steps, func(b compute.Loader) (err error) {
		*dst, err = b.LoadVector(w)
		return err
	})
}

func (l *loading) table(dst *compute.Table, name string, rows, cols int) {
	w := l.set.Take(name+".weight", int64(rows), int64(cols))
	l.steps = append(l.steps, func(b compute.Loader) (err error) {
		*dst, err = b.LoadTable(w)
		return err
	})
}
