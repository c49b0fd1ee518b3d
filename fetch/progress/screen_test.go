package progress

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch"
)

// terminal understands what a screen writes, as xterm does (ECMA-48, and a terminal driver
// that makes a carriage return out of every newline).
type terminal struct {
	t          *testing.T
	mu         sync.Mutex
	cols, rows int
	lines      [][]rune // all lines from the first one on, scrolled away ones included
	row, col   int
	writes     int
}

func newTerminal(t *testing.T, cols, rows int) *terminal {
	return &terminal{t: t, cols: cols, rows: rows, lines: [][]rune{nil}}
}

// screen is the terminal's screen.
func (c *terminal) screen() *screen {
	return &screen{w: c, size: func() (int, int) { c.mu.Lock(); defer c.mu.Unlock(); return c.cols, c.rows }}
}

func (c *terminal) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	text := string(p)
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			text = c.control(rest)
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		c.put(r)
	}
	return len(p), nil
}

// control obeys a control sequence and returns what follows it.
func (c *terminal) control(text string) string {
	end := strings.IndexAny(text, "AJKBCDHfhlm")
	require.GreaterOrEqual(c.t, end, 0, "%q", text)
	switch text[end] {
	case 'A':
		n := 0
		_, err := fmt.Sscan(text[:end], &n)
		require.NoError(c.t, err)
		c.row = max(c.row-n, len(c.lines)-c.rows, 0)
	case 'K':
		c.lines[c.row] = c.lines[c.row][:min(c.col, len(c.lines[c.row]))]
	case 'J':
		c.lines[c.row] = c.lines[c.row][:min(c.col, len(c.lines[c.row]))]
		c.lines = c.lines[:c.row+1]
	default:
		require.Fail(c.t, "a sequence that not all terminals know", "%q", text[:end+1])
	}
	return text[end+1:]
}

func (c *terminal) put(r rune) {
	switch r {
	case '\r':
		c.col = 0
	case '\n':
		c.row, c.col = c.row+1, 0
		if c.row == len(c.lines) {
			c.lines = append(c.lines, nil)
		}
	default:
		if c.col == c.cols {
			c.put('\n')
		}
		for len(c.lines[c.row]) <= c.col {
			c.lines[c.row] = append(c.lines[c.row], ' ')
		}
		c.lines[c.row][c.col] = r
		c.col++
	}
}

// narrow changes the width as terminals do that break their lines anew.
func (c *terminal) narrow(cols int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines [][]rune
	for i, l := range c.lines {
		if i == c.row {
			c.row = len(lines)
		}
		for len(l) > cols {
			lines, l = append(lines, l[:cols]), l[cols:]
		}
		lines = append(lines, l)
	}
	c.lines, c.cols = lines, cols
}

func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out strings.Builder
	for _, l := range c.lines {
		out.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return out.String()
}

// TestScreen: rows are drawn over themselves, what is told stays above them, and the last
// row of a step stays in the end.
func TestScreen(t *testing.T) {
	c := newTerminal(t, 60, 10)
	s := c.screen()
	a, b := &Bar{}, &Bar{}
	s.show(a, []row{{name: "push", total: 100, done: 50}})
	s.show(b, []row{{name: "verify", total: 10}, {name: "  x", total: 10, done: 5}})
	s.show(a, []row{{name: "push", total: 100, done: 75}})
	before := c.writes
	s.say("verify", "hello\x1b[2J")
	require.Equal(t, before+1, c.writes, "one write for each drawing")
	require.Equal(t, `verify: hello?[2J
push     75% [=========>....] 75 B
verify    0% [..............] 0 B
  x      50% [======>.......] 5 B

`, c.text())
	s.end(b, row{name: "verify", total: 10, done: 10}, time.Second)
	s.show(a, []row{{name: "push", total: 100, done: 76}})
	require.Equal(t, `verify: hello?[2J
verify  100% [==============] 10 B in 1s, 10
push   76% [===========>....] 76 B

`, strings.ReplaceAll(c.text(), " B/s", ""))
	s.end(a, row{name: "push", total: 100, done: 80}, 2*time.Second)
	require.True(t, strings.HasSuffix(c.text(), "80 B of 100 B in 2s, 40 B/s\n\n"), c.text())
	s.say("push", "late")
	require.True(t, strings.HasSuffix(c.text(), "\npush: late\n\n"), c.text())
}

