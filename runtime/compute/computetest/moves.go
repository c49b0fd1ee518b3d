package computetest

import (
	"fmt"
	"math"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// embed: rows in any order, more than once.
func embed(m *machine) {
	for _, d := range []safetensors.DType{safetensors.BF16, safetensors.F32} {
		w, v := m.weight("table", d, 1, 9, 37)
		table, err := m.b.LoadTable(w)
		require.NoError(m, err)
		require.Equal(m, []int{9, 37}, []int{table.Rows(), table.Cols()})
		ids := []int32{8, 0, 3, 3, 7}
		for _, k := range kinds {
			y := m.poisoned(k, len(ids), 37)
			m.b.Embed(y, table, ids)
			tol := m.tolerance(k)
			if d == safetensors.F32 {
				tol = m.tol.Act // a backend may keep its tables in its own format
			}
			m.near(y, picked(matrix{9, 37, v}, ids), tol)
		}
	}
}

// picked is some rows of a matrix.
func picked(x matrix, rows []int32) matrix {
	y := matrix{cols: x.cols, rows: len(rows)}
	for _, r := range rows {
		y.v = append(y.v, x.row(int(r))...)
	}
	return y
}

// gather: bit for bit.
func gather(m *machine) {
	for _, k := range kinds {
		for _, cols := range []int{1, 33, 256} {
			x, v := m.random(k, 11, cols)
			rows := []int32{10, 0, 5, 5, 9, 1, 10, 3, 2, 4, 6, 7, 8}
			y := m.poisoned(k, len(rows), cols)
			m.b.Gather(y, x, rows)
			require.Equal(m, picked(v, rows), m.download(y))
		}
	}
}

// copies: from each kind to each, to another width, and back without loss.
func copies(m *machine) {
	for _, from := range kinds {
		for _, to := range kinds {
			x, v := m.random(from, 6, 35)
			y, z := m.poisoned(to, 10, 21), m.poisoned(from, 6, 35)
			m.b.Copy(y, x)
			m.near(y, matrix{10, 21, v.v}, m.tolerance(from, to))
			held := m.download(y)
			m.b.Copy(z, y)
			require.Equal(m, held.v, m.download(z).v, "%v to %v holds what fits into both", to, from)
		}
	}
}

func euler(m *machine) {
	for _, k := range kinds {
		x, xv := m.random(compute.F32, 7, 65)
		v, vv := m.random(k, 7, 65)
		m.b.Euler(x, v, -0.37)
		for i := range xv.v {
			xv.v[i] += float64(float32(-0.37)) * vv.v[i]
		}
		m.near(x, xv, m.tol.F32)
	}
}

// guide: into a tensor of its own and into each of the two, with a token that the two
// predict as nothing and one where the scale cancels all.
func guide(m *machine) {
	const rows, cols, scale = 9, 64, 4
	for _, k := range kinds {
		for into := range 3 {
			m.sub(fmt.Sprintf("%v, into %d", k, into), func(m *machine) {
				p, n := m.normal(rows*cols, 1), m.normal(rows*cols, 1)
				for j := range cols {
					p[j], n[j] = 0, 0
					p[cols+j], n[cols+j] = 3*float32(j), 4*float32(j) // 4 + 4·(3 − 4) = 0
				}
				positive, pv := m.upload(k, rows, cols, p)
				negative, nv := m.upload(k, rows, cols, n)
				dst := []compute.Tensor{positive, negative, m.poisoned(k, rows, cols)}[into]
				m.b.Guide(dst, positive, negative, scale)
				m.near(dst, guided(pv, nv, scale), m.tolerance(k))
			})
		}
	}
}

// guided is the contract's formula.
func guided(p, n matrix, scale float64) matrix {
	y := newMatrix(p.rows, p.cols)
	for i := range y.rows {
		c := y.row(i)
		for j := range c {
			c[j] = n.row(i)[j] + scale*(p.row(i)[j]-n.row(i)[j])
		}
		if size := math.Sqrt(sumSquares(c)); size > 0 {
			for j := range c {
				c[j] *= math.Sqrt(sumSquares(p.row(i))) / size
			}
		}
	}
	return y
}
