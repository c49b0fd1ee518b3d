package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// TestEdit: an edit as the predecessor's clients ask for it gets all that they read.
func TestEdit(t *testing.T) {
	d := newDouble()
	d.peak = 11<<30 + 1<<29
	s := start(t, d, nil)
	e := s.edit(t, request(t, `"negative_prompt": "", "num_inference_steps": 8, "true_cfg_scale": 1.0, "seed": null, "rank": 128`))
	require.True(t, e.Success)
	require.Nil(t, e.ErrorMessage)
	require.Empty(t, e.Warnings)
	data, err := base64.StdEncoding.DecodeString(*e.Image)
	require.NoError(t, err)
	info, err := picture.Inspect(data, server.Default().Picture)
	require.NoError(t, err)
	require.Equal(t, picture.Info{Format: "JPEG", Size: picture.Size{W: 20, H: 15}, Orientation: 1}, info)
	require.Equal(t, 8, e.Model.Steps)
	require.Equal(t, 128, e.Model.Rank)
	require.Equal(t, "lightningv1.0", e.Model.Version)
	require.Equal(t, "lightning", e.Model.Model)
	require.Equal(t, 1.5, e.Model.InferenceTime)
	require.Equal(t, "11.50 GB", e.Model.Memory)
	got := d.last(t)
	require.Equal(t, "make it night", got.Prompt)
	require.Equal(t, "", *got.NegativePrompt)
	require.Equal(t, *e.Seed, got.Seed, "the seed that was drawn is returned")
	require.Equal(t, e.RequestID, got.RequestID)
	require.Equal(t, []picture.Size{{W: 40, H: 30}}, []picture.Size{got.Pictures[0].Size()})
}

// TestDefaults: what a request does not say is the checkpoint's own, and what does not fit
// it is served with a warning.
func TestDefaults(t *testing.T) {
	d := newDouble()
	s := start(t, d, nil)
	for _, c := range []struct {
		more     string
		model    string
		steps    int
		scale    float64
		warnings []string // beginnings
	}{
		{"", "lightning", 8, 1, nil},
		{`"model": null, "num_inference_steps": null, "true_cfg_scale": null, "rank": null`, "lightning", 8, 1, nil},
		{`"model": "plain"`, "plain", 50, 4, nil},
		{`"model": "plain", "num_inference_steps": 25`, "plain", 25, 4, nil},
		{`"num_inference_steps": 8.0`, "lightning", 8, 1, nil},
		{`"rank": 64`, "lightning", 8, 1, []string{"rank 64 is not there: served with rank 128"}},
		{`"rank": -3`, "lightning", 8, 1, []string{"rank -3"}},
		{`"true_cfg_scale": 4`, "lightning", 8, 4, []string{"true_cfg_scale 4 spoils pictures of lightning"}},
		{`"num_inference_steps": 50`, "lightning", 50, 1, []string{"50 steps spoil pictures of lightning"}},
		{`"model": "plain", "num_inference_steps": 8, "true_cfg_scale": 1`, "plain", 8, 1, []string{"true_cfg_scale 1 switches off the guidance", "8 steps are few for plain"}},
		{`"model": "plain", "negative_prompt": null`, "plain", 50, 4, []string{"negative_prompt null switches off the guidance"}},
		{`"negative_prompt": "blur"`, "lightning", 8, 1, []string{"negative_prompt has no effect"}},
		{`"guidance_scale": 2, "Prompt": "x"`, "lightning", 8, 1, []string{`unknown field "guidance_scale"`, `unknown field "Prompt"`}},
	} {
		e := s.edit(t, request(t, c.more))
		got := d.last(t)
		require.Equal(t, c.model, got.Model, c.more)
		require.Equal(t, c.steps, got.Steps, c.more)
		require.Equal(t, c.scale, got.TrueCFGScale, c.more)
		require.Len(t, e.Warnings, len(c.warnings), "%s: %v", c.more, e.Warnings)
		for i, w := range c.warnings {
			require.True(t, strings.HasPrefix(e.Warnings[i], w), "%s: %v", c.more, e.Warnings)
			quoted, _ := json.Marshal(w)
			require.Contains(t, s.log.String(), strings.Trim(string(quoted), `"`), "in the log too")
		}
	}
}

