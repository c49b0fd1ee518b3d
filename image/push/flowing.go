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
	// longest is how long a flowing PATCH goes on. Linux writes what is 30 s old to the disk by
	// itself (vm.dirty_expire_centisecs), so that a longer one would spare the registry little;
	// and the longer a request lasts, the more comes again where a proxy that is not known to be
	// there has collected it in vain, or ends what lasts too long.
	longest = time.Minute
	// flowBuffer is how much is read at once of a body that the kernel cannot send.
	flowBuffer = 256 << 10
)

// learn lets a large layer flow to Docker's own registry, by the first answer. The package
// comment says what a PATCH costs it. A cut costs no more than it would in chunks: version 3
// keeps every byte that has come, and version 2 loses the upload by a break at any byte of a
// PATCH, however small.
func (u *upload) learn(a answer) {
	if !u.learned && u.strategy == Chunked && u.registry.Source == "" && u.size > u.chunk && a.docker() {
		u.strategy = Flowing
	}
	u.learned = true
}

// answered makes the rest go in chunks, which are as large as is stored in time, where a
// registry took so long to answer what has flowed that after an interrupt its answer might
// come too late to be kept: its disk is slow, or a proxy that does not name itself collects.
func (u *upload) answered(took time.Duration) {
	if u.strategy == Flowing && took > 3*grace/4 {
		u.strategy = Chunked
	}
}

// docker reports whether an answer about an upload comes from Docker's registry (distribution)
// itself. Its addresses carry a signed state, and it does not name its server. What collects
// requests before it hands them on, such as nginx and content delivery networks, mostly names
// itself; HAProxy and Traefik do not, and pass the bytes on as they come.
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
