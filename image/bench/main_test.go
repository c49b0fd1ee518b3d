package bench

import (
	"errors"
	"fmt"
	"go/build"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/magefile/mage/mage"
	"github.com/stretchr/testify/require"
)

// root is the module's root, seen from this package.
const root = "../.."

// act makes the test binary one of the programs below.
const act = "PLIMSOLL_BENCH_TEST_ACT"

// TestMain lets the tests measure processes of known behaviour: this binary itself.
func TestMain(m *testing.M) {
	if os.Getenv(act) == "" {
		code := m.Run()
		_ = os.RemoveAll(programs)
		os.Exit(code)
	}
	if err := perform(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// perform is what the programs do.
func perform(args []string) error {
	switch args[0] {
	case "say":
		fmt.Print(args[1])
	case "fail":
		return errors.New(args[1])
	case "write":
		return write(args[1], args[2])
	case "env":
		fmt.Print(os.Getenv(args[1]))
	case "-h":
		fmt.Println("Flags:\n\t-force=<bool>")
	case "linger":
		return linger(args[1], args[2])
	case "pour":
		return pour(args[1], args[2])
	case "hold":
		return hold(args[1])
	case "burn":
		for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
		}
	case "meet":
		return meet(args[1], args[2])
	case "registry":
		return serveRegistry(args[1], args[2])
	default:
		return fmt.Errorf("there is no act %q", args[0])
	}
	return nil
}

// write writes so many bytes to a file, synced.
func write(path, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, n))
	return errors.Join(err, f.Sync(), f.Close())
}

// linger says that it is here, and what it noticed when it was interrupted.
func linger(here, noticed string) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		return err
	}
	select {
	case <-interrupts:
		return errors.Join(os.WriteFile(noticed, nil, 0o600), errors.New("interrupted"))
	case <-time.After(20 * time.Second):
		return errors.New("nobody came")
	}
}

// pour writes so many bytes so slowly that somebody can step in.
func pour(path, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	const parts = 64
	for range parts {
		if _, err := f.Write(make([]byte, n/parts)); err != nil {
			return err
		}
		time.Sleep(sampling / 2)
	}
	return f.Close()
}

// hold has so many bytes of memory for a while.
func hold(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	memory := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		memory[i] = 1
	}
	time.Sleep(5 * sampling) // no wait for anything: to be seen takes time
	runtime.KeepAlive(memory)
	return nil
}

// meet says that it is here and waits for the other.
func meet(here, other string) error {
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(other); err == nil {
			return nil
		}
	}
	return errors.New("the other one never came")
}

// serveRegistry is a registry of another make, with its blobs in a folder.
func serveRegistry(dir, address string) error {
	handler := ggcr.New(ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(dir)), ggcr.Logger(log.New(io.Discard, "", 0)))
	return http.ListenAndServe(address, handler)
}

// acting is a command of the test binary.
func acting(args ...string) command {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return command{program: path, args: args, env: []string{act + "=1"}}
}

// programs is the folder of what was compiled, "" if nothing was.
var programs string

// compiled is the magefile as a program, made once for all tests.
var compiled = sync.OnceValues(func() (string, error) {
	var err error
	if programs, err = os.MkdirTemp("", "plimsoll-bench-"); err != nil {
		return "", err
	}
	module, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	path := filepath.Join(programs, "targets")
	if code := mage.Invoke(mage.Invocation{Dir: module, WorkDir: module, CompileOut: path, Stdout: os.Stdout, Stderr: os.Stderr, GoCmd: "go"}); code != 0 {
		return "", fmt.Errorf("compiling the magefile: exit code %d", code)
	}
	return path, nil
})

// options are those of a small bench in a folder of the test's.
func options(t *testing.T, size string) Options {
	t.Helper()
	program, err := compiled()
	require.NoError(t, err)
	return Options{Size: size, Runs: 1, Root: root, Out: t.TempDir(), Program: program}
}

// alone hides the programs of others: PATH leads to Go alone.
func alone(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("go")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(path, filepath.Join(dir, "go")))
	t.Setenv("PATH", dir)
	old := build.Default.GOPATH
	build.Default.GOPATH = dir
	t.Cleanup(func() { build.Default.GOPATH = old })
}

// newSession is a session of a bench that does nothing by itself.
func newSession(t *testing.T, size int64, runs int) *session {
	t.Helper()
	s, err := open("test", Options{Out: t.TempDir(), Runs: runs, Size: fmt.Sprint(size)}, standard{size: 1, runs: 1, room: 1})
	require.NoError(t, err)
	t.Cleanup(s.close)
	return s
}
