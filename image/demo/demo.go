// Package demo takes the whole way of plimsoll on one machine with nothing but Go: it
// serves a model of reduced width from a loopback Hub, runs every verb of package flow on
// it, publishes to a registry in this process, pulls the image back, and has the image's
// own program, by the image's own loader and libraries, verify the model and edit a picture.
//
// The verbs are the ones that the targets call; only manifest and endpoints differ. What
// is put away between runs lies in out/demo-work, so that a run that was cut off goes on
// where it was; the result is a full OCI layout in out/demo. What the verbs say is shown in
// short, and stands whole in out/demo.txt.
package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// Model is the name of the demo's manifest.
const Model = "demo"

// Options say where the demo runs.
type Options struct {
	// Root is the folder of plimsoll's module, Out the folder of results.
	Root, Out string
	// Stdout takes what the verbs print, in short, Stderr their progress; TTY says that Stderr is a
	// terminal.
	Stdout, Stderr io.Writer
	TTY            bool
	// Mirrors are the Debian mirrors to use; nil: as package flow chooses them.
	Mirrors []string
	// Getenv reads the environment; default: os.Getenv.
	Getenv func(string) string
}

// demo is one run.
type demo struct {
	Options
	hub      *hubtest.Hub
	registry *localRegistry
	job      *flow.Job
	log      *os.File
}

// Run takes the whole way. Everything that it starts ends with it.
func Run(ctx context.Context, o Options) error {
	start := time.Now()
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	d := &demo{Options: o}
	defer d.close()
	if err := d.open(); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	for _, step := range []func(context.Context) error{d.plan, d.lock, d.fetch, d.verify, d.build, d.publish, d.export, d.pull, d.report} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.end(time.Since(start))
	return nil
}

// end says where everything lies and what comes next.
func (d *demo) end(took time.Duration) {
	fmt.Fprintf(d.Stdout, `
All of it took %.1f s. The model is the real architecture at reduced width.

%-*s the image, a whole OCI layout
%-*s the picture that it edited
%-*s its report, for a browser
%-*s all that the verbs said: every file, layer and figure

Next, with the real model (README, "Day one"): go tool mage plan
`, took.Seconds(), d.column(), d.job.Layout(), d.column(), d.edited(), d.column(), d.page(), d.column(), d.logPath())
}

// column is the width of the longest path that end names, and a space.
func (d *demo) column() int { return len(d.page()) + 1 }

// work is a path below the folder for what is kept between runs.
func (d *demo) work(name string) string { return filepath.Join(d.Out, "demo-work", name) }

// open starts Hub and registry and prepares the job.
func (d *demo) open() error {
	if err := os.MkdirAll(d.work(""), 0o755); err != nil {
		return err
	}
	var err error
	if d.log, err = os.Create(d.logPath()); err != nil {
		return err
	}
	if err := d.startHub(); err != nil {
		return err
	}
	r, err := startRegistry(d.work("registry"))
	if err != nil {
		return err
	}
	d.registry = r
	d.job, err = flow.New(flow.Options{
		Model: Model, Root: d.Root, Out: d.Out, Lock: d.work("demo.lock"), OwnLock: true, BaseOptional: true, Mirrors: d.Mirrors,
		Getenv: d.env(), Stderr: d.Stderr, TTY: d.TTY, Yes: true,
	})
	return err
}

// env is the environment with the loopback Hub and the demo's own cache in it.
func (d *demo) env() func(string) string {
	own := map[string]string{
		"HF_ENDPOINT": d.hub.URL(), "HF_HOME": d.work("hf"), "HF_HUB_CACHE": "", "HF_HUB_OFFLINE": "", "HF_TOKEN": "", "HF_TOKEN_PATH": "",
	}
	return func(name string) string {
		if v, ok := own[name]; ok {
			return v
		}
		return d.Getenv(name)
	}
}

