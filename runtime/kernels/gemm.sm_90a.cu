// gemm.sm_90a.cu: the products of gemm.cu for Hopper (sm_90a).
//
//     out[m,n] = residual + gate · activation(A[m,k]·B[n,k]ᵀ + bias)
//
// gemm_bf16_hopper (a, b, out, bias, residual, gate, rest, m, n, k, until, flags)
//
//   CUtensorMap  a         [m,k] bf16, tiles of 128 rows x 64 columns, and
//   CUtensorMap  b         [n,k] bf16, tiles of 256 rows x 64 columns, both by value (128
//                          bytes each, aligned to 64), two-dimensional, 128-byte swizzle,
//                          zeros outside
//   the others are gemm.cu's; k is a multiple of 8
//
//   grid: min(ceil(m/128)·ceil(n/256), multiprocessors); block 384;
//   dynamic shared memory: 218112
//
// gemm_s8_hopper (a, b, a_scale, b_scale, out, ... flags), the rest as above:
//
//     out[m,n] = residual + gate · activation(a_scale[m]·b_scale[n]·(A[m,k]·B[n,k]ᵀ) + bias)
//
//   CUtensorMap  a, b      as above, with two 8-bit whole numbers in the place of one bf16:
//                          [m,k/2] and [n,k/2]; k is a multiple of 16
//   const float* a_scale   [m]
//   const float* b_scale   [n]
//   The sums are exact. quantise_rows of quantise.cu makes numbers and scales.
//
// One block runs on each multiprocessor and takes tile after tile. Its first warpgroup fills
// a ring of stages and runs ahead, the other two compute 64 rows each.
#include "hopper.cuh"
#include "tiles.cuh"

constexpr int BM = 128, BN = 256, ROW = 128, COLUMNS = 64;  // bytes of a row of a stage, and columns of the tensor map
constexpr u32 STAGES = 4, STAGE = (BM + BN) * ROW, STAGE_A = BM * ROW;
constexpr int PATCH_ROW = 32 + 8, PATCH = 16 * PATCH_ROW * 4;
constexpr u32 PATCHES = STAGES * STAGE, BARRIERS = PATCHES + 8 * PATCH, SHARED = BARRIERS + 1024;
static_assert(SHARED == 218112, "what the head says");

// Scales are of the rows of A and of B.
struct Scales {
  const float *a, *b;
};

// Floats and Integers are the two kinds of operands: what a stage's rows hold, and sums.
struct Floats {
  using Sum = float;
  static constexpr int BK = 64;
  DEV void multiply(float (&sum)[128], u64 a, u64 b, bool add) { multiply_256(sum, a, b, add); }
  DEV F2 row_scales(const Scales&, int, int) { return F2{1, 1}; }
  DEV F2 column_scales(const Scales&, int, int) { return F2{1, 1}; }
  DEV float value(float sum, float, float) { return sum; }
};
struct Integers {
  using Sum = int;
  static constexpr int BK = 128;
  DEV void multiply(int (&sum)[128], u64 a, u64 b, bool add) { multiply_256(sum, a, b, add); }
  DEV F2 row_scales(const Scales& s, int row, int m) { return F2{s.a[min_(row, m - 1)], s.a[min_(row + 8, m - 1)]}; }
  DEV F2 column_scales(const Scales& s, int column, int n) { return F2{s.b[min_(column, n - 1)], s.b[min_(column + 1, n - 1)]}; }
  DEV float value(int sum, float row, float column) { return (float)sum * (row * column); }
};

// Work walks through a block's tiles.
struct Work {
  u32 id, tiles_m, tiles_n;
  int row, column;
  __device__ inline __attribute__((always_inline)) bool find() {
    if (id >= tiles_m * tiles_n) return false;
    u32 tile_m, tile_n;
    // The higher the strip, the fewer times b is read; a low one is better where b is small
    // enough to stay in the cache.
    block_of(id, tiles_m, tiles_n, tiles_n < 24 ? 8 : 16, tile_m, tile_n);
    row = tile_m * BM, column = tile_n * BN;
    id += blocks_x();
    return true;
  }
};

