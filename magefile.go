//go:build mage

// plimsoll builds slim, verified model images. Flags follow the target: mage build -model=NAME.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/magefile/mage/mg"
	"github.com/magefile/mage/sh"
	"golang.org/x/term"

	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/image/bench"
	"github.com/plimsoll-oci/plimsoll/image/demo"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels/build"
)

// Init writes a manifest for a Hub repository, OWNER/NAME: every file kept or dropped by one rule.
func Init(ctx context.Context, repo string, revision, out *string, json *bool) error {
	r, err := flow.Init(ctx, flow.Options{Stderr: os.Stderr, Events: is(json)}, repo, text(revision), text(out))
	if err != nil {
		return flow.Top(err)
	}
	return flow.Top(flow.Show(os.Stdout, r, is(json)))
}

// Plan prints every upstream file with its verdict and the totals; -target=REF: what each layer means there.
func Plan(ctx context.Context, model, variant, target, mountFrom *string, json *bool) error {
	return on(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.PlanFor(ctx, j, split(target), split(mountFrom))
	})
}

// Doctor asks in seconds what would end a job later: lock, disk, and whether -target=REF[,REF] takes the image.
func Doctor(ctx context.Context, target, model, variant *string, json *bool) error {
	return on(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.Doctor(ctx, j, split(target))
	})
}

// Lock pins commits, sizes, sums and base packages beside the manifest; -update=true moves the pins.
func Lock(ctx context.Context, model *string, update, json *bool) error {
	return on(flags{model: model, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.Lock(ctx, j, is(update))
	})
}

// Fetch downloads the kept files into the Hugging Face cache, verified; a cut goes on where it was.
func Fetch(ctx context.Context, model, variant *string, jobs *int, yes, json *bool) error {
	return on(flags{model: model, variant: variant, jobs: jobs, yes: yes, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.Fetch(ctx, j)
	})
}

// Verify proves the model against the lock: in the cache, or -in=dir:PATH, oci:PATH, docker://REF.
func Verify(ctx context.Context, in, model, variant, junit *string, deep, force, json *bool) error {
	return on(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.VerifyIn(ctx, j, flow.VerifyOptions{In: text(in), JUnit: text(junit), Deep: is(deep), Force: is(force)})
	})
}

// Build does the whole job up to a thin OCI layout in out/MODEL: lock, fetch, verify, build.
func Build(ctx context.Context, model, variant *string, yes, json *bool) error {
	return on(flags{model: model, variant: variant, yes: yes, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.Make(ctx, j)
	})
}

// Export completes the layout with the model layers, in place or as a full copy in -to=DIR.
func Export(ctx context.Context, model, variant, to *string, json *bool) error {
	return on(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.Export(ctx, j, text(to))
	})
}

// SBOM prints the built image's SBOM, or that of the layout -from=DIR; -document=provenance or verification: those.
func SBOM(ctx context.Context, from, model, variant, document *string) error {
	run := on
	if model == nil && from != nil {
		run = inCache
	}
	return run(flags{model: model, variant: variant}, func(j *flow.Job) (flow.Result, error) {
		return flow.Document(ctx, j, text(from), text(document))
	})
}

// Publish sends the image, or the layout -from=DIR, to -target=REF[,REF]: what is missing, once; -tag=NEW moves a tag; -stream=true keeps no model file.
func Publish(ctx context.Context, target, model, variant, from, tag, weights, mountFrom, digestFile *string, stream, referrers, dryRun, json *bool) error {
	run := on
	if model == nil && (from != nil || tag != nil) {
		run = inCache // neither needs a model
	}
	return run(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.PublishTo(ctx, j, flow.PublishOptions{
			Targets: split(target), MountFrom: split(mountFrom), From: text(from), Tag: text(tag),
			DigestFile: text(digestFile), DryRun: is(dryRun), Stream: is(stream), Weights: text(weights), NoReferrers: referrers != nil && !*referrers,
		})
	})
}

// Report compares the built image with what it replaces and with its budget, here and in -html, -markdown, -svg=PATH.
func Report(ctx context.Context, model, variant, html, markdown, svg, sharedWith, against *string, all, json *bool) error {
	return on(flags{model: model, variant: variant, json: json}, func(j *flow.Job) (flow.Result, error) {
		r, err := flow.ReportWith(ctx, j, flow.ReportOptions{
			HTML: text(html), Markdown: text(markdown), SVG: text(svg), SharedWith: text(sharedWith), Against: text(against),
		})
		if is(all) {
			return r, err
		}
		return flow.Brief(r), err
	})
}

