// weights.cu: SVDQuant INT4 weights (the packing of package verify/svdq/packing) to
// matrices that a product reads.
//
// svdq_weights (out, qweight, wscales, inverse, up, down, n, k, r): the whole linear as one
// matrix in bf16,
//
//     out[n,k] = q[n,k]·scale[n,k/64]/smooth[k] + Σ u[n,j]·d[j,k]
//
// so that a product with it needs no smoothing and no branch of low rank: over thousands of
// rows the n·k·r of this kernel are less work than the branch.
//
//   bf16*        out       [n,k]
//   const u8*    qweight   as in the file, n·k/2 bytes
//   const bf16*  wscales   as in the file, n·k/64 values
//   const float* inverse   [k], 1/smooth: svdq_vector makes it
//   const bf16*  up        [n,r], and
//   const bf16*  down      [k,r], d transposed: svdq_lowrank makes them; not read if r is 0
//   int          n, k, r   n a multiple of 128, k of 64, r of 16, at most 128
//
//   grid: (n/128, y), any y up to k/64; block 128;
//   dynamic shared memory: 256·(2·r + 16) bytes
//
// svdq_vector (out, in, n, invert): a vector of the file in its natural order; with invert 1
// the inverses.      float* out [n]; const bf16* in [n]; int n, a multiple of 16; int invert
//   grid: any x; block 256
//
// svdq_lowrank (out, in, c, r, is_down): proj_up or proj_down of the file as rows of r.
//   bf16* out [c,r]; const bf16* in; int c, r, multiples of 16; int is_down
//   grid: any x; block 256
//
// svdq_shift (bias, qweight, wscales, inverse, n, k, shift): adds shift·Σ q·scale/smooth over
// a row to its bias, which undoes what a checkpoint does for inputs that are quantised with
// a shift.      float* bias [n], natural order; n, k as above; float shift
//   grid: (n/16); block 128
//
// Pointers are aligned to 16 bytes. No dynamic shared memory where none is named.
#include "dev.cuh"

// Of a 16-row pack of qweight, lane 4·row+column has 32 codes: {row, row+8} x {columns
// 8·column to 8·column+7 of the first 32, of the second 32}, a word each in this order.
DEV U4 codes_of(const u8* qweight, u32 tile, u32 pack) { return *(const U4*)(qweight + ((u64)tile * 8 + pack) * 512 + lane() * 16); }
DEV u32 word_of(const U4& c, int i) { return i == 0 ? c.x : i == 1 ? c.y : i == 2 ? c.z : c.w; }
// code is the r-th number of a word, in two's complement.
DEV float code(u32 word, int r) { return (float)((int)(word << (28 - 4 * r)) >> 28); }

// permuted is where element n of a vector of the file lies.
DEV u32 permuted(u32 n) { return (n & ~15u) + ((n & 7) >> 1) * 4 + (n >> 3 & 1) * 2 + (n & 1); }

// scale_of is the scale of row `half`·8 + lane/4 of a pack, of 64 columns.
DEV float scale_of(const u16* wscales, u32 tile, u32 pack, int half) {
  return from_bf16(wscales[(u64)tile * 128 + pack * 16 + permuted(half * 8 + (lane() >> 2))]);
}

// copy_rank copies rows [count, r] to shared memory, row i to row place(i), r/8 chunks and
// one of padding a row, so that eight rows that follow each other differ in their banks.
template <class Place>
DEV void copy_rank(u32 to, const u16* rows, u32 count, u32 r, Place place) {
  u32 chunks = r / 8;
  for (u32 i = thread(); i < count * chunks; i += 128) copy_async16(to + (place(i / chunks) * (chunks + 1) + i % chunks) * 16, rows + (u64)i * 8);
}

