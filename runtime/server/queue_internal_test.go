package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestQueueOrder: turns come in the order of asking, one at a time, whoever leaves between.
func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10)
		var order []int
		left := errors.New("left")
		cancels := map[int]context.CancelCauseFunc{}
		for i := range 6 {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancels[i] = cancel
			defer cancel(nil)
			p, err := q.enter()
			require.NoError(t, err)
			go func() {
				defer p.leave()
				done, err := p.turn(ctx)
				if err != nil {
					require.ErrorIs(t, err, left)
					return
				}
				order = append(order, i)
				time.Sleep(time.Duration(i+1) * time.Second)
				done()
				done() // once is enough
			}()
			synctest.Wait() // so that they ask in this order
		}
		waiting, busy := q.load()
		require.Equal(t, 5, waiting)
		require.True(t, busy)
		cancels[1](left)
		cancels[4](left)
		synctest.Wait()
		waiting, _ = q.load()
		require.Equal(t, 3, waiting)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []int{0, 2, 3, 5}, order)
		waiting, busy = q.load()
		require.Zero(t, waiting)
		require.False(t, busy)
		require.Equal(t, (1+3+4+6)*time.Second/4, q.estimate())
	})
}

// TestQueuePlaces: places are as many as may wait and one, and a place left is free once.
func TestQueuePlaces(t *testing.T) {
	q := newQueue(1)
	require.Equal(t, firstEstimate, q.estimate())
	a, err := q.enter()
	require.NoError(t, err)
	b, err := q.enter()
	require.NoError(t, err)
	_, err = q.enter()
	require.ErrorIs(t, err, errFull)
	a.leave()
	a.leave()
	_, err = q.enter()
	require.NoError(t, err)
	_, err = q.enter()
	require.ErrorIs(t, err, errFull)
	b.leave()
}

// TestQueueClose: who waits is sent away, who runs is not, and drained comes with the last.
func TestQueueClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(3)
		running, _ := q.enter()
		done, err := running.turn(t.Context())
		require.NoError(t, err)
		waits, _ := q.enter()
		sent := make(chan error, 1)
		go func() {
			_, err := waits.turn(t.Context())
			waits.leave()
			sent <- err
		}()
		late, _ := q.enter()
		synctest.Wait()
		q.close()
		q.close()
		require.ErrorIs(t, <-sent, errStopping)
		_, err = late.turn(t.Context())
		require.ErrorIs(t, err, errStopping)
		late.leave()
		_, err = q.enter()
		require.ErrorIs(t, err, errStopping)
		select {
		case <-q.drained():
			t.Fatal("drained while one runs")
		default:
		}
		done()
		running.leave()
		<-q.drained()
	})
	idle := newQueue(0)
	idle.close()
	<-idle.drained()
}

// TestQueuePassesOn: a turn that comes to one who is leaving goes to the next in line.
func TestQueuePassesOn(t *testing.T) {
	q := newQueue(5)
	first := q.ask()
	<-first
	second, third := q.ask(), q.ask()
	q.pass() // the first is done: the turn is the second's, who does not take it
	q.forgo(second)
	<-third
	q.pass()
	_, busy := q.load()
	require.False(t, busy)
}
