// Package compute is the contract between the model and the machine that runs it: about
// twenty operations, written down once, over which package qwen is written once.
//
//	host                      backend's memory
//	Weight ── Load… ────────▶ Linear, Conv, Vector, Table    live until Close
//	[]float32 ── Upload ────▶ Tensor ── operations ─▶ Tensor  live until Reset
//	          ◀─ Download ──
//
// There are three backends. Package ref computes in plain Go and float32, each operation
// written so that it can be read: the oracle, and what runs where there is no GPU. CUDA
// computes in bfloat16 with float32 accumulators. Package plan computes nothing: it counts
// the bytes, operations and launches of the same calls, which are the memory plan of a
// picture and the floor of its time.
//
// # Rules
//
// Shapes. Activations are matrices, row-major and without gaps: a row is a token, a pixel
// or a patch. There is one picture at a time and no padding, so there are no masks. Every
// operation states the shapes that it takes; other ones are a defect of the caller and
// panic, before anything is computed, and so do rows that a table has not. The checks are
// here (CheckLinear, …), for every backend.
//
// Fusion. An operation reads its input once: Linear and Convolve take what has to happen to
// x first (Pre) and what happens to the result (Post), so that a backend can quantise where
// it normalises and add where it multiplies. How a backend fuses is its own matter; the
// result is that of the steps one after the other.
//
// Aliasing. dst may not overlap an input, with two exceptions: Post.Residual may be dst,
// and operations that say "in place".
//
// Memory. Tensors come from one arena of a size fixed when the backend was made: Alloc
// takes from its end, Reset gives back all that was taken since Mark. New memory holds
// anything. A Tensor is a plain value: copying it or taking rows costs nothing.
//
// Order and errors. Operations run in the order of their calls, as if each had ended before
// the next began; a backend may run behind. An error sticks: later operations do nothing, and
// Sync, Download and Close return it, until Renew. So only what comes back to the host has to
// be looked at.
//
// Concurrency. A Backend is used by one goroutine at a time. Two backends are independent.
package compute

// Backend is a machine that runs the operations. The package comment has the rules.
type Backend interface {
	Memory
	Loader

	// Linear computes dst = Post(Pre(x)·Wᵀ + b). x [n, cols], where Pre turns cols into
	// l.In(); dst [n, l.Out()]. dst is of either kind.
	Linear(dst Tensor, l Linear, x Tensor, pre Pre, post Post)

	// Convolve does the same with a convolution over x as a picture of h·w pixels, x
	// [h·w, c.In()], rows from top to bottom; dst [h'·w', c.Out()] with (h', w') =
	// c.Size(h, w). Pre acts on each pixel before anything is padded or enlarged.
	Convolve(dst Tensor, c Conv, x Tensor, h, w int, pre Pre, post Post)

	// Apply computes dst = Pre(x) row by row, where nothing else follows.
	Apply(dst, x Tensor, pre Pre)

	// Heads takes the rows of a projection apart into what attention reads.
	Heads(s Split)

	// Attention computes, for each head, softmax(scale·q·kᵀ)·v over the rows that a query
	// sees. q and dst [n, Heads·Dim]; k and v [m, KVHeads·Dim].
	Attention(dst, q, k, v Tensor, a Attention)

	// Embed copies rows of a table: dst [len(ids), t.Cols()].
	Embed(dst Tensor, t Table, ids []int32)

	// Gather copies rows of a tensor of the same kind: dst[i] = src[rows[i]].
	Gather(dst, src Tensor, rows []int32)

	// Copy copies src to dst, of the same number of values in the same order. The kinds may
	// differ: that is how values get from one format to the other.
	Copy(dst, src Tensor)

	// Euler moves x along v in place: x += dt·v. x is F32, v of either kind.
	Euler(x, v Tensor, dt float32)

	// Guide joins two predictions, token by token: c = negative + scale·(positive −
	// negative), then dst = c·‖positive‖/‖c‖, and 0 where c is 0. dst may be one of the two.
	Guide(dst, positive, negative Tensor, scale float32)

	// Finite makes a NaN or an infinity in x an error that sticks and names what.
	Finite(x Tensor, what string)
}

// Memory is the part of a backend that holds activations.
type Memory interface {
	// Alloc takes a tensor from the arena. An arena that is full is an error that sticks.
	Alloc(k Kind, rows, cols int) Tensor
	// Mark is the arena's state, and Reset goes back to it: tensors taken since are gone.
	Mark() Mark
	Reset(m Mark)
	// Upload copies values into dst, all of it, rounding them to its format. The slice may
	// be changed as soon as Upload returns.
	Upload(dst Tensor, values []float32)
	// Download waits for everything before it and copies src, all of it, into values.
	Download(values []float32, src Tensor) error
	// Sync waits for everything before it and returns the error that sticks, or nil.
	Sync() error
	// Renew waits, and lets go of an error that was about values or the arena's size: what
	// comes next runs. It returns the error that stays, which is the machine's.
	Renew() error
	// Close waits, gives back everything, weights included, and returns the error that
	// sticks. Nothing may be called after it.
	Close() error
}

// Loader is the part of a backend that takes weights. What is loaded stays until Close.
// Weights are given as they lie in their file; a backend repacks them as it likes and may
// go on reading them, so the bytes behind a Weight must stay until Close, unchanged.
// Errors are about shapes and formats that the backend cannot take, of kind fault.Invalid,
// and about memory, of kind fault.Resource; they name the tensor.
type Loader interface {
	// Group begins a group of weights that are used together, as those of a layer are; "" ends
	// it, and nothing but Load… may be called before. A backend may keep a group on the host and bring it to the device when an operation
	// needs it, and the groups that followed last time ahead. The weights of one operation are
	// of one group, or of none. Names are for messages and for choosing, each given once.
	Group(name string)
	LoadLinear(s LinearSpec) (Linear, error)
	LoadConv(s ConvSpec) (Conv, error)
	// LoadVector takes a tensor of any shape as one row of values, in their order.
	LoadVector(w Weight) (Vector, error)
	// LoadTable takes a tensor [rows, cols].
	LoadTable(w Weight) (Table, error)
}

// Linear is a loaded linear layer, of one backend.
type Linear interface {
	In() int
	Out() int
}

// Conv is a loaded convolution, of one backend.
type Conv interface {
	In() int
	Out() int
	// Size is the size of the result for a picture of h rows and w columns.
	Size(h, w int) (rows, columns int)
}

// Vector is a loaded row of values, of one backend.
type Vector interface{ Len() int }

// Table is a loaded table of rows, of one backend.
type Table interface {
	Rows() int
	Cols() int
}
