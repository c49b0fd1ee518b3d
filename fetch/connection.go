package fetch

import (
	"errors"
	"io"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
)

// connection loads pieces of a Remote, one after the other.
type connection struct {
	r     *Remote
	retry *retry
	// body is the open answer, nil for none; at is the place of its next byte in the file.
	body *hub.Body
	at   int64
}

// errAlone says that another connection has found out that the source ignores ranges.
var errAlone = errors.New("another connection reads on alone")

// work loads until nothing is wanted any more.
func (c *connection) work() {
	c.retry = newRetry(c.r)
	defer c.close()
	for {
		p := c.r.claim(c)
		if p == nil {
			return
		}
		c.bring(p)
	}
}

// bring loads a piece, however often that has to be tried. A piece that cannot be loaded
// leaves the window.
func (c *connection) bring(p *piece) {
	for {
		err := c.load(p)
		if err == nil {
			c.done(p)
			return
		}
		c.close()
		if errors.Is(err, errAlone) || c.r.ctx.Err() != nil {
			c.drop(p)
			return
		}
		wait, err := c.retry.judge(err)
		if err == nil && sleep(c.r.ctx, wait) == nil {
			continue
		}
		if err != nil {
			c.r.fail(err)
		}
		c.drop(p)
		return
	}
}

// load reads what is missing of a piece.
func (c *connection) load(p *piece) error {
	c.retry.source, _ = c.r.position()
	c.retry.brought = false
	start := p.index * c.r.o.Piece
	for p.n < len(p.buf) {
		if err := c.reach(start+int64(p.n), p); err != nil {
			return err
		}
		n, err := c.body.Read(p.buf[p.n:])
		c.arrived(p, n)
		if err == io.EOF && n > 0 {
			c.close() // a server may send less than was asked for, if it says so
		} else if err != nil && p.n < len(p.buf) {
			return early(err)
		}
	}
	return c.finish()
}

// finish ends the answer to a range; one of the whole file is read on, to its end.
func (c *connection) finish() error {
	end := c.at == c.r.file.Size
	if c.body != nil && end {
		if err := c.r.file.endsHere(c.body); err != nil {
			return err
		}
	}
	if end || !c.isAlone() {
		c.close()
	}
	return nil
}

// reach makes the next byte of the body the one at the offset, which lies in p.
func (c *connection) reach(at int64, p *piece) error {
	if c.body != nil && c.at > at || c.body != nil && c.at < at && !c.isAlone() {
		c.close()
	}
	if c.body == nil {
		if err := c.open(at, p); err != nil {
			return err
		}
	}
	for c.at < at { // the source ignores ranges: what comes before is of no use
		room := p.buf[p.n:]
		n, err := c.body.Read(room[:min(int64(len(room)), at-c.at)])
		c.at += int64(n)
		c.r.received.Add(int64(n))
		if err != nil && c.at < at {
			return early(err)
		}
	}
	return nil
}

// open asks for the rest of a piece.
func (c *connection) open(at int64, p *piece) error {
	f, length := c.r.file, int64(len(p.buf)-p.n)
	if at+length == f.Size {
		length = -1 // so that a longer file shows
	}
	body, err := c.r.o.Sources[c.retry.source].Open(c.r.ctx, f.Repo, f.Commit, f.Path, at, length)
	if err != nil {
		return err
	}
	c.body, c.at = body, body.Offset
	if err := f.suits(body, at); err != nil {
		return err
	}
	if body.Offset < at && !c.claimAlone() {
		return errAlone
	}
	return nil
}

// claimAlone makes this connection the only one.
func (c *connection) claimAlone() bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if c.r.alone == nil {
		c.r.alone = c
	}
	return c.r.alone == c
}

func (c *connection) isAlone() bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.r.alone == c
}

// arrived enters n bytes more of a piece.
func (c *connection) arrived(p *piece, n int) {
	if n == 0 {
		return
	}
	c.at += int64(n)
	c.retry.brought = true
	c.r.received.Add(int64(n))
	c.r.mu.Lock()
	again := c.r.seen[p.index]
	p.n += n
	c.r.progress++
	c.r.came.Broadcast()
	c.r.mu.Unlock()
	if again {
		c.r.tell(Event{Kind: Discarded, Bytes: int64(n)})
	}
	c.r.tell(Event{Kind: Received, Bytes: int64(n)})
}

// done leaves a whole piece to the readers.
func (c *connection) done(p *piece) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	p.loading, c.r.seen[p.index] = false, true
	c.r.room.Broadcast()
}

// drop takes a piece out of the window.
func (c *connection) drop(p *piece) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	delete(c.r.pieces, p.index)
	c.r.free = append(c.r.free, p.buf[:cap(p.buf)])
	c.r.room.Broadcast()
	c.r.came.Broadcast()
}

// close ends the open answer.
func (c *connection) close() {
	if c.body != nil {
		_ = c.body.Close()
		c.body = nil
	}
}