// startHub serves the reduced model under the names of the real repositories.
func (d *demo) startHub() error {
	p := modelsettest.Demo()
	base, err := modelsettest.Base(p)
	if err != nil {
		return err
	}
	checkpoints, err := modelsettest.Checkpoints(p)
	if err != nil {
		return err
	}
	d.hub = hubtest.New()
	for name, files := range map[string]map[string]modelsettest.File{
		"Qwen/Qwen-Image-Edit":                 base,
		"nunchaku-ai/nunchaku-qwen-image-edit": checkpoints,
	} {
		if _, err := d.hub.Add(hubtest.Repo{Name: name, License: "apache-2.0", Files: served(files)}); err != nil {
			return err
		}
	}
	_, err = d.hub.Start()
	return err
}

func served(files map[string]modelsettest.File) map[string]hubtest.File {
	out := map[string]hubtest.File{}
	for path, f := range files {
		out[path] = hubtest.File{Content: f.Content, LFS: f.LFS}
	}
	return out
}

// close stops what runs.
func (d *demo) close() {
	if d.job != nil {
		d.job.Close()
	}
	if d.log != nil {
		d.log.Close()
	}
	if d.registry != nil {
		d.registry.close()
	}
	if d.hub != nil {
		d.hub.Close()
	}
}

// step announces a verb and prints its result: in short where it has a short form, and
// whole into the log.
func (d *demo) step(title string, r flow.Result, err error) error {
	if err != nil {
		return fmt.Errorf("demo, %s: %w", title, err)
	}
	d.announce(title)
	if err := flow.Show(d.log, r, false); err != nil {
		return err
	}
	if b, is := r.(flow.Briefer); is {
		r = flow.Brief(b)
	}
	return flow.Show(d.Stdout, r, false)
}

// announce heads what a verb says.
func (d *demo) announce(title string) { fmt.Fprintf(d.both(), "\n== %s\n", title) }

// both is standard output and the log.
func (d *demo) both() io.Writer { return io.MultiWriter(d.Stdout, d.log) }

func (d *demo) plan(ctx context.Context) error {
	r, err := flow.Plan(ctx, d.job)
	return d.step("plan: every upstream file is kept or dropped by one rule", r, err)
}

func (d *demo) lock(ctx context.Context) error {
	r, err := flow.Lock(ctx, d.job, true)
	return d.step("lock: commits, sizes and sums are pinned", r, err)
}

func (d *demo) fetch(ctx context.Context) error {
	r, err := flow.Fetch(ctx, d.job)
	return d.step("fetch: kept files only, sums taken while the bytes arrive", r, err)
}

func (d *demo) verify(ctx context.Context) error {
	r, err := flow.Verify(ctx, d.job, false)
	if err := d.step("verify: from the bytes, not from the names", r, err); err != nil {
		return err
	}
	return r.Findings.Err()
}

func (d *demo) build(ctx context.Context) error {
	r, err := flow.Build(ctx, d.job)
	return d.step("build: layers are views of the cached files", r, err)
}

func (d *demo) publish(ctx context.Context) error {
	r, err := flow.Publish(ctx, d.job, []string{d.registry.reference()}, "")
	return d.step("publish: the registry is asked first", r, err)
}

func (d *demo) export(ctx context.Context) error {
	r, err := flow.Export(ctx, d.job, "")
	return d.step("export: the layout is completed for other tools", r, err)
}

// page is the report as a page, beside the image; logPath is what the verbs said.
func (d *demo) page() string    { return filepath.Join(d.Out, "demo-report.html") }
func (d *demo) logPath() string { return filepath.Join(d.Out, "demo.txt") }

// excerpt shows of the report what a demo is for.
type excerpt struct{ *report.Report }

func (e excerpt) Brief() string { return e.Excerpt("impact", "budget") }

func (d *demo) report(ctx context.Context) error {
	r, err := flow.ReportWith(ctx, d.job, flow.ReportOptions{HTML: d.page()})
	return d.step("report: before and after", excerpt{r}, err)
}
