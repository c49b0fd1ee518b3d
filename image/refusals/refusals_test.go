package refusals_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/refusals"
)

// refused is an answer with a status and, where it is not empty, an error's code.
func refused(status int, code string) error {
	e := &transport.Error{StatusCode: status}
	if code != "" {
		e.Errors = []transport.Diagnostic{{Code: transport.ErrorCode(code)}}
	}
	return fmt.Errorf("asking: %w", e)
}

// TestBothWays: what to do after the same answer depends on the way that bytes were to go.
func TestBothWays(t *testing.T) {
	const aws = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/model"
	for _, c := range []struct {
		repository       string
		err              error
		writing, reading string
	}{
		{"ghcr.io/o/m", refused(401, ""), "log in: docker login ghcr.io", "log in: docker login ghcr.io"},
		{aws, refused(401, ""), "aws ecr get-login-password --region eu-central-1", "aws ecr get-login-password --region eu-central-1"},
		{"ghcr.io/o/m", refused(403, "DENIED"), "right to push there", "right to pull from there"},
		{"ghcr.io/o/m", refused(404, ""), "create the repository first: o/m at ghcr.io", "check repository and tag"},
		{aws, refused(404, "NAME_UNKNOWN"), "aws ecr create-repository", "check repository and tag"},
		{"ghcr.io/o/m", refused(404, "MANIFEST_UNKNOWN"), "there is no such image", "check repository and tag"},
		{"ghcr.io/o/m", refused(429, ""), "wait, then run publish again", "wait, then run the target again"},
		{"ghcr.io/o/m", refused(503, ""), "the registry failed: run publish again", "the registry failed: run the target again"},
		{"ghcr.io/o/m", io.ErrUnexpectedEOF, "run publish again", "run the target again"},
		{"ghcr.io/o/m", &net.OpError{Op: "dial", Err: errors.New("refused")}, refusals.Address, refusals.Address},
		{"ghcr.io/o/m", errors.New("http: " + refusals.NotTLS), "put TLS before it", "put TLS before it"},
		{"ghcr.io/o/m", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "set SSL_CERT_FILE", "set SSL_CERT_FILE"},
		{"ghcr.io/o/m", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "ghcr.io has to be renewed", "ghcr.io has to be renewed"},
		{"ghcr.io/o/m", &tls.CertificateVerificationError{Err: x509.HostnameError{Host: "ghcr.io", Certificate: &x509.Certificate{}}}, "another name than ghcr.io", "another name than ghcr.io"},
	} {
		repo, err := name.NewRepository(c.repository)
		require.NoError(t, err)
		require.Contains(t, refusals.Asked{Repository: repo}.Hint(c.err), c.writing)
		require.Contains(t, refusals.Asked{Repository: repo, Reading: true}.Hint(c.err), c.reading)
	}
	repo, err := name.NewRepository("ghcr.io/o/m")
	require.NoError(t, err)
	require.Empty(t, refusals.Asked{Repository: repo}.Hint(refused(418, "")))
}
