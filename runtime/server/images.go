package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// sources turns what a request calls its image into a picture. It is safe for concurrent use.
type sources struct {
	client *http.Client
	config Config
}

// reference is an image of a request: a URL to fetch, or the file's bytes.
type reference struct {
	url  *url.URL
	data []byte
}

// load reads or fetches an image and decodes it. Failures are of code IMAGE_PROCESSING_ERROR.
func (s *sources) load(ctx context.Context, image string) (*picture.RGB, error) {
	ref, err := parseReference(image, s.config.Picture.Bytes)
	if err != nil {
		return nil, badImage(err.Error(), err)
	}
	data := ref.data
	if ref.url != nil {
		if data, err = s.fetch(ctx, ref.url); err != nil {
			return nil, err
		}
	}
	p, err := picture.Decode(data, s.config.Picture)
	if err != nil {
		f := badImage(err.Error(), err)
		if errors.Is(err, picture.ErrLimit) {
			l := s.config.Picture
			f.hint = fmt.Sprintf("at most %d bytes, %d pixels a side and %d in all are taken", l.Bytes, l.Side, l.Pixels)
		}
		return nil, f
	}
	return p, nil
}

// scheme is what a URL begins with. No base64 has a colon.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// parseReference tells apart the three forms of an image: a data URL, an http(s) URL and bare
// base64. What a data URL says about its type plays no part: content tells. Base64 is of
// either alphabet, with or without padding, and may be broken into lines.
func parseReference(image string, maxBytes int) (reference, error) {
	image = strings.TrimSpace(image)
	prefix := strings.ToLower(scheme.FindString(image[:min(len(image), 64)]))
	switch prefix {
	case "":
		data, err := decodeBase64(image, maxBytes)
		return reference{data: data}, err
	case "data:":
		data, err := decodeDataURL(image, maxBytes)
		return reference{data: data}, err
	case "http:", "https:":
		u, err := url.Parse(image)
		if err != nil || u.Hostname() == "" {
			return reference{}, errors.New("reading the image's URL: it is not a valid one")
		}
		return reference{url: u}, nil
	}
	return reference{}, fmt.Errorf("reading the image's URL: scheme %s is not read, only http, https and data", strings.TrimSuffix(prefix, ":"))
}

// decodeDataURL reads data:[TYPE][;PARAMETERS];base64,DATA.
func decodeDataURL(image string, maxBytes int) ([]byte, error) {
	header, data, ok := strings.Cut(image, ",")
	if !ok || !strings.HasSuffix(strings.ToLower(strings.TrimRight(header, " ")), ";base64") {
		return nil, errors.New(`reading the image's data URL: it does not have the form "data:image/png;base64,..."`)
	}
	if strings.Contains(data, "%") {
		plain, err := url.PathUnescape(data)
		if err != nil {
			return nil, errors.New("reading the image's data URL: its percent-encoding is broken")
		}
		data = plain
	}
	return decodeBase64(data, maxBytes)
}

// standard brings base64 of any kind to one without padding.
var standard = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "", "\t", "", " ", "")

func decodeBase64(text string, maxBytes int) ([]byte, error) {
	if strings.ContainsAny(text, "-_\n\r\t ") {
		text = standard.Replace(text)
	}
	text = strings.TrimRight(text, "=")
	switch n := base64.RawStdEncoding.DecodedLen(len(text)); {
	case text == "":
		return nil, errors.New("reading the image: it is empty")
	case n > maxBytes:
		return nil, fmt.Errorf("reading the image: it has %d bytes, the limit is %d", n, maxBytes)
	}
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("reading the image: it is neither a data URL, nor an http(s) URL, nor base64: %w", err)
	}
	return data, nil
}
