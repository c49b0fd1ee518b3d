package cache

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestClaimIsExclusive: many want one blob at once, and each gets it once, alone.
func TestClaimIsExclusive(t *testing.T) {
	c := open(t)
	var holders, most atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			claim, err := slot(t, c).Claim(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if n := holders.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(5 * time.Millisecond) // long enough for another one to break in
			holders.Add(-1)
			if err := claim.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, most.Load())
	require.Empty(t, names(t, filepath.Dir(slot(t, c).Path())), "owners leave nothing behind")
}

func TestClaimWaits(t *testing.T) {
	c := open(t)
	first, err := slot(t, c).Claim(t.Context(), nil)
	require.NoError(t, err)
	o, ok, err := slot(t, c).Owned()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, os.Getpid(), o.PID)
	require.NotEmpty(t, o.Space)

	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan Owner, 10)
	done := make(chan error)
	go func() {
		_, err := slot(t, c).Claim(ctx, func(o Owner) { waited <- o })
		done <- err
	}()
	require.Equal(t, o, <-waited)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	go func() {
		second, err := slot(t, c).Claim(t.Context(), func(o Owner) { waited <- o })
		if err == nil {
			err = second.Release()
		}
		done <- err
	}()
	<-waited
	require.NoError(t, first.Release())
	require.NoError(t, <-done)
	require.Empty(t, waited, "an owner is told of once")
}

// own writes an owner file by hand and returns its path.
func own(t *testing.T, s Slot, o Owner, age time.Duration) string {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(s.Path()), 0o755))
	name := s.Path() + ownerInfix + nonce()
	require.NoError(t, os.WriteFile(name, text, 0o644))
	then := time.Now().Add(-age)
	require.NoError(t, os.Chtimes(name, then, then))
	return name
}

// deadProcess is the id of a process that has ended.
func deadProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Run())
	return cmd.Process.Pid
}

func TestLife(t *testing.T) {
	me := self()
	other := func(change func(*Owner)) Owner {
		o := me
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		owner Owner
		age   time.Duration
		alive bool
	}{
		"this process":             {me, time.Hour, true},
		"ended process":            {other(func(o *Owner) { o.PID = deadProcess(t) }), 0, false},
		"process id used again":    {other(func(o *Owner) { o.Start++ }), 0, false},
		"elsewhere, touched":       {Owner{PID: 1, Start: 1, Host: "other", Space: "x"}, 30 * time.Second, true},
		"elsewhere, silent":        {Owner{PID: 1, Start: 1, Host: "other", Space: "x"}, Lease + time.Second, false},
		"without a space, touched": {Owner{PID: 1, Host: "other"}, time.Second, true},
		"without a space, silent":  {Owner{PID: 1, Host: "other"}, Lease + time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := slot(t, open(t))
			file := own(t, s, c.owner, c.age)
			o, alive, err := s.Owned()
			require.NoError(t, err)
			require.Equal(t, c.alive, alive)
			if alive {
				require.Equal(t, c.owner, o)
				require.FileExists(t, file)
				return
			}
			require.NoFileExists(t, file, "a dead owner's file is removed")
			claim, err := s.Claim(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, claim.Release())
		})
	}
}

// TestTorn: an owner file that is not one counts as silent only after a lease.
func TestTorn(t *testing.T) {
	s := slot(t, open(t))
	file := own(t, s, Owner{}, 0)
	require.NoError(t, os.WriteFile(file, []byte(`{"pid":`), 0o644))
	_, alive, err := s.Owned()
	require.NoError(t, err)
	require.True(t, alive)
	then := time.Now().Add(-2 * Lease)
	require.NoError(t, os.Chtimes(file, then, then))
	_, alive, err = s.Owned()
	require.NoError(t, err)
	require.False(t, alive)
}

func TestLost(t *testing.T) {
	c := open(t)
	c.beat = 10 * time.Millisecond
	s := slot(t, c)
	claim, err := s.Claim(t.Context(), nil)
	require.NoError(t, err)
	file := filepath.Join(c.Dir(), claim.name)
	before, err := os.Stat(file)
	require.NoError(t, err)
	old := before.ModTime().Add(-time.Hour)
	require.NoError(t, os.Chtimes(file, old, old))
	require.Eventually(t, func() bool {
		now, err := os.Stat(file)
		return err == nil && now.ModTime().After(old)
	}, time.Minute, 5*time.Millisecond, "an owner touches its file")
	require.NoError(t, os.Remove(file))
	select {
	case <-claim.Lost():
	case <-time.After(time.Minute):
		t.Fatal("the owner did not see that its file is gone")
	}
	require.NoError(t, claim.Release())
}

func TestStartTime(t *testing.T) {
	a, ok := startTime(os.Getpid())
	require.True(t, ok)
	b, ok := startTime(os.Getpid())
	require.True(t, ok)
	require.Equal(t, a, b)
	require.Positive(t, a)
	_, ok = startTime(deadProcess(t))
	require.False(t, ok)

	// A program's name may hold parentheses and spaces.
	odd := filepath.Join(t.TempDir(), "a) S 1 (b")
	require.NoError(t, os.Symlink("/bin/sleep", odd))
	cmd := exec.Command(odd, "60")
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}()
	ticks, ok := startTime(cmd.Process.Pid)
	require.True(t, ok)
	require.GreaterOrEqual(t, ticks, a)
}

func TestSplitName(t *testing.T) {
	for _, suffix := range []string{partSuffix, journalSuffix, ownerInfix + "1"} {
		etag, got, ok := splitName(sha + suffix)
		require.True(t, ok)
		require.Equal(t, sha, etag)
		require.Equal(t, suffix, got)
	}
	for _, foreign := range []string{sha, sha + ".incomplete", sha + ".x.incomplete", "x" + partSuffix, strings.Repeat("g", 40) + partSuffix} {
		_, _, ok := splitName(foreign)
		require.False(t, ok, foreign)
	}
}
