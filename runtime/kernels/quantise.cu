// quantise.cu: rows of 8-bit whole numbers with a scale each.
//
// quantise_rows (out, scale, in, factor, rows, k, gelu): with y = in·factor, or GELU(in)·factor
// by its tanh formula, scale[i] = max |y[i,:]| / 127 and out[i,j] = y[i,j] / scale[i], rounded
// to nearest; zeros where the row is zero.
//
//   i8*          out       [rows, k]
//   float*       scale     [rows]
//   const bf16*  in        [rows, k]
//   const float* factor    [k], or null
//   int          rows, k   k a multiple of 8; up to 4096 a row is read once
//   int          gelu      1 or 0
//
//   grid: (rows); block 256; no dynamic shared memory. Pointers are aligned to 16 bytes.
//
// For a linear with smoothing, activations are quantised with 1/smooth and the weights, as
// svdq_weights makes them, with smooth.
#include "dev.cuh"

// scaled reads eight neighbours of a row.
DEV void scaled(float (&v)[8], const u16* in, const float* factor, bool gelu) {
  U4 x = *(const U4*)in;
  v[0] = bf16_low(x.x), v[1] = bf16_high(x.x), v[2] = bf16_low(x.y), v[3] = bf16_high(x.y);
  v[4] = bf16_low(x.z), v[5] = bf16_high(x.z), v[6] = bf16_low(x.w), v[7] = bf16_high(x.w);
  if (gelu) UNROLL for (int i = 0; i < 8; i++) v[i] = gelu_tanh(v[i]);
  if (!factor) return;
  F4 a = ((const F4*)factor)[0], b = ((const F4*)factor)[1];
  v[0] *= a.x, v[1] *= a.y, v[2] *= a.z, v[3] *= a.w, v[4] *= b.x, v[5] *= b.y, v[6] *= b.z, v[7] *= b.w;
}

DEV float most_of(const float (&v)[8]) {
  float most = 0;
  UNROLL for (int i = 0; i < 8; i++) most = max_(most, abs_(v[i]));
  return most;
}

// round4 rounds four values to bytes of a word.
DEV u32 round4(const float* v, float by) {
  u32 word = 0;
  UNROLL for (int i = 0; i < 4; i++) {
    int q;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(q) : "f"(v[i] * by));
    word |= (u32)(q & 255) << (8 * i);
  }
  return word;
}

// KEPT is how many times eight values a thread keeps, of 256 threads. Wider rows come from
// the cache again: that is faster than the fewer blocks that more registers would leave.
constexpr int STRIDE = 256 * 8, KEPT = 2;

KERNEL(256, 5)
quantise_rows(i8* __restrict__ out, float* __restrict__ scale, const u16* __restrict__ in, const float* __restrict__ factor, int rows, int k, int gelu) {
  __shared__ float scratch[32];
  const u16* from = in + (u64)block_x() * k;
  i8* to = out + (u64)block_x() * k;
  auto factors = [&](int i) { return factor ? factor + i : nullptr; };
  int first = thread() * 8;
  float most = 0, kept[KEPT][8], v[8];
  UNROLL for (int c = 0; c < KEPT; c++) {
    int i = first + c * STRIDE;
    if (i >= k) continue;
    scaled(kept[c], from + i, factors(i), gelu);
    most = max_(most, most_of(kept[c]));
  }
  for (int i = first + KEPT * STRIDE; i < k; i += STRIDE) {
    scaled(v, from + i, factors(i), gelu);
    most = max_(most, most_of(v));
  }
  most = block_max(most, scratch);
  if (thread() == 0) scale[block_x()] = most * (1.f / 127);
  float by = most > 0 ? 127.f / most : 0;
  UNROLL for (int c = 0; c < KEPT; c++) {
    int i = first + c * STRIDE;
    if (i < k) *(U2*)(to + i) = U2{round4(kept[c], by), round4(kept[c] + 4, by)};
  }
  for (int i = first + KEPT * STRIDE; i < k; i += STRIDE) {
    scaled(v, from + i, factors(i), gelu);
    *(U2*)(to + i) = U2{round4(v, by), round4(v + 4, by)};
  }
}
