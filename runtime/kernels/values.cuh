// values.cuh reads and writes values of either format, one or eight at a time, as float32.
#pragma once
#include "dev.cuh"

template <int V>
DEV void read(float (&v)[V], const float* from) {
  if constexpr (V == 8) {
    F4 a = ((const F4*)from)[0], b = ((const F4*)from)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  } else {
    v[0] = *from;
  }
}
template <int V>
DEV void read(float (&v)[V], const u16* from) {
  if constexpr (V == 8) {
    U4 a = *(const U4*)from;
    v[0] = bf16_low(a.x), v[1] = bf16_high(a.x), v[2] = bf16_low(a.y), v[3] = bf16_high(a.y);
    v[4] = bf16_low(a.z), v[5] = bf16_high(a.z), v[6] = bf16_low(a.w), v[7] = bf16_high(a.w);
  } else {
    v[0] = from_bf16(*from);
  }
}
template <int V>
DEV void write(float* to, const float (&v)[V]) {
  if constexpr (V == 8) {
    ((F4*)to)[0] = F4{v[0], v[1], v[2], v[3]};
    ((F4*)to)[1] = F4{v[4], v[5], v[6], v[7]};
  } else {
    *to = v[0];
  }
}
template <int V>
DEV void write(u16* to, const float (&v)[V]) {
  if constexpr (V == 8)
    *(U4*)to = U4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
  else
    *to = to_bf16(v[0]);
}

DEV float value(const float* from) { return *from; }
DEV float value(const u16* from) { return from_bf16(*from); }

// FORMATS names the kernels of a template for each pair of formats, read and written: h is
// bf16, f float32.
#define FORMATS(make, name) make(name##_hh, u16, u16) make(name##_hf, u16, float) make(name##_fh, float, u16) make(name##_ff, float, float)
