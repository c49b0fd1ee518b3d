package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The ranges that the predecessor documented.
const (
	minSteps, maxSteps = 1, 50
	minScale, maxScale = 0.1, 10.0
)

// shownKey is how much of a foreign key an answer repeats.
const shownKey = 100

// editRequest is the body of an edit, as far as it was given. Absent and null are the same,
// but for negative_prompt.
type editRequest struct {
	image, prompt string
	// negative is "" where the body has none, as in the predecessor, and nil for null.
	negative *string
	steps    *int
	scale    *float64
	seed     *uint64
	rank     *int
	model    string
	// unknown are keys that mean nothing, quoted those whose numbers were written as text.
	unknown, quoted []string
}

// limits are what a body may hold.
type limits struct {
	promptChars, batch int
	// quoted lets numbers be written as text, "8", as the predecessor's framework did.
	quoted bool
}

// reader reads members of a body into a request and gathers what is wrong.
type reader struct {
	limits limits
	at     []any // where the object lies
	seen   map[string]bool
	wrong  []invalid
}

func (r *reader) object(at ...any) { r.at, r.seen = at, map[string]bool{} }

func (r *reader) report(key any, kind, format string, args ...any) {
	loc := append(slices.Clone(r.at), key)
	r.wrong = append(r.wrong, invalid{Loc: loc, Msg: fmt.Sprintf(format, args...), Type: kind})
}

// parseEdit reads the body of one edit. The failure is a 422 that names each field.
func parseEdit(data []byte, l limits) (*editRequest, error) {
	r := &reader{limits: l}
	e := r.edit(data, nil, "body")
	if len(r.wrong) > 0 {
		return nil, unfit(r.wrong...)
	}
	return e, nil
}

// edit reads an object with the fields of an edit; skip are fields that do not count in it.
func (r *reader) edit(data []byte, skip []string, at ...any) *editRequest {
	empty := ""
	e := &editRequest{negative: &empty}
	r.object(at...)
	err := members(data, func(key string, value json.RawMessage) {
		switch {
		case !slices.Contains(skip, key):
			r.member(e, key, value)
		case key != "images":
			e.unknown = append(e.unknown, key)
		}
	})
	if err != nil {
		r.wrong = append(r.wrong, syntax(err, at))
		return e
	}
	for _, key := range []string{"image", "prompt"} {
		if !r.seen[key] && !slices.Contains(skip, key) {
			r.report(key, "missing", "Field required")
		}
	}
	return e
}

// member reads one field.
func (r *reader) member(e *editRequest, key string, value json.RawMessage) {
	if r.seen[key] {
		r.report(clip(key), "duplicate_key", "the key occurs twice")
		return
	}
	r.seen[key] = true
	null := string(value) == "null"
	switch key {
	case "image":
		r.text(&e.image, key, value)
	case "prompt":
		r.prompt(&e.prompt, key, value)
	case "negative_prompt":
		if e.negative = nil; !null {
			e.negative = new(string)
			r.prompt(e.negative, key, value)
		}
	default:
		if !null || !slices.Contains(editKeys, key) {
			r.optional(e, key, value)
		}
	}
}

// editKeys are the fields that may be null for their default.
var editKeys = []string{"num_inference_steps", "true_cfg_scale", "seed", "rank", "model"}

// optional reads a field that has a default.
func (r *reader) optional(e *editRequest, key string, value json.RawMessage) {
	if r.limits.quoted && value[0] == '"' && key != "model" && slices.Contains(editKeys, key) {
		if inner := bytes.Trim(value, `" `); json.Valid(inner) && isNumber(inner) {
			e.quoted, value = append(e.quoted, key), inner
		}
	}
	switch key {
	case "num_inference_steps":
		e.steps = r.integer(key, value, minSteps, maxSteps)
	case "true_cfg_scale":
		e.scale = r.scale(key, value)
	case "seed":
		e.seed = r.seedOf(key, value)
	case "rank":
		e.rank = r.integer(key, value, math.MinInt32, math.MaxInt32)
	case "model":
		r.text(&e.model, key, value)
	default:
		e.unknown = append(e.unknown, clip(key))
		r.check(key, value)
	}
}

// check reports a value that nobody reads if it is no JSON.
func (r *reader) check(key string, value json.RawMessage) {
	if err := check(value); err != nil {
		r.wrong = append(r.wrong, syntax(err, append(slices.Clone(r.at), clip(key))))
	}
}

// text reads a string. Bytes that are no UTF-8 would become others.
func (r *reader) text(to *string, key any, value json.RawMessage) {
	switch {
	case value[0] != '"':
		r.report(key, "string_type", "Input should be a valid string")
	case !utf8.Valid(value):
		r.report(key, "string_unicode", "Input should be valid UTF-8")
	case plain(value):
		*to = string(value[1 : len(value)-1])
	default:
		_ = json.Unmarshal(value, to) // it is a valid string
	}
}

func (r *reader) prompt(to *string, key string, value json.RawMessage) {
	r.text(to, key, value)
	if n := utf8.RuneCountInString(*to); n > r.limits.promptChars {
		r.report(key, "string_too_long", "it has %d characters, the most are %d", n, r.limits.promptChars)
	}
}

// isNumber reports whether a JSON value is a number.
func isNumber(value json.RawMessage) bool {
	return value[0] == '-' || value[0] >= '0' && value[0] <= '9'
}

