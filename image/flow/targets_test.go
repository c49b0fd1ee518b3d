package flow_test

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// anotherRegistry is a registry beside the world's.
func anotherRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestPublishReadsOnce: two registries, and every model file is read once for both.
func TestPublishReadsOnce(t *testing.T) {
	w, other := newWorld(t), anotherRegistry(t)
	j := w.job()
	built, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	w.read.Store(0)
	r, err := flow.Publish(t.Context(), j, []string{w.registry + "/demo:1", other + "/demo:1"}, "")
	require.NoError(t, err)
	require.Len(t, r.Targets, 2)
	for _, target := range r.Targets {
		require.Equal(t, built.Digest, target.Digest)
		require.Equal(t, built.Bytes, target.SentBytes)
	}
	require.LessOrEqual(t, w.read.Load(), built.Bytes)
}

// TestPublishPlansFirst: a dry run says what publishing then does, and does none of it.
func TestPublishPlansFirst(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	built, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	o := flow.PublishOptions{Targets: []string{w.registry + "/demo:1"}, DryRun: true}
	dry, err := flow.PublishTo(t.Context(), j, o)
	require.NoError(t, err)
	require.Empty(t, dry.Targets)
	require.Equal(t, built.Bytes, dry.Plans[0].Bytes[push.ToSend])
	plan, err := flow.PlanFor(t.Context(), j, o.Targets, nil)
	require.NoError(t, err)
	require.Equal(t, built.Bytes, plan.Targets[0].Bytes[push.ToSend])
	require.Len(t, plan.Targets[0].Layers, len(built.Layers))

	_, err = flow.Publish(t.Context(), j, o.Targets, "")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "hf")))
	plan, err = flow.PlanFor(t.Context(), w.job(), o.Targets, nil)
	require.NoError(t, err)
	require.Equal(t, map[push.State]int64{push.Present: built.Bytes}, plan.Targets[0].Bytes, "nothing is here, and nothing is needed")
	plan, err = flow.PlanFor(t.Context(), w.job(), []string{anotherRegistry(t) + "/demo:1"}, nil)
	require.NoError(t, err)
	require.Equal(t, built.Bytes-built.Overhead, plan.Targets[0].Bytes[push.ToFetch])
}

// TestDryRunTellsAll: a dry run lists the image of the weights and the documents too, each
// byte once, and a publication then does just that.
func TestDryRunTellsAll(t *testing.T) {
	w := newWorld(t).withBase()
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	host := anotherRegistry(t)
	o := flow.PublishOptions{Targets: []string{host + "/demo:1", host + "/demo:2", host + "/other:1"}, Weights: "weights"}
	publish := func(dry bool) *flow.PublishResult {
		o.DryRun = dry
		r, err := flow.PublishTo(t.Context(), w.job(), o)
		require.NoError(t, err)
		return r
	}
	dry, done := publish(true), publish(false)
	require.Equal(t, done.WeightsDigest, dry.WeightsDigest)
	require.Len(t, done.Targets, 5)
	require.Len(t, dry.Plans, 5)
	for i, target := range done.Targets {
		plan := dry.Plans[i]
		require.Equal(t, target.Reference, plan.Reference)
		require.Len(t, plan.Layers, target.Layers)
		require.Equal(t, target.Bytes, plan.Bytes[push.ToSend]+plan.Bytes[push.Present])
		require.NotEmpty(t, target.Referrers)
		require.Len(t, plan.Referrers, len(target.Referrers))
		for n, d := range target.Referrers {
			require.Equal(t, d.Digest, plan.Referrers[n].Digest)
			require.True(t, plan.Referrers[n].Written)
		}
		if strings.HasSuffix(plan.Reference, ":weights") {
			require.Zero(t, plan.Bytes[push.ToSend], "the image brings its layers")
		}
	}
	require.Regexp(t, `weights\n(.*\n)+.* 0 B to send, .*; 3 of 3 documents to send\n`, dry.Text())

	again := publish(true)
	for _, plan := range again.Plans {
		require.Equal(t, plan.Bytes[push.Present], total(plan))
		for _, d := range plan.Referrers {
			require.False(t, d.Written)
		}
	}
	o.NoReferrers, o.Weights = true, ""
	again = publish(true)
	require.Len(t, again.Plans, 3)
	require.Empty(t, again.Plans[0].Referrers)
	require.Empty(t, again.WeightsDigest)
}

func total(p push.TargetPlan) (n int64) {
	for _, size := range p.Bytes {
		n += size
	}
	return n
}

// TestPublishFailuresAreInTheResult: with error, kind and hint.
func TestPublishFailuresAreInTheResult(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	_, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	gone := strings.TrimPrefix(nobody(t), "http://")
	r, err := flow.Publish(t.Context(), j, []string{gone + "/demo:1", w.registry + "/demo:1"}, "")
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Len(t, r.Targets, 1)
	require.Len(t, r.Failed, 1)
	require.Equal(t, gone+"/demo:1", r.Failed[0].Reference)
	require.Equal(t, "registry", r.Failed[0].Kind)
	require.NotEmpty(t, r.Failed[0].Hint)
	require.Contains(t, r.Text(), "FAILED")
}

// TestDoctor: limits count before there is an image, and the worst answer is the error.
func TestDoctor(t *testing.T) {
	w := newWorld(t)
	r, err := flow.Doctor(t.Context(), w.job(), nil)
	require.Equal(t, fault.Lock, fault.KindOf(err))
	require.False(t, r.Checks[0].OK)

	known := push.Registries
	push.Registries = append([]push.Registry{{Host: w.registry, Layer: 5000}}, known...)
	t.Cleanup(func() { push.Registries = known })
	j := w.job()
	_, err = flow.Lock(t.Context(), j, false)
	require.NoError(t, err)
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { _, err := flow.Make(t.Context(), j); return err },
	} {
		require.NoError(t, prepare())
		r, err = flow.Doctor(t.Context(), j, []string{w.registry + "/demo:1"})
		require.Equal(t, fault.Usage, fault.KindOf(err), "%v", err)
		require.Contains(t, fault.HintOf(err), "partSize")
		last := r.Checks[len(r.Checks)-1]
		require.Equal(t, "limits", last.Name)
		require.False(t, last.OK)
		require.Equal(t, "usage", last.Kind)
	}

	_, err = flow.Publish(t.Context(), j, []string{w.registry + "/demo:1"}, "")
	require.Equal(t, fault.Usage, fault.KindOf(err), "refused before a byte")
	gone := strings.TrimPrefix(nobody(t), "http://")
	r, err = flow.Doctor(t.Context(), j, []string{w.registry + "/demo:1", gone + "/demo:1"})
	require.Equal(t, fault.Registry, fault.KindOf(err), "the highest exit code")
	require.Contains(t, r.Text(), "✗ reachable")
	require.Contains(t, r.Text(), "✓ push: granted")
}