// store_fast stores what store_warp below does if there is no activation and the result, and
// what is added, if anything, is bf16: 64 columns at a time, with sums in the places in which
// the tensor cores leave them. What is added comes to those places, and the result goes from
// them, by way of shared memory.
template <class Op, bool adds>
DEV void store_fast(const Epilogue& e, const Scales& scales, u32 patch, const typename Op::Sum (&sum)[128], int first_row, int first_column) {
  constexpr u32 PITCH = 64 * 2 + 16;
  u32 l = lane(), at = patch + (l & 15) * PITCH + (l >> 4) * 16, line = patch + (l >> 3) * PITCH + (l & 7) * 16;
  int row = first_row + (l >> 2);
  F2 by_row = Op::row_scales(scales, row, e.m);
  const float *gate = row < e.until ? e.gate : e.rest, *gate8 = row + 8 < e.until ? e.gate : e.rest;
  U4 ahead[4];
  auto inside = [&](int part, int i) { return first_row + (int)(l >> 3) + i * 4 < e.m && first_column + part * 64 + (int)(l & 7) * 8 < e.n; };
  auto index = [&](int part, int i) { return (u64)(first_row + (l >> 3) + i * 4) * e.n + first_column + part * 64 + (l & 7) * 8; };
  auto read = [&](int part) {
    UNROLL for (int i = 0; i < 4; i++) ahead[i] = inside(part, i) ? *(const U4*)((const u16*)e.residual + index(part, i)) : U4{0, 0, 0, 0};
  };
  if (adds) read(0);
  UNROLL for (int part = 0; part < 4; part++) {
    if (adds) {
      UNROLL for (int i = 0; i < 4; i++) store_shared16(line + i * 4 * PITCH, ahead[i]);
      sync_warp();
      if (part < 3) read(part + 1);
    }
    UNROLL for (int j = 0; j < 8; j += 2) {
      u32 pair[4], added[4] = {0, 0, 0, 0};
      if (adds) load_matrices(added, at + j * 16);
      UNROLL for (int i = 0; i < 2; i++) {
        const typename Op::Sum* s = sum + part * 32 + (j + i) * 4;
        int column = min_(first_column + part * 64 + (j + i) * 8 + (int)(l & 3) * 2, e.n - 2);
        F2 by = Op::column_scales(scales, column, e.n), bias = e.bias ? *(const F2*)(e.bias + column) : F2{0, 0};
        float y[4] = {Op::value(s[0], by_row.x, by.x) + bias.x, Op::value(s[1], by_row.x, by.y) + bias.y,
                      Op::value(s[2], by_row.y, by.x) + bias.x, Op::value(s[3], by_row.y, by.y) + bias.y};
        if (adds) {
          if (e.gate) {
            F2 g = *(const F2*)(gate + column), g8 = *(const F2*)(gate8 + column);
            y[0] *= g.x, y[1] *= g.y, y[2] *= g8.x, y[3] *= g8.y;
          }
          y[0] += bf16_low(added[i * 2]), y[1] += bf16_high(added[i * 2]), y[2] += bf16_low(added[i * 2 + 1]), y[3] += bf16_high(added[i * 2 + 1]);
        }
        pair[i * 2] = pack_bf16(y[0], y[1]), pair[i * 2 + 1] = pack_bf16(y[2], y[3]);
      }
      store_matrices(at + j * 16, pair[0], pair[1], pair[2], pair[3]);
    }
    sync_warp();
    UNROLL for (int i = 0; i < 4; i++) {
      U4 v = load_shared16(line + i * 4 * PITCH);
      if (inside(part, i)) *(U4*)((u16*)e.out + index(part, i)) = v;
    }
    sync_warp();
  }
}

// store_warp stores 16 rows by 256 columns, 32 at a time by way of shared memory, so that
// each thread reads and writes 16 bytes at once.
template <class Op>
DEV void store_warp(const Epilogue& e, const Scales& scales, float* patch, const typename Op::Sum (&sum)[128], int first_row, int first_column) {
  u32 l = lane();
  F2 by_row = Op::row_scales(scales, first_row + (l >> 2), e.m);
  bool whole = e.n % 8 == 0;
  float* to = patch + (l >> 2) * PATCH_ROW + (l & 3) * 2;
  int column = first_column + l % 4 * 8, row = first_row + l / 4;
  NO_UNROLL for (int part = 0; part < 8; part++, column += 32) {
    UNROLL for (int own = 0; own < 8; own++) {
      if (own != part) continue;
      UNROLL for (int j = 0; j < 4; j++) {
        F2 by = Op::column_scales(scales, first_column + part * 32 + j * 8 + (l & 3) * 2, e.n);
        const typename Op::Sum* s = sum + own * 16 + j * 4;
        *(F2*)(to + j * 8) = F2{Op::value(s[0], by_row.x, by.x), Op::value(s[1], by_row.x, by.y)};
        *(F2*)(to + 8 * PATCH_ROW + j * 8) = F2{Op::value(s[2], by_row.y, by.x), Op::value(s[3], by_row.y, by.y)};
      }
    }
    sync_warp();
    NO_UNROLL for (int i = 0; i < 2; i++) {
      if (row + i * 8 >= e.m || column >= e.n) continue;
      const float* from = patch + (l / 4 + i * 8) * PATCH_ROW + l % 4 * 8;
      if (whole) {
        finish8(e, row + i * 8, column, from);
      } else {
        NO_UNROLL for (int c = 0; c < 8 && column + c < e.n; c++) finish1(e, row + i * 8, column + c, from[c]);
      }
    }
    sync_warp();
  }
}

