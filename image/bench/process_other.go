//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

func isolate(*exec.Cmd) {}

func (p *process) watch() error {
	return fmt.Errorf("measuring %s: %w", p.command, errors.ErrUnsupported)
}

func ownCPU() float64 { return 0 }

func lockFile(*os.File) error { return nil }

func flush() {}

func uncache(*os.File) error { return nil }

func freeSpace(string) (int64, error) {
	return 0, fmt.Errorf("measuring processes outside of Linux: %w", errors.ErrUnsupported)
}

func machine() Machine { return ownMachine() }

func cpuOf(int) float64 { return 0 }

func usageOf(int) Usage { return Usage{} }

func (p *process) kill() error { return p.cmd.Process.Kill() }
