package registrytest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// client trusts the registry's authority alone.
func client(t *testing.T, r *registrytest.Registry) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(r.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
}

// status asks for the registry's base URL.
func status(t *testing.T, c *http.Client, url, user, password string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url+"/v2/", nil)
	require.NoError(t, err)
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := c.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestInteropRegistry(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	plain := registrytest.Start(t, registrytest.Options{})
	require.Empty(t, plain.CA)
	require.Equal(t, http.StatusOK, status(t, http.DefaultClient, "http://"+plain.Host, "", ""))
	plain.Stop()
	require.Equal(t, 1, plain.Requests(http.MethodGet))
	_, err := http.Get("http://" + plain.Host + "/v2/")
	require.Error(t, err, "nobody listens any more")

	guarded := registrytest.Start(t, registrytest.Options{Auth: true, TLS: true})
	c, url := client(t, guarded), "https://"+guarded.Host
	require.Equal(t, http.StatusUnauthorized, status(t, c, url, "", ""))
	require.Equal(t, http.StatusUnauthorized, status(t, c, url, registrytest.User, "wrong"))
	require.Equal(t, http.StatusOK, status(t, c, url, registrytest.User, registrytest.Password))
}

// TestLogin speaks the protocol of credential helpers with the fake one.
func TestLogin(t *testing.T) {
	l := registrytest.NewLogin(t, "registry.example:5000", "a b", "50% $x")
	c := exec.Command("sh", "-c", "printf 'registry.example:5000\n' | docker-credential-fake get")
	c.Env = l.Env()
	out, err := c.Output()
	require.NoError(t, err)
	require.JSONEq(t, `{"Username": "a b", "Secret": "50% $x"}`, string(out))
	require.Equal(t, "get registry.example:5000\n", l.Asked(t))
}
