package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// Config is how the service runs. Default has the values that count where nothing is said,
// FromEnv those of the environment. The first five variables are the predecessor's.
type Config struct {
	Host        string     // API_HOST: the address to listen on
	Port        int        // API_PORT: 0 to 65535; 0 is any free one
	LogLevel    slog.Level // LOG_LEVEL: DEBUG, INFO, WARNING or ERROR
	LogFile     string     // LOG_FILE: a file that gets the log too, "" for none
	Environment string     // ENVIRONMENT: a word in every log line, "" for none

	// Compat answers as the predecessor did (PLIMSOLL_COMPAT): 200 with success:false where an
	// edit fails; it also switches ModelConfig and HubDownload on, and lets any web page ask.
	Compat bool
	// ModelConfig opens /model-config, which changes the defaults of everybody's requests
	// (PLIMSOLL_MODEL_CONFIG).
	ModelConfig bool
	// HubDownload lets the entry "hub" of the priority list mean a download from the Hub
	// (PLIMSOLL_HUB_DOWNLOAD). The service itself downloads nothing: it is for who loads.
	HubDownload bool
	// PrivateURLs lets images come from addresses that are not public
	// (PLIMSOLL_ALLOW_PRIVATE_URLS).
	PrivateURLs bool
	// APIKey is what requests must carry, "" for none (PLIMSOLL_API_KEY).
	APIKey string
	// Origins are web pages' origins that may ask, such as "https://example.org", or "*"
	// (PLIMSOLL_CORS_ORIGINS, separated by commas).
	Origins []string

	Queue       int           // PLIMSOLL_QUEUE: requests that may wait beside the one that runs
	BodyBytes   int           // PLIMSOLL_MAX_BODY_BYTES: the longest request body
	PromptChars int           // PLIMSOLL_MAX_PROMPT_CHARS: the longest prompt, in characters
	Batch       int           // PLIMSOLL_MAX_BATCH: the most edits of one batch
	Grace       time.Duration // PLIMSOLL_GRACE: what a running edit gets when the service stops

	// Picture limits pictures: PLIMSOLL_MAX_IMAGE_BYTES, PLIMSOLL_MAX_IMAGE_SIDE and
	// PLIMSOLL_MAX_IMAGE_PIXELS.
	Picture picture.Limits
	// FetchTimeout limits the fetching of one image by URL, BodyTimeout the reading of one
	// request's body, WriteTimeout the sending of one answer.
	FetchTimeout, BodyTimeout, WriteTimeout time.Duration
}

// Default returns the configuration of an empty environment. The limits of pictures and of
// fetching are the predecessor's: 50 MiB, 2048 pixels, 30 s; a body has room for such a
// picture in base64.
func Default() Config {
	return Config{
		Host: "0.0.0.0", Port: 8000, LogLevel: slog.LevelInfo,
		Queue: 8, BodyBytes: 68 << 20, PromptChars: 16384, Batch: 10, Grace: 25 * time.Second,
		Picture:      picture.Limits{Bytes: 50 << 20, Side: 2048, Pixels: 2048 * 2048},
		FetchTimeout: 30 * time.Second, BodyTimeout: time.Minute, WriteTimeout: time.Minute,
	}
}

// Address is host and port to listen on.
func (c Config) Address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// FromEnv reads the configuration from the environment, as os.LookupEnv gives it. A variable
// that is empty counts as not set. Errors are of kind fault.Usage and name the variable.
func FromEnv(env func(name string) (string, bool)) (Config, error) {
	c := Default()
	for _, v := range c.variables() {
		text, ok := env(v.name)
		if text = strings.TrimSpace(text); !ok || text == "" {
			continue
		}
		if err := v.set(text); err != nil {
			shown := strconv.Quote(text)
			if v.secret {
				shown = "its value"
			}
			return c, fault.Wrap(fault.Usage, "", fmt.Errorf("reading %s: %s is not right: %w", v.name, shown, err))
		}
	}
	if c.Compat {
		c.ModelConfig, c.HubDownload = true, true
		if len(c.Origins) == 0 {
			c.Origins = []string{"*"}
		}
	}
	return c, nil
}

