package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// stall is how long a request may stand still: no byte leaves and no answer comes. A
	// registry that stores a blob of many gigabytes needs minutes for the last answer.
	stall = 10 * time.Minute
	// grace is how long a chunk on its way may go on after a cancellation: its answer is
	// what a new process goes on with. mage waits 5 s for its targets.
	grace = 4 * time.Second
)

// upload is one blob on its way into one repository. It is for one goroutine.
type upload struct {
	client   *client
	opts     Options
	registry Registry
	// digest is the zero value as long as late has not told it.
	digest v1.Hash
	// late, where it is not nil, waits for the digest, which somebody else takes; name is
	// what the journal then knows the upload by.
	late   func(context.Context) (string, error)
	name   string
	size   int64
	source io.ReaderAt
	// proof, where it is not nil, answers for the source, whose bytes are then not hashed.
	proof proof
	read  *atomic.Int64
	sums  *sums

	strategy Strategy
	// learned: the registry has answered once; see learn.
	learned bool
	// chunk is the size of the next chunk, at least what it began with, and most what it may
	// grow to.
	chunk, least, most int64
	// location is where the open upload goes on, "" without one; offset is what has
	// arrived, and best the most that ever had: more of it is progress. Where unsure is
	// set, the registry has to be asked.
	location string
	offset   int64
	best     int64
	unsure   bool
	// inherited: the marks are another process's. journalled counts those on disk.
	inherited  bool
	journalled int
	// refused counts the times that a chunk was refused or dropped.
	refused int
	// resumed counts the times that the upload went on after a cut.
	resumed int
}

// key is what the journal knows the upload by.
func (u *upload) key() sessionKey {
	name := u.name
	if u.late == nil {
		name = u.digest.String()
	}
	return sessionKey{Registry: u.client.repo.RegistryStr(), Repository: u.client.repo.RepositoryStr(), Digest: name}
}

