package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// programName begins every error line.
const programName = "plimsoll-runtime"

// program is what a command may touch of the process that it runs in.
type program struct {
	env            func(name string) (value string, ok bool)
	stdout, stderr io.Writer
}

// command is one word of the command line.
type command struct {
	name    string
	summary string // one line for the list of commands
	// setup declares the flags and returns what to do once they are parsed. args are the
	// words behind the flags.
	setup func(flags *flag.FlagSet) action
	// operands describes args for the usage line; a command without it takes none.
	operands string
}

type action func(ctx context.Context, p *program, args []string) error

// commands lists every command, in the order of help.
func commands() []command {
	return []command{
		{name: "serve", summary: "edit pictures over HTTP", setup: setupServe},
		{name: "edit", summary: "edit one picture", setup: setupEdit},
		{name: "bench", summary: "measure how fast the model loads and edits on this machine", setup: setupBench},
		{name: "verify", summary: "check every model file: present, size, sha256, container, precision and rank", setup: setupVerify},
		{name: "devices", summary: "list the GPUs that this process may use, and which checkpoints they are for", setup: setupDevices},
		{name: "config", summary: "print the image's model.json and the settings in effect", setup: setupConfig},
		{name: "version", summary: "print the versions of the program and of the formats that it reads", setup: setupVersion},
		{name: "help", summary: "print this list, or the flags of a command", setup: setupHelp, operands: "[COMMAND]"},
	}
}

// run executes one command line and returns the exit code. It is the whole program, apart
// from the process around it.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	p := &program{env: env, stdout: stdout, stderr: stderr}
	err := p.dispatch(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", programName, err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return fault.KindOf(err).ExitCode()
}

// dispatch finds the command, parses its flags and runs it.
func (p *program) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fault.Wrap(fault.Usage, knownCommands(), errors.New("no command is given"))
	}
	name := args[0]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	c, err := find(name)
	if err != nil {
		return err
	}
	flags := newFlags(c)
	do := c.setup(flags)
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return p.print(usage(c))
	case err != nil:
		return flagError(c, err)
	case flags.NArg() > 0 && c.operands == "":
		return flagError(c, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	return do(ctx, p, flags.Args())
}

// newFlags makes a flag set that reports errors instead of printing them.
func newFlags(c command) *flag.FlagSet {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

func find(name string) (command, error) {
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
	}
	return command{}, fault.Wrap(fault.Usage, knownCommands(), fmt.Errorf("unknown command %q", name))
}

func knownCommands() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return "known commands: " + strings.Join(names, ", ")
}

func flagError(c command, err error) error {
	hint := fmt.Sprintf("%s help %s lists its flags", programName, c.name)
	return fault.Wrap(fault.Usage, hint, fmt.Errorf("reading the command line of %s: %w", c.name, err))
}

// print writes a result in one piece. A result that cannot be written is an error: a full
// disk behind a redirection must not look like success.
func (p *program) print(text string) error {
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return fault.Wrap(fault.Resource, "", fmt.Errorf("writing the result: %w", err))
	}
	return nil
}

// printJSON writes a result as one indented JSON document.
func (p *program) printJSON(v any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return p.print(out.String())
}

// jsonFlag declares the flag that every command with a result has.
func jsonFlag(flags *flag.FlagSet) *bool {
	return flags.Bool("json", false, "print the result as a JSON document")
}
