package plan_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// tensor is a weight without bytes.
func tensor(d safetensors.DType, shape ...int64) compute.Weight {
	return compute.Weight{Name: "w", DType: d, Shape: shape}
}

// half is a weight of bfloat16.
func half(shape ...int64) compute.Weight { return tensor(safetensors.BF16, shape...) }

// bench is a backend with one layer of each kind.
type bench struct {
	*plan.Backend
	dense, svdq, awq compute.Linear
	conv             compute.Conv
	gamma, pair      compute.Vector // 128 and 2 values
	table            compute.Table
}

const in, out, lowRank = 128, 256, 16

func svdqSpec() compute.SVDQ {
	return compute.SVDQ{
		QWeight: tensor(safetensors.I8, out, in/2), WScales: half(in/64, out), Smooth: half(in),
		Down: half(in, lowRank), Up: half(out, lowRank), Bias: half(out),
	}
}

func awqSpec() compute.AWQ {
	return compute.AWQ{QWeight: tensor(safetensors.I32, out/4, in/2), WScales: half(in/64, out), WZeros: half(in/64, out), Bias: half(out), Parts: 2}
}

func convSpec() compute.ConvSpec {
	return compute.ConvSpec{Weight: half(8, in, 3, 3, 3), Bias: half(8), Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, Upsample: true}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{Backend: plan.New(plan.Options{})}
	var err error
	b.dense, err = b.LoadLinear(compute.Dense{
		Weights: []compute.Weight{half(out-100, in), tensor(safetensors.F32, 100, in, 1, 1)}, Biases: []compute.Weight{half(out - 100), half(100)},
	})
	require.NoError(t, err)
	b.svdq, err = b.LoadLinear(svdqSpec())
	require.NoError(t, err)
	b.awq, err = b.LoadLinear(awqSpec())
	require.NoError(t, err)
	b.conv, err = b.LoadConv(convSpec())
	require.NoError(t, err)
	b.gamma, err = b.LoadVector(tensor(safetensors.F32, in))
	require.NoError(t, err)
	b.pair, err = b.LoadVector(half(2))
	require.NoError(t, err)
	b.table, err = b.LoadTable(half(50, 7))
	require.NoError(t, err)
	return b
}

// act and f32 take tensors.
func (b *bench) act(rows, cols int) compute.Tensor { return b.Alloc(compute.Act, rows, cols) }
func (b *bench) f32(rows, cols int) compute.Tensor { return b.Alloc(compute.F32, rows, cols) }

// The bytes of the layers of a bench.
const (
	denseBytes = 2*156*128 + 4*100*128 + 2*256
	svdqBytes  = 256*64 + 2*2*256 + 2*128 + 2*256
	lowBytes   = 2 * 16 * (128 + 256)
	awqBytes   = 4*64*64 + 2*2*2*256 + 2*256
	convBytes  = 2*8*128*9 + 2*8
)

