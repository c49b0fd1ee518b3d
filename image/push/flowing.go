package push

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

const (
	// longest is how long a flowing PATCH goes on: no longer than what stands before a registry
	// lets a request last, and twice as long as Linux leaves written bytes off the disk
	// (vm.dirty_expire_centisecs), so that the sync at its end is no work for the whole minute.
	longest = time.Minute
	// flowBuffer is how much is read at once of a body that the kernel cannot send.
	flowBuffer = 256 << 10
)

// learn lets a large layer flow to Docker's own registry. Each PATCH costs that registry an
// fsync of what it brought, during which the layer stands still, while the kernel writes the
// file of a PATCH that goes on beside it. Nothing is lost by a PATCH that has no end in
// sight: version 3 keeps every byte that has come, and version 2 loses the upload by a break
// at any byte of a PATCH, and by none after one that ended well.
func (u *upload) learn(a answer) {
	if !u.learned && u.strategy == Chunked && u.registry.Source == "" && u.size > u.chunk && a.docker() {
		u.strategy = Flowing
	}
	u.learned = true
}

// answered makes the rest go in chunks where a registry took so long to answer what has flowed
// that the answer to an interrupted PATCH may come too late to be kept: chunks are as large as
// is stored in time.
func (u *upload) answered(took time.Duration) {
	if u.strategy == Flowing && took > 3*grace/4 {
		u.strategy = Chunked
	}
}

// docker reports whether an answer about an upload comes from Docker's registry (distribution)
// itself. Its addresses carry a signed state, and it does not name its server; what collects
// requests and then hands them on, as nginx and content delivery networks do, names itself.
// A proxy that does neither passes the bytes on as they come.
func (a answer) docker() bool {
	return a.header.Get("Docker-Upload-Uuid") != "" && strings.Contains(a.header.Get("Location"), "_state=") &&
		a.header.Get("Server") == "" && a.header.Get("Via") == ""
}

// ends is the open end of a body: a cancellation, or a time.
func ends(ctx context.Context, until time.Time) func() bool {
	return func() bool { return ctx.Err() != nil || !time.Now().Before(until) }
}

// flowing is a body with an open end. In HTTP/1.1 it leaves in chunks (RFC 9112, 7.1), as
// docker sends its layers, so that it can end well before all bytes have left.
type flowing struct {
	*body
	// conn is the connection that it leaves by, nil where the kernel cannot send.
	conn *net.TCPConn
}

var _ io.WriterTo = (*flowing)(nil)

// reader is the body as a request has it.
func (b *body) reader() io.Reader {
	if b.ended == nil {
		return b
	}
	return &flowing{body: b}
}

// length is that of a request's body, -1 where it is not known.
func (b *body) length() int64 {
	if b.ended == nil {
		return b.end - b.at
	}
	return -1
}

// watched lets the body see the connection that the transport takes for it.
func (f *flowing) watched(r *http.Request) *http.Request {
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		w, _ := i.Conn.(wire)
		f.conn = w.TCPConn
	}}))
}

// WriteTo writes the body to w, net/http's writer of chunks, each of which has left when
// Write returns, as the request's header has before the first. Between two of them whole
// chunks of a proven body leave past it, by the kernel; w writes the last.
func (f *flowing) WriteTo(w io.Writer) (total int64, err error) {
	buffer := make([]byte, flowBuffer)
	for {
		if f.conn != nil {
			n, err := f.sendTo(f.conn, true)
			total += n
			if err != nil {
				return total, err
			}
		}
		n, err := f.Read(buffer)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err == nil {
			_, err = w.Write(buffer[:n])
			total += int64(n)
		}
		if err != nil {
			return total, err
		}
	}
}
