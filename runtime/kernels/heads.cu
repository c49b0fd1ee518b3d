// heads.cu: rows of a projection, taken apart into heads, normalised and rotated.
//
// heads_xx (q, k, v, x, rows, q_cols, k_cols, v_cols, dim, norm_q, norm_k, eps, cos, sin,
// halves); the name ends in the formats of x and of q, k and v, h for bf16 and f for
// float32.
//
//   void*        q, k, v   [rows, q_cols], [rows, k_cols], [rows, v_cols]
//   const void*  x         [rows, q_cols+k_cols+v_cols]
//   int          rows, q_cols, k_cols, v_cols, dim; dim divides the cols
//   const float* norm_q    [dim] or null: weights of an RMS norm over each head of q
//   const float* norm_k    [dim] or null
//   float        eps
//   const float* cos, sin  [rows, dim/2], or null: no rotation of q and k; dim is even
//   int          halves    1 pairs value i with i+dim/2, 0 pairs 2i with 2i+1
//
//   grid (x): a warp for each head of each row, 8 to a block; block: 256.
//
// heads_xx8 takes the same where values are paired 2i with 2i+1 (halves is 0) and dim is 64,
// 128 or 256: 8 values to a thread, pointers aligned to 16 bytes (bf16) or 32 (float32).
//
//   grid (x): dim/8 threads for each head of each row; block: 256.
#include "values.cuh"

// part_of is where values `at` and following of a row go, and what happens to them: their
// tensor's cols, their place in its row, the weights of its norm, and whether they turn.
template <class Out>
struct Part {
  Out* out;
  int cols, at;
  const float* weight;
  bool turn;
};
template <class Out>
DEV Part<Out> part_of(Out* q, Out* k, Out* v, int q_cols, int k_cols, int v_cols, const float* norm_q, const float* norm_k, int at) {
  if (at < q_cols) return {q, q_cols, at, norm_q, true};
  if (at < q_cols + k_cols) return {k, k_cols, at - q_cols, norm_k, true};
  return {v, v_cols, at - q_cols - k_cols, nullptr, false};
}

template <class In, class Out>
DEV void heads(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,
               const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin, int halves) {
  int cols = q_cols + k_cols + v_cols, per_row = cols / dim;
  u64 job = global_thread() / 32;
  int row = job / per_row, at = job % per_row * dim;
  if (row >= rows) return;
  x += (u64)row * cols + at;
  Part<Out> part = part_of(q, k, v, q_cols, k_cols, v_cols, norm_q, norm_k, at);
  const float* weight = part.weight;
  bool turn = part.turn && cos;
  Out* out = part.out + (u64)row * part.cols + part.at;
  float factor = 1;
  if (weight) {
    float squares = 0;
    for (int i = lane(); i < dim; i += 32) {
      float a = value(x + i);
      squares += a * a;
    }
    factor = 1.f / sqrt_(warp_sum(squares) / dim + eps);
  }
  if (!turn) {
    for (int i = lane(); i < dim; i += 32) {
      float a[1] = {value(x + i) * factor};
      if (weight) a[0] *= weight[i];
      write<1>(out + i, a);
    }
    return;
  }
  int pairs = dim / 2;
  cos += (u64)row * pairs, sin += (u64)row * pairs;
  for (int i = lane(); i < pairs; i += 32) {
    int first = halves ? i : 2 * i, second = halves ? i + pairs : 2 * i + 1;
    float a = value(x + first) * factor, b = value(x + second) * factor;
    if (weight) a *= weight[first], b *= weight[second];
    float c = cos[i], s = sin[i];
    float low[1] = {a * c - b * s}, high[1] = {b * c + a * s};
    write<1>(out + first, low);
    write<1>(out + second, high);
  }
}

template <class In, class Out>
DEV void heads8(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,
                const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin) {
  int cols = q_cols + k_cols + v_cols;
  u64 value = global_thread() * 8;
  int row = value / cols, at = value % cols, in_head = at % dim;
  // Threads past the end take part in the sums of their warp: the last row has them again.
  bool own = row < rows;
  if (!own) row = rows - 1;
  Part<Out> part = part_of(q, k, v, q_cols, k_cols, v_cols, norm_q, norm_k, at);
  float a[8];
  read<8>(a, x + (u64)row * cols + at);
  float squares = 0;
  UNROLL for (int i = 0; i < 8; i++) squares += a[i] * a[i];
  for (int m = dim / 16; m > 0; m >>= 1) squares += shuffle_xor(squares, m);
  if (part.weight) {
    float w[8], factor = 1.f / sqrt_(squares / dim + eps);
    read<8>(w, part.weight + in_head);
    UNROLL for (int i = 0; i < 8; i++) a[i] *= factor * w[i];
  }
  if (part.turn && cos) {
    u64 angle = ((u64)row * dim + in_head) / 2;
    F4 c = *(const F4*)(cos + angle), s = *(const F4*)(sin + angle);
    float cs[4] = {c.x, c.y, c.z, c.w}, sn[4] = {s.x, s.y, s.z, s.w};
    UNROLL for (int i = 0; i < 4; i++) {
      float b = a[2 * i], d = a[2 * i + 1];
      a[2 * i] = b * cs[i] - d * sn[i], a[2 * i + 1] = d * cs[i] + b * sn[i];
    }
  }
  if (own) write<8>(part.out + (u64)row * part.cols + part.at, a);
}

#define HEADS8(name, In, Out)                                                                                       \
  KERNEL(256, 4)                                                                                                    \
  name(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,                  \
       const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin, int halves) {       \
    heads8<In, Out>(q, k, v, x, rows, q_cols, k_cols, v_cols, dim, norm_q, norm_k, eps, cos, sin);                  \
  }
#define HEADS8_OF(name, In, Out) HEADS8(name##8, In, Out)
FORMATS(HEADS8_OF, heads)

#define HEADS(name, In, Out)                                                                                        \
  KERNEL(256, 4)                                                                                                    \
  name(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,                  \
       const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin, int halves) {       \
    heads<In, Out>(q, k, v, x, rows, q_cols, k_cols, v_cols, dim, norm_q, norm_k, eps, cos, sin, halves);           \
  }
FORMATS(HEADS, heads)