// TestOperations holds every operation against numbers worked out by hand.
func TestOperations(t *testing.T) {
	twoTimes := func(b *bench) compute.Mod { // six parts of 128, two rows that both act on 5 tokens
		return compute.Mod{Table: b.f32(3, 6*in), Row: 2, Rest: 0, Until: 3, Shift: 0, Scale: 1, Gate: 5}
	}
	for _, c := range []struct {
		name string
		run  func(b *bench)
		want []plan.Operation
	}{
		{
			"dense", func(b *bench) { b.Linear(b.f32(5, out), b.dense, b.act(5, in), compute.Pre{}, compute.Post{}) },
			[]plan.Operation{{"dense", plan.Work{1, 2 * 5 * 128 * 256, denseBytes, 5*256*4 + 5*128*2}}},
		},
		{"dense, modulated and added in place", func(b *bench) {
			y := b.act(5, out)
			b.Linear(y, b.dense, b.act(5, in), compute.Pre{Kind: compute.LayerNorm, Mod: twoTimes(b)}, compute.Post{Kind: compute.Add, Residual: y})
		}, []plan.Operation{{"dense", plan.Work{1, 2 * 5 * 128 * 256, denseBytes, 2*5*256*2 + 5*128*2 + 2*2*128*4}}}},
		{"svdq, gated", func(b *bench) {
			mod := compute.Mod{Table: b.f32(1, 2*out), Gate: 1}
			b.Linear(b.act(5, out), b.svdq, b.act(5, 2*in), compute.Pre{Kind: compute.SwiGLU}, compute.Post{Kind: compute.GateAdd, Residual: b.act(5, out), Mod: mod})
		}, []plan.Operation{
			{"svdq", plan.Work{1, 2 * 5 * 128 * 256, svdqBytes, 5*256*2 + 5*256*2 + 5*256*2 + 256*4}},
			{"lowRank", plan.Work{0, 2 * 5 * 16 * (128 + 256), lowBytes, 0}},
		}},
		{
			"awq", func(b *bench) {
				b.Linear(b.f32(1, out), b.awq, b.f32(1, in), compute.Pre{Kind: compute.SiLU}, compute.Post{})
			},
			[]plan.Operation{{"awq", plan.Work{1, 2 * 128 * 256, awqBytes, 4 * (128 + 256)}}},
		},
		{"convolution", func(b *bench) {
			b.Convolve(b.f32(4*6, 8), b.conv, b.act(2*3, in), 2, 3, compute.Pre{Kind: compute.ChannelNormSiLU, Weight: b.gamma}, compute.Post{})
		}, []plan.Operation{{"convolution", plan.Work{1, 2 * 24 * 8 * 128 * 9, convBytes + 4*128, 24*8*4 + 6*128*2}}}},
		{"attention", func(b *bench) {
			kv := b.act(7, 32)
			b.Attention(b.act(5, 64), b.act(5, 64), kv, kv, compute.Attention{Heads: 4, KVHeads: 2, Dim: 16})
		}, []plan.Operation{{"attention", plan.Work{1, 4 * 5 * 7 * 64, 0, 2 * (2*5*64 + 2*7*32)}}}},
		{"causal attention", func(b *bench) {
			x := b.act(5, 64)
			b.Attention(b.act(5, 64), x, x, x, compute.Attention{Heads: 4, KVHeads: 4, Dim: 16, Causal: true})
		}, []plan.Operation{{"attention", plan.Work{1, 4 * 15 * 64, 0, 2 * 4 * 5 * 64}}}},
		{"windows", func(b *bench) {
			x := b.act(5, 64)
			b.Attention(b.act(5, 64), x, x, x, compute.Attention{Heads: 4, KVHeads: 4, Dim: 16, Windows: []int32{1, 5}})
		}, []plan.Operation{{"attention", plan.Work{1, 4 * (1 + 16) * 64, 0, 2 * 4 * 5 * 64}}}},
		{"causal windows", func(b *bench) {
			x := b.act(5, 64)
			b.Attention(b.act(5, 64), x, x, x, compute.Attention{Heads: 4, KVHeads: 4, Dim: 16, Causal: true, Windows: []int32{1, 5}})
		}, []plan.Operation{{"attention", plan.Work{1, 4 * (1 + 10) * 64, 0, 2 * 4 * 5 * 64}}}},
		{"heads", func(b *bench) {
			b.Heads(compute.Split{
				X: b.act(5, 16), Q: b.act(5, 8), K: b.act(5, 4), V: b.act(5, 4), Dim: 2, NormQ: b.pair, NormK: b.pair,
				Rope: compute.Rope{Cos: b.f32(5, 1), Sin: b.f32(5, 1)},
			})
		}, []plan.Operation{{"heads", plan.Work{1, 0, 2 * 2 * 2, 2*2*5*16 + 2*4*5}}}},
		{
			"apply", func(b *bench) {
				b.Apply(b.act(5, in), b.f32(5, in), compute.Pre{Kind: compute.RMSNorm, Weight: b.pair})
			},
			[]plan.Operation{{"apply", plan.Work{1, 0, 4, (2 + 4) * 5 * 128}}},
		},
		{
			"embed", func(b *bench) { b.Embed(b.act(3, 7), b.table, []int32{49, 0, 49}) },
			[]plan.Operation{{"embed", plan.Work{1, 0, 3 * 7 * 2, 3 * 7 * 2}}},
		},
		{
			"gather", func(b *bench) { b.Gather(b.f32(2, 7), b.f32(9, 7), []int32{8, 0}) },
			[]plan.Operation{{"gather", plan.Work{1, 0, 0, 2 * 2 * 7 * 4}}},
		},
		{
			"copy", func(b *bench) { b.Copy(b.f32(2, 9), b.act(6, 3)) },
			[]plan.Operation{{"copy", plan.Work{1, 0, 0, 18 * (4 + 2)}}},
		},
		{
			"euler", func(b *bench) { b.Euler(b.f32(2, 9), b.act(2, 9), 0.5) },
			[]plan.Operation{{"euler", plan.Work{1, 0, 0, 18 * (4 + 4 + 2)}}},
		},
		{
			"guide", func(b *bench) { x := b.act(2, 9); b.Guide(x, x, b.act(2, 9), 4) },
			[]plan.Operation{{"guide", plan.Work{1, 0, 0, 18 * 2 * 3}}},
		},
		{
			"finite", func(b *bench) { b.Finite(b.act(2, 9), "x") },
			[]plan.Operation{{"finite", plan.Work{1, 0, 0, 18 * 2}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			c.run(b)
			require.Equal(t, c.want, b.Result().Total.Operations)
			require.NoError(t, b.Sync())
		})
	}
}

// TestModulationRows: of a table of modulation those rows are read that tokens have.
func TestModulationRows(t *testing.T) {
	for _, c := range []struct{ row, rest, until, rows int }{
		{0, 1, 3, 2}, {1, 0, 1, 2}, {0, 1, 4, 2}, {0, 1, 5, 1}, {0, 1, 9, 1}, {0, 1, 0, 1}, {1, 1, 3, 1},
	} {
		b := newBench(t)
		mod := compute.Mod{Table: b.f32(2, 2*in), Scale: 1, Row: c.row, Rest: c.rest, Until: c.until}
		b.Apply(b.act(5, in), b.act(5, in), compute.Pre{Kind: compute.LayerNorm, Mod: mod})
		require.Equal(t, int64(2*2*5*in+2*c.rows*4*in), b.Result().Total.ActivationBytes, "%+v", c)
	}
}

// TestWeights: by kind, as they are held.
func TestWeights(t *testing.T) {
	require.Equal(t, []plan.Weights{
		{"dense", 1, 256*128 + 256, denseBytes},
		{"svdq", 1, 256*128 + 256, svdqBytes},
		{"lowRank", 1, 16 * (128 + 256), lowBytes},
		{"awq", 1, 256*128 + 256, awqBytes},
		{"convolution", 1, 8*128*9 + 8, convBytes}, // one of three slices
		{"vector", 2, 130, 4*128 + 2*2},
		{"table", 1, 350, 700},
	}, newBench(t).Result().Weights)

	b := plan.New(plan.Options{SVDQ: plan.Int8})
	l, err := b.LoadLinear(svdqSpec())
	require.NoError(t, err)
	const int8Bytes = 256*128 + 8*256 + 8*128 // the branch of low rank is worked in
	require.Equal(t, int64(int8Bytes), b.Result().WeightBytes)
	b.Linear(b.Alloc(compute.Act, 1, out), l, b.Alloc(compute.Act, 1, in), compute.Pre{}, compute.Post{})
	require.Equal(t, int64(int8Bytes), b.Result().Total.WeightBytes)
}

// TestStages: what a stage took is its own, a stage may go on, and a total adds up.
func TestStages(t *testing.T) {
	b := newBench(t)
	x := b.act(1, in) // 256 bytes
	plan.Stage(b.Backend, "encode")
	b.Upload(x, make([]float32, in))
	mark := b.Mark()
	b.Linear(b.act(1, out), b.dense, x, compute.Pre{}, compute.Post{})
	b.Reset(mark)
	plan.Stage(b.Backend, "decode")
	y := b.f32(1, in)
	values := []float32{7: 1, in - 1: 2}
	require.NoError(t, b.Download(values, y))
	require.Equal(t, make([]float32, in), values)
	plan.Stage(b.Backend, "encode")
	b.Linear(b.act(1, out), b.dense, x, compute.Pre{}, compute.Post{})

	r := b.Result()
	require.Len(t, r.Stages, 2)
	require.Equal(t, "encode", r.Stages[0].Name)
	require.Equal(t, int64(2), r.Stages[0].Launches)
	require.Equal(t, int64(2*in), r.Stages[0].UploadBytes)
	require.Equal(t, int64(256+512+512), r.Stages[0].ArenaPeak)
	require.Equal(t, plan.StageResult{Name: "decode", DownloadBytes: 4 * in, ArenaPeak: 256 + 512, Operations: []plan.Operation{}}, r.Stages[1])
	require.Equal(t, plan.StageResult{
		Name: "total", Work: r.Stages[0].Work, UploadBytes: 2 * in, DownloadBytes: 4 * in, ArenaPeak: 1280, Operations: r.Stages[0].Operations,
	}, r.Total)
	require.Equal(t, int64(1280), b.Peak())

	b.Reset(mark)
	b.Begin()
	again := b.Result()
	require.Equal(t, r.Weights, again.Weights)
	require.Empty(t, again.Stages)
	require.Equal(t, int64(256), b.Peak(), "x is still there")
	b.Finite(x, "x")
	require.Equal(t, "", b.Result().Stages[0].Name)
	require.Equal(t, int64(1), b.Result().Total.Launches)
}

// TestStageOfOthers: a pipeline may mark its stages on any backend.
func TestStageOfOthers(t *testing.T) {
	b := ref.New(ref.Options{ArenaBytes: 1 << 10})
	plan.Stage(b, "encode")
	require.NoError(t, b.Close())
}

// TestResult: both forms say the same.
func TestResult(t *testing.T) {
	b := newBench(t)
	b.Stage("encode")
	b.Linear(b.act(1000, out), b.svdq, b.act(1000, in), compute.Pre{}, compute.Post{})
	b.Stage("decode")
	b.Upload(b.f32(10, 10), make([]float32, 100))
	r := b.Result()
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var back plan.Result
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, r, back)
	require.Contains(t, string(data), `"schemaVersion":1,"actBytes":2,"weights":[{"kind":"dense","layers":1,"values":33024,"bytes":91648}`)
	require.Contains(t, string(data), `"stages":[{"name":"encode","launches":1,"flops":77824000,`)
	require.Equal(t, `WEIGHTS      LAYERS  VALUES  BYTES
dense        1       33.0 k  91.6 kB
svdq         1       33.0 k  18.2 kB
lowRank      1       6.1 k   12.3 kB
awq          1       33.0 k  18.9 kB
convolution  1       9.2 k   18.4 kB
vector       2       130     516 B
table        1       350     700 B
total                        160.7 kB

STAGE   LAUNCHES  COMPUTED    WEIGHTS READ  ACTIVATIONS MOVED  UPLOADED  DOWNLOADED  ARENA
encode  1         77.8 MFLOP  30.5 kB       768.0 kB           0 B       0 B         768.0 kB
decode  0         0 FLOP      0 B           0 B                400 B     0 B         768.5 kB
total   1         77.8 MFLOP  30.5 kB       768.0 kB           400 B     0 B         768.5 kB

OPERATION  LAUNCHES  COMPUTED    WEIGHTS READ  ACTIVATIONS MOVED
svdq       1         65.5 MFLOP  18.2 kB       768.0 kB
lowRank    0         12.3 MFLOP  12.3 kB       0 B
`, r.String())
}

