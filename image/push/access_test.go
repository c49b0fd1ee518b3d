package push_test

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// locked is a keychain that cannot be opened.
type locked struct{}

func (locked) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, errors.New("the vault is locked")
}

// TestFailingKeychain: the registry is not blamed for a keychain.
func TestFailingKeychain(t *testing.T) {
	host := serve(t, nil)
	_, err := push.Publish(t.Context(), testImage(t, []byte("w"), false), target(t, host+"/m:1"), push.Options{Keychain: locked{}})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.ErrorContains(t, err, "finding credentials for "+host+": the vault is locked")
	require.Contains(t, fault.HintOf(err), "credential helper")
}

// TestTLSRegistry: a registry on loopback may speak TLS, and its certificate counts.
func TestTLSRegistry(t *testing.T) {
	s := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ref := target(t, strings.TrimPrefix(s.URL, "https://")+"/m:1")
	_, err := push.Publish(t.Context(), testImage(t, []byte("w"), false), ref, push.Options{})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "SSL_CERT_FILE")
	_, err = push.Publish(t.Context(), testImage(t, []byte("w"), false), ref, push.Options{Transport: s.Client().Transport})
	require.NoError(t, err)
}
