// gemm.cu: matrix products in bf16 with float32 sums.
//
//     out[m,n] = residual + gate · activation(A[m,k]·B[n,k]ᵀ + bias)
//
// gemm_bf16_128x256, gemm_bf16_128x128, gemm_bf16_64x64 (out, a, b, bias, residual, gate,
// rest, m, n, k, until, flags); the names say the tile of one block.
//
//   void*        out       [m,n] bf16, or float32 if flags has OUT_F32 (8)
//   const bf16*  a         [m,k]
//   const bf16*  b         [n,k]
//   const float* bias      [n], or null
//   const void*  residual  [m,n] bf16, or float32 if flags has RESIDUAL_F32 (16), or null;
//                          may be out
//   const float* gate      [n], or null: multiplies rows before until
//   const float* rest      [n]: multiplies rows from until on; not read if gate is null
//   int          m, n, k, until
//   u32          flags     activation (0 none, 1 SiLU, 2 GELU exact, 3 GELU tanh), plus
//                          the bits above
//
// m, n and k >= 1; k is a multiple of 8. Pointers are aligned to 16 bytes. Rows lie
// without gaps. out overlaps nothing but residual, which is then the same.
//
//              grid (x)                          block   dynamic shared memory
//   128x256    ceil(m/128)·ceil(n/256)           256     98304
//   128x128    ceil(m/128)·ceil(n/128)           128     65536
//   64x64      ceil(m/64)·ceil(n/64)             128     40960
//
// The large tile is the fastest where its blocks fill the device several times over, the
// small one where there are few rows.
#include "tiles.cuh"

template <class T>
DEV void gemm(void* out, const u16* a, const u16* b, const float* bias, const void* residual, const float* gate, const float* rest,
              int m, int n, int k, int until, u32 flags) {
  DYNAMIC_SHARED(shared);
  u32 tile_m, tile_n;
  block_of(block_x(), (m + T::BM - 1) / T::BM, (n + T::BN - 1) / T::BN, 8, tile_m, tile_n);
  int row = tile_m * T::BM, column = tile_n * T::BN;

  MatrixRows<T, T::PASSES_A> rows_a;
  MatrixRows<T, T::PASSES_B> rows_b;
  rows_a.begin(rows_a, a, row, m, k);
  rows_b.begin(rows_b, b, column, n, k);
  u32 at = T::offset(thread() / T::CHUNKS, thread() % T::CHUNKS);
  auto next = [&](u32 stage) {
    rows_a.copy(stage + at);
    rows_b.copy(stage + T::BYTES_A + at);
  };
  float sum[T::WM / 16][T::WN / 8][4];
  multiply<T>(sum, shared_address(shared), (k + T::BK - 1) / T::BK, next);
  store<T>(Epilogue{out, bias, residual, gate, rest, until, m, n, flags}, shared, sum, row, column);
}

#define GEMM(name, blocks, ...)                                                                          \
  using name##_tile = Tile<__VA_ARGS__>;                                                                 \
  KERNEL(name##_tile::THREADS, blocks)                                                                   \
  name(void* out, const u16* a, const u16* b, const float* bias, const void* residual, const float* gate, \
       const float* rest, int m, int n, int k, int until, u32 flags) {                                   \
    gemm<name##_tile>(out, a, b, bias, residual, gate, rest, m, n, k, until, flags);                     \
  }

GEMM(gemm_bf16_128x256, 1, 128, 256, 64, 64, 32, 4)
GEMM(gemm_bf16_128x128, 2, 128, 128, 64, 64, 32, 4)
GEMM(gemm_bf16_64x64, 4, 64, 64, 32, 32, 32, 5)
