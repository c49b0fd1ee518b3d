package report

import (
	"fmt"
	"math"
)

// Other is another image, of which a registry or a node may have layers already. Its
// manifest says all of it.
type Other struct {
	// Name is what the user calls the image, Digest that of its manifest.
	Name, Digest string
	Layers       []OtherLayer
}

// OtherLayer is a layer of another image, by its digest and size in the registry.
type OtherLayer struct {
	Digest string
	Size   int64
}

// Shared is what the image has in common with another. Layers are compared by digest, each
// digest once.
type Shared struct {
	// With is what the user calls the other image, Digest that of its manifest.
	With   string `json:"with"`
	Digest string `json:"digest"`
	// Layers is the number of layers that both have, Bytes their size in the registry; of
	// one and the same image Bytes holds the config and manifest blobs too.
	Layers int   `json:"layers"`
	Bytes  int64 `json:"bytes"`
	// MissingBytes is Image.RegistryBytes without Bytes: what goes over the wire to a registry
	// or a node that has the other image.
	MissingBytes int64 `json:"missingBytes"`
}

// Pull is the least time that a pull takes at a rate, in seconds to the millisecond:
// 8 * bytes / rate, the wire full of layers from the first bit to the last. Requests,
// verification and unpacking come on top, so a real pull is never faster.
type Pull struct {
	// BitsPerSecond is the rate: 1, 5 and 10 * 10^9.
	BitsPerSecond int64 `json:"bitsPerSecond"`
	// BeforeSeconds is for the files of the naive scope, Seconds for Image.RegistryBytes,
	// UpdateSeconds for Image.UpdateBytes.
	BeforeSeconds float64 `json:"beforeSeconds"`
	Seconds       float64 `json:"seconds"`
	UpdateSeconds float64 `json:"updateSeconds"`
	// SharedSeconds is for Shared.MissingBytes; nil where no other image was given.
	SharedSeconds *float64 `json:"sharedSeconds,omitempty"`
}

// rates are those of a cloud node's small and usual network, and of a good one.
var rates = []int64{1e9, 5e9, 10e9}

// layers copies the layers, with what an Input may leave open filled in.
func (in Input) layers() []Layer {
	there := in.Other.digests()
	out := append([]Layer{}, in.Layers...)
	for i := range out {
		if out[i].Unpacked == 0 {
			out[i].Unpacked = out[i].Size
		}
		out[i].Shared = there[out[i].Digest]
	}
	return out
}

func (o *Other) digests() map[string]bool {
	out := map[string]bool{}
	if o != nil {
		for _, l := range o.Layers {
			out[l.Digest] = true
		}
	}
	return out
}

// shared compares to the other image; nil if there is none.
func (in Input) shared() *Shared {
	if in.Other == nil {
		return nil
	}
	s := &Shared{With: in.Other.Name, Digest: in.Other.Digest}
	there := in.Other.digests()
	for _, l := range in.Layers {
		if there[l.Digest] {
			s.Layers++
			s.Bytes += l.Size
			delete(there, l.Digest)
		}
	}
	if in.Image != "" && in.Image == in.Other.Digest {
		s.Bytes += in.Manifests
	}
	s.MissingBytes = in.weigh().RegistryBytes - s.Bytes
	return s
}

// checkOther refuses another image whose layers contradict ours.
func (in Input) checkOther() error {
	if in.Other == nil {
		return nil
	}
	sizes := map[string]int64{}
	for _, l := range in.Layers {
		sizes[l.Digest] = l.Size
	}
	for _, l := range in.Other.Layers {
		if size, ok := sizes[l.Digest]; ok && size != l.Size {
			return fmt.Errorf("layer %s of %s: its size is %d, in the image it is %d", l.Digest, in.Other.Name, l.Size, size)
		}
	}
	return nil
}

// pulls computes the times of a report whose other figures are there.
func (r *Report) pulls() []Pull {
	var out []Pull
	for _, rate := range rates {
		p := Pull{
			BitsPerSecond: rate, BeforeSeconds: seconds(r.Scopes[0].Total.Before, rate),
			Seconds: seconds(r.Image.RegistryBytes, rate), UpdateSeconds: seconds(r.Image.UpdateBytes, rate),
		}
		if r.Shared != nil {
			s := seconds(r.Shared.MissingBytes, rate)
			p.SharedSeconds = &s
		}
		out = append(out, p)
	}
	return out
}

// seconds is the time that bytes take at a rate in bits per second, to the millisecond.
func seconds(bytes, rate int64) float64 {
	return math.Round(float64(bytes)*8*1000/float64(rate)) / 1000
}

// Duration is a time of Pull for people: "0.164 s", "33.8 s", "5 min 37 s".
func Duration(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.3f s", seconds)
	case seconds < 60:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 6000:
		return fmt.Sprintf("%d min %02d s", int(math.Round(seconds))/60, int(math.Round(seconds))%60)
	}
	return fmt.Sprintf("%.1f h", seconds/3600)
}

// duration is Duration, with "<0.001 s" for what is there but rounds to nothing.
func duration(seconds float64, bytes int64) string {
	if seconds == 0 && bytes > 0 {
		return "<0.001 s"
	}
	return Duration(seconds)
}
