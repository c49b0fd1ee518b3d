package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// The ways out of what happens inside a context.
const (
	lostHint   = "start the program again; if it happens again, look for lines with Xid in the host's kernel log"
	memoryHint = "end other programs on the GPU (nvidia-smi lists them), or use a GPU with more memory"
)

// DefaultPatience is long beside anything that a model asks of a device at a time.
const DefaultPatience = 2 * time.Minute

// queueLength is how many calls may wait for a context's thread. The driver itself queues
// about a thousand launches behind it.
const queueLength = 256

// errClosed sticks once a context is closed.
var errClosed = errors.New("the CUDA context is closed")

// Options describe a context. The zero value is what a service wants.
type Options struct {
	// Patience is how long a device may go without finishing anything before it counts as
	// hung; 0 is DefaultPatience.
	Patience time.Duration
	// Synchronous waits after every launch, so that a failing kernel is named. It is for
	// finding defects.
	Synchronous bool
}

// Context is a device's primary context and the one thread that uses it, but for Load, which
// takes long, and a Feed, which have their own. Calls go to that thread through a queue:
// methods that return nothing only put something into it, which takes less than a
// microsecond, and run behind; all others wait for their answer.
//
//   - An error of a call that runs behind sticks: later calls do nothing, and Err, Sync
//     and whatever else returns an error return it. It is of kind fault.Resource.
//   - An error that wraps ErrLost sticks wherever it comes from.
//   - Whoever waits while nothing is finished for Options.Patience gets ErrHung, which
//     sticks. The thread is given up: it hangs in the driver.
//   - A call that waits and fails otherwise, such as an allocation that is too large,
//     leaves everything as it was.
//
// Calls of one goroutine run in their order. A Context and what it makes are safe for
// concurrent use, but for Close, after which nothing may be called.
type Context struct {
	api         *api
	device      Device
	patience    time.Duration
	synchronous bool

	pointer  contextPointer
	tasks    chan task
	finished atomic.Uint64
	sticks   atomic.Pointer[error]

	mu    sync.Mutex
	owned []owned // in the order in which they were made

	memory *threadMemory // of the thread's own
}

// task is a call, or some, for a context's thread.
type task struct {
	run   func() error
	reply chan<- error // nil for what runs behind
	last  bool
}

// owned is what a context gives back when it is closed.
type owned struct {
	key     any
	release func() error
}

// threadMemory is memory that is not Go's and that the thread hands to the driver. It lies
// in one pinned allocation.
type threadMemory struct {
	maps     [maxMaps]tensorMap // first, so that they are aligned as the driver wants them
	values   [maxParameters]Parameter
	pointers [maxParameters]unsafe.Pointer // to maps and values, as cuLaunchKernel wants them
}

// Context makes the device's primary context, or joins it if the process has one, which
// takes about 0.1 s and 0.5 GB of the device's memory. The error is of kind fault.Resource.
func (d *Driver) Context(dev Device, o Options) (*Context, error) {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	c := &Context{api: d.api, device: dev, patience: o.Patience, synchronous: o.Synchronous, tasks: make(chan task, queueLength)}
	started := make(chan error, 1)
	go c.work(started)
	if err := c.wait(started); err != nil {
		return nil, c.explain(fmt.Errorf("opening CUDA device %d, %s: %w", dev.Ordinal, dev.Name, err))
	}
	return c, nil
}

// Device is the context's device.
func (c *Context) Device() Device { return c.device }

// Err is the error that sticks, or nil.
func (c *Context) Err() error {
	if err := c.sticks.Load(); err != nil {
		return *err
	}
	return nil
}

// Close waits, gives everything back that the context made, and returns the error that
// sticks. A device that is hung is not waited for.
func (c *Context) Close() error {
	before := c.Err()
	if errors.Is(before, ErrHung) || before == errClosed {
		return before
	}
	reply := make(chan error, 1)
	err := c.send(task{run: c.release, reply: reply, last: true})
	if err == nil {
		err = c.wait(reply)
	}
	first := c.stick(errClosed)
	if first != errClosed {
		return first // what stuck says more than what could not be given back after it
	}
	if err != nil {
		return c.explain(fmt.Errorf("closing CUDA device %d: %w", c.device.Ordinal, err))
	}
	return nil
}

// work is the context's thread. It stays locked: the thread ends with the goroutine, and no
// other one inherits its context.
func (c *Context) work(started chan<- error) {
	runtime.LockOSThread()
	if err := c.enter(); err != nil {
		started <- err
		return
	}
	started <- nil
	for t := range c.tasks {
		c.run(t)
		if t.last {
			return
		}
	}
}

