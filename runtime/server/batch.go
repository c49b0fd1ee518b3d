package server

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// batchAnswer is the predecessor's. Success means that at least one edit succeeded; results
// are in the order of the requests.
type batchAnswer struct {
	Success             bool          `json:"success"`
	Results             []*editAnswer `json:"results"`
	TotalProcessingTime float64       `json:"total_processing_time"` // seconds
	ProcessedCount      int           `json:"processed_count"`
	FailedCount         int           `json:"failed_count"`
	RequestID           string        `json:"request_id"`
}

// batchEditImage runs several edits, one after the other. The batch holds one place in the
// queue; each edit takes its turn like those of other requests, so that a batch keeps nobody
// waiting for longer than one edit.
func (s *Server) batchEditImage(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, end := s.lasting(r)
	defer end()
	answer, err := s.answerBatch(ctx, w, r)
	if err != nil {
		s.fail(w, r, judge(ctx, err))
		return
	}
	answer.TotalProcessingTime = seconds(time.Since(began))
	s.write(w, answer.status(s.config.Compat), answer)
}

// status is 200 if anything succeeded, else that of the failures where they agree; a batch
// that failed in several ways is a 500.
func (a *batchAnswer) status(compat bool) int {
	if a.Success || compat {
		return http.StatusOK
	}
	for _, r := range a.Results {
		if r.Status != a.Results[0].Status {
			return http.StatusInternalServerError
		}
	}
	return a.Results[0].Status
}

func (s *Server) answerBatch(ctx context.Context, w http.ResponseWriter, r *http.Request) (*batchAnswer, error) {
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
	requests, err := parseBatch(data, s.limits())
	if err != nil {
		return nil, err
	}
	jobs := make([]*job, len(requests))
	for i, request := range requests {
		if jobs[i], err = s.decide(now, request, "body", i); err != nil {
			return nil, err
		}
		jobs[i].edit.RequestID = fmt.Sprintf("%s-%d", requestID(ctx), i)
	}
	return s.runBatch(ctx, r, now.editor, place, jobs)
}

// runBatch runs jobs in order. One that fails keeps no other from running, unless nobody
// waits for it any more.
func (s *Server) runBatch(ctx context.Context, r *http.Request, editor Editor, place *place, jobs []*job) (*batchAnswer, error) {
	a := &batchAnswer{RequestID: requestID(ctx)}
	for _, j := range jobs {
		began := time.Now()
		answer, err := s.run(ctx, editor, place, j)
		if err != nil {
			f := judge(ctx, err)
			if f.code == codeClientGone || f.code == codeStopping {
				return nil, f
			}
			s.noteFailure(r, f)
			answer = failed(f, j.edit.RequestID)
			a.FailedCount++
		} else {
			a.ProcessedCount++
		}
		answer.ProcessingTime = seconds(time.Since(began))
		a.Results = append(a.Results, answer)
	}
	a.Success = a.ProcessedCount > 0
	return a, nil
}