// TestResize: a terminal that gets narrower breaks the rows that stand there; the next
// drawing finds their beginning all the same, and what stands above is left alone.
func TestResize(t *testing.T) {
	c := newTerminal(t, 100, 24)
	s := c.screen()
	s.say("x", "a line above")
	b := &Bar{}
	for _, cols := range []int{100, 41, 23, 12, 100, 30} {
		c.narrow(cols)
		s.show(b, sampleRows())
		text := c.text()
		require.Equal(t, 1, strings.Count(text, "fetch"), "%d columns:\n%s", cols, text)
		require.Equal(t, 3, strings.Count(text, "\n")-strings.Count(strings.SplitN(text, "fetch", 2)[0], "\n")-2, text)
	}
	require.True(t, strings.HasPrefix(strings.ReplaceAll(c.text(), "\n", ""), "x: a line above"), c.text())
}

// TestLowScreen: more rows than the terminal has lines never push the terminal upwards.
func TestLowScreen(t *testing.T) {
	c := newTerminal(t, 80, 4)
	s := c.screen()
	for range 20 {
		s.show(&Bar{}, []row{{name: "step", total: 10}})
	}
	require.Equal(t, 4, strings.Count(c.text(), "\n"), c.text())
	require.Contains(t, c.text(), "and 18 more")
}

// TestOneScreen: steps that go on side by side share a terminal's screen, and leave it.
func TestOneScreen(t *testing.T) {
	c := newTerminal(t, 80, 24)
	a, b := New(c, true, "push a", 100), New(c, true, "push b", 100)
	a.Set(50)
	b.Set(60)
	a.beat(time.Now())
	b.beat(time.Now())
	require.Regexp(t, `(?s)^push a +50% .*\npush b +60% .*\n\n$`, c.text())
	a.Finish()
	require.Regexp(t, `(?s)^push a +50% .* 50 B of 100 B in .*\npush b +60% .*\n\n$`, c.text())
	b.Finish()
	screensMutex.Lock()
	defer screensMutex.Unlock()
	require.NotContains(t, screens, c)
}

// TestFilesOnTerminal: a bar for all, one for each file in work.
func TestFilesOnTerminal(t *testing.T) {
	c := newTerminal(t, 110, 24)
	p := Files(c, true).(*files)
	one := fetch.File{Repo: "org/name", Commit: strings.Repeat("a", 40), Path: "one.bin", Size: 1000}
	two, three := one, one
	two.Path, three.Path = "two.bin", "three.bin"
	p.Start(fetch.Need{Files: 3, Blobs: 3, Total: 3000, Partial: 400, Unchecked: 1000, Download: 1600, Free: 5000})
	began := p.bar.count.start
	p.File(fetch.Event{File: one, Kind: fetch.Began, Bytes: 400})
	p.File(fetch.Event{File: one, Kind: fetch.Received, Bytes: 100})
	p.File(fetch.Event{File: two, Kind: fetch.Checked, Bytes: 300})
	p.File(fetch.Event{File: three, Kind: fetch.Waiting})
	p.bar.beat(began.Add(2 * time.Second))
	require.Regexp(t, `(?s)\nfetch +15% .* 400 B of 2.6 kB, 200 B/s, 11s left
  one.bin +50% .* 500 B of 1.0 kB, .* B/s, .* left
  two.bin +30% .* 300 B of 1.0 kB, .* B/s, .* left

$`, c.text())

	p.File(fetch.Event{File: one, Kind: fetch.Discarded, Bytes: 1000, Err: errors.New("wrong sum")})
	p.File(fetch.Event{File: two, Kind: fetch.Finished, Bytes: 1000})
	p.bar.beat(began.Add(3 * time.Second))
	require.Contains(t, c.text(), "fetch: wrong sum: fetching 1.0 kB once more\n")
	require.NotContains(t, c.text(), "one.bin ")
	require.NotContains(t, c.text(), "two.bin ")
	p.File(fetch.Event{File: one, Kind: fetch.Began})
	p.bar.beat(began.Add(4 * time.Second))
	require.Regexp(t, `one.bin +0% `, c.text())

	p.File(fetch.Event{File: one, Kind: fetch.Finished})
	p.File(fetch.Event{File: three, Kind: fetch.Finished}) // another process brought it
	p.Done()
	require.Regexp(t, `\nfetch +100% .* 400 B in .*\n\n$`, c.text())
}

// TestSizeOf: what is no terminal has a common size.
func TestSizeOf(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	cols, lines := sizeOf(f)
	require.Equal(t, []int{defaultCols, defaultLines}, []int{cols, lines})
}
