package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestFetch(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc(".xz"), basetest.BaseFiles()}, ".xz")
	o := options(t, m.URL())
	var progress []string
	o.Progress = func(name string, done, total int64) {
		if done == total {
			progress = append(progress, fmt.Sprint(name, " ", total))
		}
	}
	debs, err := Fetch(context.Background(), o, packages)
	require.NoError(t, err)
	for i, d := range debs {
		require.Equal(t, packages[i], d.Package)
		require.Equal(t, filepath.Join(o.Cache, d.SHA256+".deb"), d.File)
		got, err := os.ReadFile(d.File)
		require.NoError(t, err)
		require.Equal(t, m.deb(t, d.Package), got)
	}
	require.Equal(t, []string{
		fmt.Sprint("base-files ", packages[0].Size), fmt.Sprint("libc6 ", packages[1].Size),
	}, progress)
	require.Equal(t, 2, m.count(".deb"))
	require.Len(t, entries(t, o.Cache), 2, "no temporary file is left")

	m.Close()
	again, err := Fetch(context.Background(), o, packages)
	require.NoError(t, err, "with everything in the cache it needs no network")
	require.Equal(t, debs, again)
}

func entries(t *testing.T, dir string) []string {
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestFetchReplacesADamagedCacheFile(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	o := options(t, m.URL())
	debs, err := Fetch(context.Background(), o, packages)
	require.NoError(t, err)
	good, err := os.ReadFile(debs[0].File)
	require.NoError(t, err)
	for _, damaged := range [][]byte{flip(good, 100), good[:10], append(bytes.Clone(good), 0)} {
		require.NoError(t, os.WriteFile(debs[0].File, damaged, 0o644))
		_, err = Fetch(context.Background(), o, packages)
		require.NoError(t, err)
		now, err := os.ReadFile(debs[0].File)
		require.NoError(t, err)
		require.Equal(t, good, now)
	}
}

func TestFetchGoesToTheNextMirror(t *testing.T) {
	other := newMirror(t)
	packages := other.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	p := packages[0]
	good := other.deb(t, p)
	for name, bad := range map[string][]byte{
		"other bytes": flip(good, 100), "shorter": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
	} {
		t.Run(name, func(t *testing.T) {
			wrong := newMirror(t)
			wrong.Put("debian/"+p.Path, bad)
			o := options(t, dead(t), wrong.URL(), other.URL())
			_, err := Fetch(context.Background(), o, packages)
			require.NoError(t, err)
			require.Equal(t, 1, wrong.count(".deb"), "wrong bytes are not asked for again")

			o = options(t, wrong.URL())
			_, err = Fetch(context.Background(), o, packages)
			require.ErrorContains(t, err, wrong.URL())
			require.ErrorIs(t, err, errDiffers)
			require.False(t, errors.Is(err, ErrNoMirror))
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			_, err = os.Stat(o.Cache)
			require.ErrorIs(t, err, os.ErrNotExist, "nothing is stored")
		})
	}
}

func TestFetchFromSnapshot(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	p := packages[0]
	deb := m.deb(t, p)
	require.True(t, m.Remove("debian/"+p.Path))

	snapshot := newMirror(t)
	arm, wrong, right := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	list := "mr/binary/libc6/2.41-12+deb13u4/binfiles"
	snapshot.Put(list, fmt.Appendf(nil, `{"binary":"libc6","result":[{"hash":%q,"architecture":"arm64"},
		{"hash":"../../x","architecture":"amd64"},{"hash":%q,"architecture":"amd64"},{"hash":%q,"architecture":"amd64"}]}`, arm, wrong, right))
	snapshot.Put("file/"+wrong, flip(deb, 9))
	snapshot.Put("file/"+right, deb)

	o := options(t, m.URL())
	_, err := Fetch(context.Background(), o, packages)
	require.ErrorIs(t, err, errAbsent)
	require.Contains(t, fault.HintOf(err), "lock -update")

	o.Snapshot = snapshot.Origin()
	debs, err := Fetch(context.Background(), o, packages)
	require.NoError(t, err)
	require.FileExists(t, debs[0].File)
	require.Equal(t, []string{"/" + list, "/file/" + wrong, "/file/" + right}, snapshot.Asked())

	for name, answer := range map[string]string{"no such architecture": `{"result":[]}`, "not JSON": "<html>"} {
		snapshot.Put(list, []byte(answer))
		o.Cache = t.TempDir()
		_, err = Fetch(context.Background(), o, packages)
		require.ErrorContains(t, err, snapshot.Origin(), name)
		require.ErrorIs(t, err, errAbsent, "the mirror said so")
	}
}

func TestFetchTriesAgain(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	for name, fault := range map[string]func(http.ResponseWriter){
		"server error": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(packages[0].Size))
			_, _ = w.Write([]byte("half"))
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := true
			m.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				now := first
				if first = false; now {
					fault(w)
				}
				return now
			})
			_, err := Fetch(context.Background(), options(t, m.URL()), packages)
			require.NoError(t, err)
			require.Equal(t, 2, m.count(".deb"))
		})
	}
}

