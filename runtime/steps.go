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
	switch {
	case !s.tty:
		fmt.Fprintln(s.w, line)
	case done == total:
		fmt.Fprintf(s.w, "\r%s\x1b[K\n", line)
	default:
		fmt.Fprintf(s.w, "\r%s\x1b[K", line)
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
