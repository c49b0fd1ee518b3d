package server_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// batch is an answer to a batch as a client reads it.
type batch struct {
	Success   bool     `json:"success"`
	Results   []edited `json:"results"`
	Processed int      `json:"processed_count"`
	Failed    int      `json:"failed_count"`
	RequestID string   `json:"request_id"`
}

func (s *service) batch(t *testing.T, status int, body string) (b batch) {
	t.Helper()
	a := s.call(t, "POST", "/batch-edit-image", body, "X-Request-ID", "mine")
	require.Equal(t, status, a.status, string(a.body))
	a.into(t, &b)
	return b
}

// TestBatch: all three forms, answers in order, each edit with its own picture.
func TestBatch(t *testing.T) {
	d := newDouble()
	s := start(t, d, nil)
	b := s.batch(t, 200, fmt.Sprintf(`{"images": [%q, %q], "prompt": "p", "seed": 5, "model": "plain", "size": 3, "image": "z"}`, bare(t, 8, 8), bare(t, 16, 8)))
	require.True(t, b.Success)
	require.Equal(t, 2, b.Processed)
	require.Len(t, b.Results, 2)
	for i, r := range b.Results {
		require.Equal(t, fmt.Sprintf("mine-%d", i), r.RequestID)
		require.Equal(t, uint64(5), *r.Seed)
		require.Equal(t, "plain", r.Model.Model)
		require.Equal(t, []string{`unknown field "size" is ignored`, `unknown field "image" is ignored`}, r.Warnings)
		require.Equal(t, 8*(i+1), d.edits[i].Pictures[0].W)
	}
	for _, form := range []string{`{"requests": [%s, %s], "x": 1}`, " \n[%s, %s]"} {
		b = s.batch(t, 200, fmt.Sprintf(form, request(t, `"seed": 1`), request(t, `"seed": 2, "num_inference_steps": 4`)))
		require.Equal(t, uint64(1), *b.Results[0].Seed)
		require.Equal(t, uint64(2), *b.Results[1].Seed)
		require.Equal(t, 4, b.Results[1].Model.Steps)
	}
}

// TestBatchFailures: one that fails keeps no other from running, and only a batch that failed
// as a whole has a status that says so.
func TestBatchFailures(t *testing.T) {
	d := newDouble()
	s := start(t, d, nil)
	b := s.batch(t, 200, fmt.Sprintf(`{"images": ["?", %q], "prompt": "p"}`, bare(t, 8, 8)))
	require.True(t, b.Success)
	require.Equal(t, 1, b.Processed)
	require.Equal(t, 1, b.Failed)
	require.False(t, b.Results[0].Success)
	require.Equal(t, "IMAGE_PROCESSING_ERROR", b.Results[0].Error)
	require.Equal(t, 400, b.Results[0].Status)
	require.True(t, b.Results[1].Success)

	require.False(t, s.batch(t, 400, `{"images": ["?", "!"], "prompt": "p"}`).Success)
	d.set(errors.New("broken"), nil)
	require.Equal(t, 2, s.batch(t, 500, fmt.Sprintf(`{"images": ["?", %q], "prompt": "p"}`, bare(t, 8, 8))).Failed)
	old := start(t, d, func(c *server.Config) { c.Compat = true })
	require.False(t, old.batch(t, 200, `{"images": ["?"], "prompt": "p"}`).Success)
}

func TestBatchInvalid(t *testing.T) {
	d := newDouble()
	s := start(t, d, func(c *server.Config) { c.Batch = 2 })
	for body, want := range map[string]string{
		`{}`:                               "body.images: Field required",
		`5`:                                "body: Input should be a valid dictionary",
		`[`:                                "body: JSON decode error",
		`[1]`:                              "body.0: Input should be a valid dictionary",
		`[]`:                               "body: it has 0 elements, 1 to 2 are wanted",
		`[] x`:                             "body: JSON decode error",
		`{"requests": {}}`:                 "body.requests: Input should be a valid list",
		`{"requests": [], "requests": []}`: "body.requests: the key occurs twice",
		`{"requests": [], "images": []}`:   "images and requests exclude each other",
		`{"requests": [{"prompt": "x"}]}`:  "body.requests.0.image: Field required",
		`{"images": ["x", "y", "z"], "prompt": "p"}`:                     "body.images: it has 3 elements, 1 to 2 are wanted",
		`{"images": ["x", 7], "prompt": "p"}`:                            "body.images.1: Input should be a valid string",
		`{"images": ["x"]}`:                                              "body.prompt: Field required",
		`{"images": ["x"], "prompt": "p", "seed": {}}`:                   "body.seed: Input should be a valid integer",
		`[{"image": "x", "prompt": "p", "model": "huge"}]`:               `body.0.model: "huge" is not one of those loaded`,
		`[` + strings.Repeat(`{"image": "x", "prompt": "p"},`, 2) + `1]`: "3 elements",
	} {
		r := s.refuse(t, 422, "POST", "/batch-edit-image", body)
		require.Contains(t, r.Detail, want, body)
	}
	require.Zero(t, d.count())
}
