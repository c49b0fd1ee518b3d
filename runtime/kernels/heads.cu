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
#include "values.cuh"

template <class In, class Out>
DEV void heads(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,
               const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin, int halves) {
  int cols = q_cols + k_cols + v_cols, per_row = cols / dim;
  u64 job = global_thread() / 32;
  int row = job / per_row, at = job % per_row * dim;
  if (row >= rows) return;
  x += (u64)row * cols + at;
  const float* weight = nullptr;
  bool turn = cos != nullptr;
  Out* out;
  if (at < q_cols) {
    out = q + (u64)row * q_cols + at;
    weight = norm_q;
  } else if (at < q_cols + k_cols) {
    out = k + (u64)row * k_cols + (at - q_cols);
    weight = norm_k;
  } else {
    out = v + (u64)row * v_cols + (at - q_cols - k_cols);
    turn = false;
  }
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

#define HEADS(name, In, Out)                                                                                        \
  KERNEL(256, 4)                                                                                                    \
  name(Out* q, Out* k, Out* v, const In* x, int rows, int q_cols, int k_cols, int v_cols, int dim,                  \
       const float* norm_q, const float* norm_k, float eps, const float* cos, const float* sin, int halves) {       \
    heads<In, Out>(q, k, v, x, rows, q_cols, k_cols, v_cols, dim, norm_q, norm_k, eps, cos, sin, halves);           \
  }
FORMATS(HEADS, heads)
