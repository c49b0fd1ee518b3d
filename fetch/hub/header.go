package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxDelay caps the waits that a header can ask for, against overflow.
const maxDelay = 24 * time.Hour

// span is a Content-Range: bytes first to last of total, last included. total is -1 where
// the server does not know it. An unsatisfied range ("bytes */N") has first and last -1.
type span struct{ first, last, total int64 }

// parseContentRange reads a Content-Range of unit bytes (RFC 9110, 14.4).
func parseContentRange(text string) (span, error) {
	bad := func(why string) (span, error) {
		return span{}, fmt.Errorf("reading Content-Range %q: %s", clip(text), why)
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "bytes ")
	if !ok {
		return bad("the unit is not bytes")
	}
	places, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return bad("there is no total")
	}
	s := span{first: -1, last: -1, total: -1}
	if total != "*" {
		if s.total, ok = parseDigits(total); !ok {
			return bad("the total is not a number")
		}
	}
	if places == "*" {
		return s, nil
	}
	first, last, ok := strings.Cut(places, "-")
	if !ok {
		return bad("there is no range")
	}
	var okFirst, okLast bool
	s.first, okFirst = parseDigits(first)
	s.last, okLast = parseDigits(last)
	switch {
	case !okFirst || !okLast:
		return bad("the range is not two numbers")
	case s.first > s.last || s.total >= 0 && s.last >= s.total:
		return bad("the range is not inside the total")
	}
	return s, nil
}

// parseDigits reads a number of decimal digits only: no sign, no space, no overflow.
func parseDigits(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// nextLink returns the target of the link with rel=next in Link headers (RFC 8288), nil if
// there is none.
func nextLink(headers []string) (*url.URL, error) {
	for _, h := range headers {
		for h != "" {
			target, params, rest, err := cutLink(h)
			if err != nil {
				return nil, err
			}
			if hasRel(params, "next") {
				u, err := url.Parse(target)
				if err != nil {
					return nil, errors.New("reading a Link header: its target is not a URL")
				}
				return u, nil
			}
			h = rest
		}
	}
	return nil, nil
}

// cutLink splits one "<target>; params" off a Link header. Commas may stand inside of the
// target and of quoted parameters.
func cutLink(h string) (target, params, rest string, err error) {
	h = strings.TrimLeft(h, " \t,")
	if h == "" {
		return "", "", "", nil
	}
	end := strings.IndexByte(h, '>')
	if h[0] != '<' || end < 0 {
		return "", "", "", errors.New("reading a Link header: a target is not in angle brackets")
	}
	target, h = h[1:end], h[end+1:]
	quoted := false
	for i := 0; i < len(h); i++ {
		switch {
		case h[i] == '"':
			quoted = !quoted
		case h[i] == ',' && !quoted:
			return target, h[:i], h[i+1:], nil
		}
	}
	return target, h, "", nil
}

// hasRel reports whether a link's parameters name the relation, alone or in a list.
func hasRel(params, rel string) bool {
	for _, p := range strings.Split(params, ";") {
		key, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "rel") {
			continue
		}
		for _, word := range strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(word, rel) {
				return true
			}
		}
	}
	return false
}

// retryDelay returns how long an answer asks its client to wait, 0 if it does not say. A
// 429 is judged by RateLimit first; Retry-After is a number of seconds or a date.
func retryDelay(status int, h http.Header, now time.Time) time.Duration {
	if status == http.StatusTooManyRequests {
		if remaining, reset, ok := parseRateLimit(h.Get("RateLimit")); ok && remaining == 0 {
			return delay(reset + 1) // the window's end is rounded down
		}
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, ok := parseDigits(text); ok {
		return delay(seconds)
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return min(at.Sub(now), maxDelay)
	}
	return 0
}

// delay turns seconds into a capped duration.
func delay(seconds int64) time.Duration {
	return time.Duration(min(max(seconds, 0), int64(maxDelay/time.Second))) * time.Second
}

// parseRateLimit reads the remaining requests and the seconds until the window ends from
// a RateLimit header such as `"api";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers-09).
// Of several policies the first that is exhausted counts, else the first.
func parseRateLimit(text string) (remaining, reset int64, ok bool) {
	for _, policy := range strings.Split(text, ",") {
		r, t := int64(-1), int64(-1)
		for _, p := range strings.Split(policy, ";")[1:] {
			key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			n, isNumber := parseDigits(strings.TrimSpace(value))
			switch {
			case !isNumber:
			case strings.TrimSpace(key) == "r":
				r = n
			case strings.TrimSpace(key) == "t":
				t = n
			}
		}
		if r < 0 || t < 0 || ok && r > 0 {
			continue
		}
		remaining, reset, ok = r, t, true
		if r == 0 {
			break
		}
	}
	return remaining, min(reset, int64(maxDelay/time.Second)), ok
}

// parseETag returns a Hub's etag without weakness mark and quotes: 64 hex digits are the
// sha256 of an LFS file, 40 the git blob id of a small one. Anything else is "".
func parseETag(text string) string {
	tag := strings.Trim(strings.TrimPrefix(strings.TrimSpace(text), "W/"), `"`)
	if isHex(tag, 64) || isHex(tag, 40) {
		return tag
	}
	return ""
}

// clip shortens foreign text for an error.
func clip(text string) string {
	const most = 120
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
