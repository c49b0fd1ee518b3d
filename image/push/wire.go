package push

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// pieceSize is how much is sent between two looks at a proven file.
	pieceSize = 4 << 20
	// heldBack are the last bytes of a blob, which are read before the last look at its file
	// and leave after it.
	heldBack = 64 << 10
)

// direct is ggcr's transport over wires; one for all clients, since it keeps connections.
var direct = sync.OnceValue(func() http.RoundTripper {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok || t.DialContext == nil { // somebody put another in its place
		return remote.DefaultTransport
	}
	t = t.Clone()
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if tcp, ok := c.(*net.TCPConn); ok && err == nil {
			return wire{tcp}, nil
		}
		return c, err
	}
	return t
})

// wire is a connection that a proven body leaves by without a copy through this process. It
// stands where net/http hands a body over to the connection's io.ReaderFrom, which it does
// over plain http; TLS reads the body itself, and encrypts it.
type wire struct{ *net.TCPConn }

// ReadFrom sends what r holds; a body that is proven up to its last bytes by WriteRange.
func (w wire) ReadFrom(r io.Reader) (n int64, err error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if b, ok := l.R.(*body); ok {
			n, err = b.sendTo(w.TCPConn, false)
			l.N -= n
		}
	}
	if err != nil {
		return n, err
	}
	m, err := w.TCPConn.ReadFrom(r)
	return n + m, err
}

// sendTo sends pieces of a proven body until the next byte is one that has to be held back;
// framed ones each as a chunk of HTTP/1.1.
func (b *body) sendTo(c *net.TCPConn, framed bool) (total int64, err error) {
	for {
		n, err := b.sendPiece(c, framed)
		total += n
		if n == 0 || err != nil {
			return total, err
		}
	}
}

// sendPiece sends one piece, none where a body is not proven or its last bytes have come.
// It may wait for the connection; whoever closes the body meanwhile waits with it, until the
// transport closes the connection of a request that is over.
func (b *body) sendPiece(c *net.TCPConn, framed bool) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(pieceSize, b.left(), b.up.size-heldBack-b.at)
	if b.closed || b.up.proof == nil || n <= 0 {
		return 0, nil
	}
	if framed {
		if _, err := fmt.Fprintf(c, "%x\r\n", n); err != nil {
			return 0, err
		}
	}
	source := b.up.proof
	n, err := source.WriteRange(c, b.at, n)
	b.count(n)
	if b.err = b.up.proven(); b.err != nil {
		return n, b.err
	}
	if err != nil { // the file's, where it cannot be read here, or the connection's
		if _, b.err = source.ReadAt(make([]byte, 1), b.at); b.err != nil {
			return n, b.err
		}
	}
	if framed && err == nil {
		_, err = io.WriteString(c, "\r\n")
	}
	return n, err
}
