package progress

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/cache"
)

// TestEvents pins the form of every event.
func TestEvents(t *testing.T) {
	out := &console{}
	e := NewEvents(out)
	p := Files(e, true).(*fileEvents)
	file := fetch.File{Repo: "org/name", Commit: strings.Repeat("a", 40), Path: "m.bin", Size: 700}
	p.Start(fetch.Need{Files: 1, Blobs: 1, Total: 700, Partial: 50, Download: 650, Disk: 600, Free: 5000})
	p.File(fetch.Event{File: file, Kind: fetch.Waiting, Owner: cache.Owner{PID: 17, Start: 3, Host: "box", Space: "s"}})
	p.File(fetch.Event{File: file, Kind: fetch.Began, Bytes: 50})
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 100})
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 100})
	p.bar.beat(p.bar.count.start.Add(5 * time.Second))
	p.File(fetch.Event{File: file, Kind: fetch.Retrying, Err: errors.New("reset"), Wait: 1500 * time.Millisecond})
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 450})
	p.File(fetch.Event{File: file, Kind: fetch.Discarded, Bytes: 700, Err: errors.New("sha256 is a, lock says b")})
	p.File(fetch.Event{File: file, Kind: fetch.Checked, Bytes: 700})
	p.File(fetch.Event{File: file, Kind: fetch.Finished, Bytes: 700})
	p.bar.Say("hm")
	fmt.Fprint(e, "note: two\nlines and")
	fmt.Fprint(e, " a \"half\"\n")
	p.Done()
	about := `"repo":"org/name","commit":"` + file.Commit + `","file":"m.bin"`
	lines := strings.Split(strings.TrimSpace(out.text()), "\n")
	require.Regexp(t, `^\{"event":"ended","step":"fetch","done":1350,"total":1350,"seconds":[0-9.e-]+\}$`, lines[len(lines)-1])
	require.Equal(t, []string{
		`{"event":"plan","files":1,"blobs":1,"total":700,"cached":0,"unchecked":0,"partial":50,"download":650,"disk":600,"free":5000}`,
		`{"event":"waiting",` + about + `,"bytes":0,"owner":{"pid":17,"start":3,"host":"box","space":"s"}}`,
		`{"event":"began",` + about + `,"bytes":50}`,
		`{"event":"progress","step":"fetch","done":200,"total":650,"rate":40,"left":11.25}`,
		`{"event":"received",` + about + `,"bytes":200}`,
		`{"event":"retrying",` + about + `,"bytes":0,"error":"reset","wait":1.5}`,
		`{"event":"received",` + about + `,"bytes":450}`,
		`{"event":"discarded",` + about + `,"bytes":700,"error":"sha256 is a, lock says b"}`,
		`{"event":"checked",` + about + `,"bytes":700}`,
		`{"event":"finished",` + about + `,"bytes":700}`,
		`{"event":"note","step":"fetch","text":"hm"}`,
		`{"event":"note","text":"note: two"}`,
		`{"event":"note","text":"lines and a \"half\""}`,
	}, lines[:len(lines)-1])
}

// TestEventsOfBars: a step without files, of unknown length.
func TestEventsOfBars(t *testing.T) {
	out := &console{}
	b := New(NewEvents(out), true, "verify", 0)
	b.beat(b.count.start.Add(5 * time.Second))
	b.Finish()
	require.Regexp(t, `^\{"event":"progress","step":"verify","done":0,"total":0,"rate":0,"left":null\}
\{"event":"ended","step":"verify","done":0,"total":0,"seconds":[0-9.e-]+\}
$`, out.text())
}

// TestEventsComeOnceASecond: pieces of a file are added up.
func TestEventsComeOnceASecond(t *testing.T) {
	out := &console{}
	p := Files(NewEvents(out), false).(*fileEvents)
	p.Start(fetch.Need{Blobs: 1, Download: 1000})
	file := fetch.File{Repo: "org/name", Path: "m.bin", Size: 1000}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 10 {
				p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 7})
			}
		})
	}
	wg.Wait()
	require.NotContains(t, out.text(), "received")
	p.mu.Lock()
	p.pending[keyOf(file)].told = time.Now().Add(-together)
	p.mu.Unlock()
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 300})
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 1})
	require.Equal(t, 1, strings.Count(out.text(), "received"))
	require.Contains(t, out.text(), `"bytes":1000}`)
	p.Done()
	for line := range strings.Lines(out.text()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}
