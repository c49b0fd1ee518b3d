// Package refusals tells what a registry's refusal means for people: why, and the next command
// at that registry, whether something was to go there or to come from there.
//
//	Hint    the way out of an error     Final    whether another try meets the same answer
package refusals

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// Again is the way out where publishing again is one.
	Again = "run publish again: what has arrived is not sent again"
	// Address is the way out where nobody answers.
	Address = "is the registry's address right, and is it running?"
	// NotTLS is what net/http says when plain http answers where TLS was begun.
	NotTLS = "server gave HTTP response to HTTPS client"
)

// Asked is what a registry was asked about.
type Asked struct {
	Repository name.Repository
	// Reading says that something was to come from there; otherwise it was to go there.
	Reading bool
}

// host is the registry's, with its port.
func (a Asked) host() string { return a.Repository.RegistryStr() }

// again is the way out where trying again is one.
func (a Asked) again() string {
	if a.Reading {
		return "run the target again"
	}
	return Again
}

// Hint is the way out of an error: of a certificate that is not good, of an answer
// (*transport.Error), or where no answer came. It is "" where there is none.
func (a Asked) Hint(err error) string {
	var certificate *tls.CertificateVerificationError
	var answer *transport.Error
	switch {
	case errors.As(err, &certificate): // first: ggcr tries plain http too, and joins both errors
		return a.distrusted(certificate.Err)
	case errors.As(err, &answer):
		return a.refused(answer)
	}
	return a.unanswered(err)
}

// hints maps a registry's answer to the way out.
var hints = map[int]func(Asked) string{
	http.StatusUnauthorized: func(a Asked) string { return "log in: " + a.commands().login(a) },
	http.StatusForbidden: func(a Asked) string {
		if a.Reading {
			return "the credentials lack the right to pull from there"
		}
		return "the credentials lack the right to push there"
	},
	http.StatusNotFound: missing,
	http.StatusRequestEntityTooLarge: func(Asked) string {
		return "the registry, or a proxy before it, limits a layer: set a smaller partSize in the manifest"
	},
	http.StatusTooManyRequests:     func(a Asked) string { return "wait, then " + a.again() },
	http.StatusInsufficientStorage: full,
}

// told are words out of a registry's answer that say more than its status, in lower case.
// What they tell is final: the same request meets the same answer.
var told = []struct {
	words []string
	hint  func(Asked) string
}{
	// Codes first: what they are about is named in the message, and may be any of the words.
	{[]string{"name_unknown"}, missing},
	{[]string{"manifest_unknown"}, func(a Asked) string {
		if a.Reading {
			return missing(a)
		}
		return "there is no such image: check tag or digest"
	}},
	// ECR and Harbor say immutable, Artifact Registry immutability.
	{[]string{"immutab"}, func(a Asked) string {
		return fmt.Sprintf("the tag cannot be moved in this registry: publish under a new tag, -target=%s:NEW; the layers are there already", a.Repository)
	}},
	// Harbor says that an upload "will exceed the configured upper limit".
	{[]string{"quota", "configured upper limit"}, func(a Asked) string {
		return "the registry's quota is used up: delete images there or ask for more, then " + a.again()
	}},
	// distribution hands its disk's error on, in words or as ENOSPC's number.
	{[]string{"no space left on device", "err:28 "}, full},
}

func full(a Asked) string {
	return "the registry's disk is full: make room there, then " + a.again()
}

func missing(a Asked) string {
	if a.Reading {
		return "check repository and tag: the registry does not have them"
	}
	return "create the repository first: " + a.commands().create(a) + "; or check its name"
}

// said is the way out that the words of an answer tell, nil if they tell none. Those of a
// 429 are about requests, whatever quota they name. The address that was asked is left out:
// it holds the repository's name, which may be any of the words.
func said(answer *transport.Error) func(Asked) string {
	alone := *answer
	alone.Request = nil
	text := strings.ToLower(alone.Error())
	for _, known := range told {
		if answer.StatusCode != http.StatusTooManyRequests && slices.ContainsFunc(known.words, func(w string) bool { return strings.Contains(text, w) }) {
			return known.hint
		}
	}
	return nil
}

// Final reports whether words of an answer say that another try meets the same one.
func Final(answer *transport.Error) bool { return said(answer) != nil }

// refused is the way out of a registry's refusal.
func (a Asked) refused(answer *transport.Error) string {
	if hint := said(answer); hint != nil {
		return hint(a)
	}
	if hint := hints[answer.StatusCode]; hint != nil {
		return hint(a)
	}
	if answer.StatusCode < http.StatusInternalServerError {
		return ""
	}
	return "the registry failed: " + a.again()
}

// unanswered is the way out where no answer came.
func (a Asked) unanswered(err error) string {
	var dial *net.OpError
	switch {
	case strings.Contains(err.Error(), NotTLS) && a.Repository.Scheme() == "https":
		return "the registry speaks plain http, which is spoken to this machine and to private addresses only: put TLS before it"
	case errors.As(err, &dial) && dial.Op == "dial":
		return Address
	}
	return a.again()
}

// distrusted is the way out where the registry's certificate is not good.
func (a Asked) distrusted(err error) string {
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &hostname):
		return fmt.Sprintf("the certificate is for another name than %s: write one of its names in the reference, or get one for this", hostname.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s has to be renewed; or is this machine's clock wrong?", a.host())
	}
	return "set SSL_CERT_FILE to a file with the certificate of the registry's authority"
}
