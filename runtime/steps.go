package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// barWidth is how many cells a bar has.
const barWidth = 30

// steps shows how far an edit is: on a terminal a bar that is drawn over itself, elsewhere a
// line for each step.
//
//	editing [###########-------------------] step 3 of 8, 1.2 s a step, 6 s left
type steps struct {
	w     io.Writer
	tty   bool
	begin time.Time
	// open says that the cursor is behind a bar.
	open bool
}

func newSteps(w io.Writer) *steps {
	f, ok := w.(*os.File)
	return &steps{w: w, tty: ok && term.IsTerminal(int(f.Fd())), begin: time.Now()}
}

// show is told how many steps are done.
func (s *steps) show(done, total int) {
	if done == 0 {
		s.begin = time.Now()
	}
	line := stepLine(done, total, time.Since(s.begin))
	s.open = s.tty && done < total
	switch {
	case !s.tty:
		fmt.Fprintln(s.w, line)
	case done == total:
		fmt.Fprintf(s.w, "\r%s\x1b[K\n", line)
	default:
		fmt.Fprintf(s.w, "\r%s\x1b[K", line)
	}
}

// end leaves a bar that is not complete as it is, so that what follows has a line of its own.
func (s *steps) end() {
	if s.open {
		fmt.Fprintln(s.w)
		s.open = false
	}
}

func stepLine(done, total int, took time.Duration) string {
	filled := barWidth * done / total
	line := fmt.Sprintf("editing [%s%s] step %d of %d", strings.Repeat("#", filled), strings.Repeat("-", barWidth-filled), done, total)
	if done == 0 {
		return line
	}
	each := took / time.Duration(done)
	return fmt.Sprintf("%s, %.3g s a step, %.0f s left", line, each.Seconds(), (each * time.Duration(total-done)).Seconds())
}
