package picture

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
)

// TestAreas: areas are in proportion to bytes, fill the whole and meet only at their edges.
func TestAreas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*node
		for i := range rapid.IntRange(1, 30).Draw(t, "n") {
			nodes = append(nodes, &node{name: fmt.Sprint(i), bytes: rapid.Int64Range(0, 1<<rapid.IntRange(0, 40).Draw(t, "bits")).Draw(t, "bytes")})
		}
		nodes = largestFirst(nodes)
		into := box{rapid.Float64Range(0, 99).Draw(t, "x"), 7, rapid.Float64Range(1, 999).Draw(t, "w"), rapid.Float64Range(1, 999).Draw(t, "h")}
		boxes := arrange(nodes, into)
		require.Len(t, boxes, len(nodes))
		const near = 1e-6
		for i, b := range boxes {
			want := into.W * into.H * float64(nodes[i].bytes) / float64(sum(nodes))
			require.InDelta(t, want, b.W*b.H, 1e-6*into.W*into.H)
			require.True(t, b.X >= into.X-near && b.Y >= into.Y-near && b.X+b.W <= into.X+into.W+near && b.Y+b.H <= into.Y+into.H+near, "%v in %v", b, into)
			for _, o := range boxes[:i] {
				inner := box{b.X + near, b.Y + near, b.W - 2*near, b.H - 2*near}
				require.False(t, inner.W > 0 && inner.H > 0 && inner.overlaps(o), "%v meets %v", b, o)
			}
		}
	})
}

// figures draws the inputs in all shapes and scopes.
func figures(t *testing.T, do func(t *testing.T, r *report.Report, s report.Scope, shape Shape, f *figure)) {
	for name, in := range map[string]report.Input{
		"real": reporttest.Real(t, ""), "lightning": reporttest.Real(t, "lightning"), "demo": reporttest.Demo(t), "heavier": reporttest.Foreign(t, "a name"),
	} {
		r, err := report.New(in)
		require.NoError(t, err)
		for _, s := range r.Scopes {
			for _, shape := range []Shape{Wide, Narrow, Compact} {
				t.Run(name+" "+string(s.Name)+" "+shape.name, func(t *testing.T) { do(t, r, s, shape, newFigure(r, s, shape, "x")) })
			}
		}
	}
}

// TestOneScale: both hulls lie as deep as they are heavy, have one build, carry the mark at
// one place, and hold areas in proportion to bytes.
func TestOneScale(t *testing.T) {
	figures(t, func(t *testing.T, r *report.Report, s report.Scope, shape Shape, f *figure) {
		perByte := shape.depth / float64(max(s.Total.Before, s.Total.After))
		after := s.Total.After
		for i, total := range []int64{s.Total.Before, after} {
			v := f.Ships[i]
			keel := v.Hold.Y + v.Hold.H
			require.InDelta(t, float64(total)*perByte, keel-f.Water, 1e-6)
			require.InDelta(t, float64(after)*perByte, keel-v.Mark.Y, 1e-6)
			require.InDelta(t, f.Ships[0].Hull.H, v.Hull.H, 1e-6)
			require.Equal(t, shape.hold, v.Hold.W)
			stowed := 0.0
			for _, a := range v.Areas {
				if a.Title != "" {
					stowed += a.W * a.H
				}
				require.True(t, a.Y >= f.Water-1e-6 && a.Y+a.H <= keel+1e-6 && a.X >= v.Hold.X-1e-6 && a.X+a.W <= v.Hold.X+v.Hold.W+1e-6, "%+v", a)
			}
			require.InDelta(t, float64(total)*perByte*shape.hold, stowed, 1e-3)
		}
		require.InDelta(t, f.Water, f.Ships[1].Mark.Y, 1e-6, "the image floats on its mark")
	})
}

// TestCargoIsTheScope: what is stowed adds up to the scope's own figures.
func TestCargoIsTheScope(t *testing.T) {
	figures(t, func(t *testing.T, r *report.Report, s report.Scope, _ Shape, _ *figure) {
		c := load(r, s)
		require.Equal(t, s.Total.Before, sum(c.before))
		require.Equal(t, s.Total.After, sum(c.after))
		require.Equal(t, s.SavedBytes, sum(c.gone))
	})
}

// TestInside: nothing is drawn over the edge, and draught marks count up from the keel.
func TestInside(t *testing.T) {
	figures(t, func(t *testing.T, _ *report.Report, _ report.Scope, shape Shape, f *figure) {
		require.GreaterOrEqual(t, f.Height, f.Water)
		for _, v := range f.Ships {
			require.True(t, v.Hull.X >= 0 && v.Hull.X+v.Hull.W <= f.Width && v.Hull.Y+v.Hull.H <= f.Height)
			last := math.Inf(1)
			for _, k := range v.Ticks {
				require.Less(t, k.Y, last)
				last = k.Y
			}
			require.NotEmpty(t, v.Ticks)
			for _, x := range v.Texts {
				require.True(t, x.X >= 0 && x.Y >= shape.figure*0.4 && x.Y <= f.Height && x.X < f.Width, "%+v", x)
			}
		}
	})
}