KERNEL(128, 2)
svdq_weights(u16* __restrict__ out, const u8* __restrict__ qweight, const u16* __restrict__ wscales, const float* __restrict__ inverse,
             const u16* __restrict__ up, const u16* __restrict__ down, int n, int k, int r) {
  DYNAMIC_SHARED(shared);
  u32 base = shared_address(shared), pitch = r * 2 + 16, l = lane(), w = warp();
  u32 groups = k / 64, group = block_y();
  // Columns of the product may come in any order. This one gives a thread's sums the same
  // columns as its codes: of the 64, columns 8·c + 2·t + e (+32) go to 8·t + 2·c + e.
  auto same = [](u32 i) { return i; };
  auto place = [](u32 i) { return (i & 32) + (i & 6) * 4 + (i >> 3 & 3) * 2 + (i & 1); };
  u32 at_up = base + (w * 32 + (l & 15)) * pitch + (l >> 4) * 16;
  u32 rings = base + 128 * pitch, at_down = ((l & 7) + (l >> 4) * 8) * pitch + (l >> 3 & 1) * 16;
  copy_rank(base, up + (u64)block_x() * 128 * r, 128, r, same);
  copy_rank(rings, down + (u64)group * 64 * r, 64, r, place);
  copy_commit();

  NO_UNROLL for (u32 turn = 0; group < groups; group += blocks_y(), turn ^= 1) {
    u32 tile = block_x() * groups + group;
    U4 codes[2];
    float scale[2][2];
    UNROLL for (int i = 0; i < 2; i++) {
      codes[i] = codes_of(qweight, tile, w * 2 + i);
      UNROLL for (int h = 0; h < 2; h++) scale[i][h] = scale_of(wscales, tile, w * 2 + i, h);
    }
    if (group + blocks_y() < groups) copy_rank(rings + (turn ^ 1) * 64 * pitch, down + (u64)(group + blocks_y()) * 64 * r, 64, r, place);
    copy_commit();
    copy_wait<1>();
    sync_block();

    float sum[2][8][4];
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 8; j++) UNROLL for (int c = 0; c < 4; c++) sum[i][j][c] = 0;
    u32 from = rings + turn * 64 * pitch + at_down;
    NO_UNROLL for (u32 step = 0; step < (u32)r / 16; step++) {
      u32 a[2][4], b[4];
      UNROLL for (int i = 0; i < 2; i++) load_matrices(a[i], at_up + i * 16 * pitch + step * 32);
      UNROLL for (int j = 0; j < 4; j++) {
        load_matrices(b, from + j * 16 * pitch + step * 32);
        UNROLL for (int i = 0; i < 2; i++) {
          multiply_add(sum[i][2 * j], a[i], b[0], b[1]);
          multiply_add(sum[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
    sync_block();

    UNROLL for (int h = 0; h < 2; h++) {
      u32 column = group * 64 + h * 32 + (l & 3) * 8;
      F4 low = ((const F4*)(inverse + column))[0], high = ((const F4*)(inverse + column))[1];
      float by[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int half = 0; half < 2; half++) {
          u32 word = word_of(codes[i], half * 2 + h), v[4];
          UNROLL for (int t = 0; t < 4; t++) {
            float x = code(word, 2 * t) * (scale[i][half] * by[2 * t]) + sum[i][h * 4 + t][half * 2];
            float y = code(word, 2 * t + 1) * (scale[i][half] * by[2 * t + 1]) + sum[i][h * 4 + t][half * 2 + 1];
            v[t] = pack_bf16(x, y);
          }
          u64 row = block_x() * 128 + w * 32 + i * 16 + half * 8 + (l >> 2);
          *(U4*)(out + row * k + column) = U4{v[0], v[1], v[2], v[3]};
        }
    }
  }
  copy_wait<0>();
}

KERNEL(256, 1) svdq_vector(float* out, const u16* in, int n, int invert) {
  for (u64 i = global_thread(); i < n; i += global_threads()) {
    float v = from_bf16(in[permuted(i)]);
    out[i] = invert ? 1.f / v : v;
  }
}

KERNEL(256, 1) svdq_lowrank(u16* out, const u16* in, int c, int r, int is_down) {
  for (u64 i = global_thread(); i < (u64)c * r; i += global_threads()) {
    u32 row = i / r, rank = i % r;
    u32 outer = is_down ? rank : row, inner = is_down ? row : rank;  // of a 16x16 tile
    u64 tile = (u64)(row / 16) * (r / 16) + rank / 16;
    u64 word = ((tile * 8 + (outer & 7)) * 4 + (inner >> 1 & 3)) * 2 + (outer >> 3 & 1);
    out[i] = in[word * 4 + (inner >> 3 & 1) * 2 + (inner & 1)];
  }
}

KERNEL(128, 1) svdq_shift(float* bias, const u8* qweight, const u16* wscales, const float* inverse, int n, int k, float shift) {
  __shared__ float parts[4][16];
  u32 l = lane(), w = warp(), groups = k / 64, pack = block_x() % 8;
  float sum[2] = {0, 0};
  for (u32 group = w; group < groups; group += 4) {
    u32 tile = block_x() / 8 * groups + group;
    U4 codes = codes_of(qweight, tile, pack);
    UNROLL for (int half = 0; half < 2; half++) {
      float part = 0;
      UNROLL for (int h = 0; h < 2; h++)
        UNROLL for (int i = 0; i < 8; i++) part += code(word_of(codes, half * 2 + h), i) * inverse[group * 64 + h * 32 + (l & 3) * 8 + i];
      sum[half] += part * scale_of(wscales, tile, pack, half);
    }
  }
  UNROLL for (int half = 0; half < 2; half++) {
    sum[half] += shuffle_xor(sum[half], 1);
    sum[half] += shuffle_xor(sum[half], 2);
    if ((l & 3) == 0) parts[w][half * 8 + (l >> 2)] = sum[half];
  }
  sync_block();
  u32 t = thread();
  if (t < 16) bias[block_x() * 16 + t] += shift * ((parts[0][t] + parts[1][t]) + (parts[2][t] + parts[3][t]));
}
