package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// counting is a server that counts what it is asked.
type counting struct{ begun, ended int }

func (c *counting) begin() { c.begun++ }
func (c *counting) end(s *Sample) {
	c.ended++
	s.Requests, s.ServerSeconds = c.ended, 0.25
}

// TestTurns: the order changes every round, each turn has an empty folder, those who lack a
// program are left out and named.
func TestTurns(t *testing.T) {
	s := newSession(t, 10, 3)
	s.result.Programs = []Program{{Name: "here", Path: "/bin/here"}, {Name: "gone"}}
	var order []string
	player := func(name string, needs ...string) contestant {
		return contestant{
			name: name, needs: needs,
			ready: func(_ context.Context, dir string) error {
				entries, err := os.ReadDir(dir)
				require.Empty(t, entries)
				order = append(order, name)
				return errors.Join(err, os.WriteFile(filepath.Join(dir, "left"), nil, 0o600))
			},
			script: func(string) script { return script{{acting("say", name)}} },
			check: func(_ string, out outcome, first bool) error {
				require.Equal(t, []string{name}, out.stdout)
				require.Equal(t, len(order) <= 2, first)
				return nil
			},
		}
	}
	watched := &counting{}
	require.NoError(t, s.contest(t.Context(), "case", "title", watched, player("a", "here"), player("b"), player("c", "gone", "here")))
	require.Equal(t, "a b b a a b", strings.Join(order, " "), "who is missing leaves no gap")
	require.Equal(t, counting{6, 6}, *watched)
	c := s.result.Cases[0]
	require.Equal(t, []string{"gone"}, c.Contestants[2].Missing)
	require.Nil(t, c.Contestants[2].Median)
	require.Len(t, c.Contestants[0].Samples, 3)
	require.Contains(t, c.Contestants[0].Commands[0], "say a")
	require.NoDirExists(t, s.path("turn"))
}

func TestFailuresEndTheBench(t *testing.T) {
	for name, x := range map[string]contestant{
		"unready":   {ready: func(context.Context, string) error { return errors.New("unready") }, script: func(string) script { return nil }},
		"unchecked": {script: func(string) script { return nil }, check: func(string, outcome, bool) error { return errors.New("unchecked") }},
		"undone":    {script: func(string) script { return script{{acting("fail", "undone")}} }},
	} {
		s := newSession(t, 10, 1)
		x.name = "x"
		err := s.contest(t.Context(), "case", "title", nobody{}, x)
		require.ErrorContains(t, err, "benching test, case, x: ")
		require.ErrorContains(t, err, name)
		require.Empty(t, s.result.Cases[0].Contestants[0].Samples, "what failed is no measurement")
		require.NoDirExists(t, s.path("turn"))
	}
}
