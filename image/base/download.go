package base

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Times after which a mirror counts as silent. There are other mirrors, so they are short.
const (
	dialTimeout  = 5 * time.Second
	stallTimeout = 20 * time.Second
	maxTries     = 3
)

// What a mirror that answers may have done wrong. Any other error means that it could not
// be reached.
var (
	errAbsent  = errors.New("the file is not there")
	errDiffers = errors.New("the file is another one")
	errStalled = errors.New("the server fell silent")
)

// defaultClient is net/http's own, proxy and CA variables included, but it does not wait
// long for a connection.
var defaultClient = func() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.TLSHandshakeTimeout = 2 * dialTimeout
	return &http.Client{Transport: t}
}()

// want is what a file must be. Without a sum, size is only a limit.
type want struct {
	name string // for Progress
	size int64
	sum  string // sha256 in hex
}

// check compares data with w.
func (w want) check(data []byte) error {
	if w.sum == "" {
		return nil
	}
	if int64(len(data)) != w.size {
		return fmt.Errorf("its size is %d bytes, expected are %d: %w", len(data), w.size, errDiffers)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != w.sum {
		return fmt.Errorf("its sha256 is %s, expected is %s: %w", got, w.sum, errDiffers)
	}
	return nil
}

// get downloads a file into memory and checks it. It tries again what may pass: a server
// error, a broken or silent connection.
func (o Options) get(ctx context.Context, address string, w want) ([]byte, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 2*time.Second
	data, err := backoff.Retry(ctx, func() ([]byte, error) {
		data, err := o.getOnce(ctx, address, w)
		if err != nil && !passing(err) {
			err = backoff.Permanent(err)
		}
		return data, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(maxTries))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	return data, err
}

func (o Options) getOnce(ctx context.Context, address string, w want) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := cmp.Or(o.stall, stallTimeout)
	stall := time.AfterFunc(patience, func() { cancel(errStalled) })
	defer stall.Stop()
	data, err := o.exchange(ctx, address, w, func(int64) { stall.Reset(patience) })
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		err = errStalled
	}
	if err != nil {
		return nil, err
	}
	return data, w.check(data)
}

// exchange does one request and reads the body; arrived hears of every piece.
func (o Options) exchange(ctx context.Context, address string, w want, arrived func(int64)) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	// Without this net/http asks for gzip, and unpacks a .gz that a server labels so.
	req.Header.Set("Accept-Encoding", "identity")
	client := o.Client
	if client == nil {
		client = defaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	if w.sum != "" && resp.ContentLength >= 0 && resp.ContentLength != w.size {
		return nil, fmt.Errorf("its size is %d bytes, expected are %d: %w", resp.ContentLength, w.size, errDiffers)
	}
	body := &countingReader{r: resp.Body, arrived: func(n int64) {
		arrived(n)
		if o.Progress != nil && w.sum != "" {
			o.Progress(w.name, n, w.size)
		}
	}}
	data, err := io.ReadAll(io.LimitReader(body, w.size+1))
	if err == nil && int64(len(data)) > w.size {
		err = fmt.Errorf("it goes on after %d bytes: %w", w.size, errDiffers)
	}
	return data, err
}

// countingReader reports how many bytes have gone through it.
type countingReader struct {
	r       io.Reader
	n       int64
	arrived func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.n += int64(n)
		c.arrived(c.n)
	}
	return n, err
}

// statusError is an HTTP status other than 200.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("the answer is HTTP %d %s", int(s), http.StatusText(int(s)))
}

func (s statusError) Unwrap() error {
	if s == http.StatusNotFound || s == http.StatusGone {
		return errAbsent
	}
	return nil
}

// passing says whether the same request may succeed a moment later.
func passing(err error) bool {
	var status statusError
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &status):
		return status >= 500 || status == http.StatusTooManyRequests
	case errors.Is(err, errDiffers), errors.As(err, &dns), errors.Is(err, errStalled):
		return false
	case errors.As(err, &op) && op.Op == "dial":
		return false
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &op)
}

// withoutURL takes net/http's "Get <URL>" off an error: the URL may carry credentials, or
// after a redirect a signature, and the caller names the mirror itself.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// shown is the part of a URL that may be shown: no user, no query.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(malformed URL)"
	}
	u.User, u.RawQuery, u.Fragment, u.ForceQuery = nil, "", "", false
	return u.String()
}

// join appends a path of checked, unescaped segments to a root URL.
func join(root string, segments ...string) string {
	u, err := url.Parse(root)
	if err != nil {
		return root // the request fails on it, and says so
	}
	u.RawQuery, u.Fragment = "", ""
	return u.JoinPath(segments...).String()
}
