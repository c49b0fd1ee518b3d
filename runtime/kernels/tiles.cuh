// tiles.cuh is the product of two matrices, out[m,n] = epilogue(A[m,k] · B[n,k]ᵀ), as the
// GEMM and the convolution share it: a block computes one tile of the result, its warps
// equal parts of the tile, with bf16 operands and float32 sums on the tensor cores. Both
// operands run through a ring of stages in shared memory, filled by asynchronous copies.
#pragma once
#include "dev.cuh"

// Activation is the low part of an epilogue's flags; the others are single bits.
enum Activation : u32 { PLAIN = 0, SILU = 1, GELU_ERF = 2, GELU_TANH = 3, ACTIVATIONS = 7 };
enum : u32 { OUT_F32 = 8, RESIDUAL_F32 = 16 };

// Epilogue is what happens to y, a value of the product, before it is stored:
// out = residual + gate · activation(y + bias), each of the four only where it is given.
struct Epilogue {
  void* out;             // [m,n] bf16, or float with OUT_F32
  const float* bias;     // [n], or null
  const void* residual;  // [m,n] bf16, or float with RESIDUAL_F32, or null; may be out
  const float* gate;     // [n], or null: the gate of rows before until
  const float* rest;     // [n]: the gate of rows from until on
  int until;
  int m, n;
  u32 flags;
};

DEV float activate(float x, u32 flags) {
  switch (flags & ACTIVATIONS) {
    case SILU: return silu(x);
    case GELU_ERF: return gelu_erf(x);
    case GELU_TANH: return gelu_tanh(x);
    default: return x;
  }
}

// finish1 stores one value.
DEV void finish1(const Epilogue& e, int row, int column, float y) {
  u64 at = (u64)row * e.n + column;
  if (e.bias) y += e.bias[column];
  y = activate(y, e.flags);
  if (e.gate) y *= (row < e.until ? e.gate : e.rest)[column];
  if (e.residual) y += e.flags & RESIDUAL_F32 ? ((const float*)e.residual)[at] : from_bf16(((const u16*)e.residual)[at]);
  if (e.flags & OUT_F32) ((float*)e.out)[at] = y;
  else ((u16*)e.out)[at] = to_bf16(y);
}

DEV void load8(float (&v)[8], const float* from) {
  F4 a = ((const F4*)from)[0], b = ((const F4*)from)[1];
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

DEV void load8(float (&v)[8], const u16* from) {
  U4 a = *(const U4*)from;
  v[0] = bf16_low(a.x), v[1] = bf16_high(a.x), v[2] = bf16_low(a.y), v[3] = bf16_high(a.y);
  v[4] = bf16_low(a.z), v[5] = bf16_high(a.z), v[6] = bf16_low(a.w), v[7] = bf16_high(a.w);
}

// finish8 stores eight neighbours of a row, where n is a multiple of 8.
DEV void finish8(const Epilogue& e, int row, int column, const float* from) {
  u64 at = (u64)row * e.n + column;
  float y[8], v[8];
  load8(y, from);
  if (e.bias) {
    load8(v, e.bias + column);
    UNROLL for (int i = 0; i < 8; i++) y[i] += v[i];
  }
  switch (e.flags & ACTIVATIONS) {
    case SILU: UNROLL for (int i = 0; i < 8; i++) y[i] = silu(y[i]); break;
    case GELU_ERF: UNROLL for (int i = 0; i < 8; i++) y[i] = gelu_erf(y[i]); break;
    case GELU_TANH: UNROLL for (int i = 0; i < 8; i++) y[i] = gelu_tanh(y[i]); break;
  }
  if (e.gate) {
    load8(v, (row < e.until ? e.gate : e.rest) + column);
    UNROLL for (int i = 0; i < 8; i++) y[i] *= v[i];
  }
  if (e.residual) {
    if (e.flags & RESIDUAL_F32) load8(v, (const float*)e.residual + at);
    else load8(v, (const u16*)e.residual + at);
    UNROLL for (int i = 0; i < 8; i++) y[i] += v[i];
  }
  if (e.flags & OUT_F32) {
    F4* to = (F4*)((float*)e.out + at);
    to[0] = F4{y[0], y[1], y[2], y[3]};
    to[1] = F4{y[4], y[5], y[6], y[7]};
  } else {
    *(U4*)((u16*)e.out + at) = U4{pack_bf16(y[0], y[1]), pack_bf16(y[2], y[3]), pack_bf16(y[4], y[5]), pack_bf16(y[6], y[7])};
  }
}

// Tile is a block's shape: BM x BN values of the result by warps of WM x WN each, BK of the
// depth in a stage.
template <int BM_, int BN_, int WM_, int WN_, int BK_, int STAGES_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_, BK = BK_, STAGES = STAGES_;
  static constexpr int THREADS = BM / WM * (BN / WN) * 32;
  // A row of a stage is cut into chunks of 16 bytes. CHUNKS threads copy a row, STEP rows
  // are copied at a time.
  static constexpr int CHUNKS = BK / 8, STEP = THREADS / CHUNKS;
  static constexpr int PASSES_A = BM / STEP, PASSES_B = BN / STEP;
  static constexpr int BYTES_A = BM * BK * 2, STAGE = (BM + BN) * BK * 2;
  // The epilogue reuses the ring: 16 rows of each warp in float32, padded against bank
  // conflicts.
  static constexpr int PATCH_ROW = WN + 8, PATCH = 16 * PATCH_ROW * 4;
  static constexpr int RING = STAGES * STAGE, PATCHES = THREADS / 32 * PATCH;
  static constexpr int SHARED = RING > PATCHES ? RING : PATCHES;
  static_assert(BK == 32 || BK == 64, "the swizzle knows these two");
  static_assert(BM % STEP == 0 && BN % STEP == 0 && STEP % 8 == 0, "whole passes");
  static_assert(WM % 16 == 0 && WN % 16 == 0, "whole fragments");

  // offset is where chunk c of a row lies in a stage. Eight rows that follow each other put
  // the same chunk into eight different groups of four banks, as ldmatrix wants it.
  DEV u32 offset(u32 row, u32 c) {
    return row * (BK * 2) + ((c ^ (BK == 64 ? row & 7 : row >> 1 & 3)) << 4);
  }
};

