// moves.cu: rows of a table, the sampler's steps, and a check of values.
//
// Names end in formats, h for bf16 and f for float32: of what is read, then of what is
// written, where that is free.
//
// rows_xx1, rows_xx8 (out, table, ids, n, cols): out[i] = table[ids[i]], rows of cols
// values; 1 or 8 values an access, as in pre.cu.
//
//   int          ids [n], each one a row of the table; n, cols are u64
//
// euler_h, euler_f (x, v, n, dt): x[i] += dt·v[i], n (u64) float32 along bf16 or float32.
//
// guide_xx (out, positive, negative, rows, cols, scale): for each row c = negative +
// scale·(positive − negative) and out = c·‖positive‖/‖c‖, 0 where c is 0. Differences,
// ratio and sums are float64, as a ratio of small numbers needs. out may be an input. A
// warp for each row.
//
// finite_h, finite_f (x, n, first): the least of the u64 at first and the indices of values
// in x [n] that are NaN or infinite, to first.
//
//   grid: any x, or rows/8 rounded up for guide; block: 256.
#include "values.cuh"

template <class In, class Out, int V>
DEV void rows(Out* out, const In* table, const int* ids, u64 n, u64 cols) {
  for (u64 i = global_thread() * V; i < n * cols; i += global_threads() * V) {
    float v[V];
    read<V>(v, table + (u64)ids[i / cols] * cols + i % cols);
    write<V>(out + i, v);
  }
}

#define ROWS_OF(name, In, Out, V) \
  KERNEL(256, 4) name(Out* out, const In* table, const int* ids, u64 n, u64 cols) { rows<In, Out, V>(out, table, ids, n, cols); }
#define ROWS(name, In, Out) ROWS_OF(name##1, In, Out, 1) ROWS_OF(name##8, In, Out, 8)
FORMATS(ROWS, rows)

template <class In>
DEV void euler(float* x, const In* v, u64 n, float dt) {
  for (u64 i = global_thread(); i < n; i += global_threads()) x[i] = __builtin_fmaf(dt, value(v + i), x[i]);
}
KERNEL(256, 4) euler_h(float* x, const u16* v, u64 n, float dt) { euler(x, v, n, dt); }
KERNEL(256, 4) euler_f(float* x, const float* v, u64 n, float dt) { euler(x, v, n, dt); }

DEV double shuffle_xor(double x, int mask) {
  u64 bits = __builtin_bit_cast(u64, x);
  u32 low, high;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(low) : "r"((u32)bits), "r"(mask));
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(high) : "r"((u32)(bits >> 32)), "r"(mask));
  return __builtin_bit_cast(double, (u64)high << 32 | low);
}
DEV double warp_sum(double x) {
  UNROLL for (int m = 16; m > 0; m >>= 1) x += shuffle_xor(x, m);
  return x;
}
DEV double sqrt_(double x) {
  double y;
  asm("sqrt.rn.f64 %0, %1;" : "=d"(y) : "d"(x));
  return y;
}

template <class In, class Out>
DEV void guide(Out* out, const In* positive, const In* negative, int rows, int cols, float scale) {
  int row = global_thread() / 32;
  if (row >= rows) return;
  u64 at = (u64)row * cols;
  double joined = 0, size = 0;
  for (int i = lane(); i < cols; i += 32) {
    double p = value(positive + at + i), n = value(negative + at + i), c = n + (double)scale * (p - n);
    joined += c * c;
    size += p * p;
  }
  joined = warp_sum(joined), size = warp_sum(size);
  double factor = joined > 0 ? sqrt_(size / joined) : 0;
  for (int i = lane(); i < cols; i += 32) {
    double p = value(positive + at + i), n = value(negative + at + i);
    float v[1] = {(float)((n + (double)scale * (p - n)) * factor)};
    write<1>(out + at + i, v);
  }
}

#define GUIDE(name, In, Out)                                                                       \
  KERNEL(256, 1)                                                                                   \
  name(Out* out, const In* positive, const In* negative, int rows, int cols, float scale) {        \
    guide<In, Out>(out, positive, negative, rows, cols, scale);                                    \
  }
FORMATS(GUIDE, guide)

template <class In>
DEV void finite(const In* x, u64 n, u64* first) {
  for (u64 i = global_thread(); i < n; i += global_threads()) {
    float v = value(x + i);
    if (!(v - v == 0)) {
      asm volatile("red.global.min.u64 [%0], %1;" ::"l"(first), "l"(i) : "memory");
      return;  // the thread's first one
    }
  }
}
KERNEL(256, 4) finite_h(const u16* x, u64 n, u64* first) { finite(x, n, first); }
KERNEL(256, 4) finite_f(const float* x, u64 n, u64* first) { finite(x, n, first); }