// TestNegativePrompt: absent is the predecessor's empty text, null is none.
func TestNegativePrompt(t *testing.T) {
	d := newDouble()
	s := start(t, d, nil)
	s.edit(t, request(t, `"model": "plain"`))
	require.Equal(t, "", *d.last(t).NegativePrompt)
	s.edit(t, request(t, `"model": "plain", "negative_prompt": "blur"`))
	require.Equal(t, "blur", *d.last(t).NegativePrompt)
	s.edit(t, request(t, `"model": "plain", "negative_prompt": null`))
	require.Nil(t, d.last(t).NegativePrompt)
}

// TestSeed: every number that torch takes is taken as torch takes it, and returned.
func TestSeed(t *testing.T) {
	d := newDouble()
	s := start(t, d, nil)
	for text, want := range map[string]uint64{
		"0": 0, "7": 7, "42.0": 42, "1e3": 1000, "18446744073709551615": math.MaxUint64,
		"-1": math.MaxUint64, "-9223372036854775808": 1 << 63,
	} {
		require.Equal(t, want, *s.edit(t, request(t, `"seed": `+text)).Seed, text)
		require.Equal(t, want, d.last(t).Seed, text)
	}
	a, b := *s.edit(t, request(t, "")).Seed, *s.edit(t, request(t, `"seed": null`)).Seed
	require.NotEqual(t, a, b, "drawn anew")
	require.Less(t, max(a, b), uint64(1)<<53, "a number in every client's JSON")
}

// TestInvalid: what is wrong with a body is a 422 that names the field, and no edit.
func TestInvalid(t *testing.T) {
	d := newDouble()
	s := start(t, d, func(c *server.Config) { c.PromptChars = 20 })
	for _, c := range []struct{ body, want string }{
		{``, "body: JSON decode error: it ends early"},
		{`{"image": "x", "prompt": "y"`, "body: JSON decode error: it ends early"},
		{`{"image": "x", "prompt": "y"} {}`, "body: JSON decode error: there is more behind it, unexpected '{' at byte 30"},
		{`[]`, "body: Input should be a valid dictionary"},
		{`null`, "body: Input should be a valid dictionary"},
		{`{"image": "x",}`, "body: JSON decode error"},
		{`{}`, "body.image: Field required; body.prompt: Field required"},
		{`{"image": null, "prompt": 3}`, "body.image: Input should be a valid string; body.prompt: Input should be a valid string"},
		{"{\"image\": \"x\", \"prompt\": \"\xff\"}", "body.prompt: Input should be valid UTF-8"},
		{request(t, `"prompt": "again"`), "body.prompt: the key occurs twice"},
		{request(t, `"num_inference_steps": 0`), "body.num_inference_steps: 0 is not within 1 to 50"},
		{request(t, `"num_inference_steps": 51`), "body.num_inference_steps: 51 is not within 1 to 50"},
		{request(t, `"num_inference_steps": 1e400`), "body.num_inference_steps: 1e400 is not within 1 to 50"},
		{request(t, `"num_inference_steps": 8.5`), "body.num_inference_steps: 8.5 is not a whole number"},
		{request(t, `"num_inference_steps": "8"`), "body.num_inference_steps: Input should be a valid integer"},
		{request(t, `"num_inference_steps": true`), "body.num_inference_steps: Input should be a valid integer"},
		{request(t, `"true_cfg_scale": 0.09`), "body.true_cfg_scale: 0.09 is not within 0.1 to 10"},
		{request(t, `"true_cfg_scale": 10.01`), "body.true_cfg_scale: 10.01 is not within 0.1 to 10"},
		{request(t, `"true_cfg_scale": []`), "body.true_cfg_scale: Input should be a valid number"},
		{request(t, `"seed": 18446744073709551616`), "body.seed: 18446744073709551616 is not a whole number from -2^63 to 2^64-1"},
		{request(t, `"seed": 0.5`), "body.seed: 0.5 is not a whole number"},
		{request(t, `"seed": "1"`), "body.seed: Input should be a valid integer"},
		{request(t, `"rank": "128"`), "body.rank: Input should be a valid integer"},
		{request(t, `"model": "hub"`), `body.model: "hub" is not one of those loaded: plain, lightning`},
		{request(t, `"model": 1`), "body.model: Input should be a valid string"},
		{request(t, `"negative_prompt": "`+strings.Repeat("é", 21)+`"`), "body.negative_prompt: it has 21 characters, the most are 20"},
		{request(t, `"negative_prompt": 0`), "body.negative_prompt: Input should be a valid string"},
	} {
		r := s.refuse(t, 422, "POST", "/edit-image", c.body, "Content-Type", "application/json")
		require.Equal(t, "VALIDATION_ERROR", r.Error)
		require.Contains(t, r.Detail, c.want)
		require.NotEmpty(t, r.Errors)
	}
	r := s.refuse(t, 422, "POST", "/edit-image", request(t, ""), "Content-Type", "text/plain")
	require.Contains(t, r.Detail, `header.content-type: it is "text/plain", only application/json is read`)
	require.Zero(t, d.count())
	s.edit(t, fmt.Sprintf(`{"image": %q, "prompt": "%s"}`, bare(t, 8, 8), strings.Repeat("é", 20)))
}

