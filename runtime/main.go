// Plimsoll-runtime is the program in a plimsoll image: it uses the bytes that the image
// ships.
//
// It is one binary without cgo. Where it needs a library of the host, NVIDIA's driver, it
// loads it at run time, so that the same binary starts on a machine without a GPU and says
// what is missing. Inside an image it is /usr/bin/plimsoll-runtime, apart from the models
// in /app/models: a volume mounted over the models never hides the program.
//
// What the image carries stands in /etc/plimsoll/model.json, which the build wrote
// (package manifests, ModelConfig). The program takes nothing about a model from anywhere
// else and knows none by name.
//
// The program is a list of commands, one to a file. A command declares its flags and
// returns what it does; it prints a result to standard output, as text or with -json as
// one document with a schemaVersion, and returns an error. Only run prints errors: the
// error, then a line with the way out (hint:), and the exit code of the error's kind
// (package manifests/fault), which is the same table as in all of plimsoll. Progress goes
// to standard error. A command that does not work yet is not there.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// programStart is when this process began to run our code.
var programStart = time.Now()

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}
