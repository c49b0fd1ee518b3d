// awq.cu: the product of a few rows with weights of 4 bits as AWQ packs them (the packing of
// package verify/svdq/packing). It reads each weight once for 16 rows, which is all its
// time.
//
// awq_linear (out, x, qweight, wscales, wzeros, bias, rows, n, k, parts)
//
//     out[i, j·n/parts + c] = Σ x[i,k]·(q·scale + zero)[parts·c + j, k] + bias[parts·c + j]
//
//   float*       out       [rows, n], outputs part by part
//   const bf16*  x         [rows, k]
//   const u8*    qweight   as in the file, n·k/2 bytes
//   const bf16*  wscales, wzeros   [k/64, n], and
//   const bf16*  bias      [n], as in the file: output c of part j at parts·c + j
//   int          rows, n, k, parts   n a multiple of 16, k of 64; parts >= 1 divides n
//
//   grid: (ceil(n/32), ceil(rows/16)); block 256; no dynamic shared memory. Pointers are
//   aligned to 16 bytes.
//
// The codes are exact in bf16 and are multiplied as they are. Scale and zero act in float32
// on the sums over 64 columns, so x is all that was rounded.
#include "dev.cuh"

constexpr int DEPTH = 1024;           // columns of x in shared memory at a time
constexpr int PITCH = DEPTH + 8;      // in values: 8 rows that follow each other differ in banks
constexpr int BATCH = DEPTH / 4 / 64;  // groups of 64 columns of a warp
constexpr u32 ONES = 0x3f803f80;      // two bf16 ones

// codes turns a nibble of each half of a word, shifted down to the lowest, into two bf16
// numbers: 0x4300 is 128, whose last bits are worth 1.
DEV u32 codes(u32 word) {
  u32 r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"((word & 0x000f000f) | 0x43004300), "r"(ONES), "r"(0xc300c300));
  return r;
}

// multiply_group multiplies 16 rows of x with 64 columns of 2x8 outputs. Which columns a
// thread holds in which step follows the packing: a word has columns 8·j + 2·i and the next
// in its nibbles j. Row sums of x come from a product with ones.
DEV void multiply_group(float (&sum)[2][4], float (&row)[4], const u16* x, const U2 (&word)[2]) {
  UNROLL for (int j = 0; j < 4; j += 2) {
    U2 low[2], high[2];  // of the two rows: columns 8·j.. and 8·(j+1)..
    UNROLL for (int h = 0; h < 2; h++) {
      low[h] = *(const U2*)(x + h * 8 * PITCH + j * 8);
      high[h] = *(const U2*)(x + h * 8 * PITCH + j * 8 + 8);
    }
    u32 first[4] = {low[0].x, low[1].x, high[0].x, high[1].x}, second[4] = {low[0].y, low[1].y, high[0].y, high[1].y};
    UNROLL for (int b = 0; b < 2; b++) {
      multiply_add(sum[b], first, codes(word[b].x >> (4 * j)), codes(word[b].x >> (4 * j + 4)));
      multiply_add(sum[b], second, codes(word[b].y >> (4 * j)), codes(word[b].y >> (4 * j + 4)));
    }
    multiply_add(row, first, ONES, ONES);
    multiply_add(row, second, ONES, ONES);
  }
}

// Group is what a thread needs of 64 columns of 2x8 outputs.
struct Group {
  U2 word[2];
  u32 scale[2], zero[2];
};

// load_group asks for a group. The compiler may not put it off until the values are used.
DEV void load_group(Group& g, const u8* const (&codes)[2], const u16* scales, const u16* zeros, int at, int n, u32 column) {
  UNROLL for (int b = 0; b < 2; b++) {
    u64 o = (u64)(at / 64) * n + column + b * 8;
    asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(g.word[b].x), "=r"(g.word[b].y) : "l"(codes[b] + (u64)at * 2) : "memory");
    asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(g.scale[b]) : "l"(scales + o) : "memory");
    asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(g.zero[b]) : "l"(zeros + o) : "memory");
  }
}

