package push

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// again is the way out where trying again is one.
	again = "run publish again: what has arrived is not sent again"
	// address is the way out where nobody answers.
	address = "is the registry's address right, and is it running?"
)

// hints maps a registry's answer to the way out.
var hints = map[int]func(Target) string{
	http.StatusUnauthorized: func(t Target) string { return "log in: " + t.commands().login(t) },
	http.StatusForbidden:    func(Target) string { return "the credentials lack the right to push there" },
	http.StatusNotFound:     missing,
	http.StatusRequestEntityTooLarge: func(Target) string {
		return "the registry, or a proxy before it, limits a layer: set a smaller partSize in the manifest"
	},
	http.StatusTooManyRequests:     func(Target) string { return "wait, then " + again },
	http.StatusInsufficientStorage: full,
}

// told are words out of a registry's answer that say more than its status, in lower case.
// What they tell is final: the same request meets the same answer.
var told = []struct {
	words []string
	hint  func(Target) string
}{
	// Codes first: what they are about is named in the message, and may be any of the words.
	{[]string{"name_unknown"}, missing},
	{[]string{"manifest_unknown"}, func(Target) string { return "there is no such image: check tag or digest" }},
	// ECR and Harbor say immutable, Artifact Registry immutability.
	{[]string{"immutab"}, func(t Target) string {
		return fmt.Sprintf("the tag cannot be moved in this registry: publish under a new tag, -target=%s:NEW; the layers are there already", t.ref.Context())
	}},
	// Harbor says that an upload "will exceed the configured upper limit".
	{[]string{"quota", "configured upper limit"}, func(Target) string {
		return "the registry's quota is used up: delete images there or ask for more, then " + again
	}},
	// distribution hands its disk's error on, in words or as ENOSPC's number.
	{[]string{"no space left on device", "err:28 "}, full},
}

func full(Target) string {
	return "the registry's disk is full: make room there, then " + again
}

func missing(t Target) string {
	return "create the repository first: " + t.commands().create(t) + "; or check its name"
}

// said is the way out that the words of an answer tell, nil if they tell none. Those of a
// 429 are about requests, whatever quota they name. The address that was asked is left out:
// it holds the repository's name, which may be any of the words.
func said(answer *transport.Error) func(Target) string {
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

// final reports whether words of an answer say that another try meets the same one.
func final(answer *transport.Error) bool { return said(answer) != nil }

// hintFor is the way out of a registry's refusal.
func (t Target) hintFor(answer *transport.Error) string {
	if hint := said(answer); hint != nil {
		return hint(t)
	}
	if hint := hints[answer.StatusCode]; hint != nil {
		return hint(t)
	}
	if answer.StatusCode < http.StatusInternalServerError {
		return ""
	}
	return "the registry failed: " + again
}

// commands are the next steps at one kind of registry.
type commands struct {
	host          string
	login, create func(Target) string
}

// commands of the target's registry. Those of clouds are of their own command lines.
func (t Target) commands() commands {
	for _, c := range nextSteps {
		if match, _ := path.Match(c.host, t.ref.RegistryStr()); match {
			return c
		}
	}
	return commands{login: dockerLogin, create: func(t Target) string {
		return fmt.Sprintf("%s at %s", t.ref.RepositoryStr(), t.ref.RegistryStr())
	}}
}

func dockerLogin(t Target) string {
	return fmt.Sprintf("docker login %s, or set up a credential helper", t.ref.RegistryStr())
}

var nextSteps = []commands{
	{"*.dkr.ecr.*.amazonaws.com", func(t Target) string {
		region := strings.Split(t.ref.RegistryStr(), ".")[3]
		return fmt.Sprintf("aws ecr get-login-password --region %s | docker login --username AWS --password-stdin %s", region, t.ref.RegistryStr())
	}, func(t Target) string {
		return fmt.Sprintf("aws ecr create-repository --region %s --repository-name %s", strings.Split(t.ref.RegistryStr(), ".")[3], t.ref.RepositoryStr())
	}},
	{"public.ecr.aws", func(t Target) string {
		return "aws ecr-public get-login-password --region us-east-1 | docker login --username AWS --password-stdin public.ecr.aws"
	}, func(t Target) string {
		_, repository, _ := strings.Cut(t.ref.RepositoryStr(), "/")
		return "aws ecr-public create-repository --region us-east-1 --repository-name " + repository
	}},
	{"*-docker.pkg.dev", func(t Target) string {
		return "gcloud auth configure-docker " + t.ref.RegistryStr()
	}, func(t Target) string {
		project, rest, _ := strings.Cut(t.ref.RepositoryStr(), "/")
		repository, _, _ := strings.Cut(rest, "/")
		return fmt.Sprintf("gcloud artifacts repositories create %s --project=%s --location=%s --repository-format=docker",
			repository, project, strings.TrimSuffix(t.ref.RegistryStr(), "-docker.pkg.dev"))
	}},
}

// classify marks an error of a registry with kind and hint. Kinds that are set already,
// such as for bytes that are not here, stay.
func classify(t Target, doing string, err error) error {
	wrapped := fmt.Errorf("%s %s: %w", doing, t, err)
	if k := fault.KindOf(err); k != fault.Internal {
		return wrapped
	}
	var certificate *tls.CertificateVerificationError
	var answer *transport.Error
	switch {
	case errors.As(err, &certificate): // first: ggcr tries plain http too, and joins both errors
		return fault.Wrap(fault.Registry, distrusted(t, certificate.Err), wrapped)
	case errors.As(err, &answer):
		return fault.Wrap(fault.Registry, t.hintFor(answer), wrapped)
	}
	return fault.Wrap(fault.Registry, unanswered(t, err), wrapped)
}

// lost is classify where the registry has answered before: then its address is right, and
// one that answers no more is waited for.
func lost(t Target, doing string, err error) error {
	err = classify(t, doing, err)
	if fault.HintOf(err) == address {
		return fault.Wrap(0, again, err)
	}
	return err
}

// unanswered is the way out where no answer came.
func unanswered(t Target, err error) string {
	var dial *net.OpError
	switch {
	case strings.Contains(err.Error(), notTLS) && t.ref.Context().Scheme() == "https":
		return "the registry speaks plain http, which is spoken to this machine and to private addresses only: put TLS before it"
	case errors.As(err, &dial) && dial.Op == "dial":
		return address
	}
	return again
}

// distrusted is the way out where the registry's certificate is not good.
func distrusted(t Target, err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for another name than %s: write one of its names in -target, or get one for this", name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s has to be renewed; or is this machine's clock wrong?", t.ref.RegistryStr())
	}
	return "set SSL_CERT_FILE to a file with the certificate of the registry's authority"
}
