package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How owners show that they live.
const (
	// beat is how often an owner touches its file.
	beat = 5 * time.Second
	// Lease is how long an owner on another machine may be silent. It is many beats long, so
	// that a machine under load does not lose what it owns.
	Lease = 60 * time.Second
	// poll is how often a waiting process looks again.
	poll = 200 * time.Millisecond
	// maxOwner bounds what is read of an owner file, which has about 150 bytes.
	maxOwner = 4096
)

// Owner is the process that is writing a blob, as its owner file describes it.
type Owner struct {
	PID int `json:"pid"`
	// Start is the process's start time in clock ticks since the machine started, field 22
	// of /proc/PID/stat: with it a process id that was used again is told apart.
	Start uint64 `json:"start"`
	// Host is the machine's name, for messages.
	Host string `json:"host"`
	// Space is the running system and the process id namespace in it: process ids mean the
	// same to everyone who has the same Space. "" where the system does not tell.
	Space string `json:"space"`
}

// String is "process 17 on host".
func (o Owner) String() string { return fmt.Sprintf("process %d on %s", o.PID, o.Host) }

// self describes this process. It does not change while the process runs.
var self = sync.OnceValue(func() Owner {
	host, _ := os.Hostname()
	o := Owner{PID: os.Getpid(), Host: host}
	o.Start, _ = startTime(o.PID)
	boot, err1 := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ids, err2 := os.Readlink("/proc/self/ns/pid")
	if err1 == nil && err2 == nil && o.Start != 0 {
		o.Space = strings.TrimSpace(string(boot)) + " " + ids
	}
	return o
})

// startTime reads when a process started; ok is false if there is none with that id.
func startTime(pid int) (ticks uint64, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" { // a zombie holds nothing
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[19], 10, 64)
	return ticks, err == nil
}

// Claim is the right to write one blob. It is held until Release.
type Claim struct {
	slot Slot
	name string // the owner file, inside the cache
	stop context.CancelFunc
	done chan struct{}
	lost chan struct{}
}

// Claim waits until no other process (and nobody else in this one) writes the blob, and
// takes it. waiting, if not nil, is called once for every owner that has to be waited for.
// The caller should look for the finished blob after Claim returns: whoever was waited for
// may have made it. Errors: ctx's, and those of the file system.
func (s Slot) Claim(ctx context.Context, waiting func(Owner)) (*Claim, error) {
	root, err := s.makeFolder()
	if err != nil {
		return nil, err
	}
	var seen Owner
	for {
		other, err := s.living(root, "")
		if err != nil {
			return nil, err
		}
		if other == nil {
			if c, err := s.tryClaim(root); c != nil || err != nil {
				return c, err
			}
		} else if *other != seen && waiting != nil {
			seen = *other
			waiting(seen)
		}
		// Two that saw each other step back for times of different length.
		if err := sleep(ctx, poll/2+rand.N(poll)); err != nil {
			return nil, fmt.Errorf("waiting for blob %s: %w", s.Etag, err)
		}
	}
}

// claimNow takes the blob if nobody has it; nil if anybody does.
func (s Slot) claimNow(ctx context.Context) (*Claim, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	busy := false
	claim, err := s.Claim(ctx, func(Owner) { busy = true; cancel() })
	if busy && claim == nil {
		return nil, nil
	}
	return claim, err
}

// Owned reports who writes the blob now; ok is false if nobody does.
func (s Slot) Owned() (o Owner, ok bool, err error) {
	root, err := s.cache.reading()
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, false, nil
	}
	if err != nil {
		return Owner{}, false, err
	}
	other, err := s.living(root, "")
	if other == nil || err != nil {
		return Owner{}, false, err
	}
	return *other, true, nil
}

