package kernels

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

//go:embed ptx/*.ptx
var ptx embed.FS

// function is a kernel, and what the driver does not check of a launch.
type function struct {
	*cuda.Function
	params int
}

// defaultShared is how much dynamic shared memory a kernel has without asking.
const defaultShared = 48 << 10

// shared is how much dynamic shared memory kernels need that need more than that.
var shared = map[string]int{
	"gemm_bf16_128x256":  98304,
	"gemm_bf16_128x128":  65536,
	"conv_bf16_128x96":   57344,
	"conv_bf16_128x32":   51200,
	"attention_bf16_128": 65536,
	"svdq_weights":       svdqShared(maxRank),
}

// load loads every module and finds its kernels.
func load(c *cuda.Context) (map[string]function, error) {
	functions := map[string]function{}
	files, err := fs.Glob(ptx, "ptx/*.sm_80.ptx")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := ptx.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := c.Load(strings.TrimPrefix(file, "ptx/"), text)
		if err != nil {
			return nil, err
		}
		for name, params := range entries(text) {
			f, err := m.Function(name)
			if err != nil {
				return nil, err
			}
			if n := shared[name]; n > defaultShared {
				if err := f.AllowShared(n); err != nil {
					return nil, err
				}
			}
			functions[name] = function{f, params}
		}
	}
	return functions, nil
}

var entryForm = regexp.MustCompile(`(?s)\.visible \.entry (\w+)\(([^)]*)\)`)

// entries are the kernels of a module, with the number of their parameters.
func entries(text []byte) map[string]int {
	found := map[string]int{}
	for _, m := range entryForm.FindAllSubmatch(text, -1) {
		found[string(m[1])] = bytes.Count(m[2], []byte(".param"))
	}
	return found
}

// launch puts a kernel into the stream. A name or a number of parameters that is wrong is a
// defect and panics.
func (b *Backend) launch(name string, grid, block cuda.Dim, shared int, params ...cuda.Parameter) {
	f, ok := b.functions[name]
	if !ok || f.params != len(params) {
		panic(fmt.Sprintf("kernels: launching %s with %d parameters, it takes %d", name, len(params), f.params))
	}
	b.stream.Launch(f.Function, grid, block, shared, params...)
}

// threads is the size of most blocks.
const threads = 256

// spread launches a kernel that takes any grid, for n values of so many each thread and
// turn.
func (b *Backend) spread(name string, n, each int, params ...cuda.Parameter) {
	blocks := min(ceil(n, threads*each), 16*b.context.Device().Multiprocessors)
	b.launch(name, cuda.Dim{X: blocks}, cuda.Dim{X: threads}, 0, params...)
}

// ceil is a/b, rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }
