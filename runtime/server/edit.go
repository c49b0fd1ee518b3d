package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// editAnswer is the predecessor's answer to an edit, with the seed and what else there is to
// say. Error and Status are in failures that are answered with 200: in a batch, and with
// PLIMSOLL_COMPAT.
type editAnswer struct {
	Success        bool      `json:"success"`
	EditedImage    *string   `json:"edited_image"` // bare base64 of a JPEG of quality 95
	ErrorMessage   *string   `json:"error_message"`
	ProcessingTime float64   `json:"processing_time"` // seconds
	ModelInfo      modelUsed `json:"model_info"`      // {} in failures
	RequestID      string    `json:"request_id"`
	Seed           *uint64   `json:"seed"`
	Warnings       []string  `json:"warnings"`
	Error          code      `json:"error,omitempty"`
	Status         int       `json:"status,omitempty"`
}

// modelUsed says what made a picture. InferenceTime is in seconds.
type modelUsed struct {
	Steps         int     `json:"steps,omitzero"`
	Rank          int     `json:"rank,omitzero"`
	ModelVersion  string  `json:"model_version,omitzero"`
	InferenceTime float64 `json:"inference_time,omitzero"`
	GPUMemoryUsed *string `json:"gpu_memory_used,omitzero"`
	Model         string  `json:"model,omitzero"`
	TrueCFGScale  float64 `json:"true_cfg_scale,omitzero"`
}

// job is an edit whose every setting is decided.
type job struct {
	image    string
	edit     Edit
	model    Model
	warnings []string
}

func (s *Server) editImage(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, end := s.lasting(r)
	defer end()
	answer, err := s.answerEdit(ctx, w, r)
	if err == nil {
		answer.ProcessingTime = seconds(time.Since(began))
		s.write(w, http.StatusOK, answer)
		return
	}
	f := judge(ctx, err)
	if s.config.Compat && f.ofEdit() {
		s.noteFailure(r, f)
		answer = failed(f, requestID(ctx))
		answer.ProcessingTime = seconds(time.Since(began))
		s.write(w, http.StatusOK, answer)
		return
	}
	s.fail(w, r, f)
}

// lasting returns the request's context, which also ends when the grace period does.
func (s *Server) lasting(r *http.Request) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	forget := context.AfterFunc(s.hard, func() { cancel(errStopping) })
	return ctx, func() { forget(); cancel(nil) }
}

// ofEdit reports whether the predecessor answered the failure with 200.
func (f *failure) ofEdit() bool {
	return slices.Contains([]code{codeImage, codeInference, codeMemory}, f.code)
}

// failed is the answer to an edit that failed where others may not have.
func failed(f *failure, id string) *editAnswer {
	return &editAnswer{ErrorMessage: &f.detail, RequestID: id, Warnings: []string{}, Error: f.code, Status: f.status}
}

// answerEdit takes one request from its place in the queue to its answer.
func (s *Server) answerEdit(ctx context.Context, w http.ResponseWriter, r *http.Request) (*editAnswer, error) {
	now, err := s.serving()
	if err != nil {
		return nil, err
	}
	place, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer place.leave()
	data, err := s.body(w, r)
	if err != nil {
		return nil, err
	}
	request, err := parseEdit(data, s.limits())
	if err != nil {
		return nil, err
	}
	j, err := s.decide(now, request, "body")
	if err != nil {
		return nil, err
	}
	j.edit.RequestID = requestID(ctx)
	return s.run(ctx, now.editor, place, j)
}

func (s *Server) limits() limits {
	return limits{promptChars: s.config.PromptChars, batch: s.config.Batch, quoted: s.config.Compat}
}

// enter takes a place in the queue, or answers 429 with the time until one may be free.
func (s *Server) enter() (*place, error) {
	p, err := s.queue.enter()
	switch {
	case errors.Is(err, errFull):
		return nil, &failure{
			status: http.StatusTooManyRequests, code: codeQueueFull, cause: err, retryAfter: s.queue.estimate(),
			detail: fmt.Sprintf("the queue is full: %d requests wait already", s.config.Queue),
		}
	case err != nil:
		return nil, stopping()
	}
	return p, nil
}

// body reads a request's body to its end, so that from then on the connection tells when the
// client goes away.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return nil, unfit(invalid{Loc: []any{"header", "content-type"}, Msg: fmt.Sprintf("it is %q, only application/json is read", clip(kind)), Type: "content_type"})
		}
	}
	c := http.NewResponseController(w)
	// net/http lifts it when the body has been read.
	_ = c.SetReadDeadline(time.Now().Add(s.config.BodyTimeout)) // a recorder of tests has none
	limit := int64(s.config.BodyBytes)
	var b bytes.Buffer
	if r.ContentLength > 0 && r.ContentLength <= limit {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	return b.Bytes(), s.bodyError(err)
}

// bodyError says what kept a body from being read.
func (s *Server) bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return &failure{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, detail: fmt.Sprintf("the body is longer than %d bytes", large.Limit), cause: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusRequestTimeout, code: codeBodyTimeout, detail: fmt.Sprintf("the body takes longer than %s", s.config.BodyTimeout), cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return gone()
	}
	return &failure{status: http.StatusBadRequest, code: codeValidation, detail: "the body cannot be read", cause: err}
}

// decide settles which checkpoint serves a request, and how.
func (s *Server) decide(now snapshot, r *editRequest, at ...any) (*job, error) {
	j := &job{image: r.image, model: now.standard, warnings: []string{}}
	if r.model != "" {
		i := slices.IndexFunc(now.models, func(m Model) bool { return m.Name == r.model })
		if i < 0 {
			return nil, unfit(invalid{
				Loc: append(slices.Clone(at), "model"), Type: "unknown_model",
				Msg: fmt.Sprintf("%q is not one of those loaded: %s", clip(r.model), strings.Join(names(now.models), ", ")),
			})
		}
		j.model = now.models[i]
	}
	m := j.model
	j.edit = Edit{Model: m.Name, Prompt: r.prompt, NegativePrompt: r.negative, Steps: m.Steps, TrueCFGScale: m.TrueCFGScale, Seed: drawSeed()}
	if n := s.tuning.steps(); n > 0 {
		j.edit.Steps = n
	}
	if r.steps != nil {
		j.edit.Steps = *r.steps
	}
	if r.scale != nil {
		j.edit.TrueCFGScale = *r.scale
	}
	if r.seed != nil {
		j.edit.Seed = *r.seed
	}
	j.warn(r)
	return j, nil
}

// drawSeed draws a seed that every client's JSON numbers hold exactly.
func drawSeed() uint64 { return rand.Uint64N(1 << 53) }

// warn gathers what is served other than asked for, and what spoils a picture.
func (j *job) warn(r *editRequest) {
	m, e := j.model, j.edit
	say := func(format string, args ...any) { j.warnings = append(j.warnings, fmt.Sprintf(format, args...)) }
	if r.rank != nil && *r.rank != m.Rank {
		say("rank %d is not there: served with rank %d", *r.rank, m.Rank)
	}
	for _, key := range r.quoted {
		say("%s is text and should be a number", key)
	}
	for _, key := range r.unknown {
		say("unknown field %q is ignored", key)
	}
	guided := e.TrueCFGScale > 1 && e.NegativePrompt != nil
	switch {
	case m.distilled() && e.TrueCFGScale > 1:
		say("true_cfg_scale %g spoils pictures of %s, which was distilled for %g", e.TrueCFGScale, m.Name, m.TrueCFGScale)
	case m.TrueCFGScale > 1 && e.TrueCFGScale <= 1:
		say("true_cfg_scale %g switches off the guidance that %s needs: it is meant for %g", e.TrueCFGScale, m.Name, m.TrueCFGScale)
	case m.TrueCFGScale > 1 && !guided:
		say("negative_prompt null switches off the guidance that %s needs", m.Name)
	}
	if !guided && e.NegativePrompt != nil && *e.NegativePrompt != "" {
		say("negative_prompt has no effect with true_cfg_scale %g", e.TrueCFGScale)
	}
	switch {
	case m.distilled() && e.Steps != m.Steps:
		say("%d steps spoil pictures of %s, which was distilled for %d", e.Steps, m.Name, m.Steps)
	case e.Steps*2 < m.Steps:
		say("%d steps are few for %s, which is meant for %d", e.Steps, m.Name, m.Steps)
	}
}

// run loads the picture, waits for the turn, edits and encodes.
func (s *Server) run(ctx context.Context, editor Editor, place *place, j *job) (*editAnswer, error) {
	log := s.log.With("request_id", j.edit.RequestID, "model", j.model.Name)
	p, err := s.sources.load(ctx, j.image)
	if err != nil {
		return nil, err
	}
	j.image, j.edit.Pictures = "", []*picture.RGB{p}
	asked := time.Now()
	done, err := place.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	waited := time.Since(asked)
	s.metrics.wait.Observe(waited.Seconds())
	if len(j.warnings) > 0 {
		s.metrics.warnings.Inc()
		log.Warn("served with warnings", "warnings", j.warnings)
	}
	log.Info("editing", "steps", j.edit.Steps, "true_cfg_scale", j.edit.TrueCFGScale, "seed", j.edit.Seed, "picture", p.Size().String(),
		"prompt_chars", len([]rune(j.edit.Prompt)), "waited_seconds", seconds(waited))
	edited, err := s.measured(ctx, editor, j)
	done() // encoding needs no device
	if err != nil {
		return nil, err
	}
	return s.answer(j, edited)
}

// measured runs an edit and counts it.
func (s *Server) measured(ctx context.Context, editor Editor, j *job) (*Edited, error) {
	j.edit.Progress = s.metrics.stepTimer(j.model.Name)
	began := time.Now()
	edited, err := guarded(ctx, editor, j.edit)
	outcome := "ok"
	if err != nil {
		outcome = string(judge(ctx, err).code)
	} else {
		s.metrics.seconds.WithLabelValues(j.model.Name).Observe(time.Since(began).Seconds())
		s.metrics.peak.Set(float64(edited.PeakMemory))
	}
	s.metrics.edits.WithLabelValues(j.model.Name, outcome).Inc()
	if errors.Is(err, ErrUnusable) {
		s.lose(err)
	}
	return edited, err
}

// guarded makes an error of an editor's panic, which must not end the process of others.
func guarded(ctx context.Context, editor Editor, e Edit) (edited *Edited, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &failure{
				status: http.StatusInternalServerError, code: codeInference, detail: "a defect of the model's code; the log has more",
				cause: fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
			}
		}
	}()
	edited, err = editor.Edit(ctx, e)
	if err == nil && (edited == nil || edited.Picture == nil) {
		err = errors.New("the model gave no picture")
	}
	return edited, err
}

// answer encodes the picture.
func (s *Server) answer(j *job, e *Edited) (*editAnswer, error) {
	jpeg, err := e.Picture.JPEG()
	if err != nil {
		return nil, fmt.Errorf("encoding the edited picture: %w", err)
	}
	image := base64.StdEncoding.EncodeToString(jpeg)
	used := modelUsed{
		Steps: j.edit.Steps, Rank: j.model.Rank, ModelVersion: j.model.Version, InferenceTime: seconds(e.Duration),
		Model: j.model.Name, TrueCFGScale: j.edit.TrueCFGScale,
	}
	if e.PeakMemory > 0 {
		text := gigabytes(e.PeakMemory)
		used.GPUMemoryUsed = &text
	}
	return &editAnswer{Success: true, EditedImage: &image, ModelInfo: used, RequestID: j.edit.RequestID, Seed: &j.edit.Seed, Warnings: j.warnings}, nil
}
