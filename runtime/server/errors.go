package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// code is the word in an error answer that programs go by.
type code string

// The predecessor's codes, then those of what it did not have.
const (
	codeNotLoaded  code = "MODEL_NOT_LOADED"
	codeImage      code = "IMAGE_PROCESSING_ERROR"
	codeInference  code = "MODEL_INFERENCE_ERROR"
	codeMemory     code = "GPU_MEMORY_ERROR"
	codeValidation code = "VALIDATION_ERROR"

	codeQueueFull    code = "QUEUE_FULL"
	codeTooLarge     code = "BODY_TOO_LARGE"
	codeBodyTimeout  code = "BODY_TIMEOUT"
	codeUnauthorized code = "UNAUTHORIZED"
	codeForbidden    code = "FORBIDDEN"
	codeNotFound     code = "NOT_FOUND"
	codeMethod       code = "METHOD_NOT_ALLOWED"
	codeStopping     code = "SERVER_STOPPING"
	codeClientGone   code = "CLIENT_CLOSED_REQUEST"
	codeInternal     code = "INTERNAL_ERROR"
)

// statusClientGone is in the log and in metrics for clients that went away; no client sees it.
const statusClientGone = 499

// invalid is one thing that is wrong with a body, in the form that the predecessor's framework
// gave it.
type invalid struct {
	// Loc leads to the value: "body", then keys and indices.
	Loc  []any  `json:"loc"`
	Msg  string `json:"msg"`
	Type string `json:"type"`
}

func (v invalid) String() string {
	var where []string
	for _, l := range v.Loc {
		where = append(where, fmt.Sprint(l))
	}
	return strings.Join(where, ".") + ": " + v.Msg
}

// failure is an error that knows its answer.
type failure struct {
	status     int
	code       code
	detail     string // for the client
	hint       string
	invalid    []invalid
	retryAfter time.Duration
	cause      error // for the log
}

func (f *failure) Error() string {
	if f.cause != nil && f.cause.Error() != f.detail {
		return f.detail + ": " + f.cause.Error()
	}
	return f.detail
}

func (f *failure) Unwrap() error { return f.cause }

// unfit is the failure of a body with something wrong in it.
func unfit(v ...invalid) *failure {
	var texts []string
	for _, i := range v {
		texts = append(texts, i.String())
	}
	return &failure{status: http.StatusUnprocessableEntity, code: codeValidation, detail: strings.Join(texts, "; "), invalid: v}
}

// badImage is the failure of an image that cannot be had or read.
func badImage(detail string, cause error) *failure {
	return &failure{status: http.StatusBadRequest, code: codeImage, detail: detail, cause: cause}
}

var (
	errGone     = errors.New("the client went away")
	errStopping = errors.New("the service is stopping")
)

func stopping() *failure {
	return &failure{status: http.StatusServiceUnavailable, code: codeStopping, detail: errStopping.Error(), retryAfter: 10 * time.Second, cause: errStopping}
}

func gone() *failure {
	return &failure{status: statusClientGone, code: codeClientGone, detail: errGone.Error(), cause: errGone}
}

// judge makes a failure of any error of an edit under ctx, whose cause says who ended it.
func judge(ctx context.Context, err error) *failure {
	var f *failure
	switch cause := context.Cause(ctx); {
	case errors.As(err, &f):
		return f
	case errors.Is(cause, errStopping) || errors.Is(err, errStopping):
		return stopping()
	case cause != nil:
		return gone()
	case errors.Is(err, ErrMemory) || errors.Is(err, syscall.ENOMEM):
		return &failure{status: http.StatusInsufficientStorage, code: codeMemory, detail: err.Error(), hint: cmp.Or(fault.HintOf(err), "a smaller picture needs less"), cause: err}
	case fault.KindOf(err) == fault.Usage:
		f := unfit(invalid{Loc: []any{"body"}, Msg: err.Error(), Type: "value_error"})
		f.hint, f.cause = fault.HintOf(err), err
		return f
	}
	return &failure{status: http.StatusInternalServerError, code: codeInference, detail: err.Error(), hint: fault.HintOf(err), cause: err}
}

// errorAnswer is the predecessor's error shape, with what helps further.
type errorAnswer struct {
	Error     code      `json:"error"`
	Detail    string    `json:"detail"`
	Timestamp string    `json:"timestamp"` // RFC 3339, UTC
	RequestID string    `json:"request_id"`
	Hint      string    `json:"hint,omitempty"`
	Errors    []invalid `json:"errors,omitempty"`
}

// fail answers with an error. To a client that went away nothing is sent.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := judge(r.Context(), err)
	s.noteFailure(r, f)
	if f.status == statusClientGone {
		note(w, statusClientGone)
		return
	}
	f.headers(w.Header())
	s.write(w, f.status, errorAnswer{
		Error: f.code, Detail: f.detail, Timestamp: time.Now().UTC().Format(time.RFC3339Nano),
		RequestID: requestID(r.Context()), Hint: f.hint, Errors: f.invalid,
	})
}

// headers are what a status code brings along.
func (f *failure) headers(h http.Header) {
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="plimsoll"`)
	}
}

// noteFailure logs what a failure's answer does not say, and all that is ours to mend.
func (s *Server) noteFailure(r *http.Request, f *failure) {
	log := s.log.With("request_id", requestID(r.Context()), "status", f.status, "code", f.code)
	switch {
	case f.status >= http.StatusInternalServerError && f.status != http.StatusServiceUnavailable:
		log.Error("request failed", "error", f.Error(), "hint", f.hint)
	case f.status == http.StatusServiceUnavailable || f.status == http.StatusTooManyRequests:
		log.Warn("request refused", "error", f.Error())
	default:
		log.Info("request refused", "error", f.Error())
	}
}