// enter makes the context current on this thread for good.
func (c *Context) enter() error {
	a, h := c.api, c.device.handle
	if err := a.check("cuDevicePrimaryCtxRetain", a.cuDevicePrimaryCtxRetain(&c.pointer, h)); err != nil {
		return err
	}
	err := a.check("cuCtxSetCurrent", a.cuCtxSetCurrent(c.pointer))
	var memory unsafe.Pointer
	if err == nil {
		err = a.check("cuMemHostAlloc", a.cuMemHostAlloc(&memory, uint64(unsafe.Sizeof(threadMemory{})), 0))
	}
	if err != nil {
		return errors.Join(err, a.check("cuDevicePrimaryCtxRelease_v2", a.cuDevicePrimaryCtxRelease(h)))
	}
	c.memory = (*threadMemory)(memory)
	return nil
}

// release gives everything back, the youngest first.
func (c *Context) release() error {
	var errs []error
	c.mu.Lock()
	for _, o := range slices.Backward(c.owned) {
		errs = append(errs, o.release())
	}
	c.owned = nil
	c.mu.Unlock()
	a := c.api
	return errors.Join(append(errs,
		a.check("cuMemFreeHost", a.cuMemFreeHost(unsafe.Pointer(c.memory))),
		a.check("cuDevicePrimaryCtxRelease_v2", a.cuDevicePrimaryCtxRelease(c.device.handle)))...)
}

// run runs a task on the context's thread. The last one runs whatever sticks.
func (c *Context) run(t task) {
	err := c.Err()
	if err == nil || t.last {
		err = t.run()
		if err != nil && (t.reply == nil || errors.Is(err, ErrLost)) {
			err = c.stick(c.explain(fmt.Errorf("running on CUDA device %d: %w", c.device.Ordinal, err)))
		}
	}
	c.finished.Add(1)
	if t.reply != nil {
		t.reply <- err
	}
}

// behind queues what runs behind.
func (c *Context) behind(f func() error) {
	if c.Err() == nil {
		_ = c.send(task{run: f}) // the error is one that sticks
	}
}

// do runs f on the context's thread and waits for it.
func (c *Context) do(f func() error) error {
	if err := c.Err(); err != nil {
		return err
	}
	reply := make(chan error, 1)
	if err := c.send(task{run: f, reply: reply}); err != nil {
		return err
	}
	return c.explain(c.wait(reply))
}

// beside runs f on a thread of its own with the context current, and waits for it.
func (c *Context) beside(f func() error) error {
	if err := c.Err(); err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := c.api.check("cuCtxSetCurrent", c.api.cuCtxSetCurrent(c.pointer))
		if err == nil {
			err = f()
		}
		answer <- err
	}()
	err := c.explain(<-answer)
	if errors.Is(err, ErrLost) {
		return c.stick(err)
	}
	return err
}

// send queues a task. It waits where the queue is full, and fails if the device is hung.
func (c *Context) send(t task) error {
	select {
	case c.tasks <- t:
		return nil
	default:
	}
	return c.patiently(func(late <-chan time.Time) bool {
		select {
		case c.tasks <- t:
			return true
		case <-late:
			return false
		}
	})
}

// wait waits for a reply. It fails if the device is hung.
func (c *Context) wait(reply <-chan error) error {
	var answer error
	err := c.patiently(func(late <-chan time.Time) bool {
		select {
		case answer = <-reply:
			return true
		case <-late:
			return false
		}
	})
	if err != nil {
		return err
	}
	return answer
}

// patiently tries until it is done, for as long as the thread finishes something now and
// then.
func (c *Context) patiently(try func(late <-chan time.Time) bool) error {
	for {
		before := c.finished.Load()
		timer := time.NewTimer(c.patience)
		done := try(timer.C)
		timer.Stop()
		if done {
			return nil
		}
		if c.finished.Load() == before {
			return c.stick(c.explain(fmt.Errorf("waiting for CUDA device %d: %w: nothing was finished in %v", c.device.Ordinal, ErrHung, c.patience)))
		}
	}
}

// stick keeps the first error, and returns it.
func (c *Context) stick(err error) error {
	c.sticks.CompareAndSwap(nil, &err)
	return c.Err()
}

// explain gives an error its kind and hint, unless it has them.
func (c *Context) explain(err error) error {
	if err == nil || fault.HintOf(err) != "" {
		return err
	}
	switch {
	case errors.Is(err, ErrLost):
		return fault.Wrap(fault.Resource, lostHint, err)
	case errors.Is(err, ErrMemory):
		return fault.Wrap(fault.Resource, memoryHint, err)
	}
	return fault.Wrap(fault.Resource, "", err)
}

// own remembers what Close gives back.
func (c *Context) own(key any, release func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned = append(c.owned, owned{key, release})
}

// disown gives something back before that.
func (c *Context) disown(key any) error {
	c.mu.Lock()
	i := slices.IndexFunc(c.owned, func(o owned) bool { return o.key == key })
	if i < 0 {
		c.mu.Unlock()
		panic(fmt.Sprintf("cuda: giving back %v, which the context does not have", key))
	}
	release := c.owned[i].release
	c.owned = slices.Delete(c.owned, i, i+1)
	c.mu.Unlock()
	return c.do(release)
}
