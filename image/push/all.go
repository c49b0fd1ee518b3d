package push

import (
	"context"
	"errors"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Outcome is what became of one target.
type Outcome struct {
	Target Target
	Result Result
	// Err is Publish's error.
	Err error
}

// PublishAll publishes one image to several targets and returns an outcome for each, in
// their order. Registries are served at once, and the bytes are read once for all of them
// while they stay within 64 MiB of each other; one that falls behind reads for itself.
// Targets of one registry are served in turn: the second mounts what the first has sent.
// A target that fails does not stop the others. options makes a target's options.
func PublishAll(ctx context.Context, img v1.Image, targets []Target, options func(Target) Options) []Outcome {
	out := make([]Outcome, len(targets))
	hosts := map[string][]int{}
	for i, t := range targets {
		out[i].Target = t
		hosts[t.ref.RegistryStr()] = append(hosts[t.ref.RegistryStr()], i)
	}
	layers, err := layersOf(img)
	if err == nil && len(hosts) > 1 {
		layers = share(layers)
	}
	var wait sync.WaitGroup
	for _, indices := range hosts {
		wait.Go(func() {
			for _, i := range indices {
				o := options(targets[i])
				o.MountFrom = slices.Concat(o.MountFrom, repositories(targets, indices, i))
				if out[i].Err = errors.Join(err, ctx.Err(), targets[i].Check(img)); out[i].Err == nil {
					out[i].Result, out[i].Err = publish(ctx, img, layers, targets[i], o)
				}
			}
		})
	}
	wait.Wait()
	return out
}

// repositories lists those of other targets.
func repositories(targets []Target, indices []int, but int) (out []string) {
	for _, i := range indices {
		if i != but {
			out = append(out, targets[i].ref.Context().Name())
		}
	}
	return out
}
