// exact.cu: SVDQuant linears as their checkpoint was made for (W4A4): inputs in codes of 4 bits
// as its weights are, sums of products of codes that are exact. It does the float operations of
// package ref's W4A4, in their order and precision, so that codes and scales are the same bits.
//
// w4a4_codes_h, w4a4_codes_f (codes, scale, x, smooth, rows, k, pitch, shift): with v =
// bf16((x + shift)/smooth), 64 columns of a row at a time have the scale m/7, m their largest
// |v|, and codes v/scale rounded to nearest, ties to even, −8 to 7; where there is a shift, m is
// the largest v, the scale m/15, and codes are 0 to 15. The scale that is stored is rounded to
// bf16, and no number where one of the columns is not finite; codes and scale are zero where the
// scale is. The name ends in the format of x, h for bf16 and f for float32.
//
//   i8*          codes     [rows, k], a byte each. Of 32 columns byte 16·i + 4·c + j is column
//                          8·c + 2·j + i: the nibbles of a word of qweight, taken apart
//   float*       scale     [k/64, pitch], of which [k/64, rows] are written
//   const T*     x         [rows, k]
//   const float* smooth    [k], in natural order
//   int          rows, k   k a multiple of 128
//   int          pitch     a multiple of 64, at least rows
//   float        shift     0, or more for codes without a sign
//
//   grid: any x; block: 256; no dynamic shared memory.
//
// gemm_w4a4 (out, codes, scale, qweight, wscales, bias, residual, gate, rest, l, u, m, n, k, r,
// pitch, until, flags)
//
//     out[m,n] = residual + gate · activation(y + bias)
//     y[i,j] = Σ_g scale[g,i]·wscale[j,g] · Σ_64 codes[i,·]·q[j,·] + L[m,r]·U[n,r]ᵀ
//
//   const i8*    codes     [m, k], and
//   const float* scale     [k/64, pitch], as above
//   const u8*    qweight   as in the file, n·k/2 bytes
//   const bf16*  wscales   as in the file, n·k/64 values
//   const float* l         [m, r]
//   const bf16*  u         [n, r]
//   int          m, n, k, r   n and k multiples of 128, r of 16
//   the rest as gemm.cu's
//
//   grid: ceil(m/64)·n/128; block: 256; dynamic shared memory: 45056 bytes
//
// Sums over 64 columns are whole numbers. Everything else is float32: the sums over groups, and
// L·Uᵀ, product by product. All pointers are aligned to 16 bytes.
#include "tiles.cuh"
#include "values.cuh"

constexpr int GROUP = 64;  // columns with a scale of their own

