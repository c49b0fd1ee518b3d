// layout.cu: what products need around them: the softmax of wide attention, and changes of
// layout.
//
// softmax_rows (out, in, rows, m, scale): out[i,:] = softmax(scale·in[i,:]).
//   bf16* out [rows, m]; const float* in [rows, m]; int rows; int m, a multiple of 8;
//   float scale, above 0      grid: (rows); block 256
//
// transpose_bf16 (out, in, rows, columns): out[j,i] = in[i,j].
//   bf16* out [columns, rows]; const bf16* in [rows, columns]
//   grid: (ceil(columns/32), ceil(rows/32)); block 256
//
// pad_columns (out, in, rows, columns, padded): rows of more columns, the new ones zero.
//   bf16* out [rows, padded]; const bf16* in [rows, columns]
//   grid: any x; block 256
//
// Pointers are aligned to 16 bytes; out overlaps no input. No dynamic shared memory.
//
// Attention with one head too wide for attention.cu is, for blocks of queries: gemm q·kᵀ to
// float32, softmax_rows, gemm with v transposed.
#include "dev.cuh"

KERNEL(256, 4) softmax_rows(u16* __restrict__ out, const float* __restrict__ in, int rows, int m, float scale) {
  __shared__ float scratch[32];
  const F4* from = (const F4*)(in + (u64)block_x() * m);
  U2* to = (U2*)(out + (u64)block_x() * m);
  float factor = scale * log2e;
  // The row is read three times; after the first it comes from the cache.
  float most = as_float(0xff800000u);
  for (int i = thread(); i < m / 4; i += 256) {
    F4 v = from[i];
    most = max_(most, max_(max_(v.x, v.y), max_(v.z, v.w)));
  }
  float shift = block_max(most, scratch) * factor;
  float sum = 0;
  for (int i = thread(); i < m / 4; i += 256) {
    F4 v = from[i];
    sum += (exp2_(v.x * factor - shift) + exp2_(v.y * factor - shift)) + (exp2_(v.z * factor - shift) + exp2_(v.w * factor - shift));
  }
  float by = 1.f / block_sum(sum, scratch);
  for (int i = thread(); i < m / 4; i += 256) {
    F4 v = from[i];
    to[i] = U2{pack_bf16(exp2_(v.x * factor - shift) * by, exp2_(v.y * factor - shift) * by),
               pack_bf16(exp2_(v.z * factor - shift) * by, exp2_(v.w * factor - shift) * by)};
  }
}

KERNEL(256, 4) transpose_bf16(u16* __restrict__ out, const u16* __restrict__ in, int rows, int columns) {
  __shared__ u16 tile[32][33];
  int x = thread() & 31, y = thread() >> 5, column = block_x() * 32, row = block_y() * 32;
  for (int i = y; i < 32; i += 8)
    if (row + i < rows && column + x < columns) tile[i][x] = in[(u64)(row + i) * columns + column + x];
  sync_block();
  for (int i = y; i < 32; i += 8)
    if (column + i < columns && row + x < rows) out[(u64)(column + i) * rows + row + x] = tile[x][i];
}

KERNEL(256, 4) pad_columns(u16* __restrict__ out, const u16* __restrict__ in, int rows, int columns, int padded) {
  u64 total = (u64)rows * padded;
  for (u64 i = global_thread(); i < total; i += global_threads()) {
    u32 c = i % padded;
    out[i] = c < columns ? in[i / padded * columns + c] : 0;
  }
}