// TestFailures: every failure has its code and its status, and with PLIMSOLL_COMPAT those of
// an edit are answered as the predecessor did.
func TestFailures(t *testing.T) {
	png := sample(t, 40, 30)
	body := func(image string) string { return fmt.Sprintf(`{"image": %q, "prompt": "x"}`, image) }
	for name, c := range map[string]struct {
		body   string
		fail   error
		panic  any
		status int
		code   string
		detail string
		hint   string
	}{
		"no base64":    {body: body("not base64!"), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "neither a data URL"},
		"empty":        {body: body(""), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "it is empty"},
		"no picture":   {body: body("aGVsbG8="), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "only single pictures in JPEG, PNG, WEBP and BMP are read"},
		"cut off":      {body: body(base64.StdEncoding.EncodeToString(png[:len(png)/2])), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "reading picture"},
		"too wide":     {body: body(bare(t, 2049, 1)), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "the picture is too large", hint: "2048 pixels a side"},
		"other scheme": {body: body("ftp://example.org/a.png"), status: 400, code: "IMAGE_PROCESSING_ERROR", detail: "scheme ftp is not read"},
		"model": {
			body: request(t, ""), fail: fault.Wrap(fault.Internal, "look here", errors.New("not a number in step 3")),
			status: 500, code: "MODEL_INFERENCE_ERROR", detail: "not a number in step 3", hint: "look here",
		},
		"defect":    {body: request(t, ""), panic: "index out of range", status: 500, code: "MODEL_INFERENCE_ERROR", detail: "a defect of the model's code"},
		"memory":    {body: request(t, ""), fail: fmt.Errorf("taking 3 GB: %w", server.ErrMemory), status: 507, code: "GPU_MEMORY_ERROR", detail: "taking 3 GB", hint: "smaller picture"},
		"resource":  {body: request(t, ""), fail: fault.Wrap(fault.Resource, "", errors.New("driver gone")), status: 500, code: "MODEL_INFERENCE_ERROR", detail: "driver gone"},
		"long text": {body: request(t, ""), fail: fault.Wrap(fault.Usage, "shorten it", errors.New("the prompt has 1025 tokens")), status: 422, code: "VALIDATION_ERROR", detail: "the prompt has 1025 tokens", hint: "shorten it"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDouble()
			d.set(c.fail, c.panic)
			s := start(t, d, nil)
			r := s.refuse(t, c.status, "POST", "/edit-image", c.body)
			require.Equal(t, c.code, r.Error)
			require.Contains(t, r.Detail, c.detail)
			require.Contains(t, r.Hint, c.hint)
			require.Contains(t, s.log.String(), c.code)

			old := start(t, d, func(c *server.Config) { c.Compat = true })
			if c.status == 422 {
				old.refuse(t, 422, "POST", "/edit-image", c.body)
				return
			}
			e := old.edit(t, c.body)
			require.False(t, e.Success)
			require.Nil(t, e.Image)
			require.Contains(t, *e.ErrorMessage, c.detail)
			require.Equal(t, c.code, e.Error)
			require.Equal(t, c.status, e.Status)
			require.Zero(t, e.Model)

			d.set(nil, nil)
			s.edit(t, request(t, "")) // the next one is served
		})
	}
}