// max_nan is the larger of two, and no number where one is none.
DEV float max_nan(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
// divide and times round once: what they make may not become part of another operation.
DEV float divide(float a, float b) {
  float y;
  asm("div.rn.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
DEV float times(float a, float b) {
  float y;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
// round_code rounds to nearest, ties to even.
DEV int round_code(float v, int low, int high) {
  int q;
  asm("cvt.rni.s32.f32 %0, %1;" : "=r"(q) : "f"(v));
  return min_(max_(q, low), high);
}

// every_other makes a word of four codes, those of i, i+2, i+4 and i+6.
DEV u32 every_other(const int (&code)[8], int i) {
  u32 word = 0;
  UNROLL for (int j = 0; j < 4; j++) word |= (u32)(code[2 * j + i] & 255) << (8 * j);
  return word;
}

// take_codes has eight threads for a group, each with eight columns. Threads past the last
// group take it again, since all of a warp must be there, and store nothing.
template <class In>
DEV void take_codes(u8* codes, float* scale, const In* x, const float* smooth, int rows, int k, int pitch, float shift) {
  u32 groups = k / GROUP, part = lane() & 7;
  u64 all = (u64)rows * groups;
  bool sign = shift == 0;
  float top = sign ? 7.f : 15.f;
  for (u64 first = global_thread() / 32 * 4; first < all; first += global_threads() / 32 * 4) {
    u64 unit = first + lane() / 8;
    bool own = unit < all;
    if (!own) unit = all - 1;
    u32 row = unit / groups, group = unit % groups;
    float v[8], s[8], most = 0;
    read<8>(v, x + unit * GROUP + part * 8);
    read<8>(s, smooth + group * GROUP + part * 8);
    UNROLL for (int i = 0; i < 8; i++) {
      if (!sign) v[i] += shift;
      v[i] = from_bf16(to_bf16(divide(v[i], s[i])));
      most = max_nan(most, sign ? abs_(v[i]) : v[i]);
    }
    UNROLL for (int mask = 1; mask < 8; mask <<= 1) most = max_nan(most, shuffle_xor(most, mask));
    float own_scale = times(most, divide(1.f, top)), by = divide(1.f, own_scale);
    int code[8];
    UNROLL for (int i = 0; i < 8; i++) code[i] = own_scale == 0 ? 0 : round_code(times(v[i], by), sign ? -8 : 0, sign ? 7 : 15);
    if (!own) continue;
    u32* to = (u32*)(codes + unit * GROUP + (part >> 2) * 32 + (part & 3) * 4);
    to[0] = every_other(code, 0);
    to[4] = every_other(code, 1);
    bool finite = most < as_float(0x7f800000u);
    if (part == 0) scale[(u64)group * pitch + row] = finite ? from_bf16(to_bf16(own_scale)) : as_float(0x7fffffffu);
  }
}

KERNEL(256, 4) w4a4_codes_h(u8* codes, float* scale, const u16* x, const float* smooth, int rows, int k, int pitch, float shift) {
  take_codes(codes, scale, x, smooth, rows, k, pitch, shift);
}
KERNEL(256, 4) w4a4_codes_f(u8* codes, float* scale, const float* x, const float* smooth, int rows, int k, int pitch, float shift) {
  take_codes(codes, scale, x, smooth, rows, k, pitch, shift);
}

// multiply_add_s8 is c += a*b with a [16,32], b [32,8] and c [16,8], of whole numbers. Lane i
// holds of c what multiply_add of dev.cuh says; of a and b four columns where that has two.
DEV void multiply_add_s8(int (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Exact is a block's tile: a stage has a group of columns, rows of 64 bytes of the codes as
// Tile has them of bf16, then 128 outputs as they lie in the file, then both scales.
using Exact = Tile<64, 128, 32, 32, 32, 4>;
constexpr int FILE_TILE = 4096;  // bytes of 128 outputs and 64 columns
constexpr int AT_WEIGHTS = Exact::BM * GROUP, AT_WSCALES = AT_WEIGHTS + FILE_TILE, AT_SCALES = AT_WSCALES + Exact::BN * 2;
constexpr int CODES_STAGE = AT_SCALES + Exact::BM * 4;
// Then a stage has 16 columns of l and u, padded so that what a warp reads at once lies in
// different banks.
constexpr int RANKS = 16, L_ROW = RANKS * 4 + 16, U_ROW = RANKS * 2 + 16;
constexpr int AT_U = Exact::BM * L_ROW, RANKS_STAGE = AT_U + Exact::BN * U_ROW;
static_assert(AT_SCALES == AT_WSCALES + 16 * 16, "half a warp copies the scales of the outputs");
static_assert(Exact::STAGES * RANKS_STAGE == 45056 && CODES_STAGE <= RANKS_STAGE && Exact::PATCHES <= 45056, "the shared memory that the head names");

// run_ring has use(stage) called for each of so many steps, once fill(stage, step) has filled
// it. fill runs up to three steps ahead.
template <int BYTES, class Fill, class Use>
DEV void run_ring(int steps, Fill fill, Use use) {
  constexpr int STAGES = Exact::STAGES;
  UNROLL for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) fill(s * BYTES, s);
    copy_commit();
  }
  NO_UNROLL for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    sync_block();  // every warp has read the stage before, which is filled next
    int ahead = step + STAGES - 1;
    if (ahead < steps) fill(ahead % STAGES * BYTES, ahead);
    copy_commit();
    use(step % STAGES * BYTES);
  }
  copy_wait<0>();
  sync_block();
}

// Place is where a thread's sums lie in the tile: rows row + 16·i + 8·h, columns
// column + 8·j + d, as multiply_add has them.
struct Place {
  u32 warp_row, warp_column, row, column;
};
DEV Place place() {
  u32 l = lane(), row = warp() / 4 * Exact::WM, column = warp() % 4 * Exact::WN;
  return Place{row, column, row + (l >> 2), column + (l & 3) * 2};
}

// add_group adds the products of a group. The nibbles of a word become two words of bytes, each
// a code in the upper half of its byte: sixteen times the code, with its sign.
DEV void add_group(float (&sum)[2][4][4], const u8* stage, const Place& at) {
  u32 l = lane(), b[4][2];
  float by[4][2];  // the scales of the outputs
  UNROLL for (int p = 0; p < 2; p++) {
    u32 pack = at.warp_column / 16 + p;
    U4 words = *(const U4*)(stage + AT_WEIGHTS + pack * 512 + l * 16);
    b[2 * p][0] = words.x, b[2 * p][1] = words.y, b[2 * p + 1][0] = words.z, b[2 * p + 1][1] = words.w;
    U2 pairs = *(const U2*)(stage + AT_WSCALES + (pack * 16 + (l & 3) * 4) * 2);
    by[2 * p][0] = bf16_low(pairs.x), by[2 * p][1] = bf16_high(pairs.x);
    by[2 * p + 1][0] = bf16_low(pairs.y), by[2 * p + 1][1] = bf16_high(pairs.y);
  }
  u32 from = shared_address(stage);
  UNROLL for (int i = 0; i < 2; i++) {
    int t[4][4] = {};
    UNROLL for (int h = 0; h < 2; h++) {
      u32 a[4];
      load_matrices(a, from + Exact::offset(at.warp_row + i * 16 + (l & 15), h * 2 + (l >> 4)));
      UNROLL for (int j = 0; j < 4; j++) multiply_add_s8(t[j], a, b[j][h] << 4 & 0xf0f0f0f0, b[j][h] & 0xf0f0f0f0);
    }
    UNROLL for (int half = 0; half < 2; half++) {
      float scale = ((const float*)(stage + AT_SCALES))[at.row + i * 16 + half * 8] * (1.f / 16);
      UNROLL for (int j = 0; j < 4; j++)
        UNROLL for (int d = 0; d < 2; d++) {
          float& y = sum[i][j][half * 2 + d];
          y = __builtin_fmaf((float)t[j][half * 2 + d], times(scale, by[j][d]), y);
        }
    }
  }
}

// add_ranks adds the products of some columns of l and u.
DEV void add_ranks(float (&sum)[2][4][4], const u8* stage, const Place& at) {
  UNROLL for (int first = 0; first < RANKS; first += 8) {
    float left[4][8], right[8];
    UNROLL for (int i = 0; i < 4; i++) load8(left[i], (const float*)(stage + (at.row + i * 8) * L_ROW) + first);
    UNROLL for (int j = 0; j < 4; j++)
      UNROLL for (int d = 0; d < 2; d++) {
        load8(right, (const u16*)(stage + AT_U + (at.column + j * 8 + d) * U_ROW) + first);
        UNROLL for (int i = 0; i < 4; i++) {
          float& y = sum[i / 2][j][i % 2 * 2 + d];
          UNROLL for (int e = 0; e < 8; e++) y = __builtin_fmaf(left[i][e], right[e], y);
        }
      }
  }
}

KERNEL(256, 2)
gemm_w4a4(void* out, const u8* codes, const float* scale, const u8* qweight, const u16* wscales, const float* bias, const void* residual,
          const float* gate, const float* rest, const float* l, const u16* u, int m, int n, int k, int r, int pitch, int until, u32 flags) {
  DYNAMIC_SHARED(shared);
  u32 tile_m, tile_n, t = thread(), base = shared_address(shared);
  block_of(block_x(), (m + Exact::BM - 1) / Exact::BM, n / Exact::BN, 16, tile_m, tile_n);
  int row = tile_m * Exact::BM, column = tile_n * Exact::BN, groups = k / GROUP;
  // A thread copies 16 bytes of each operand; rows past the end are the last one again.
  u64 own_row = min_(row + (int)(t / 4), m - 1);
  const u8* from_codes = codes + own_row * k + t % 4 * 16;
  const u8* from_weights = qweight + (u64)tile_n * groups * FILE_TILE + t * 16;
  u32 to_codes = base + Exact::offset(t / 4, t % 4);
  // The first warp copies the scales, which lie behind each other in a stage.
  const u8* from_scales = (const u8*)(t < 16 ? (const void*)(wscales + (u64)tile_n * groups * Exact::BN) : scale + row) + t % 16 * 16;
  u64 scales_row = t < 16 ? Exact::BN * 2 : pitch * 4;
  auto fill = [&](u32 stage, int g) {
    copy_async16(to_codes + stage, from_codes + g * GROUP);
    copy_async16(base + stage + AT_WEIGHTS + t * 16, from_weights + (u64)g * FILE_TILE);
    if (t < 32) copy_async16(base + stage + AT_WSCALES + t * 16, from_scales + g * scales_row);
  };
  const float* from_l = l + own_row * r + t % 4 * 4;
  const u16* from_u = u + (u64)(column + t / 2) * r + t % 2 * 8;
  u32 to_l = base + t / 4 * L_ROW + t % 4 * 16, to_u = base + AT_U + t / 2 * U_ROW + t % 2 * 16;
  auto fill_ranks = [&](u32 stage, int step) {
    copy_async16(to_l + stage, from_l + step * RANKS);
    copy_async16(to_u + stage, from_u + step * RANKS);
  };

  Place at = place();
  float sum[2][4][4] = {};
  run_ring<CODES_STAGE>(groups, fill, [&](u32 stage) { add_group(sum, shared + stage, at); });
  run_ring<RANKS_STAGE>(r / RANKS, fill_ranks, [&](u32 stage) { add_ranks(sum, shared + stage, at); });
  store<Exact>(Epilogue{out, bias, residual, gate, rest, until, m, n, flags}, shared, sum, row, column);
}