func TestFetchLeavesASilentMirror(t *testing.T) {
	good := newMirror(t)
	packages := good.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	silent := newMirror(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	silent.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		<-done
		return true
	})
	o := options(t, silent.URL(), good.URL())
	o.stall = 50 * time.Millisecond
	_, err := Fetch(context.Background(), o, packages)
	require.NoError(t, err)
	require.Equal(t, 1, silent.count(".deb"))
}

func TestFetchStopsWithItsContext(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	ctx, cancel := context.WithCancel(context.Background())
	m.Intercept(func(http.ResponseWriter, *http.Request) bool {
		cancel()
		<-ctx.Done()
		return true
	})
	_, err := Fetch(ctx, options(t, m.URL(), m.URL()+"/second"), packages)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Equal(t, 1, m.count(".deb"), "the second mirror is not asked")
}

func TestFetchHidesCredentials(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	withUser, err := url.Parse(m.URL())
	require.NoError(t, err)
	withUser.User = url.UserPassword("alice", "secret")
	m.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		require.Equal(t, "alice secret", user+" "+password)
		http.Redirect(w, r, dead(t)+"?X-Signature=signed", http.StatusFound)
		return true
	})
	_, err = Fetch(context.Background(), options(t, withUser.String(), "http://alice:secret@a b/"), packages)
	require.ErrorIs(t, err, ErrNoMirror)
	require.ErrorContains(t, err, m.URL(), "the mirror is named")
	for _, hidden := range []string{"alice", "secret", "signed"} {
		require.NotContains(t, err.Error(), hidden)
	}
}

func TestFetchUnwritableCache(t *testing.T) {
	m := newMirror(t)
	packages := m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for cache, kind := range map[string]fault.Kind{"": fault.Usage, filepath.Join(file, "below"): fault.Resource} {
		o := options(t, m.URL(), m.URL())
		o.Cache = cache
		_, err := Fetch(context.Background(), o, packages)
		require.ErrorIs(t, err, errCache)
		require.LessOrEqual(t, m.count(".deb"), 1)
		_, err = Resolve(context.Background(), o, "trixie", "amd64", []string{"libc6"})
		require.ErrorIs(t, err, errCache)
		require.Equal(t, kind, fault.KindOf(err))
		require.Equal(t, 1, m.count("InRelease"), "no other mirror would help")
	}
}

func TestFetchChecksPackages(t *testing.T) {
	good := saveDeb(t, basetest.Libc(""), t.TempDir()).Package
	cases := []struct {
		field string
		spoil func(p *manifests.Package)
	}{
		{"name", func(p *manifests.Package) { p.Name = "../x" }},
		{"version", func(p *manifests.Package) { p.Version = "1/../2" }},
		{"architecture", func(p *manifests.Package) { p.Arch = "amd64/x" }},
		{"suite", func(p *manifests.Package) { p.Suite = "" }},
		{"path", func(p *manifests.Package) { p.Path = "pool/../../etc/x.deb" }},
		{"sha256", func(p *manifests.Package) { p.SHA256 = "../" + p.SHA256[3:] }},
		{"size", func(p *manifests.Package) { p.Size = MaxDeb + 1 }},
	}
	for _, c := range cases {
		p := good
		c.spoil(&p)
		_, err := Fetch(context.Background(), options(t), []manifests.Package{p})
		require.ErrorContains(t, err, "its "+c.field+" is")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}
