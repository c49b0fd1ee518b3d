package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dustin/go-humanize"
)

// The contestants of Verify.
const (
	oursVerify = "plimsoll verify -force"
	oursDeep   = "plimsoll verify -force -deep"
	byOpenssl  = "openssl dgst -sha256"
)

// Verify proves generated checkpoints (4 GB, 3 rounds) that lie in the page cache: sums,
// container and tensors in one read, beside openssl, which takes the sums alone. Once it is
// one file, once one file for each core, side by side; then with every value looked at
// (-deep), if this build of plimsoll can.
//
// The aim: per core at least 0.90 of the bytes a second of openssl.
func Verify(ctx context.Context, o Options) (*Result, error) {
	s, err := open("verify", o, standard{size: 4e9, runs: 3, room: 2.1})
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.find(ctx, "openssl")
	if err := s.floors(false); err != nil {
		return nil, err
	}
	deep, err := s.targetHas(ctx, "verify", "deep")
	if err != nil {
		return nil, err
	}
	if !deep {
		s.result.Notes = append(s.result.Notes, "verify of this build has no -deep: looking at values was not measured")
	}
	if err := s.verifyCase(ctx, "one file", 1, false); err != nil {
		return nil, err
	}
	if err := s.verifyCase(ctx, "a file a core", runtime.GOMAXPROCS(0), deep); err != nil {
		return nil, err
	}
	return s.finish()
}

// targetHas asks the compiled magefile whether a target has a flag.
func (s *session) targetHas(ctx context.Context, target, flag string) (bool, error) {
	out, err := measure(ctx, script{{{program: s.Program, args: []string{"-h", target}, dir: s.Root}}})
	if err != nil {
		return false, err
	}
	return strings.Contains(strings.Join(out.stdout, ""), "-"+flag), nil
}

// verifyCase measures one set of files.
func (s *session) verifyCase(ctx context.Context, name string, files int, deep bool) error {
	s.tell("%s: generating and fetching %d bytes", name, s.size)
	m, hub, err := s.newModel(strings.ReplaceAll(name, " ", "-"), files, s.size)
	if hub != nil {
		defer hub.Close()
	}
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, m.run("lock"), m.run("fetch", "-yes=true")); err != nil {
		return err
	}
	blobs, err := m.blobs()
	if err != nil {
		return err
	}
	list := []contestant{m.verifier(oursVerify, "-force=true"), m.openssl(blobs)}
	if deep {
		list = append(list, m.verifier(oursDeep, "-force=true", "-deep=true"))
	}
	for i := range list {
		list[i].reads = blobs
	}
	title := fmt.Sprintf("%s, %s in all", name, humanize.Bytes(uint64(m.bytes())))
	if err := s.contest(ctx, name, title, nobody{}, list...); err != nil {
		return err
	}
	s.judgeVerify(name, float64(m.bytes()), files, deep)
	return errors.Join(hub.Close(), m.remove())
}

// verifier is our target.
func (m *model) verifier(name string, flags ...string) contestant {
	return contestant{
		name:   name,
		script: func(string) script { return script{{m.run(append([]string{"verify"}, flags...)...)}} },
		check: func(_ string, out outcome, _ bool) error {
			// Its exit code says that all is well; this, that it has looked at these files.
			for _, c := range m.list {
				if !strings.Contains(out.stdout[0], c.file) {
					return fmt.Errorf("checking what verify says: %s is not in it:\n%s", c.file, out.stdout[0])
				}
			}
			return nil
		},
	}
}

// openssl takes the sums of all files, each in a process.
func (m *model) openssl(blobs []string) contestant {
	return contestant{
		name: byOpenssl, needs: []string{"openssl"},
		script: func(string) script {
			var stage []command
			for _, b := range blobs {
				stage = append(stage, m.opensslSum(b))
			}
			return script{stage}
		},
		check: func(_ string, out outcome, _ bool) error {
			for i, b := range blobs {
				if got := strings.Join(sums(out.stdout[i]), " "); got != filepath.Base(b) {
					return fmt.Errorf("checking %s: openssl says %s", b, got)
				}
			}
			return nil
		},
	}
}

// judgeVerify enters the ratios of a case: rates, so theirs is divided by ours.
func (s *session) judgeVerify(name string, size float64, files int, deep bool) {
	r, ours, theirs := s.result, entry{name, oursVerify}, entry{name, byOpenssl}
	r.compare(theirs, ours, "wall: our rate / its rate, per core", wall, aim{AtLeast, 0.90})
	r.compare(theirs, ours, "CPU: our rate / its rate", cpu, aim{})
	r.share(ours, "disk read / size", size, diskRead, aim{})
	r.share(ours, "read / size", size, callsRead, aim{})
	f := r.highest(floorHash)
	cores := float64(min(files, runtime.GOMAXPROCS(0)))
	r.share(ours, "wall / floor ("+f.Name+")", size/f.BytesPerSecond/cores, wall, aim{})
	if deep {
		r.share(entry{name, oursDeep}, "read / size", size, callsRead, aim{})
		r.share(entry{name, oursDeep}, "GB/s", 1, func(s Sample) float64 { return size / 1e9 / s.Seconds }, aim{})
		r.compare(entry{name, oursDeep}, ours, "wall", wall, aim{})
	}
}