// MatrixRows copies a block's rows of a matrix [rows, k] into stages. Rows past the end are
// the last one again: what comes of them is not stored.
template <class T, int PASSES>
struct MatrixRows {
  const u16* row[PASSES];
  int k, at;
  DEV u32 chunk() { return thread() % T::CHUNKS; }
  DEV void begin(MatrixRows& r, const u16* matrix, int first, int rows, int k) {
    r.k = k;
    r.at = chunk() * 8;
    UNROLL for (int i = 0; i < PASSES; i++) {
      int n = min_(first + (int)(thread() / T::CHUNKS) + i * T::STEP, rows - 1);
      r.row[i] = matrix + (u64)n * k + r.at;
    }
  }
  __device__ inline __attribute__((always_inline)) void copy(u32 to) {
    bool valid = at < k;
    UNROLL for (int i = 0; i < PASSES; i++) {
      copy_async16(to + i * T::STEP * T::BK * 2, row[i], valid);
      row[i] += T::BK;
    }
    at += T::BK;
  }
};

// block_of numbers the tiles of the result: in strips of some rows of tiles, column by
// column, so that blocks that run at the same time share what they read.
DEV void block_of(u32 id, u32 tiles_m, u32 tiles_n, u32 strip_height, u32& tile_m, u32& tile_n) {
  u32 first = id / (strip_height * tiles_n) * strip_height, height = tiles_m - first;
  if (height > strip_height) height = strip_height;
  u32 in_strip = id - first * tiles_n;
  tile_m = first + in_strip % height;
  tile_n = in_strip / height;
}

// load_fragments loads one step of 16 of the depth for a warp: rows of A and of B.
template <class T>
DEV void load_fragments(u32 (&a)[T::WM / 16][4], u32 (&b)[T::WN / 16][4], u32 from_a, u32 from_b) {
  UNROLL for (int i = 0; i < T::WM / 16; i++) load_matrices(a[i], from_a + i * 16 * T::BK * 2);
  UNROLL for (int j = 0; j < T::WN / 16; j++) load_matrices(b[j], from_b + j * 16 * T::BK * 2);
}