// fill fills a block's stages.
template <class Op>
DEV void fill(u64 map_a, u64 map_b, u32 base, u32 full, u32 empty, Work work, int steps) {
  Ring<STAGES> ring{0, 0};
  while (work.find()) {
    NO_UNROLL for (int step = 0; step < steps; step++) {
      await(empty + ring.stage * 8, ring.parity ^ 1);
      u32 at = base + ring.stage * STAGE, barrier = full + ring.stage * 8;
      arrive_expecting(barrier, STAGE);
      copy_tile(at, map_a, step * COLUMNS, work.row, barrier);
      copy_tile(at + STAGE_A, map_b, step * COLUMNS, work.column, barrier);
      ring.advance();
    }
  }
}

// release gives a stage back to be filled, a warp at a time.
DEV void release(u32 barrier) {
  if (lane() == 0) arrive(barrier);
}

template <class Op>
DEV void compute(u8* shared, u32 base, u32 full, u32 empty, Work work, int steps, const Epilogue& e, const Scales& scales) {
  Ring<STAGES> ring{0, 0};
  u32 group = thread() / 128 - 1, w = warp() - 4;
  bool fast = e.flags == 0 && e.n % 8 == 0 && (e.residual || !e.gate);
  while (work.find()) {
    typename Op::Sum sum[128];
    undefined(sum);
    u32 last = 0;
    NO_UNROLL for (int step = 0; step < steps; step++) {
      await(full + ring.stage * 8, ring.parity);
      u64 at_a = rows_at(base + ring.stage * STAGE + group * 64 * ROW), at_b = rows_at(base + ring.stage * STAGE + STAGE_A);
      multiply_begin();
      UNROLL for (int s = 0; s < ROW / 32; s++) Op::multiply(sum, at_a + s * 2, at_b + s * 2, step > 0 || s > 0);
      multiply_commit();
      // The products of the step before are done: its stage may be filled again.
      multiply_wait<1>();
      if (step > 0) release(empty + last * 8);
      last = ring.stage;
      ring.advance();
    }
    multiply_wait<0>();
    release(empty + last * 8);
    u32 at = PATCHES + w * PATCH;
    int row = work.row + w * 16;
    if (fast && e.residual) store_fast<Op, true>(e, scales, base + at, sum, row, work.column);
    else if (fast) store_fast<Op, false>(e, scales, base + at, sum, row, work.column);
    else store_warp<Op>(e, scales, (float*)(shared + at), sum, row, work.column);
  }
}

template <class Op>
DEV void gemm(u64 map_a, u64 map_b, const Scales& scales, int m, int n, int k, const Epilogue& e) {
  DYNAMIC_SHARED(shared);
  u32 base = shared_address(shared), full = base + BARRIERS, empty = full + STAGES * 8;
  int steps = (k + Op::BK - 1) / Op::BK;
  if (thread() == 0) {
    for (u32 s = 0; s < STAGES; s++) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, 8);  // the warps that read
    }
    barriers_ready();
  }
  sync_block();
  Work work{block_x(), (u32)(m + BM - 1) / BM, (u32)(n + BN - 1) / BN, 0, 0};
  if (thread() < 128) {
    give_registers<40>();
    if (thread() == 0) fill<Op>(map_a, map_b, base, full, empty, work, steps);
  } else {
    take_registers<232>();
    compute<Op>(shared, base, full, empty, work, steps, e, scales);
  }
}

KERNEL(384, 1)
gemm_bf16_hopper(TensorMap a, TensorMap b, void* out, const float* bias, const void* residual, const float* gate, const float* rest,
                 int m, int n, int k, int until, u32 flags) {
  gemm<Floats>(MAP_ADDRESS(gemm_bf16_hopper, 0), MAP_ADDRESS(gemm_bf16_hopper, 1), Scales{nullptr, nullptr}, m, n, k,
               Epilogue{out, bias, residual, gate, rest, until, m, n, flags});
}

KERNEL(384, 1)
gemm_s8_hopper(TensorMap a, TensorMap b, const float* a_scale, const float* b_scale, void* out, const float* bias, const void* residual,
               const float* gate, const float* rest, int m, int n, int k, int until, u32 flags) {
  gemm<Integers>(MAP_ADDRESS(gemm_s8_hopper, 0), MAP_ADDRESS(gemm_s8_hopper, 1), Scales{a_scale, b_scale}, m, n, k,
                 Epilogue{out, bias, residual, gate, rest, until, m, n, flags});
}