// tryClaim makes an owner file and keeps it if no other owner lives; nil means step back.
func (s Slot) tryClaim(root *os.Root) (*Claim, error) {
	name := s.name(ownerInfix + nonce())
	if err := writeOwner(root, name); err != nil {
		return nil, local(fmt.Errorf("claiming blob %s: %w", s.Etag, errors.Join(err, removed(root, name))))
	}
	other, err := s.living(root, name)
	if err != nil || other != nil {
		return nil, errors.Join(err, removed(root, name))
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Claim{slot: s, name: name, stop: stop, done: make(chan struct{}), lost: make(chan struct{})}
	go c.touch(ctx, root)
	return c, nil
}

// writeOwner makes an owner file that is complete from the moment it can be seen.
func writeOwner(root *os.Root, name string) error {
	tmp := name + tmpSuffix
	f, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(ownerText())
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, removed(root, tmp))
	}
	if err := root.Rename(tmp, name); err != nil { // not a link: some file systems have none
		return errors.Join(err, removed(root, tmp))
	}
	return nil
}

func ownerText() []byte {
	text, err := json.Marshal(self())
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return text
}

// touch touches the owner file until Release, by writing what it already holds: the time
// must be the file system's, not this machine's. If the file is gone, someone elsewhere
// took this process for dead.
func (c *Claim) touch(ctx context.Context, root *os.Root) {
	defer close(c.done)
	for sleep(ctx, c.slot.cache.beat) == nil {
		f, err := root.OpenFile(c.name, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			close(c.lost)
			return
		}
		if err == nil {
			// A beat that fails is tried again; a Lease is many of them long.
			_, _ = f.WriteAt(ownerText(), 0)
			_ = f.Close()
		}
	}
}

// Lost is closed when another process has taken the blob over, which happens only if this
// one was silent for a whole Lease: the holder must stop writing.
func (c *Claim) Lost() <-chan struct{} { return c.lost }

// Release lets the next one in. It may be called once.
func (c *Claim) Release() error {
	c.stop()
	<-c.done
	root, err := c.slot.cache.reading()
	if err != nil {
		return err
	}
	if err := removed(root, c.name); err != nil {
		return local(fmt.Errorf("releasing blob %s: %w", c.slot.Etag, err))
	}
	return nil
}

// living returns an owner of the blob that lives, other than the owner file mine, and
// removes the files of dead ones; nil if there is none.
func (s Slot) living(root *os.Root, mine string) (*Owner, error) {
	entries, err := fs.ReadDir(root.FS(), s.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, local(fmt.Errorf("looking for owners of blob %s: %w", s.Etag, err))
	}
	for _, e := range entries {
		name := s.folder + "/" + e.Name()
		if !strings.HasPrefix(e.Name(), s.Etag+ownerInfix) || strings.HasSuffix(e.Name(), tmpSuffix) || name == mine {
			continue
		}
		if o, alive := s.examine(root, name); alive {
			return &o, nil
		}
		// A name is used once, so this removes the dead owner's file or nothing. Where it
		// cannot be removed it stays, and is found dead again.
		_ = removed(root, name)
	}
	return nil, nil
}

// examine reads one owner file and decides whether its process lives.
func (s Slot) examine(root *os.Root, name string) (Owner, bool) {
	text, touched, err := readOwner(root, name)
	if err != nil {
		return Owner{}, !errors.Is(err, fs.ErrNotExist) // what cannot be read may live
	}
	var o Owner
	if json.Unmarshal(text, &o) == nil && o.Space != "" && o.Space == self().Space {
		start, ok := startTime(o.PID)
		return o, ok && start == o.Start
	}
	// Elsewhere: only its silence can tell.
	now, err := s.now(root)
	return o, err != nil || now.Sub(touched) < Lease
}

func readOwner(root *os.Root, name string) ([]byte, time.Time, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	text := make([]byte, min(info.Size(), maxOwner))
	n, _ := f.ReadAt(text, 0) // a short read is a half-written file
	return text[:n], info.ModTime(), nil
}

// now asks the file system for its time, which on a network is not this machine's.
func (s Slot) now(root *os.Root) (time.Time, error) {
	name := s.name(ownerInfix + nonce() + tmpSuffix)
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return time.Time{}, err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), removed(root, name)); err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// sleep waits for d, or returns ctx's error as soon as it ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