// run sends the blob: what another process began goes on, and so does what breaks, as long
// as there is progress.
func (u *upload) run(ctx context.Context) error {
	u.inherit()
	tries := newPatience(u.opts.Pause)
	for {
		before := u.best
		err := u.attempt(ctx)
		if err == nil {
			return nil
		} else if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err := u.recover(err); err != nil {
			return err
		}
		if wait := tries.after(err, u.best > before); wait < 0 {
			return err
		} else if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// inherit takes over what the journal knows.
func (u *upload) inherit() {
	s := u.opts.Journal.find(u.key())
	if s == nil || u.registry.Restart {
		return
	}
	u.location, u.unsure, u.inherited = s.Location, true, true
	u.sums.marks, u.journalled = s.Marks, len(s.Marks)
	if s.Chunk > 0 {
		u.least, u.chunk, u.most = s.Chunk, s.Chunk, max(u.most, s.Chunk)
	}
}

// attempt goes on from wherever the upload stands.
func (u *upload) attempt(ctx context.Context) error {
	if u.strategy == Monolithic { // the one request that sends the bytes names their digest
		if err := u.resolve(ctx); err != nil {
			return err
		}
	}
	if u.unsure {
		if err := u.ask(ctx); expired(err) {
			u.lose()
		} else if err != nil {
			return err
		}
	}
	if u.location == "" {
		if err := u.start(ctx); err != nil {
			return err
		}
	}
	for u.strategy != Monolithic && u.offset < u.size {
		if err := u.send(ctx); err != nil {
			return err
		}
	}
	return u.commit(ctx)
}

// start opens an upload.
func (u *upload) start(ctx context.Context) error {
	a, err := u.client.do(ctx, http.MethodPost, u.client.url(u.client.repo, "/blobs/uploads/", nil), nil, nil, http.StatusAccepted)
	if err != nil {
		return &phaseError{starting, err}
	}
	return u.opened(a)
}

// opened begins with an upload that the registry has opened.
func (u *upload) opened(a answer) error {
	location, err := a.location()
	if err != nil {
		return &phaseError{starting, err}
	}
	if n, err := strconv.ParseInt(a.header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && n > u.least && n <= 1<<30 {
		u.least, u.chunk, u.most = n, max(u.chunk, n), max(u.most, n)
	}
	u.learn(a)
	u.location, u.offset, u.unsure, u.inherited = location, 0, false, false
	u.sums, u.journalled = newSums(), 0
	return u.opts.Journal.note(journalLine{sessionKey: u.key(), Location: location, Start: true, Chunk: u.least})
}

// ask asks what has arrived.
func (u *upload) ask(ctx context.Context) error {
	a, err := u.client.do(ctx, http.MethodGet, u.location, nil, nil, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return &phaseError{asking, err}
	}
	n, known, err := a.received()
	if err == nil && (!known || n > u.size) {
		err = fmt.Errorf("the registry does not say what has arrived of %d bytes (%d)", u.size, n)
	}
	if err != nil {
		return &phaseError{misunderstood, err}
	}
	u.learn(a)
	if err := u.moved(a, n); err != nil {
		return err
	}
	if n > 0 {
		u.resumed++
	}
	u.unsure = false
	return nil
}

// moved takes an answer to what was sent: n bytes have arrived.
func (u *upload) moved(a answer, n int64) error {
	if a.header.Get("Location") != "" {
		location, err := a.location()
		if err != nil {
			return &phaseError{misunderstood, err}
		}
		u.location = location
	}
	u.offset, u.best = n, max(u.best, n)
	return u.remember()
}

// remember journals where the upload stands, with the marks that are new.
func (u *upload) remember() error {
	if u.journalled > len(u.sums.marks) {
		u.journalled = len(u.sums.marks)
	}
	fresh := u.sums.marks[u.journalled:]
	u.journalled = len(u.sums.marks)
	lines := []journalLine{{sessionKey: u.key(), Location: u.location}}
	for i := range fresh {
		lines = append(lines, journalLine{sessionKey: u.key(), Location: u.location, Mark: &fresh[i]})
	}
	for _, l := range lines {
		if err := u.opts.Journal.note(l); err != nil {
			return err
		}
	}
	return nil
}

// send sends the next chunk, or what flows, or all of a streamed blob, and checks what arrived
// of it.
func (u *upload) send(ctx context.Context) error {
	end, header := u.next()
	began, whole := time.Now(), end == u.offset+u.chunk
	a, end, err := u.put(ctx, http.MethodPatch, u.location, end, header, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return &phaseError{sending, err}
	}
	n, known, err := a.received()
	if err != nil {
		return &phaseError{misunderstood, err}
	}
	if !known {
		n = end // the sum of the whole, which the registry checks, is the proof
	}
	if n > end || n <= u.offset && end > u.offset {
		return &phaseError{dropping, fmt.Errorf("the registry says that it has %d bytes, %d were sent", n, end)}
	}
	if n < end {
		u.resumed++
	}
	u.refused = 0
	if whole && n == end {
		u.grow(time.Since(began))
	}
	return u.moved(a, n)
}

// next is where the next PATCH ends, if its end is not open, and what its header says of that.
func (u *upload) next() (end int64, header http.Header) {
	end, header = u.size, http.Header{}
	if u.strategy == Flowing {
		return end, header
	}
	if u.strategy == Chunked || u.offset > 0 {
		end = min(u.offset+u.chunk, u.size)
	}
	if u.offset > 0 || end < u.size {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, end-1))
	}
	return end, header
}

// commit closes the upload; a monolithic one is sent with it.
func (u *upload) commit(ctx context.Context) error {
	if err := u.resolve(ctx); err != nil {
		return err
	}
	address, err := withQuery(u.location, "digest", u.digest.String())
	if err != nil {
		return &phaseError{committing, err}
	}
	a, _, err := u.put(ctx, http.MethodPut, address, u.size, http.Header{}, http.StatusCreated, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		if there, headErr := u.client.has(ctx, u.client.repo, u.digest); headErr == nil && there {
			return u.finish() // only the answer was lost
		}
		return &phaseError{committing, err}
	}
	if got := a.header.Get("Docker-Content-Digest"); got != "" && got != u.digest.String() {
		return fmt.Errorf("sending layer %s: the registry stored it as %s", u.digest, got)
	}
	return u.finish()
}

// finish forgets the upload.
func (u *upload) finish() error {
	return u.opts.Journal.note(journalLine{sessionKey: u.key()})
}

// put sends the bytes from the offset to end, or to where an open end comes before that, and
// returns where they ended. It is not cut by a cancellation at once: a chunk gets some grace,
// so that its answer can be kept, and so does the answer to what flows.
func (u *upload) put(ctx context.Context, method, address string, end int64, header http.Header, codes ...int) (answer, int64, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, 0, err
	}
	if u.late == nil && u.proof == nil {
		if err := u.sums.seek(u.source, u.offset); err != nil {
			return answer{}, 0, &sourceError{err}
		}
	}
	slow, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	wait, over, flows := grace, slow.Err, method == http.MethodPatch && u.strategy == Flowing
	if !flows && end-u.offset > u.chunk {
		wait, over = 0, ctx.Err // a stream is too long to wait for, and the registry can be asked
	}
	defer context.AfterFunc(ctx, func() { time.AfterFunc(wait, cancel) })()
	dog := newWatchdog(stall, cancel)
	defer dog.stop()
	var content *body
	if end > u.offset {
		content = &body{up: u, at: u.offset, end: end, moved: dog.moved, over: over}
		if flows {
			content.ended = ends(ctx, time.Now().Add(longest))
		}
	}
	a, err := u.client.do(slow, method, address, content, header, codes...)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = fmt.Errorf("%s: nothing moved for %s", method, stall)
	}
	if content != nil {
		var last time.Time
		if end, last = content.reached(); !last.IsZero() {
			u.answered(time.Since(last))
		}
	}
	return a, end, err
}

// mount asks the registry to take the blob from a repository that has it. ok is false if
// it opened an upload instead, which is then the one to use.
func (u *upload) mount(ctx context.Context, from name.Repository) (ok bool, err error) {
	q := url.Values{"mount": {u.digest.String()}, "from": {from.RepositoryStr()}}
	a, err := u.client.do(ctx, http.MethodPost, u.client.url(u.client.repo, "/blobs/uploads/", q), nil, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return false, err
	}
	if a.status == http.StatusCreated {
		return true, u.finish()
	}
	return false, u.opened(a)
}
