package selftest

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// moves is what moves values, and the two steps of the sampler.
func moves() []check {
	return []check{
		{"embed", exact, func(s *side) {
			t := must(s.LoadTable(s.weight("table", safetensors.BF16, 1, 90, 136)))
			ids := []int32{89, 0, 31, 31, 7}
			y := s.empty(compute.Act, len(ids), 136)
			s.Embed(y, t, ids)
			s.result(y)
		}},
		{"gather", exact, func(s *side) {
			rows := []int32{10, 0, 5, 5, 9, 1, 10, 3, 2, 4, 6, 7, 8}
			y := s.empty(compute.Act, len(rows), 136)
			s.Gather(y, s.random(compute.Act, 11, 136), rows)
			s.result(y)
		}},
		{"copy, to float32", exact, func(s *side) {
			y := s.empty(compute.F32, 60, 21)
			s.Copy(y, s.random(compute.Act, 36, 35))
			s.result(y)
		}},
		{"copy, to activations", narrow, func(s *side) {
			y := s.empty(compute.Act, 60, 21)
			s.Copy(y, s.fine(36, 35))
			s.result(y)
		}},
		{"Euler step", wide, func(s *side) {
			x := s.fine(70, 64)
			s.Euler(x, s.random(compute.Act, 70, 64), -0.37)
			s.result(x)
		}},
		{"guidance", wide, func(s *side) {
			positive := s.fine(70, 64)
			s.Guide(positive, positive, s.fine(70, 64), 4)
			s.result(positive)
		}},
	}
}