// multiply runs the ring: next(stage address) fills a stage with the operands of the step
// that follows the last one, and is called steps times. The sums are of the warp's part.
template <class T, class Next>
DEV void multiply(float (&sum)[T::WM / 16][T::WN / 8][4], u32 ring, int steps, Next next) {
  constexpr int MI = T::WM / 16, NJ = T::WN / 16, KS = T::BK / 16;
  u32 l = lane(), w = warp(), warp_m = w / (T::BN / T::WN), warp_n = w % (T::BN / T::WN);
  u32 at_a = T::offset(warp_m * T::WM + (l & 15), l >> 4);
  u32 at_b = T::BYTES_A + T::offset(warp_n * T::WN + (l & 7) + (l >> 4) * 8, l >> 3 & 1);
  UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NJ * 2; j++) UNROLL for (int c = 0; c < 4; c++) sum[i][j][c] = 0;

  UNROLL for (int s = 0; s < T::STAGES - 1; s++) {
    if (s < steps) next(ring + s * T::STAGE);
    copy_commit();
  }
  copy_wait<T::STAGES - 2>();
  sync_block();
  u32 a[2][MI][4], b[2][NJ][4];
  u32 read = ring, write = ring + (T::STAGES - 1) * T::STAGE, end = ring + T::RING;
  load_fragments<T>(a[0], b[0], read + at_a, read + at_b);
  NO_UNROLL for (int step = 0; step < steps; step++) {
    UNROLL for (int ks = 0; ks < KS; ks++) {
      // Fragments are loaded one step ahead of their use. When the stage's last ones are in
      // registers, every warp has read all of the stage before, which is the next to be
      // filled, and the stage after this one has arrived.
      if (ks == KS - 1) {
        copy_wait<T::STAGES - 2>();
        sync_block();
        read = read + T::STAGE == end ? ring : read + T::STAGE;
      }
      u32 flip = (ks + 1) % KS << 5;
      load_fragments<T>(a[(ks + 1) & 1], b[(ks + 1) & 1], read + (at_a ^ flip), read + (at_b ^ flip));
      if (ks == 0) {
        if (step + T::STAGES - 1 < steps) next(write);
        copy_commit();
        write = write + T::STAGE == end ? ring : write + T::STAGE;
      }
      UNROLL for (int i = 0; i < MI; i++)
        UNROLL for (int j = 0; j < NJ * 2; j++)
          multiply_add(sum[i][j], a[ks & 1][i], b[ks & 1][j / 2][j % 2 * 2], b[ks & 1][j / 2][j % 2 * 2 + 1]);
    }
  }
  copy_wait<0>();
  sync_block();
}

// store gives a warp's sums to the epilogue. They pass through shared memory, 16 rows at a
// time, so that each thread holds neighbours and reads and writes 16 bytes at once.
template <class T>
DEV void store(const Epilogue& e, u8* shared, float (&sum)[T::WM / 16][T::WN / 8][4], int first_row, int first_column) {
  u32 l = lane(), w = warp();
  float* patch = (float*)(shared + w * T::PATCH);
  first_row += w / (T::BN / T::WN) * T::WM;
  first_column += w % (T::BN / T::WN) * T::WN;
  constexpr int EIGHTS = T::WN / 8;
  bool whole = e.n % 8 == 0;
  NO_UNROLL for (int i = 0; i < T::WM / 16; i++) {
    float* to = patch + (l >> 2) * T::PATCH_ROW + (l & 3) * 2;
    // Registers have no index: each i has its own stores, but the long code below is there
    // once.
    UNROLL for (int own = 0; own < T::WM / 16; own++) {
      if (own != i) continue;
      UNROLL for (int j = 0; j < T::WN / 8; j++) {
        *(F2*)(to + j * 8) = F2{sum[own][j][0], sum[own][j][1]};
        *(F2*)(to + 8 * T::PATCH_ROW + j * 8) = F2{sum[own][j][2], sum[own][j][3]};
      }
    }
    sync_warp();
    NO_UNROLL for (u32 v = l; v < 16 * EIGHTS; v += 32) {
      int row = first_row + i * 16 + v / EIGHTS, column = first_column + v % EIGHTS * 8;
      if (row >= e.m || column >= e.n) continue;
      const float* from = patch + v / EIGHTS * T::PATCH_ROW + v % EIGHTS * 8;
      if (whole) {
        finish8(e, row, column, from);
      } else {
        NO_UNROLL for (int c = 0; c < 8 && column + c < e.n; c++) finish1(e, row, column + c, from[c]);
      }
    }
    sync_warp();
  }
}