// integer reads a whole number, which may be written as 8.0.
func (r *reader) integer(key string, value json.RawMessage, low, high int) *int {
	f, err := strconv.ParseFloat(string(value), 64)
	switch {
	case !isNumber(value) || err != nil && !errors.Is(err, strconv.ErrRange):
		r.report(key, "int_type", "Input should be a valid integer")
	case f != math.Trunc(f):
		r.report(key, "int_from_float", "%s is not a whole number", clip(string(value)))
	case f < float64(low) || f > float64(high):
		r.report(key, "out_of_range", "%s is not within %d to %d", clip(string(value)), low, high)
	default:
		n := int(f)
		return &n
	}
	return nil
}

func (r *reader) scale(key string, value json.RawMessage) *float64 {
	f, err := strconv.ParseFloat(string(value), 64)
	switch {
	case !isNumber(value):
		r.report(key, "float_type", "Input should be a valid number")
	case err != nil || f < minScale || f > maxScale:
		r.report(key, "out_of_range", "%s is not within %g to %g", clip(string(value)), minScale, maxScale)
	default:
		return &f
	}
	return nil
}

// seedOf reads what torch.Generator.manual_seed takes: -2^63 to 2^64-1, where a negative
// number is the unsigned one with the same bits.
func (r *reader) seedOf(key string, value json.RawMessage) *uint64 {
	text := string(value)
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return &u
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		u := uint64(i)
		return &u
	}
	// Beyond 2^53 a number with a fraction or an exponent may stand for several.
	if f, err := strconv.ParseFloat(text, 64); err == nil && isNumber(value) && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		u := uint64(int64(f))
		return &u
	}
	if isNumber(value) {
		r.report(key, "out_of_range", "%s is not a whole number from -2^63 to 2^64-1", clip(text))
	} else {
		r.report(key, "int_type", "Input should be a valid integer")
	}
	return nil
}

// parseBatch reads the body of a batch, in any of its three forms: the predecessor's
// {"images": [...], "prompt": ...}, one edit an image with all other fields the same;
// {"requests": [edit, ...]}; or the array alone.
func parseBatch(data []byte, l limits) ([]*editRequest, error) {
	r := &reader{limits: l}
	var out []*editRequest
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		r.object("body")
		out = r.requests(trimmed, "body")
	} else {
		out = r.batch(data)
	}
	if len(r.wrong) > 0 {
		return nil, unfit(r.wrong...)
	}
	return out, nil
}

// batch reads a batch that is an object.
func (r *reader) batch(data []byte) []*editRequest {
	lists, unknown := map[string]json.RawMessage{}, []string(nil)
	r.object("body")
	err := members(data, func(key string, value json.RawMessage) {
		if _, twice := lists[key]; twice {
			r.report(key, "duplicate_key", "the key occurs twice")
		}
		if key == "images" || key == "requests" {
			lists[key] = value
		} else {
			unknown = append(unknown, clip(key))
			r.check(key, value)
		}
	})
	images, ofImages := lists["images"]
	requests, ofRequests := lists["requests"]
	switch {
	case err != nil:
		r.wrong = append(r.wrong, syntax(err, []any{"body"}))
	case ofImages && ofRequests:
		r.report("images", "value_error", "images and requests exclude each other")
	case ofImages:
		return r.images(data, images)
	case ofRequests:
		out := r.requests(requests, "body", "requests")
		for _, e := range out {
			e.unknown = append(e.unknown, unknown...)
		}
		return out
	default:
		r.report("images", "missing", "Field required: images, or requests")
	}
	return nil
}

// images reads the predecessor's form.
func (r *reader) images(data, list json.RawMessage) []*editRequest {
	shared := r.edit(data, []string{"image", "images"}, "body")
	values := r.array(list, "body", "images")
	var out []*editRequest
	for i, v := range values {
		one := *shared
		r.object("body", "images")
		r.text(&one.image, i, v)
		out = append(out, &one)
	}
	return out
}

// requests reads an array of edits.
func (r *reader) requests(list json.RawMessage, at ...any) []*editRequest {
	var out []*editRequest
	for i, v := range r.array(list, at...) {
		out = append(out, r.edit(v, nil, append(slices.Clone(at), i)...))
	}
	return out
}

// array splits an array of as many elements as a batch may have.
func (r *reader) array(list json.RawMessage, at ...any) []json.RawMessage {
	wrong := func(kind, format string, args ...any) []json.RawMessage {
		r.wrong = append(r.wrong, invalid{Loc: at, Msg: fmt.Sprintf(format, args...), Type: kind})
		return nil
	}
	values, err := elements(list)
	switch {
	case errors.Is(err, errNoArray):
		return wrong("list_type", "Input should be a valid list")
	case err != nil:
		r.wrong = append(r.wrong, syntax(err, at))
		return nil
	}
	if n := len(values); n < 1 || n > r.limits.batch {
		return wrong("out_of_range", "it has %d elements, 1 to %d are wanted", n, r.limits.batch)
	}
	return values
}

// syntax says what is wrong with JSON.
func syntax(err error, at []any) invalid {
	if errors.Is(err, errNoObject) {
		return invalid{Loc: at, Msg: "Input should be a valid dictionary", Type: "dict_type"}
	}
	text := err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) || text == "unexpected end of JSON input" {
		text = "it ends early"
	}
	return invalid{Loc: at, Msg: "JSON decode error: " + text, Type: "json_invalid"}
}

// clip shortens what is foreign for an answer, and keeps it valid text.
func clip(s string) string {
	if len(s) > shownKey {
		s = s[:shownKey] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
