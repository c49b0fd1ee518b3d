package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// setupHelp prints the list of commands, or one command's flags.
func setupHelp(*flag.FlagSet) action {
	return func(_ context.Context, p *program, args []string) error {
		switch len(args) {
		case 0:
			return p.print(overview())
		case 1:
			c, err := find(args[0])
			if err != nil {
				return err
			}
			return p.print(usage(c))
		default:
			return fault.Wrap(fault.Usage, knownCommands(), errors.New("help takes one command"))
		}
	}
}

func overview() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s uses the model in a plimsoll image.\n\nusage: %s COMMAND [-flag=value ...]\n\n", programName, programName)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(table, "  %s\t%s\n", c.name, c.summary)
	}
	table.Flush()
	out.WriteString("\nexit codes: 0 success")
	for _, k := range []fault.Kind{fault.Internal, fault.Usage, fault.Invalid, fault.Resource, fault.Canceled} {
		fmt.Fprintf(&out, ", %d %s", k.ExitCode(), k)
	}
	out.WriteString("\n")
	return out.String()
}

// usage describes one command, with the flags that its setup declares.
func usage(c command) string {
	var out strings.Builder
	flags := newFlags(c)
	c.setup(flags)
	fmt.Fprintf(&out, "%s %s: %s\n\nusage: %s %s", programName, c.name, c.summary, programName, c.name)
	flagged := false
	flags.VisitAll(func(*flag.Flag) { flagged = true })
	if flagged {
		out.WriteString(" [-flag=value ...]")
	}
	if c.operands != "" {
		out.WriteString(" " + c.operands)
	}
	out.WriteString("\n")
	flags.SetOutput(&out)
	flags.PrintDefaults()
	return out.String()
}