// variable is one name in the environment and what it sets.
type variable struct {
	name   string
	set    func(text string) error
	secret bool
}

func (c *Config) variables() []variable {
	return []variable{
		{name: "API_HOST", set: text(&c.Host)},
		{name: "API_PORT", set: number(&c.Port, 0, math.MaxUint16)},
		{name: "LOG_LEVEL", set: level(&c.LogLevel)},
		{name: "LOG_FILE", set: text(&c.LogFile)},
		{name: "ENVIRONMENT", set: text(&c.Environment)},
		{name: "PLIMSOLL_COMPAT", set: truth(&c.Compat)},
		{name: "PLIMSOLL_MODEL_CONFIG", set: truth(&c.ModelConfig)},
		{name: "PLIMSOLL_HUB_DOWNLOAD", set: truth(&c.HubDownload)},
		{name: "PLIMSOLL_ALLOW_PRIVATE_URLS", set: truth(&c.PrivateURLs)},
		{name: "PLIMSOLL_API_KEY", set: key(&c.APIKey), secret: true},
		{name: "PLIMSOLL_CORS_ORIGINS", set: origins(&c.Origins)},
		{name: "PLIMSOLL_QUEUE", set: number(&c.Queue, 0, 1000)},
		{name: "PLIMSOLL_MAX_BODY_BYTES", set: number(&c.BodyBytes, 1<<10, 1<<30)},
		{name: "PLIMSOLL_MAX_PROMPT_CHARS", set: number(&c.PromptChars, 1, 1<<20)},
		{name: "PLIMSOLL_MAX_BATCH", set: number(&c.Batch, 1, 100)},
		{name: "PLIMSOLL_GRACE", set: duration(&c.Grace)},
		{name: "PLIMSOLL_MAX_IMAGE_BYTES", set: number(&c.Picture.Bytes, 1<<10, 1<<30)},
		{name: "PLIMSOLL_MAX_IMAGE_SIDE", set: number(&c.Picture.Side, 1, 1<<15)},
		{name: "PLIMSOLL_MAX_IMAGE_PIXELS", set: number(&c.Picture.Pixels, 1, 1<<28)},
	}
}

func text(to *string) func(string) error {
	return func(s string) error { *to = s; return nil }
}

func number(to *int, low, high int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("a whole number from %d to %d is wanted", low, high)
		}
		*to = n
		return nil
	}
}

func truth(to *bool) func(string) error {
	return func(s string) error {
		b, err := strconv.ParseBool(strings.ToLower(s))
		if err != nil {
			return errors.New("1 or 0 is wanted")
		}
		*to = b
		return nil
	}
}

func duration(to *time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("a duration such as 25s is wanted")
		}
		*to = d
		return nil
	}
}

// levels are Python's names of log levels.
var levels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "WARN": slog.LevelWarn,
	"ERROR": slog.LevelError, "CRITICAL": slog.LevelError,
}

func level(to *slog.Level) func(string) error {
	return func(s string) error {
		l, ok := levels[strings.ToUpper(s)]
		if !ok {
			return errors.New("DEBUG, INFO, WARNING, ERROR or CRITICAL is wanted")
		}
		*to = l
		return nil
	}
}

// key refuses what no header can carry.
func key(to *string) func(string) error {
	return func(s string) error {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' {
				return errors.New("visible ASCII characters are wanted")
			}
		}
		*to = s
		return nil
	}
}

func origins(to *[]string) func(string) error {
	return func(s string) error {
		for o := range strings.SplitSeq(s, ",") {
			o = strings.TrimSpace(o)
			u, err := url.Parse(o)
			if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || cmp.Or(u.Path, u.RawQuery, u.Fragment) != "" || u.User != nil) {
				return errors.New(`origins such as "https://example.org", or "*", are wanted`)
			}
			*to = append(*to, o)
		}
		return nil
	}
}