DEV void add_group(float (&sum)[2][4], const u16* x, const Group& g) {
  float part[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, row[4] = {0, 0, 0, 0};
  multiply_group(part, row, x, g.word);
  UNROLL for (int b = 0; b < 2; b++)
    UNROLL for (int i = 0; i < 4; i++) {
      float scale = i & 1 ? bf16_high(g.scale[b]) : bf16_low(g.scale[b]);
      float zero = i & 1 ? bf16_high(g.zero[b]) : bf16_low(g.zero[b]);
      sum[b][i] += part[b][i] * scale + row[i] * zero;
    }
}

KERNEL(256, 3)
awq_linear(float* __restrict__ out, const u16* __restrict__ x, const u8* __restrict__ qweight, const u16* __restrict__ wscales,
           const u16* __restrict__ wzeros, const u16* __restrict__ bias, int rows, int n, int k, int parts) {
  __shared__ __attribute__((aligned(16))) u16 shared[16 * PITCH];
  u32 l = lane(), c = l & 3, quarter = warp() & 3, first_row = block_y() * 16;
  // A warp has 16 outputs and a quarter of each 1024 columns. If its outputs are past the
  // end it does the last 16 again, and nothing is stored.
  u32 first = block_x() * 32, own = first + (warp() >> 2) * 16, column = own < n ? own : n - 16;
  const u8* codes_at[2];
  UNROLL for (int b = 0; b < 2; b++) {
    u32 o = column + b * 8 + (l >> 2);
    codes_at[b] = qweight + ((u64)(o / 4) * k + o % 4 * 16 + c * 4) * 2;
  }
  u32 start = quarter * (DEPTH / 4);
  const u16* x_at = shared + (l >> 2) * PITCH + (c >> 1) * 32 + (c & 1) * 4 + start;
  float sum[2][4];
  UNROLL for (int b = 0; b < 2; b++) UNROLL for (int i = 0; i < 4; i++) sum[b][i] = 0;

  // Rows past the last are zero throughout.
  u32 here = min_(16, rows - (int)first_row);
  for (u32 i = thread(); i < (16 - here) * (DEPTH / 8); i += 256) *(U4*)(shared + (here + i / (DEPTH / 8)) * PITCH + i % (DEPTH / 8) * 8) = U4{0, 0, 0, 0};

  NO_UNROLL for (int from = 0; from < k; from += DEPTH) {
    // Codes do not pass through shared memory. They are asked for before the block waits for
    // x, all of the warp's together: that is what hides the memory's delay.
    Group group[BATCH];
    UNROLL for (int i = 0; i < BATCH; i++) {
      int at = from + start + i * 64;
      if (at < k) load_group(group[i], codes_at, wscales, wzeros, at, n, column + c * 2);
    }
    u32 chunks = min_(DEPTH, k - from) / 8;
    sync_block();
    for (u32 i = thread(); i < here * chunks; i += 256) {
      u32 row = i / chunks, at = i % chunks * 8;
      *(U4*)(shared + row * PITCH + at) = *(const U4*)(x + (u64)(first_row + row) * k + from + at);
    }
    sync_block();
    UNROLL for (int i = 0; i < BATCH; i++)
      if (from + (int)start + i * 64 < k) add_group(sum, x_at + i * 64, group[i]);
  }

  // The quarters come together in a fixed order.
  float* parts_at = (float*)shared;  // [4][32 outputs][16 rows]
  sync_block();
  UNROLL for (int b = 0; b < 2; b++)
    UNROLL for (int i = 0; i < 4; i++) {
      u32 o = (warp() >> 2) * 16 + b * 8 + c * 2 + (i & 1), row = (l >> 2) + (i >> 1) * 8;
      parts_at[(quarter * 32 + o) * 16 + row] = sum[b][i];
    }
  sync_block();
  for (u32 i = thread(); i < 512; i += 256) {
    u32 o = first + i / 16, row = first_row + i % 16;
    if (o >= n || row >= rows) continue;
    float y = (parts_at[i] + parts_at[i + 512]) + (parts_at[i + 1024] + parts_at[i + 1536]);
    out[(u64)row * n + o % parts * (n / parts) + o / parts] = y + from_bf16(bias[o]);
  }
}
