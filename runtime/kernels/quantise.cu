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
// quantise_norm (out, scale, in, factor, rows, k, eps, mul, add, rest_mul, rest_add, until, one): the
// same with y = n·factor, n = (in − mean)/√(variance + eps) over the row, ·(mul + one) + add if there
// is a mul; n is not rounded.
//
//   float        eps
//   const float* mul       [k] or null, and add, of rows before until; rest_mul and rest_add of
//                          rows from until on
//   int          until
//   float        one       added to mul
//
//   k is at most 4096; the rest as above.
//
// For a linear with smoothing, activations are quantised with 1/smooth and the weights, as
// svdq_weights makes them, with smooth.
#include "values.cuh"

// scaled reads eight neighbours of a row.
DEV void scaled(float (&v)[8], const u16* in, const float* factor, bool gelu) {
  read<8>(v, in);
  if (gelu) UNROLL for (int i = 0; i < 8; i++) v[i] = gelu_tanh(v[i]);
  if (!factor) return;
  float by[8];
  read<8>(by, factor);
  UNROLL for (int i = 0; i < 8; i++) v[i] *= by[i];
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

KERNEL(256, 5)
quantise_norm(i8* __restrict__ out, float* __restrict__ scale, const u16* __restrict__ in, const float* __restrict__ factor, int rows, int k,
              float eps, const float* mul, const float* add, const float* rest_mul, const float* rest_add, int until, float one) {
  __shared__ float scratch[32];
  int row = block_x(), first = thread() * 8;
  const u16* from = in + (u64)row * k;
  i8* to = out + (u64)row * k;
  if (row >= until) mul = rest_mul, add = rest_add;
  float v[KEPT][8] = {}, sum = 0, squares = 0, most = 0;
  UNROLL for (int c = 0; c < KEPT; c++) {
    if (first + c * STRIDE >= k) continue;
    read<8>(v[c], from + first + c * STRIDE);
    UNROLL for (int i = 0; i < 8; i++) sum += v[c][i];
  }
  float mean = block_sum(sum, scratch) / k;
  UNROLL for (int c = 0; c < KEPT; c++) {
    if (first + c * STRIDE >= k) continue;
    UNROLL for (int i = 0; i < 8; i++) v[c][i] -= mean, squares += v[c][i] * v[c][i];
  }
  float by = 1.f / sqrt_(block_sum(squares, scratch) / k + eps);
  UNROLL for (int c = 0; c < KEPT; c++) {
    int at = first + c * STRIDE;
    if (at >= k) continue;
    float m[8], a[8], f[8];
    UNROLL for (int i = 0; i < 8; i++) v[c][i] *= by;
    if (mul) {
      read<8>(m, mul + at), read<8>(a, add + at);
      UNROLL for (int i = 0; i < 8; i++) v[c][i] = v[c][i] * (m[i] + one) + a[i];
    }
    if (factor) {
      read<8>(f, factor + at);
      UNROLL for (int i = 0; i < 8; i++) v[c][i] *= f[i];
    }
    most = max_(most, most_of(v[c]));
  }
  most = block_max(most, scratch);
  if (thread() == 0) scale[row] = most * (1.f / 127);
  by = most > 0 ? 127.f / most : 0;
  UNROLL for (int c = 0; c < KEPT; c++) {
    int at = first + c * STRIDE;
    if (at < k) *(U2*)(to + at) = U2{round4(v[c], by), round4(v[c] + 4, by)};
  }
}