// Diff compares two images, each oci:PATH, docker://REF or lock:PATH: bytes, files, and what a pull costs.
func Diff(ctx context.Context, a, b string, model, variant, platform, markdown *string, files, json *bool) error {
	r, err := flow.Diff(ctx, a, b, flow.DiffOptions{
		Model: text(model), Variant: text(variant), Platform: text(platform), Markdown: text(markdown), Files: is(files),
	})
	if err != nil {
		return flow.Top(err)
	}
	return flow.Top(flow.Show(os.Stdout, r, is(json)))
}

// Demo takes the whole way on this machine: a loopback Hub, a small model, a registry and back.
func Demo(ctx context.Context) error {
	return flow.Top(demo.Run(ctx, demo.Options{
		Root: ".", Out: out(), Stdout: os.Stdout, Stderr: os.Stderr, TTY: progress.Terminal(os.Stderr),
	}))
}

// Cache looks after the Hugging Face cache.
type Cache mg.Namespace

// List says what lies in the Hugging Face cache: repositories, commits, bytes, what is unfinished.
func (Cache) List(ctx context.Context, json *bool) error {
	return inCache(flags{json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.CacheList(ctx, j)
	})
}

// Prune says what nothing needs, and removes it with -dryRun=false; -model=NAME: also what its lock does not pin.
func (Cache) Prune(ctx context.Context, model, age *string, dryRun, json *bool) error {
	return inCache(flags{model: model, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.CachePrune(ctx, j, flow.PruneOptions{Age: text(age), Remove: dryRun != nil && !*dryRun})
	})
}

// Verify holds every file in the cache against its name, which is its sum; nothing is removed.
func (Cache) Verify(ctx context.Context, jobs *int, json *bool) error {
	return inCache(flags{jobs: jobs, json: json}, func(j *flow.Job) (flow.Result, error) {
		return flow.CacheVerify(ctx, j)
	})
}

// Bench measures plimsoll beside other programs, in ratios out of one run.
type Bench mg.Namespace

// Fetch measures a download of -size from a loopback Hub beside curl and aria2c.
func (Bench) Fetch(ctx context.Context, size *string, runs *int, json *bool) error {
	r, err := bench.Fetch(ctx, measuring(size, runs))
	return measured(r, err, json)
}

// Verify measures the proof of a checkpoint of -size beside openssl.
func (Bench) Verify(ctx context.Context, size *string, runs *int, json *bool) error {
	r, err := bench.Verify(ctx, measuring(size, runs))
	return measured(r, err, json)
}

// Publish measures a publication of -size to docker-registry beside crane, skopeo, oras and oci-modelcar.
func (Bench) Publish(ctx context.Context, size *string, runs *int, json *bool) error {
	r, err := bench.Publish(ctx, measuring(size, runs))
	return measured(r, err, json)
}

// Pull measures how fast containerd and podman pull -size, its files whole or cut into parts.
func (Bench) Pull(ctx context.Context, size *string, runs *int, json *bool) error {
	r, err := bench.Pull(ctx, measuring(size, runs))
	return measured(r, err, json)
}

// Kernels compiles the CUDA kernels to PTX, with Debian's clang-19, which it installs as root, and to machine code where ptxas is in PATH; -check=true changes nothing and says what would.
func Kernels(ctx context.Context, check *bool) error {
	if _, err := exec.LookPath(build.Compiler); err != nil && os.Geteuid() == 0 {
		if err := install(build.Package); err != nil {
			return err
		}
	}
	return flow.Top(build.Run(ctx, build.Options{Dir: "runtime/kernels", Check: is(check), Out: os.Stdout}))
}

// Test runs all tests; Go is all they need.
func Test() error { return sh.RunV("go", "test", "./...") }

// Fuzz runs every fuzz test for a minute, or for -time=DURATION.
func Fuzz(time *string) error { return eachFuzzTest(cmp.Or(text(time), "1m")) }

// Lint checks format, vet, staticcheck and the workflows.
func Lint() error {
	unformatted, err := sh.Output("gofmt", "-l", ".")
	if err != nil || unformatted != "" {
		return fmt.Errorf("checking format: gofmt would change %q: %w", unformatted, err)
	}
	return inTurn(
		sh.RunCmd("go", "vet", "./..."), sh.RunCmd("go", "vet", "-tags", "mage", "."),
		sh.RunCmd("go", "run", staticcheck, "./..."), sh.RunCmd("go", "run", staticcheck, "-tags", "mage", "."),
		sh.RunCmd("go", "run", actionlint, "-shellcheck=", "-pyflakes=")) // the same findings on every machine
}

