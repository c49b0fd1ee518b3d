package compute

// PreKind is a thing to do to the input of an operation, row by row.
type PreKind uint8

const (
	// None leaves x as it is.
	None PreKind = iota
	// SiLU is x/(1+e^−x).
	SiLU
	// GELUTanh is 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), the transformer's.
	GELUTanh
	// SwiGLU takes rows [a | b] of two equal halves: SiLU(a)·b, half as wide.
	SwiGLU
	// RMSNorm is x·w/√(mean(x²) + Eps), the mean over Weight.Len() values: where rows are
	// wider, each piece of that length for itself.
	RMSNorm
	// LayerNorm is (x − mean)/√(variance + Eps) over the row, without weights, and then, if
	// there is a Mod, ·scale + shift.
	LayerNorm
	// ChannelNorm is x·√cols·w/max(‖x‖₂, 1e-12) over the row, the VAE's norm.
	ChannelNorm
	// ChannelNormSiLU is SiLU of ChannelNorm.
	ChannelNormSiLU
)

// Pre is what happens to the input of an operation first. The zero Pre is None.
type Pre struct {
	Kind   PreKind
	Weight Vector  // of the norms that have one
	Eps    float32 // of RMSNorm and LayerNorm
	Mod    Mod     // of LayerNorm: its Shift and Scale
}

// Mod picks rows of a table of modulation: which shift, scale and gate a token gets. The
// zero Mod is none.
type Mod struct {
	// Table [rows, parts·width] is F32: a row for each time, parts side by side, each as
	// wide as what it modulates.
	Table Tensor
	// Row is the table's row for tokens before Until, Rest that for those from it on. Equal
	// rows make Until meaningless.
	Row, Rest, Until int
	// Shift, Scale and Gate are numbers of parts.
	Shift, Scale, Gate int
	// PlusOne says that the table holds scale − 1.
	PlusOne bool
}

// PostKind is a thing to do to the result of an operation.
type PostKind uint8

const (
	// Store leaves y as it is.
	Store PostKind = iota
	// StoreSiLU is SiLU(y).
	StoreSiLU
	// StoreGELU is the exact 0.5·y·(1 + erf(y/√2)), the vision tower's merger's.
	StoreGELU
	// Add is Residual + y.
	Add
	// GateAdd is Residual + gate·y, the gate from Mod by the token's row.
	GateAdd
)

// Post is what happens to the result of an operation before it is stored. The zero Post
// is Store.
type Post struct {
	Kind PostKind
	// Residual has the shape of the result. It may be dst itself.
	Residual Tensor
	Mod      Mod
}

// Split describes Heads: rows of a projection, q, k and v side by side, X
// [n, (Q.Cols + K.Cols + V.Cols)], go to n rows of three tensors, usually views into larger
// ones that several projections share. Each head of q and k is normalised, if there are
// weights, and then rotated, if there are angles.
type Split struct {
	X       Tensor
	Q, K, V Tensor // [n, heads·Dim]
	Dim     int
	// NormQ and NormK are the weights, of Dim values, of an RMSNorm over each head.
	NormQ, NormK Vector
	Eps          float32
	Rope         Rope
}

// Rope holds the angles of a rotary embedding. The zero Rope rotates nothing. The pair
// (a, b) becomes (a·cos − b·sin, b·cos + a·sin).
type Rope struct {
	// Cos and Sin [n, Dim/2] are F32, a row for each row of X.
	Cos, Sin Tensor
	// Halves pairs value i of a head with i + Dim/2, as the language model does; otherwise
	// 2i with 2i+1, as the transformer does.
	Halves bool
}

// Attention describes an attention.
type Attention struct {
	// Heads is the number of heads of q, KVHeads that of k and v, a divisor of it: heads
	// h·Heads/KVHeads and following read k's head h.
	Heads, KVHeads, Dim int
	Scale               float32
	// Causal lets row i see rows 0 to i only; q and k then have equally many.
	Causal bool
	// Windows cuts the rows of q and k alike into windows that see only themselves: the
	// ends of all of them, ascending, the last one the number of rows. nil is one window.
	Windows []int32
}
