// pre.cu: what happens to the input of an operation, row by row, in float32.
//
// Names end in the formats of x and out, h for bf16 and f for float32, and in the number of
// values of one access, 1 or 8. With 8, all lengths are multiples of 8 and all pointers
// aligned to 16 bytes (bf16) or 32 (float32). out overlaps nothing.
//
// map_xx1, map_xx8 (out, x, n, function): n values one by one. function: 0 copies, 1 is
// SiLU, 2 GELU tanh. swiglu_xx1, swiglu_xx8 (out, x, rows, cols, padded): x [rows,
// 2·cols], rows [a | b], out [rows, padded] SiLU(a)·b and zeros from cols on; padded is cols for
// swiglu_xx8.
//
//   grid: any x; block: 256; no dynamic shared memory.
//
// norm_xx1, norm_xx8 (out, x, rows, cols, team, kind, eps, weight, scale, shift, rest_scale,
// rest_shift, until, one)
//
//   int          rows, cols
//   int          team      threads to a row: 32 or 256
//   int          kind      0 RMS: x·w/√(mean(x²)+eps); 1 layer: (x−mean)/√(variance+eps),
//                          then ·(scale+one)+shift if there is a scale; 2 channel:
//                          x·√cols·w/max(‖x‖, 1e-12); 3 SiLU of that
//   float        eps
//   const float* weight    [cols], not read by kind 1
//   const float* scale     [cols] or null, and shift, of rows before until; rest_scale and
//                          rest_shift of rows from until on
//   int          until
//   float        one       added to scale
//
//   grid: rows/8 rounded up with a team of 32, rows with one of 256; block: 256.
#include "values.cuh"

template <class In, class Out, int V>
DEV void map(Out* out, const In* x, u64 n, int function) {
  for (u64 i = global_thread() * V; i < n; i += global_threads() * V) {
    float v[V];
    read<V>(v, x + i);
    if (function == 1) UNROLL for (int j = 0; j < V; j++) v[j] = silu(v[j]);
    if (function == 2) UNROLL for (int j = 0; j < V; j++) v[j] = gelu_tanh(v[j]);
    write<V>(out + i, v);
  }
}

template <class In, class Out, int V>
DEV void swiglu(Out* out, const In* x, u64 rows, u64 cols, u64 padded) {
  for (u64 i = global_thread() * V; i < rows * padded; i += global_threads() * V) {
    u64 row = i / padded, column = i - row * padded;
    const In* from = x + row * 2 * cols + column;
    float a[V], b[V];
    if (column >= cols) {
      UNROLL for (int j = 0; j < V; j++) a[j] = 0;
      write<V>(out + i, a);
      continue;
    }
    read<V>(a, from);
    read<V>(b, from + cols);
    UNROLL for (int j = 0; j < V; j++) a[j] = silu(a[j]) * b[j];
    write<V>(out + i, a);
  }
}

enum : int { RMS = 0, LAYER = 1, CHANNEL = 2, CHANNEL_SILU = 3 };

struct Norm {
  int kind;
  float eps;
  const float *weight, *scale, *shift, *rest_scale, *rest_shift;
  int until;
  float one;
};

template <class In, class Out, int V>
DEV void norm(Out* out, const In* x, int rows, int cols, int team, const Norm& p) {
  __shared__ float scratch[32];
  bool alone = team == 32;  // a warp to a row
  int row = alone ? block_x() * (threads() / 32) + warp() : block_x();
  if (row >= rows) return;  // of a block that shares a row, all threads or none
  out += (u64)row * cols, x += (u64)row * cols;
  int first = (alone ? lane() : thread()) * V, step = team * V;

  float mean = 0;
  if (p.kind == LAYER) {
    for (int i = first; i < cols; i += step) {
      float v[V];
      read<V>(v, x + i);
      UNROLL for (int j = 0; j < V; j++) mean += v[j];
    }
    mean = (alone ? warp_sum(mean) : block_sum(mean, scratch)) / cols;
  }
  float squares = 0;
  for (int i = first; i < cols; i += step) {
    float v[V];
    read<V>(v, x + i);
    UNROLL for (int j = 0; j < V; j++) squares += (v[j] - mean) * (v[j] - mean);
  }
  squares = alone ? warp_sum(squares) : block_sum(squares, scratch);
  float factor = p.kind >= CHANNEL ? sqrt_(cols) / max_(sqrt_(squares), 1e-12f) : 1.f / sqrt_(squares / cols + p.eps);

  const float *scale = row < p.until ? p.scale : p.rest_scale, *shift = row < p.until ? p.shift : p.rest_shift;
  for (int i = first; i < cols; i += step) {
    float v[V], w[V];
    read<V>(v, x + i);
    UNROLL for (int j = 0; j < V; j++) v[j] = (v[j] - mean) * factor;
    if (p.kind == LAYER) {
      if (scale) {
        float s[V];
        read<V>(w, scale + i);
        read<V>(s, shift + i);
        UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * (w[j] + p.one) + s[j];
      }
    } else {
      read<V>(w, p.weight + i);
      UNROLL for (int j = 0; j < V; j++) v[j] *= w[j];
      if (p.kind == CHANNEL_SILU) UNROLL for (int j = 0; j < V; j++) v[j] = silu(v[j]);
    }
    write<V>(out + i, v);
  }
}

#define PRE(name, In, Out, V)                                                                                   \
  KERNEL(256, 4) map##name(Out* out, const In* x, u64 n, int function) { map<In, Out, V>(out, x, n, function); } \
  KERNEL(256, 4) swiglu##name(Out* out, const In* x, u64 rows, u64 cols, u64 padded) {                        \
    swiglu<In, Out, V>(out, x, rows, cols, padded);                                                             \
  }                                                                                                             \
  KERNEL(256, 4)                                                                                                \
  norm##name(Out* out, const In* x, int rows, int cols, int team, int kind, float eps, const float* weight,     \
             const float* scale, const float* shift, const float* rest_scale, const float* rest_shift,          \
             int until, float one) {                                                                            \
    norm<In, Out, V>(out, x, rows, cols, team,                                                                  \
                     Norm{kind, eps, weight, scale, shift, rest_scale, rest_shift, until, one});                \
  }
#define PRES(name, In, Out) PRE(name##1, In, Out, 1) PRE(name##8, In, Out, 8)
FORMATS(PRES, )
