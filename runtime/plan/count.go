package plan

// weightKind is a row of the table of weights.
type weightKind uint8

const (
	heldDense weightKind = iota
	heldSVDQ
	heldLowRank
	heldAWQ
	heldConv
	heldVector
	heldTable
	weightKinds
)

var weightNames = [weightKinds]string{"dense", "svdq", "lowRank", "awq", "convolution", "vector", "table"}

// operation is a kind of operation. Linears are several, since machines run them at different
// speeds.
type operation uint8

const (
	dense operation = iota
	svdq
	lowRank
	awq
	convolution
	attention
	apply
	heads
	embed
	gather
	copies
	euler
	guide
	finite
	operations
)

var operationNames = [operations]string{
	"dense", "svdq", "lowRank", "awq", "convolution", "attention", "apply", "heads", "embed", "gather", "copy", "euler", "guide", "finite",
}

// Work is what operations take. The package comment says what is counted.
type Work struct {
	Launches int64 `json:"launches"`
	FLOPs    int64 `json:"flops"`
	// WeightBytes are those of weights that are read, ActivationBytes those of tensors that
	// are read or written.
	WeightBytes     int64 `json:"weightBytes"`
	ActivationBytes int64 `json:"activationBytes"`
}

// add adds other work.
func (w *Work) add(o Work) {
	w.Launches += o.Launches
	w.FLOPs += o.FLOPs
	w.WeightBytes += o.WeightBytes
	w.ActivationBytes += o.ActivationBytes
}

// stage is what one stage took so far.
type stage struct {
	name                       string
	work                       [operations]Work
	uploaded, downloaded, peak int64
}

// add counts an operation.
func (b *Backend) add(op operation, n Work) { b.now.work[op].add(n.times(b.times)) }

// times is the work of n such operations.
func (w Work) times(n int64) Work {
	return Work{Launches: n * w.Launches, FLOPs: n * w.FLOPs, WeightBytes: n * w.WeightBytes, ActivationBytes: n * w.ActivationBytes}
}
