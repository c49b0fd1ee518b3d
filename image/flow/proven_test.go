package flow_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// refusing is a registry that counts the uploads that it refused to close.
func refusing(t *testing.T) (host string, refused *atomic.Int64) {
	t.Helper()
	inner, refused := registry.New(registry.Logger(log.New(io.Discard, "", 0))), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&watched{ResponseWriter: w, closing: r.Method == http.MethodPut, refused: refused}, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), refused
}

// watched counts refusals.
type watched struct {
	http.ResponseWriter
	closing bool
	refused *atomic.Int64
}

func (w *watched) WriteHeader(code int) {
	if w.closing && code == http.StatusBadRequest {
		w.refused.Add(1)
	}
	w.ResponseWriter.WriteHeader(code)
}

// TestPublishTrustsTheMemo: files that were checked are sent without being hashed again, as
// long as they stand as they did. A memo that is wrong makes no image: the registry refuses
// the layer, and the error says what is wrong with the file.
func TestPublishTrustsTheMemo(t *testing.T) {
	w := newWorld(t)
	w.opts.Open = func(path string) (image.File, error) { return os.Open(path) }
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	host, refused := refusing(t)
	publish := func() error {
		_, err := flow.Publish(t.Context(), w.job(), []string{host + "/demo:1"}, "")
		return err
	}
	blob := w.largestBlob()
	require.NoError(t, flip(blob, 4096))
	err = publish()
	require.ErrorContains(t, err, "the bytes have sha256")
	require.Zero(t, refused.Load(), "the memo does not know the file: it was hashed as it left")

	memos, err := filepath.Glob(filepath.Join(w.dir, "hf", "hub", "plimsoll", "checked.jsonl"))
	require.NoError(t, err)
	require.Len(t, memos, 1)
	memo, err := verify.OpenMemo(memos[0])
	require.NoError(t, err)
	require.NoError(t, memo.Remember(blob, filepath.Base(blob)))
	err = publish()
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "the bytes have sha256")
	require.Contains(t, fault.HintOf(err), "verify -force=true")
	require.Positive(t, refused.Load(), "the memo was believed, the registry was not deceived")

	j := w.job()
	r, err := flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	require.Error(t, r.Findings.Err(), "the way out that the hint names")
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	require.NoError(t, publish())
}
