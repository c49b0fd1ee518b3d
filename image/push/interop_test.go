package push_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// weights are bytes of a model file.
var weights = bytes.Repeat([]byte("w"), 3<<20)

// TestInteropPlainRegistry: a real registry takes the image, and a second time nothing.
func TestInteropPlainRegistry(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{})
	first, err := push.Publish(t.Context(), testImage(t, weights, false), target(t, r.Host+"/team/model:1"), push.Options{})
	require.NoError(t, err)
	require.Equal(t, first.Bytes, first.SentBytes)
	sent := r.Requests(http.MethodPatch)

	second, err := push.Publish(t.Context(), testImage(t, weights, true), target(t, r.Host+"/team/model:2"), push.Options{})
	require.NoError(t, err, "the bytes are not here and not needed")
	require.Zero(t, second.SentBytes)
	require.Zero(t, second.Sent)
	require.Equal(t, first.Digest, second.Digest)
	r.Stop()
	require.Positive(t, sent)
	require.Equal(t, sent, r.Requests(http.MethodPatch), "the registry saw no upload")
}

// newLogin makes a fake credential helper the only source of credentials in this process.
func newLogin(t *testing.T, host, user, password string) registrytest.Login {
	t.Helper()
	l := registrytest.NewLogin(t, host, user, password)
	for _, v := range l.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return l
}

// trusting is a transport that trusts one authority.
func trusting(t *testing.T, ca string) http.RoundTripper {
	t.Helper()
	data, err := os.ReadFile(ca)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(data))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestInteropCredentialHelper: credentials come from a helper program; the registry wants
// TLS and a password.
func TestInteropCredentialHelper(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{Auth: true, TLS: true})
	o := push.Options{Transport: trusting(t, r.CA)}
	ref := target(t, r.Host+"/team/model:1")

	l := newLogin(t, r.Host, registrytest.User, registrytest.Password)
	result, err := push.Publish(t.Context(), testImage(t, weights, false), ref, o)
	require.NoError(t, err)
	require.Equal(t, result.Bytes, result.SentBytes)
	require.Contains(t, l.Asked(t), "get "+r.Host+"\n")

	newLogin(t, r.Host, registrytest.User, "wrong-password")
	requireNoEntry(t, publishTo(t, ref, o))
	newLogin(t, "another.example", registrytest.User, registrytest.Password)
	requireNoEntry(t, publishTo(t, ref, o))
}

func publishTo(t *testing.T, ref push.Target, o push.Options) error {
	t.Helper()
	_, err := push.Publish(t.Context(), testImage(t, weights, false), ref, o)
	return err
}

// requireNoEntry checks the error of a registry that wants other credentials.
func requireNoEntry(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
	require.Contains(t, fault.HintOf(err), "log in")
	require.NotContains(t, err.Error(), "wrong-password")
	require.NotContains(t, err.Error(), registrytest.Password)
}

// TestInteropBrokenHelper: a helper that is not there, or fails, is named.
func TestInteropBrokenHelper(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{Auth: true})
	l := newLogin(t, r.Host, "", "")
	require.NoError(t, os.WriteFile(l.Helper(), []byte("#!/bin/sh\necho the vault is locked\nexit 1\n"), 0o755))
	err := publishTo(t, target(t, r.Host+"/m:1"), push.Options{})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.ErrorContains(t, err, "the vault is locked")
	require.Contains(t, fault.HintOf(err), "credential helper")

	require.NoError(t, os.Remove(l.Helper()))
	err = publishTo(t, target(t, r.Host+"/m:1"), push.Options{})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.ErrorContains(t, err, "docker-credential-fake")
	require.Contains(t, fault.HintOf(err), "credential helper")
}

// childEnv names the reference that a process of this test binary is to publish to. Go
// reads the roots of trust once per process.
const childEnv = "PLIMSOLL_PUSH_TEST_TARGET"

// TestInteropTLSAuthority: SSL_CERT_FILE makes a registry's authority known, and without
// it the registry is refused for its certificate.
func TestInteropTLSAuthority(t *testing.T) {
	if ref := os.Getenv(childEnv); ref != "" {
		err := publishTo(t, target(t, ref), push.Options{})
		fmt.Println("error:", err, "hint:", fault.HintOf(err))
		return
	}
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{TLS: true, Auth: true})
	newLogin(t, r.Host, registrytest.User, registrytest.Password)
	publish := func(ca string) string {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInteropTLSAuthority$", "-test.count=1")
		c.Env = append(os.Environ(), childEnv+"="+r.Host+"/team/model:1", "SSL_CERT_FILE="+ca, "SSL_CERT_DIR="+t.TempDir())
		return interoptest.Output(t, c)
	}
	require.Contains(t, publish(r.CA), "error: <nil>")
	refused := publish(filepath.Join(t.TempDir(), "none"))
	require.Contains(t, refused, "certificate signed by unknown authority")
	require.Contains(t, refused, "hint: set SSL_CERT_FILE")
}