// Interop proves the work with parts that others wrote; on Debian, as root, it installs them.
func Interop() error {
	if err := install(interopPackages...); err != nil {
		return err
	}
	return sh.RunWithV(map[string]string{"PLIMSOLL_INTEROP": "1"}, "go", "test", "-count=1", "-timeout=30m", "-run=^TestInterop", "./...")
}

// Scale streams the real manifest's model through a disk of 14 GB, as root: generated at 1.7 GB, or with -full=true at 42.2 GB.
func Scale(full *bool) error {
	size := "reduced"
	if is(full) {
		size = "full"
	}
	return sh.RunWithV(map[string]string{"PLIMSOLL_SCALE": size}, "go", "test", "-count=1", "-timeout=2h", "-v", "-run=^TestScale$", "./image/flow")
}

// CI runs lint, test and interop, as every change must pass.
func CI() { mg.SerialDeps(Lint, Test, Interop) }

// staticcheck is pinned, and kept out of go.mod: it is no dependency of the product.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"

// actionlint is pinned and kept out likewise.
const actionlint = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"

// interopPackages are Debian packages that interop runs against.
var interopPackages = []string{
	"docker-registry", "skopeo", "tar", "python3-venv", "curl", "aria2", "openssl", "umoci", "podman", "runc", "containerd", "nginx-light", "buildah", "git",
	"python3-jsonschema", "chromium", build.Package,
}

// install installs Debian packages.
func install(packages ...string) error {
	if err := sh.RunV("apt-get", append([]string{"install", "-y", "--no-install-recommends"}, packages...)...); err != nil {
		return fmt.Errorf("installing Debian packages %v: %w", packages, err)
	}
	return nil
}

// inTurn runs commands until one fails.
func inTurn(commands ...func(args ...string) error) error {
	for _, c := range commands {
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

// eachFuzzTest finds the fuzz tests of every package and runs one after the other, since
// go test fuzzes one at a time.
func eachFuzzTest(time string) error {
	packages, err := sh.Output("go", "list", "./...")
	if err != nil {
		return err
	}
	for _, p := range strings.Fields(packages) {
		tests, err := sh.Output("go", "test", "-list=^Fuzz", p)
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(tests) {
			if !strings.HasPrefix(name, "Fuzz") {
				continue
			}
			if err := sh.RunV("go", "test", "-run=^$", "-fuzz=^"+name+"$", "-fuzztime="+time, "-fuzzminimizetime=5x", p); err != nil {
				return fmt.Errorf("fuzzing %s of %s: %w", name, p, err)
			}
		}
	}
	return nil
}

// flags are the flags that targets share; nil means not given.
type flags struct {
	model, variant *string
	jobs           *int
	yes, json      *bool
}

// on runs one verb on the chosen model and prints its result.
func on(f flags, verb func(*flow.Job) (flow.Result, error)) error {
	return flow.Top(flow.Do(f.options(), os.Stdout, is(f.json), verb))
}

// inCache runs one verb on the cache and prints its result.
func inCache(f flags, verb func(*flow.Job) (flow.Result, error)) error {
	return flow.Top(flow.DoInCache(f.options(), os.Stdout, is(f.json), verb))
}

func (f flags) options() flow.Options {
	o := flow.Options{
		Model: text(f.model), Variant: text(f.variant), Out: out(), Yes: is(f.yes),
		Stderr: os.Stderr, TTY: progress.Terminal(os.Stderr), Events: is(f.json),
	}
	if f.jobs != nil {
		o.Jobs = *f.jobs
	}
	if terminal(os.Stdin) && terminal(os.Stderr) {
		o.Stdin = os.Stdin
	}
	return o
}

// measuring are the options of a bench.
func measuring(size *string, runs *int) bench.Options {
	o := bench.Options{Size: text(size), Root: ".", Out: out(), Stderr: os.Stderr}
	if runs != nil {
		o.Runs = *runs
	}
	return o
}

// measured prints the result of a bench.
func measured(r *bench.Result, err error, json *bool) error {
	if err == nil {
		err = flow.Show(os.Stdout, r, is(json))
	}
	return flow.Top(err)
}

// out is the folder of results: PLIMSOLL_OUT, or out.
func out() string {
	if dir := os.Getenv("PLIMSOLL_OUT"); dir != "" {
		return dir
	}
	return "out"
}

func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func is(b *bool) bool { return b != nil && *b }

func split(s *string) []string {
	return strings.FieldsFunc(text(s), func(r rune) bool { return r == ',' || r == ' ' })
}
