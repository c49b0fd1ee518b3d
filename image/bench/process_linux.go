package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// isolate gives a process a group of its own and lets the end of the context kill all of it.
func isolate(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return signalGroup(c.Process, unix.SIGKILL) }
}

// signalGroup sends a signal to a process and all that it started. One that has ended is
// no error.
func signalGroup(p *os.Process, s unix.Signal) error {
	if err := unix.Kill(-p.Pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// kill ends the process and all that it started.
func (p *process) kill() error { return signalGroup(p.cmd.Process, unix.SIGKILL) }

// watch looks at the process until it has ended. It is not reaped then, so that its
// counters are still there to be read.
func (p *process) watch() error {
	done := make(chan error, 1)
	go func() { done <- awaitExit(p.cmd.Process.Pid) }()
	for wait := soon; ; wait = min(2*wait, sampling) {
		if err := p.look(); err != nil {
			return errors.Join(err, <-done)
		}
		select {
		case err := <-done:
			return errors.Join(err, p.look())
		case <-time.After(wait):
		}
	}
}

// awaitExit waits for a child without reaping it.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// look reads the counters once. An ended process has no memory any more; the peak stays.
func (p *process) look() error {
	folder := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	status, err := os.ReadFile(folder + "/status")
	if err != nil {
		return fmt.Errorf("measuring %s: %w", p.command, err)
	}
	bytesMoved, err := os.ReadFile(folder + "/io")
	if err != nil {
		return fmt.Errorf("measuring %s: %w", p.command, err)
	}
	peak := p.seen.PeakMemory
	p.seen = parseIO(bytesMoved)
	p.seen.PeakMemory = max(peak, 1024*field(status, "VmHWM"))
	if p.until == nil || p.ended || !p.until(p.seen) {
		return nil
	}
	p.ended = true
	if p.interrupt {
		return signalGroup(p.cmd.Process, unix.SIGINT)
	}
	return signalGroup(p.cmd.Process, unix.SIGKILL)
}

// parseIO reads /proc/PID/io, see proc_pid_io(5).
func parseIO(text []byte) Usage {
	return Usage{
		DiskRead: field(text, "read_bytes"), DiskWritten: field(text, "write_bytes"),
		CallsRead: field(text, "rchar"), CallsWritten: field(text, "wchar"),
	}
}

// field is the number behind "name:" at the beginning of a line, 0 if there is none.
func field(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && key == name {
			number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
			n, _ := strconv.ParseInt(number, 10, 64)
			return n
		}
	}
	return 0
}

// ownCPU is the CPU time of this process in seconds.
func ownCPU() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// lockFile takes the one lock that a file or folder has, or fails at once.
func lockFile(f *os.File) error {
	return os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

// flush writes everything dirty to the disk, so that no contestant pays for another.
func flush() { unix.Sync() }

// uncache takes the pages of a file that are on the disk out of the page cache.
func uncache(f *os.File) error {
	return os.NewSyscallError("fadvise", unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// freeSpace is what may be written below a folder, in bytes.
func freeSpace(folder string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("asking for free space in %s: %w", folder, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// machine describes this computer.
func machine() Machine {
	m := ownMachine()
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, rest, ok := strings.Cut(string(info), "model name"); ok {
		line, _, _ := strings.Cut(rest, "\n")
		m.CPU = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	m.Memory = 1024 * field(memory, "MemTotal")
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	m.Load, _ = strconv.ParseFloat(first, 64)
	return m
}

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 for every program on Linux.
const tick = 0.01

// cpuOf is the CPU time of a running process in seconds, to a hundredth; 0 if there is none.
func cpuOf(pid int) float64 {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return parseStat(text)
}

// parseStat reads fields 14 and 15, utime and stime. Field 2 is the program's name in
// brackets and may hold anything; see proc_pid_stat(5).
func parseStat(text []byte) float64 {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return tick * float64(user+system)
}

// usageOf is what a running process has cost so far. System time counts as the user's: the
// two are told apart for processes that have ended only.
func usageOf(pid int) Usage {
	folder := "/proc/" + strconv.Itoa(pid)
	moved, _ := os.ReadFile(folder + "/io")
	status, _ := os.ReadFile(folder + "/status")
	u := parseIO(moved)
	u.UserSeconds, u.PeakMemory = cpuOf(pid), 1024*field(status, "VmHWM")
	return u
}
