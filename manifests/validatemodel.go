package manifests

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The checks in this file are about checkpoints: what they are, which variant carries them
// and how they are served.

func (m *Manifest) checkCheckpoints() error {
	names, files := map[string]bool{PriorityHub: true}, map[[2]string]string{}
	for i, c := range m.Checkpoints {
		if !nameForm.MatchString(c.Name) || names[c.Name] {
			return fmt.Errorf("checkpoints[%d]: the name %q is malformed or taken", i, c.Name)
		}
		if _, known := m.Source(c.Source); !known {
			return fmt.Errorf("checkpoints[%d] %s: there is no source %q", i, c.Name, c.Source)
		}
		if err := c.check(); err != nil {
			return fmt.Errorf("checkpoints[%d] %s: %w", i, c.Name, err)
		}
		file := [2]string{c.Source, c.File}
		if other, taken := files[file]; taken {
			return fmt.Errorf("checkpoints[%d] %s: %s is the file of %s already", i, c.Name, c.File, other)
		}
		names[c.Name], files[file] = true, c.Name
	}
	return nil
}

func (c Checkpoint) check() error {
	switch {
	case CheckPath(c.File) != nil:
		return fmt.Errorf("file: %w", CheckPath(c.File))
	case c.Precision != "int4" && c.Precision != "nvfp4":
		return fmt.Errorf("precision is %q: int4 and nvfp4 are known", c.Precision)
	case c.Rank <= 0 || c.Rank%16 != 0:
		return fmt.Errorf("rank is %d, want a multiple of 16", c.Rank)
	case c.Steps < 1:
		return fmt.Errorf("steps is %d, want 1 or more", c.Steps)
	case c.TrueCFGScale <= 0:
		return fmt.Errorf("trueCFGScale is %g, want a number over 0", c.TrueCFGScale)
	}
	return c.Scheduler.Check()
}

// Check refuses a range of lengths that does not rise and a terminal outside of 0 to 1.
func (s Scheduler) Check() error {
	switch {
	case s.BaseSeqLen < 1 || s.MaxSeqLen <= s.BaseSeqLen:
		return fmt.Errorf("scheduler: baseSeqLen is %d and maxSeqLen %d, want a rising range over 0", s.BaseSeqLen, s.MaxSeqLen)
	case s.ShiftTerminal < 0 || s.ShiftTerminal >= 1:
		return fmt.Errorf("scheduler: shiftTerminal is %g, want 0 to below 1", s.ShiftTerminal)
	}
	return nil
}

func (m *Manifest) checkVariants() error {
	if _, ok := m.Variants[DefaultVariant]; !ok && len(m.Checkpoints)+len(m.Variants) > 0 {
		return fmt.Errorf("variants has no %q", DefaultVariant)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Variants)) {
		members := m.Variants[name]
		if !nameForm.MatchString(name) || len(members) == 0 {
			return fmt.Errorf("variants: %q is malformed or empty", name)
		}
		for i, c := range members {
			if _, ok := m.Checkpoint(c); !ok {
				return fmt.Errorf("variants: %s names the checkpoint %q, which is not there", name, c)
			}
			if slices.Contains(members[:i], c) {
				return fmt.Errorf("variants: %s names the checkpoint %q twice", name, c)
			}
		}
	}
	return nil
}

func (m *Manifest) checkServe() error {
	s := m.Serve
	if s == nil {
		if m.Runtime == RuntimePlimsoll {
			return fmt.Errorf("runtime is %q, so serve is needed", m.Runtime)
		}
		return nil
	}
	if len(s.Priority) == 0 {
		return errors.New("serve.priority is empty")
	}
	for i, c := range s.Priority {
		if _, ok := m.Checkpoint(c); !ok && c != PriorityHub {
			return fmt.Errorf("serve.priority: there is no checkpoint %q", c)
		}
		if slices.Contains(s.Priority[:i], c) {
			return fmt.Errorf("serve.priority names %q twice", c)
		}
	}
	return m.checkRequests(*s)
}

// checkRequests checks what requests get.
func (m *Manifest) checkRequests(s Serve) error {
	for _, rank := range s.SupportedRanks {
		if !slices.ContainsFunc(m.Checkpoints, func(c Checkpoint) bool { return c.Rank == rank }) {
			return fmt.Errorf("serve.supportedRanks: no checkpoint has rank %d", rank)
		}
	}
	switch {
	case !slices.Contains(s.SupportedRanks, s.DefaultRank):
		return fmt.Errorf("serve.defaultRank is %d, supportedRanks are %v", s.DefaultRank, s.SupportedRanks)
	case s.DefaultSteps < 1 || s.PixelArea < 1 || s.ConditionArea < 1:
		return fmt.Errorf("serve: defaultSteps is %d, pixelArea %d, conditionArea %d: all must be positive", s.DefaultSteps, s.PixelArea, s.ConditionArea)
	}
	return nil
}
