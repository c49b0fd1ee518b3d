package kernels

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels/cubin"
)

//go:embed ptx/*.ptx
var ptx embed.FS

// module is a file of PTX. The driver takes up to a second to compile one, which is done
// beside the loading of weights, several at a time.
type module struct {
	name string
	text []byte
	code []byte        // machine code for the device; nil where there is none
	done chan struct{} // closed once the driver has compiled it, or failed to
	m    *cuda.Module
	err  error
}

// load loads machine code, and PTX where there is none or the driver, being older than the
// assembler, does not take it.
func (m *module) load(c *cuda.Context) {
	defer close(m.done)
	if m.code != nil {
		if m.m, m.err = c.Load(m.name, m.code); m.err == nil {
			return
		}
	}
	m.m, m.err = c.Load(m.name, m.text)
}

// function is a kernel, and what the driver does not check of a launch.
type function struct {
	module *module
	params int
	f      *cuda.Function // nil until it was launched
}

// functions are the kernels of a device by their names.
type functions struct {
	named map[string]*function

	mu sync.Mutex
	// waiting are the modules that nobody compiles yet, in the order in which they will be.
	waiting   []*module
	compilers sync.WaitGroup
}

const (
	// ampere is the target that every device has, hopper that of compute capability 9.0.
	ampere = "sm_80"
	hopper = "sm_90a"
)

// newFunctions lists the kernels for the targets, and starts to compile them.
//
// A device gets machine code where there is some that it runs: then nothing is compiled.
func newFunctions(c *cuda.Context, targets ...string) (*functions, error) {
	a := &functions{named: map[string]*function{}}
	for _, target := range targets {
		files, err := fs.Glob(ptx, "ptx/*."+target+".ptx")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := a.add(file, architecture(target, c.Device().Capability)); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(a.waiting, sooner)
	// The other half of the processors copies weights.
	for range max(1, min(len(a.waiting), runtime.GOMAXPROCS(0)/2)) {
		a.compilers.Go(func() { a.compile(c) })
	}
	return a, nil
}

// first are the modules whose kernels bring weights into order.
var first = regexp.MustCompile(`^(weights|conv|quantise)\.`)

// sooner has these compiled first, and then those that take longest.
func sooner(a, b *module) int {
	if x, y := first.MatchString(a.name), first.MatchString(b.name); x != y {
		return map[bool]int{true: -1, false: 1}[x]
	}
	return len(b.text) - len(a.text)
}

// architecture is the one whose machine code, of PTX for a target, a device runs.
func architecture(target string, c cuda.Capability) string {
	switch {
	case target == hopper:
		return hopper
	case c.Major == 9:
		return "sm_90"
	case c.Major == 8:
		return ampere
	}
	return "" // there is none for others
}

// add lists the kernels of a file.
func (a *functions) add(file, architecture string) error {
	text, err := ptx.ReadFile(file)
	if err != nil {
		return err
	}
	m := &module{name: strings.TrimPrefix(file, "ptx/"), text: text, done: make(chan struct{})}
	name, _, _ := strings.Cut(m.name, ".")
	m.code = cubin.Find(name, architecture, text)
	a.waiting = append(a.waiting, m)
	for name, params := range entries(text) {
		a.named[name] = &function{module: m, params: params}
	}
	return nil
}

// compile has the driver compile one module after the other.
func (a *functions) compile(c *cuda.Context) {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.mu.Unlock()
			return
		}
		m := a.waiting[0]
		a.waiting = a.waiting[1:]
		a.mu.Unlock()
		m.load(c)
	}
}

// compiled waits for a module, which is the next to be compiled.
func (a *functions) compiled(m *module) error {
	a.mu.Lock()
	if i := slices.Index(a.waiting, m); i > 0 {
		a.waiting = slices.Insert(slices.Delete(a.waiting, i, i+1), 0, m)
	}
	a.mu.Unlock()
	<-m.done
	return m.err
}

// stop ends the compiling after the modules that are under way.
func (a *functions) stop() {
	a.mu.Lock()
	a.waiting = nil
	a.mu.Unlock()
	a.compilers.Wait()
}

// has reports whether there is a kernel of a name.
func (a *functions) has(name string) bool { return a.named[name] != nil }

// find is a kernel, once it is compiled. A name or a number of parameters that is wrong is a
// defect and panics.
func (a *functions) find(name string, params int) (*cuda.Function, error) {
	f, ok := a.named[name]
	if !ok {
		panic(fmt.Sprintf("kernels: launching %s, which no file has", name))
	}
	if f.params != params {
		panic(fmt.Sprintf("kernels: launching %s with %d parameters, it takes %d", name, params, f.params))
	}
	if f.f != nil {
		return f.f, nil
	}
	if err := a.compiled(f.module); err != nil {
		return nil, err
	}
	found, err := f.module.m.Function(name)
	if err != nil {
		return nil, err
	}
	if n := shared[name]; n > 0 {
		if err := found.AllowShared(n); err != nil {
			return nil, err
		}
	}
	f.f = found
	return found, nil
}

// shared is how much dynamic shared memory kernels need that need more than the 48 KiB that
// every kernel has.
var shared = map[string]int{
	"gemm_bf16_128x256":  98304,
	"gemm_bf16_128x128":  65536,
	"conv_bf16_128x96":   57344,
	"conv_bf16_128x32":   51200,
	"attention_bf16_128": 65536,
	"svdq_weights":       svdqShared(maxRank),

	"gemm_bf16_hopper":          hopperGEMMShared,
	"gemm_s8_hopper":            hopperGEMMShared,
	"attention_bf16_128_hopper": hopperAttentionShared,
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

// launch puts a kernel into the stream.
func (b *Backend) launch(name string, grid, block cuda.Dim, shared int, params ...cuda.Parameter) {
	b.launchTiled(name, grid, block, shared, nil, params...)
}

// launchTiled launches a kernel that takes tiled matrices first.
func (b *Backend) launchTiled(name string, grid, block cuda.Dim, shared int, matrices []cuda.Matrix, params ...cuda.Parameter) {
	f, err := b.functions.find(name, len(matrices)+len(params))
	if err != nil {
		b.stick(err)
		return
	}
	b.stream.LaunchTiled(f, grid, block, shared, matrices, params...)
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
