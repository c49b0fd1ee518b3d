package modelsettest

import (
	"fmt"
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// Deviations of what is not a weight. Norm weights lie around one, biases around zero.
const (
	normStd = 0.1
	biasStd = 0.05
)

// tensors is a state dictionary: tensors in the order of the modules that own them.
type tensors []safetensorstest.Tensor

func (l *tensors) add(name string, fill safetensorstest.Fill, shape ...int) {
	spec := safetensors.Spec{Name: name, DType: safetensors.BF16}
	for _, d := range shape {
		spec.Shape = append(spec.Shape, int64(d))
	}
	*l = append(*l, safetensorstest.Tensor{Spec: spec, Fill: fill})
}

// matrix adds a weight whose products with values near one are near gain.
func (l *tensors) matrix(name string, out, in int, gain float64) {
	l.add(name+".weight", safetensorstest.Normal(0, gain/math.Sqrt(float64(in))), out, in)
}

// linear adds a matrix and a bias.
func (l *tensors) linear(name string, out, in int, gain float64) {
	l.matrix(name, out, in, gain)
	l.bias(name, out)
}

func (l *tensors) bias(name string, out int) {
	l.add(name+".bias", safetensorstest.Normal(0, biasStd), out)
}

// norm adds the weight of a normalisation, under its full name.
func (l *tensors) norm(name string, shape ...int) {
	l.add(name, safetensorstest.Normal(1, normStd), shape...)
}

// conv adds a convolution. A kernel of three frames acts on images with its last frame
// alone, so the deviation counts one frame.
func (l *tensors) conv(name string, out, in int, gain float64, kernel ...int) {
	acting := in
	for _, k := range kernel[max(0, len(kernel)-2):] {
		acting *= k
	}
	l.add(name+".weight", safetensorstest.Normal(0, gain/math.Sqrt(float64(acting))), append([]int{out, in}, kernel...)...)
	l.bias(name, out)
}

// bytes is the size of a tensor's data.
func bytesOf(t safetensorstest.Tensor) int64 {
	n := int64(t.Spec.DType.Bits() / 8)
	for _, d := range t.Spec.Shape {
		n *= d
	}
	return n
}

func (l tensors) bytes() (total int64) {
	for _, t := range l {
		total += bytesOf(t)
	}
	return total
}

// shards cuts the list in its order: a shard ends where the next tensor would pass limit.
func (l tensors) shards(limit int64) []tensors {
	var shards []tensors
	var size int64
	for i, t := range l {
		n := bytesOf(t)
		if i == 0 || size+n > limit {
			shards = append(shards, nil)
			size = 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], t)
		size += n
	}
	return shards
}

// shardsOf cuts the list into exactly count shards, by limit if there is one.
func (l tensors) shardsOf(count int, limit int64) ([]tensors, error) {
	if limit == 0 {
		limit = l.smallestLimit(count)
	}
	shards := l.shards(limit)
	if len(shards) != count {
		return nil, fmt.Errorf("cutting %d bytes into shards: a limit of %d gives %d shards, %d are published", l.bytes(), limit, len(shards), count)
	}
	return shards, nil
}

// smallestLimit is the smallest limit that gives at most count shards; a larger limit
// never gives more, so it can be bisected.
func (l tensors) smallestLimit(count int) int64 {
	low := int64(0)
	for _, t := range l {
		low = max(low, bytesOf(t))
	}
	high := max(low, l.bytes())
	for low < high {
		mid := low + (high-low)/2
		if len(l.shards(mid)) <= count {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// weights makes one file. Python's writers put the format into the metadata.
func (l tensors) file(seed uint64) (File, error) {
	f, err := safetensorstest.New(map[string]string{"format": "pt"}, slices.Clone(l), seed)
	if err != nil {
		return File{}, err
	}
	return File{Content: f, LFS: true}, nil
}

// sharded makes the shards and their index, as dir/base-0000i-of-0000n.safetensors.
func (l tensors) sharded(dir, base string, count int, limit int64, seed uint64) (map[string]File, error) {
	shards, err := l.shardsOf(count, limit)
	if err != nil {
		return nil, err
	}
	files, where := map[string]File{}, map[string]string{}
	for i, s := range shards {
		name := fmt.Sprintf("%s-%05d-of-%05d.safetensors", base, i+1, count)
		for _, t := range s {
			where[t.Spec.Name] = name
		}
		if files[dir+"/"+name], err = s.file(seed); err != nil {
			return nil, err
		}
	}
	files[dir+"/"+base+".safetensors.index.json"] = document(object{
		"metadata": object{"total_size": l.bytes()}, "weight_map": where,
	})
	return files, nil
}