// TestNewPanics: options out of range are a defect of the caller.
func TestNewPanics(t *testing.T) {
	require.Panics(t, func() { plan.New(plan.Options{ActBytes: -2}) })
	require.Panics(t, func() { plan.New(plan.Options{SVDQ: plan.W4A4 + 1}) })
}

// TestLoadingRefuses: what no backend can take is an error of kind Invalid that names the
// tensor.
func TestLoadingRefuses(t *testing.T) {
	b := plan.New(plan.Options{})
	linear := func(s compute.LinearSpec) error { _, err := b.LoadLinear(s); return err }
	conv := func(change func(s *compute.ConvSpec)) error {
		s := convSpec()
		change(&s)
		_, err := b.LoadConv(s)
		return err
	}
	quantised := func(change func(s *compute.SVDQ)) error { s := svdqSpec(); change(&s); return linear(s) }
	modulation := func(change func(s *compute.AWQ)) error { s := awqSpec(); change(&s); return linear(s) }
	dense := func(biases []compute.Weight, weights ...compute.Weight) error {
		return linear(compute.Dense{Weights: weights, Biases: biases})
	}
	short := half(4, 4)
	short.Data = make([]byte, 31)
	vector := func(w compute.Weight) error { _, err := b.LoadVector(w); return err }
	table := func(w compute.Weight) error { _, err := b.LoadTable(w); return err }
	for name, err := range map[string]error{
		"no weights":                 dense(nil),
		"one dimension":              dense(nil, half(4)),
		"a window":                   dense(nil, half(4, 4, 3)),
		"a dtype":                    dense(nil, tensor(safetensors.I8, 4, 4)),
		"no outputs":                 dense(nil, half(0, 4)),
		"short data":                 dense(nil, short),
		"two inputs":                 dense(nil, half(4, 4), half(4, 5)),
		"too few biases":             dense([]compute.Weight{half(4)}, half(4, 4), half(4, 4)),
		"a longer bias":              dense([]compute.Weight{half(5)}, half(4, 4)),
		"a bias of codes":            dense([]compute.Weight{tensor(safetensors.I8, 4)}, half(4, 4)),
		"svdq: unsigned codes":       quantised(func(s *compute.SVDQ) { s.QWeight.DType = safetensors.U8 }),
		"svdq: a flat weight":        quantised(func(s *compute.SVDQ) { s.QWeight.Shape = []int64{out * in / 2} }),
		"svdq: a flat branch":        quantised(func(s *compute.SVDQ) { s.Down.Shape = []int64{in} }),
		"svdq: groups of 32":         quantised(func(s *compute.SVDQ) { s.WScales = half(in/32, out) }),
		"svdq: a rank of its own":    quantised(func(s *compute.SVDQ) { s.Up = half(out, 32) }),
		"svdq: a rank of 8":          quantised(func(s *compute.SVDQ) { s.Up, s.Down = half(out, 8), half(in, 8) }),
		"svdq: narrow":               quantised(func(s *compute.SVDQ) { s.QWeight.Shape = []int64{out, in / 4} }),
		"svdq: short data":           quantised(func(s *compute.SVDQ) { s.Up.Data = make([]byte, 7) }),
		"svdq: no bias":              quantised(func(s *compute.SVDQ) { s.Bias = compute.Weight{} }),
		"awq: a flat weight":         modulation(func(s *compute.AWQ) { s.QWeight.Shape = []int64{out * in / 8} }),
		"awq: no zeros":              modulation(func(s *compute.AWQ) { s.WZeros = compute.Weight{} }),
		"awq: parts":                 modulation(func(s *compute.AWQ) { s.Parts = 7 }),
		"awq: packed as bytes":       modulation(func(s *compute.AWQ) { s.QWeight.DType = safetensors.I8 }),
		"conv: a matrix":             conv(func(s *compute.ConvSpec) { s.Weight = half(8, in) }),
		"conv: codes":                conv(func(s *compute.ConvSpec) { s.Weight.DType = safetensors.I8 }),
		"conv: a bias of its inputs": conv(func(s *compute.ConvSpec) { s.Bias = half(in) }),
		"conv: no stride":            conv(func(s *compute.ConvSpec) { s.Stride = 0 }),
		"conv: less than no padding": conv(func(s *compute.ConvSpec) { s.Left = -1 }),
		"vector of codes":            vector(tensor(safetensors.I8, 4)),
		"table of codes":             table(tensor(safetensors.I8, 4, 4)),
		"table of one dimension":     table(half(4)),
	} {
		require.ErrorContains(t, err, "loading ", name)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	require.Empty(t, b.Result().Weights, "what was refused is not counted")
}

// TestTimes: what is counted n times over is what n calls take, in a stage of its own or not,
// and the arena is that of one; to another backend it is a loop.
func TestTimes(t *testing.T) {
	count := func(repeat func(b *plan.Backend, do func(i int) error) error) plan.Result {
		b := plan.New(plan.Options{})
		b.Stage("steps")
		x := b.Alloc(compute.F32, 4, 8)
		require.NoError(t, repeat(b, func(int) error {
			defer b.Reset(b.Mark())
			y := b.Alloc(compute.F32, 4, 8)
			b.Upload(y, make([]float32, 32))
			b.Copy(y, x)
			b.Euler(x, y, 1)
			return b.Download(make([]float32, 32), x)
		}))
		b.Finite(x, "x")
		return b.Result()
	}
	want := count(func(_ *plan.Backend, do func(i int) error) error {
		for i := range 6 {
			require.NoError(t, do(i))
		}
		return nil
	})
	require.Equal(t, int64(13), want.Total.Launches)
	calls := 0
	got := count(func(b *plan.Backend, do func(i int) error) error {
		return plan.Times(b, 2, func(int) error {
			return plan.Times(b, 3, func(i int) error { calls++; return do(i) })
		})
	})
	require.Equal(t, want, got)
	require.Equal(t, 1, calls)

	var order []int
	broken := errors.New("broken")
	real := ref.New(ref.Options{ArenaBytes: 1 << 10})
	err := plan.Times(real, 5, func(i int) error {
		order = append(order, i)
		if i == 2 {
			return broken
		}
		return nil
	})
	require.ErrorIs(t, err, broken)
	require.Equal(t, []int{0, 1, 2}, order)
	b := plan.New(plan.Options{})
	require.ErrorIs(t, plan.Times(b, 2, func(int) error { return broken }), broken)
	require.NoError(t, plan.Times(b, 0, func(int) error { return broken }))
	require.Panics(t, func() { plan.Times(b, 2, func(int) error { b.Alloc(compute.F32, 1, 1); return nil }) })
	require.NoError(t, real.Close())
}
