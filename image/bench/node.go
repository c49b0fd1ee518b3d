package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// node is a containerd beside the registry that it pulls from. What it costs counts as its
// client's.
type node struct {
	*registry
	socket string
	p      *process
	done   chan error
	before Usage
}

var _ server = (*node)(nil)

// containerdConfig keeps everything in one folder. %q: root, state, socket, socket.
const containerdConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = %q
[ttrpc]
address = %q
`

// start starts a containerd with an empty storage below dir.
func (n *node) start(ctx context.Context, program, dir string) error {
	short, err := os.MkdirTemp("", "node") // the path of a socket has at most 107 bytes
	if err != nil {
		return err
	}
	n.socket = filepath.Join(short, "s")
	config := filepath.Join(short, "config.toml")
	text := fmt.Sprintf(containerdConfig, filepath.Join(dir, "root"), filepath.Join(short, "state"), n.socket, n.socket+".t")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if n.p, err = start(ctx, command{program: program, args: []string{"--config=" + config, "--log-level=error"}}); err != nil {
		return err
	}
	n.done = make(chan error, 1)
	go func() { n.done <- n.p.cmd.Wait() }()
	for deadline := time.Now().Add(startup); ; time.Sleep(sampling) {
		if _, err := os.Stat(n.socket); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("starting containerd: it does not listen after %s: %s", startup, &n.p.stderr), n.stop())
		}
	}
}

// begin implements server.
func (n *node) begin() {
	n.registry.begin()
	n.before = usageOf(n.p.cmd.Process.Pid)
}

// end implements server.
func (n *node) end(s *Sample) {
	n.registry.end(s)
	after := usageOf(n.p.cmd.Process.Pid)
	s.UserSeconds += after.UserSeconds - n.before.UserSeconds
	s.PeakMemory = max(s.PeakMemory, after.PeakMemory)
	s.DiskRead += after.DiskRead - n.before.DiskRead
	s.DiskWritten += after.DiskWritten - n.before.DiskWritten
	s.CallsRead += after.CallsRead - n.before.CallsRead
	s.CallsWritten += after.CallsWritten - n.before.CallsWritten
}

// stop ends containerd, if it runs, and waits for it. That it was killed is no error.
func (n *node) stop() error {
	if n.p == nil {
		return nil
	}
	err := n.p.kill()
	<-n.done
	n.p = nil
	return errors.Join(err, os.RemoveAll(filepath.Dir(n.socket)))
}
