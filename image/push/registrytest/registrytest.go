// Package registrytest runs Debian's docker-registry (distribution 2.8) on a free port of
// loopback, for tests: a registry that others wrote, with their limits and their errors.
//
// It can ask for a password (htpasswd) and speak TLS with a certificate of its own
// authority. What it stores lies in a folder of the test's and goes with it, and so does
// the process.
package registrytest

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// User and Password are the one account of a registry that asks for one.
const (
	User     = "captain"
	Password = "plimsoll-password"
	// hashed is Password, hashed by bcrypt with cost 5, the only form the registry takes.
	hashed = "$2y$05$abcdefghijklmnopqrstuu1ZpwVaMvmSaxqel6fu5RPArGuvvKbDq"
)

// startup bounds how long the registry may take to listen.
const startup = 20 * time.Second

// Options say what the registry demands.
type Options struct {
	// Auth: User and Password are needed for everything.
	Auth bool
	// TLS: only https is spoken.
	TLS bool
	// Expired: the certificate was good until a minute ago. Elsewhere: it is another host's.
	Expired, Elsewhere bool
	// Data is the folder of what is stored; "": one of the test's own.
	Data string
	// Program is the registry to run; "": docker-registry. The registry of distribution 3
	// takes the same configuration.
	Program string
}

// Registry is a running registry.
type Registry struct {
	// Host is host and port, as in a reference.
	Host string
	// CA is the PEM file of the authority that signed the certificate, "" without TLS. It is
	// alone in its folder, under a name ending in .crt.
	CA   string
	dir  string
	log  *log
	stop func()
}

// Start starts a registry that ends with the test. The program must be there.
func Start(t testing.TB, o Options) *Registry {
	t.Helper()
	r := &Registry{dir: t.TempDir(), log: &log{address: make(chan string, 1)}}
	config := r.config(t, o)
	c := exec.Command(cmp.Or(o.Program, "docker-registry"), "serve", config)
	c.Stdout, c.Stderr = r.log, r.log
	require.NoError(t, c.Start())
	r.stop = sync.OnceFunc(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	t.Cleanup(r.stop)
	select {
	case r.Host = <-r.log.address:
	case <-time.After(startup):
		t.Fatalf("starting docker-registry: it does not listen after %s\n%s", startup, r.log)
	}
	return r
}

// Stop ends the registry before the test does. Afterwards Requests is complete.
func (r *Registry) Stop() { r.stop() }

// Requests counts the answered requests with a method, by the registry's own log.
func (r *Registry) Requests(method string) int {
	return strings.Count(r.log.String(), `"`+method+` /v2/`)
}

// config writes the registry's configuration and returns its path.
func (r *Registry) config(t testing.TB, o Options) string {
	t.Helper()
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\n"+
		"storage: {filesystem: {rootdirectory: %q}, maintenance: {uploadpurging: {enabled: false}}}\n", cmp.Or(o.Data, r.path("data")))
	if o.Auth {
		require.NoError(t, os.WriteFile(r.path("htpasswd"), []byte(User+":"+hashed+"\n"), 0o600))
		text += fmt.Sprintf("auth: {htpasswd: {realm: plimsoll, path: %q}}\n", r.path("htpasswd"))
	}
	tls := ""
	if o.TLS {
		r.CA = r.path("ca/ca.crt")
		certify(t, o, r.CA, r.path("cert.pem"), r.path("key.pem"))
		tls = fmt.Sprintf(", tls: {certificate: %q, key: %q}", r.path("cert.pem"), r.path("key.pem"))
	}
	text += fmt.Sprintf("http: {addr: '127.0.0.1:0', secret: none%s}\n", tls)
	require.NoError(t, os.WriteFile(r.path("config.yml"), []byte(text), 0o600))
	return r.path("config.yml")
}

func (r *Registry) path(name string) string { return filepath.Join(r.dir, name) }

// certify makes an authority and a certificate for 127.0.0.1 that it signs, with the faults
// that the options ask for.
func certify(t testing.TB, o Options, ca, cert, key string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plimsoll test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if o.Expired {
		server.NotAfter = time.Now().Add(-time.Minute)
	}
	if o.Elsewhere {
		server.IPAddresses, server.DNSNames = nil, []string{"elsewhere.example"}
	}
	caKey, serverKey := newKey(t), newKey(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(ca), 0o755))
	writeCertificate(t, ca, authority, authority, caKey, caKey)
	writeCertificate(t, cert, server, authority, serverKey, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(serverKey)
	require.NoError(t, err)
	writePEM(t, key, "PRIVATE KEY", der)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func writeCertificate(t testing.TB, path string, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	writePEM(t, path, "CERTIFICATE", der)
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// listening is the line that tells the port.
var listening = regexp.MustCompile(`msg="listening on (127\.0\.0\.1:[0-9]+)`)

// log keeps what the registry says, and finds its address in it.
type log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	found   bool
	address chan string
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if m := listening.FindSubmatch(l.text.Bytes()); m != nil && !l.found {
		l.found = true
		l.address <- string(m[1])
	}
	return len(p), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
