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
// One block runs on each multiprocessor and takes tile after tile. Its first warpgroup fills
// a ring of stages and runs ahead, the other two compute 64 rows each.
#include "hopper.cuh"
#include "tiles.cuh"

constexpr int BM = 128, BN = 256, BK = 64;
constexpr u32 STAGES = 4, STAGE = (BM + BN) * BK * 2, STAGE_A = BM * BK * 2;
constexpr int PATCH_ROW = 32 + 8, PATCH = 16 * PATCH_ROW * 4;
constexpr u32 PATCHES = STAGES * STAGE, BARRIERS = PATCHES + 8 * PATCH, SHARED = BARRIERS + 1024;
static_assert(SHARED == 218112, "what the head says");

// Work walks through a block's tiles.
struct Work {
  u32 id, tiles_m, tiles_n;
  int row, column;
  __device__ inline __attribute__((always_inline)) bool find() {
    if (id >= tiles_m * tiles_n) return false;
    u32 tile_m, tile_n;
    block_of(id, tiles_m, tiles_n, tile_m, tile_n);
    row = tile_m * BM, column = tile_n * BN;
    id += blocks_x();
    return true;
  }
};

// store_warp stores 16 rows by 256 columns, 32 at a time by way of shared memory, so that
// each thread reads and writes 16 bytes at once.
DEV void store_warp(const Epilogue& e, float* patch, const float (&sum)[128], int first_row, int first_column) {
  u32 l = lane();
  bool whole = e.n % 8 == 0;
  float* to = patch + (l >> 2) * PATCH_ROW + (l & 3) * 2;
  NO_UNROLL for (int part = 0; part < 8; part++) {
    UNROLL for (int own = 0; own < 8; own++) {
      if (own != part) continue;
      UNROLL for (int j = 0; j < 4; j++) {
        *(F2*)(to + j * 8) = F2{sum[own * 16 + j * 4], sum[own * 16 + j * 4 + 1]};
        *(F2*)(to + 8 * PATCH_ROW + j * 8) = F2{sum[own * 16 + j * 4 + 2], sum[own * 16 + j * 4 + 3]};
      }
    }
    sync_warp();
    NO_UNROLL for (u32 v = l; v < 64; v += 32) {
      int row = first_row + v / 4, column = first_column + part * 32 + v % 4 * 8;
      if (row >= e.m || column >= e.n) continue;
      const float* from = patch + v / 4 * PATCH_ROW + v % 4 * 8;
      if (whole) {
        finish8(e, row, column, from);
      } else {
        NO_UNROLL for (int c = 0; c < 8 && column + c < e.n; c++) finish1(e, row, column + c, from[c]);
      }
    }
    sync_warp();
  }
}

KERNEL(384, 1)
gemm_bf16_hopper(TensorMap a, TensorMap b, void* out, const float* bias, const void* residual, const float* gate, const float* rest,
                 int m, int n, int k, int until, u32 flags) {
  DYNAMIC_SHARED(shared);
  u32 base = shared_address(shared), full = base + BARRIERS, empty = full + STAGES * 8;
  int steps = (k + BK - 1) / BK;
  Work work{block_x(), (u32)(m + BM - 1) / BM, (u32)(n + BN - 1) / BN, 0, 0};
  Ring<STAGES> ring{0, 0};
  if (thread() == 0) {
    for (u32 s = 0; s < STAGES; s++) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, 8);  // the warps that read
    }
    barriers_ready();
  }
  sync_block();

  if (thread() < 128) {
    give_registers<40>();
    if (thread() != 0) return;
    u64 map_a = MAP_ADDRESS(gemm_bf16_hopper, 0), map_b = MAP_ADDRESS(gemm_bf16_hopper, 1);
    while (work.find()) {
      NO_UNROLL for (int step = 0; step < steps; step++) {
        await(empty + ring.stage * 8, ring.parity ^ 1);
        u32 at = base + ring.stage * STAGE, barrier = full + ring.stage * 8;
        arrive_expecting(barrier, STAGE);
        copy_tile(at, map_a, step * BK, work.row, barrier);
        copy_tile(at + STAGE_A, map_b, step * BK, work.column, barrier);
        ring.advance();
      }
    }
  } else {
    take_registers<232>();
    u32 group = thread() / 128 - 1;
    Epilogue e{out, bias, residual, gate, rest, until, m, n, flags};
    while (work.find()) {
      float sum[128];
      undefined(sum);
      u32 last = 0;
      NO_UNROLL for (int step = 0; step < steps; step++) {
        await(full + ring.stage * 8, ring.parity);
        u64 at_a = rows_at(base + ring.stage * STAGE + group * 64 * BK * 2), at_b = rows_at(base + ring.stage * STAGE + STAGE_A);
        multiply_begin();
        UNROLL for (int s = 0; s < BK / 16; s++) multiply_256(sum, at_a + s * 2, at_b + s * 2, step > 0 || s > 0);
        multiply_commit();
        // The products of the step before are done: its stage may be filled again.
        multiply_wait<1>();
        if (step > 0 && lane() == 0) arrive(empty + last * 8);
        last = ring.stage;
        ring.advance();
      }
      multiply_wait<0>();
      if (lane() == 0) arrive(empty + last * 8);
      u32 w = warp() - 4;
      store_warp(e, (float*)(shared + PATCHES + w * PATCH), sum, work.row + w * 16, work.column);
    }
  }
}
