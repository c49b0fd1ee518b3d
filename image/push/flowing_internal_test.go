package push

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOpenEnd: the end of a PATCH that flows is a cancellation or its time.
func TestOpenEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	require.False(t, ends(ctx, time.Now().Add(time.Hour))())
	require.True(t, ends(ctx, time.Now())())
	cancel()
	require.True(t, ends(ctx, time.Now().Add(time.Hour))())
}

// TestOpenBody: a body with an open end has no length, and ends where it is when it is told to.
func TestOpenBody(t *testing.T) {
	over := false
	data := []byte("what has left stays, what has not does not leave")
	u := &upload{size: int64(len(data)), source: bytes.NewReader(data), read: new(atomic.Int64), late: func(context.Context) (string, error) { return "", nil }}
	b := &body{up: u, end: u.size, moved: func() {}, over: func() error { return nil }}
	require.Equal(t, u.size, b.length())
	require.Same(t, b, b.reader())
	b.ended = func() bool { return over }
	require.EqualValues(t, -1, b.length())
	r := b.reader()
	first := make([]byte, 19)
	_, err := io.ReadFull(r, first)
	require.NoError(t, err)
	over = true
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Empty(t, rest)
	at, _ := b.reached()
	require.EqualValues(t, 19, at)
	over = false
	_, err = r.Read(first)
	require.ErrorIs(t, err, io.EOF, "an end stays where it came to stand")
}

// TestSlowAnswer: a registry whose answer might come after the grace gets chunks.
func TestSlowAnswer(t *testing.T) {
	u := &upload{strategy: Flowing}
	u.answered(grace / 2)
	require.Equal(t, Flowing, u.strategy)
	u.answered(grace)
	require.Equal(t, Chunked, u.strategy)
	u.strategy = Streamed
	u.answered(grace)
	require.Equal(t, Streamed, u.strategy)
}
