// linear.cu: linears where float32 must stay float32, or where there are few rows.
//
// All end like gemm.cu's products, out = residual + gate · activation(y + bias), with the
// same flags.
//
// linear_hh, linear_hf, linear_fh, linear_ff (out, x, w, bias, residual, gate, rest, m, n,
// k, stride, until, flags): y = x·wᵀ in float32, product by product; the name ends in the
// formats of x [m,k] and w [n,k], h for bf16 and f for float32.
//
//   int          stride    from one row of w to the next, k or more
//
//   grid: ceil(n/64), ceil(m/64); block: 256; no dynamic shared memory. All sizes are free.
//
// awq_h, awq_f (out, x, codes, scales, zeros, bias, residual, gate, rest, m, n, k, parts,
// until, flags): y = x·wᵀ with w = code·scale + zero, in float32; the name ends in the
// format of x [m,k].
//
//   const u32*   codes     [n, k] codes of 4 bits as in an AWQ qweight; rows in file order
//   const bf16*  scales    [k/64, n], and zeros, in file order
//   const float* bias      [n] in the order of the outputs, or null
//   int          n, k      multiples of 4 and 64
//   int          parts     row i of the file is output i%parts · n/parts + i/parts
//
//   grid: n/8 rounded up; block: 256: a warp for each output, which decodes its row once
//   for every 8 rows of x.
//
// finish (out, y, residual, gate, rest, m, n, until, flags): out = residual + gate ·
// activation(y), of float32 y [m,n].      grid: any x; block: 256
#include "tiles.cuh"
#include "values.cuh"

constexpr int SIDE = 64, DEPTH = 16;

// load_panel puts SIDE rows of DEPTH columns, transposed, into shared memory; zeros where
// there are none.
template <class T>
DEV void load_panel(float (&panel)[DEPTH][SIDE + 4], const T* from, int first, int rows, int at, int k, int stride) {
  UNROLL for (int i = 0; i < SIDE * DEPTH / 256; i++) {
    int row = (thread() + i * 256) / DEPTH, column = thread() % DEPTH;
    bool inside = first + row < rows && at + column < k;
    panel[column][row] = inside ? value(from + (u64)(first + row) * stride + at + column) : 0.f;
  }
}

template <class X, class W>
DEV void linear(const Epilogue& e, const X* x, const W* w, int k, int stride) {
  __shared__ float rows[DEPTH][SIDE + 4], outs[DEPTH][SIDE + 4];
  int first_row = block_y() * SIDE, first_out = block_x() * SIDE;
  int row = thread() / 16 * 4, out = thread() % 16 * 4;
  float sum[4][4] = {};
  for (int at = 0; at < k; at += DEPTH) {
    sync_block();
    load_panel(rows, x, first_row, e.m, at, k, k);
    load_panel(outs, w, first_out, e.n, at, k, stride);
    sync_block();
    _Pragma("unroll 4") for (int d = 0; d < DEPTH; d++) {
      F4 a = *(const F4*)&rows[d][row], b = *(const F4*)&outs[d][out];
      float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
      UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) sum[i][j] = __builtin_fmaf(left[i], right[j], sum[i][j]);
    }
  }
  // The long code of the epilogue is there once: registers have no index, shared memory has.
  __shared__ float tile[SIDE][SIDE + 1];
  UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) tile[row + i][out + j] = sum[i][j];
  sync_block();
  NO_UNROLL for (int i = thread(); i < SIDE * SIDE; i += 256) {
    int to = first_row + i / SIDE, column = first_out + i % SIDE;
    if (to < e.m && column < e.n) finish1(e, to, column, tile[i / SIDE][i % SIDE]);
  }
}

#define LINEAR(name, X, W)                                                                                       \
  KERNEL(256, 2)                                                                                                 \
  name(void* out, const X* x, const W* w, const float* bias, const void* residual, const float* gate,            \
       const float* rest, int m, int n, int k, int stride, int until, u32 flags) {                               \
    linear(Epilogue{out, bias, residual, gate, rest, until, m, n, flags}, x, w, k, stride);                      \
  }
FORMATS(LINEAR, linear)

// BATCH is how many rows of x a warp takes at a time.
constexpr int BATCH = 8;

template <class X>
DEV void awq(const Epilogue& e, const X* x, const u32* codes, const u16* scales, const u16* zeros, int k, int parts) {
  int n = block_x() * 8 + warp();
  if (n >= e.n) return;
  int out = n % parts * (e.n / parts) + n / parts;
  for (int first = 0; first < e.m; first += BATCH) {
    int batch = min_(BATCH, e.m - first);
    float sum[BATCH] = {};
    // A word holds 8 codes: of two neighbouring columns at each of 4 places, 8 apart.
    for (int word = lane(); word < k / 8; word += 32) {
      int block = word / 8, unit = word % 8 * 2;  // of 16 units of 16 bits to a row and block
      u32 bits = codes[((u64)(n / 4) * k + block * 64 + n % 4 * 16 + unit) / 2];
      float scale = from_bf16(scales[(u64)block * e.n + n]), zero = from_bf16(zeros[(u64)block * e.n + n]);
      int column = block * 64 + unit / 8 * 32 + unit % 8;
      UNROLL for (int place = 0; place < 4; place++) {
        float low = __builtin_fmaf((float)(bits >> 4 * place & 15), scale, zero);
        float high = __builtin_fmaf((float)(bits >> (16 + 4 * place) & 15), scale, zero);
        UNROLL for (int i = 0; i < BATCH; i++) {
          if (i >= batch) break;
          const X* from = x + (u64)(first + i) * k + column + 8 * place;
          sum[i] = __builtin_fmaf(low, value(from), __builtin_fmaf(high, value(from + 1), sum[i]));
        }
      }
    }
    float own = 0;
    UNROLL for (int i = 0; i < BATCH; i++) {
      float y = warp_sum(sum[i]);
      if (lane() == i) own = y;
    }
    if (lane() < batch) finish1(e, first + lane(), out, own);
  }
}

#define AWQ(name, X)                                                                                               \
  KERNEL(256, 2)                                                                                                   \
  name(void* out, const X* x, const u32* codes, const u16* scales, const u16* zeros, const float* bias,            \
       const void* residual, const float* gate, const float* rest, int m, int n, int k, int parts, int until,      \
       u32 flags) {                                                                                                \
    awq(Epilogue{out, bias, residual, gate, rest, until, m, n, flags}, x, codes, scales, zeros, k, parts);         \
  }
AWQ(awq_h, u16)
AWQ(awq_f, float)

KERNEL(256, 4)
finish(void* out, const float* y, const void* residual, const float* gate, const float* rest, int m, int n, int until, u32 flags) {
  Epilogue e{out, nullptr, residual, gate, rest, until, m, n, flags};
  for (u64 i = global_thread(); i < (u64)m * n; i += global_threads()) finish1(e, i / n, i % n, y[i]);
}