// TestUnusable: a device that is lost ends readiness and liveness, so that a new process is
// started.
func TestUnusable(t *testing.T) {
	d := newDouble()
	d.set(fmt.Errorf("launching gemm: %w", server.ErrUnusable), nil)
	s := start(t, d, nil)
	require.Equal(t, 200, s.call(t, "GET", "/healthz", "").status)
	require.Equal(t, "MODEL_INFERENCE_ERROR", s.refuse(t, 500, "POST", "/edit-image", request(t, "")).Error)
	require.Equal(t, 503, s.call(t, "GET", "/healthz", "").status)
	require.Equal(t, 503, s.call(t, "GET", "/readyz", "").status)
	r := s.refuse(t, 503, "POST", "/edit-image", request(t, ""))
	require.Equal(t, "MODEL_NOT_LOADED", r.Error)
	require.Contains(t, r.Detail, "launching gemm")
}

// TestNoPicture: an editor that says neither is not believed.
func TestNoPicture(t *testing.T) {
	s := start(t, nothing{newDouble()}, nil)
	require.Contains(t, s.refuse(t, 500, "POST", "/edit-image", request(t, "")).Detail, "the model gave no picture")
}

func TestModelOf(t *testing.T) {
	c := manifests.ModelCheckpoint{
		Checkpoint: manifests.Checkpoint{Name: "lightning", Precision: "int4", Rank: 128, Steps: 8, TrueCFGScale: 1},
		Path:       "nunchaku-qwen-image-edit/svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors",
	}
	require.Equal(t, server.Model{Name: "lightning", Version: "lightningv1.0", Precision: "int4", Rank: 128, Steps: 8, TrueCFGScale: 1}, server.ModelOf(c))
	c.Name, c.Path = "plain", "nunchaku-qwen-image-edit/svdq-int4_r128-qwen-image-edit.safetensors"
	require.Equal(t, "plain", server.ModelOf(c).Version)
}

// nothing is an editor without a result.
type nothing struct{ *double }

func (nothing) Edit(context.Context, server.Edit) (*server.Edited, error) { return nil, nil }

// TestQuotedNumbers: the predecessor's framework took numbers written as text; so does this
// service in its place.
func TestQuotedNumbers(t *testing.T) {
	d := newDouble()
	s := start(t, d, func(c *server.Config) { c.Compat = true })
	e := s.edit(t, request(t, `"num_inference_steps": "8", "true_cfg_scale": " 1.0", "seed": "-1", "rank": "128", "x": "1"`))
	require.Equal(t, 8, d.last(t).Steps)
	require.Equal(t, uint64(math.MaxUint64), *e.Seed)
	require.Equal(t, []string{
		"num_inference_steps is text and should be a number", "true_cfg_scale is text and should be a number", "seed is text and should be a number",
		"rank is text and should be a number", `unknown field "x" is ignored`,
	}, e.Warnings)
	for _, bad := range []string{`"num_inference_steps": "51"`, `"num_inference_steps": "eight"`, `"seed": ""`, `"true_cfg_scale": "\u0031"`, `"rank": "0x10"`, `"rank": "1 2"`} {
		s.refuse(t, 422, "POST", "/edit-image", request(t, bad))
	}
}
