package compute_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

func TestTensor(t *testing.T) {
	x := compute.Tensor{Rows: 6, Cols: 4, Kind: compute.F32, Offset: 512, Size: 4}
	require.Equal(t, 24, x.Len())
	require.EqualValues(t, 96, x.Bytes())
	require.Equal(t, "f32[6×4]", x.String())
	require.False(t, x.IsZero())
	require.True(t, compute.Tensor{}.IsZero())
	require.Equal(t, compute.Tensor{Rows: 3, Cols: 4, Kind: compute.F32, Offset: 512 + 2*16, Size: 4}, x.Slice(2, 5))
	require.Equal(t, compute.Tensor{Rows: 8, Cols: 3, Kind: compute.F32, Offset: 512, Size: 4}, x.Reshape(8, 3))
	for _, r := range [][2]int{{-1, 2}, {3, 2}, {0, 7}} {
		require.Panics(t, func() { x.Slice(r[0], r[1]) }, "%v", r)
	}
	require.Panics(t, func() { x.Reshape(5, 5) })
}

// TestArena: offsets are aligned, a tensor that does not fit takes nothing, and what is given
// back is taken again.
func TestArena(t *testing.T) {
	a := compute.Arena{Limit: 4 * compute.Align}
	x, ok := a.Alloc(compute.Act, 1, compute.Align, 2)
	require.True(t, ok)
	require.Zero(t, x.Offset)
	mark := a.Mark()
	y, ok := a.Alloc(compute.F32, 1, 1, 4)
	require.True(t, ok)
	require.EqualValues(t, 2*compute.Align, y.Offset)
	require.EqualValues(t, 3*compute.Align, a.Used())

	z, ok := a.Alloc(compute.F32, 65, 1, 4)
	require.False(t, ok, "65 floats take two units, one is left")
	require.Equal(t, compute.Tensor{Rows: 65, Cols: 1, Kind: compute.F32, Size: 4}, z)
	require.EqualValues(t, 3*compute.Align, a.Used())
	_, ok = a.Alloc(compute.F32, 64, 1, 4)
	require.True(t, ok)

	a.Reset(mark)
	require.EqualValues(t, 2*compute.Align, a.Used())
	require.EqualValues(t, 4*compute.Align, a.Peak())
	again, _ := a.Alloc(compute.F32, 1, 1, 4)
	require.Equal(t, y, again)
	require.Panics(t, func() { a.Reset(mark + 2*compute.Align) })
	require.Panics(t, func() { a.Reset(-1) })
	require.Panics(t, func() { a.Alloc(compute.Act, 0, 1, 2) })

	endless := compute.Arena{}
	_, ok = endless.Alloc(compute.Act, 1<<20, 1<<20, 2)
	require.True(t, ok)
}

// TestApart: neighbours are apart, views of the same rows are not.
func TestApart(t *testing.T) {
	a := compute.Arena{}
	x, _ := a.Alloc(compute.Act, 10, 8, 2)
	y, _ := a.Alloc(compute.Act, 10, 8, 2)
	mod := compute.Mod{Table: y}
	gate := compute.Post{Kind: compute.GateAdd, Residual: x, Mod: mod}
	for name, f := range map[string]func(){
		"others":      func() { a.Apart(x, y, compute.Tensor{}) },
		"rows beside": func() { a.Apart(x.Slice(0, 4), x.Slice(4, 10)) },
		"residual":    func() { a.ApartFused(x, y, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: x}) },
		"gate":        func() { a.ApartFused(x, y, compute.Pre{}, gate) },
		"unused table": func() {
			a.ApartFused(x, y, compute.Pre{Mod: compute.Mod{Table: x}}, compute.Post{Residual: x.Slice(1, 2)})
		},
		"guide in place":     func() { a.ApartGuide(x, x, y); a.ApartGuide(x, y, x) },
		"heads beside":       func() { a.ApartHeads(compute.Split{X: y, Q: x.Slice(0, 3), K: x.Slice(3, 6), V: x.Slice(6, 9)}) },
		"nothing is present": func() { a.Present(compute.Tensor{}) },
	} {
		require.NotPanics(t, f, name)
	}
	late := y
	late.Offset += compute.Align
	for name, f := range map[string]func(){
		"itself":          func() { a.Apart(x, y, x) },
		"a row in common": func() { a.Apart(x.Slice(0, 5), x.Slice(4, 10)) },
		"no result":       func() { a.Apart(compute.Tensor{}, x) },
		"late result":     func() { a.Apart(late, x) },
		"late input":      func() { a.Apart(x, late) },
		"residual": func() {
			a.ApartFused(x.Slice(0, 5), y, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: x.Slice(1, 6)})
		},
		"gate": func() { a.ApartFused(y, x, compute.Pre{}, gate) },
		"scale": func() {
			a.ApartFused(x, y, compute.Pre{Kind: compute.LayerNorm, Mod: compute.Mod{Table: x}}, compute.Post{})
		},
		"guide":   func() { a.ApartGuide(x.Slice(0, 5), y.Slice(0, 5), x.Slice(1, 6)) },
		"q and v": func() { a.ApartHeads(compute.Split{X: y, Q: x.Slice(0, 3), K: x.Slice(3, 6), V: x.Slice(2, 5)}) },
		"k and v": func() { a.ApartHeads(compute.Split{X: y, Q: x.Slice(0, 3), K: x.Slice(3, 6), V: x.Slice(5, 8)}) },
		"v and x": func() { a.ApartHeads(compute.Split{X: y, Q: x.Slice(0, 3), K: x.Slice(3, 6), V: y.Slice(5, 8)}) },
	} {
		require.Panics(t, f, name)
	}
}

// An operation's weights are of one group, or of none.
func TestCheckGroup(t *testing.T) {
	name := func(g string) string { return g }
	require.Empty(t, compute.CheckGroup[string](name))
	require.Equal(t, "a", compute.CheckGroup(name, "", "a", "", "a"))
	require.PanicsWithValue(t, "compute: an operation with weights of two groups, a and b", func() { compute.CheckGroup(name, "a", "", "b") })
}
