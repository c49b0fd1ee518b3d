// attention.sm_90a.cu: softmax(scale·q·kᵀ)·v for Hopper (sm_90a), heads of 128 values, every
// query seeing every key: what the transformer spends its attention on.
//
// attention_bf16_128_hopper (q, k, v, out, n, m, heads, kv_heads, scale)
//
//   CUtensorMap  q         [n, heads·128] bf16,
//   CUtensorMap  k, v      [m, kv_heads·128] bf16: by value (128 bytes each, aligned to 64),
//                          two-dimensional, tiles of 128 rows x 64 columns, 128-byte swizzle,
//                          zeros outside
//   bf16*        out       [n, heads·128]; overlaps nothing
//   int          n, m, heads, kv_heads
//   float        scale
//
//   grid: (ceil(n/128), heads); block 384; dynamic shared memory: 164864
//
// A block has 128 queries. Its first warpgroup copies k and v, two tiles of 128 keys of each
// ahead; the other two have 64 queries each. The scores of the next keys are computed, and
// the values of the last ones gathered, while the softmax between them runs.
#include "hopper.cuh"

constexpr int D = 128, ROWS = 128, KEYS = 128;
constexpr u32 HALF = 128 * 64 * 2, TILE = 2 * HALF, STAGES = 2;  // a tile lies as two of 64 columns
constexpr u32 K = TILE, V = K + STAGES * TILE, BARRIERS = V + STAGES * TILE, SHARED = BARRIERS + 1024;
static_assert(SHARED == 164864, "what the head says");

// Barriers are where the block's barriers lie.
struct Barriers {
  u32 q, k_full, k_empty, v_full, v_empty;
  DEV Barriers at(u32 base) { return Barriers{base, base + 8, base + 24, base + 40, base + 56}; }
};

// copy_half copies both halves of a tile of 128 rows and the columns of one head.
DEV void copy_head(u32 to, u64 map, int head, int row, u32 barrier) {
  arrive_expecting(barrier, TILE);
  copy_tile(to, map, head * D, row, barrier);
  copy_tile(to + HALF, map, head * D + 64, row, barrier);
}

// Softmax is what a thread knows of its two rows, row and row + 8 of a warp's 16.
struct Softmax {
  float most[2], total[2];
};

// scores starts s = q·kᵀ.
DEV void scores(float (&s)[64], u32 q, u32 k) {
  u64 at_q = rows_at(q), at_k = rows_at(k);
  multiply_begin();
  UNROLL for (int i = 0; i < D / 16; i++) multiply_128(s, at_q + i / 4 * (HALF / 16) + i % 4 * 2, at_k + i / 4 * (HALF / 16) + i % 4 * 2, i > 0);
  multiply_commit();
}

// gather starts out = p·v, or out += p·v.
DEV void gather(float (&out)[64], const u32 (&p)[KEYS / 16][4], u32 v, bool add) {
  u64 at_v = columns_at(v, HALF);
  multiply_begin();
  UNROLL for (int i = 0; i < KEYS / 16; i++) multiply_128_columns(out, p[i], at_v + i * 128, add || i > 0);
  multiply_commit();
}

// weigh turns scores into weights 2^(factor·(s − most)); by is what earlier sums have to be
// multiplied with.
DEV void weigh(Softmax& x, float (&s)[64], float (&by)[2], float factor) {
  UNROLL for (int h = 0; h < 2; h++) {
    float most = x.most[h];
    UNROLL for (int j = 0; j < 16; j++) most = max_(most, max_(s[j * 4 + h * 2], s[j * 4 + h * 2 + 1]));
    most = max_(most, shuffle_xor(most, 1));
    most = max_(most, shuffle_xor(most, 2));
    by[h] = exp2_((x.most[h] - most) * factor);
    x.most[h] = most;
    float shift = most * factor, sum = 0;
    UNROLL for (int j = 0; j < 16; j++)
      UNROLL for (int c = j * 4 + h * 2; c < j * 4 + h * 2 + 2; c++) {
        s[c] = exp2_(__builtin_fmaf(s[c], factor, -shift));
        sum += s[c];
      }
    x.total[h] = x.total[h] * by[h] + sum;
  }
}

// hide takes away the columns from count on.
DEV void hide(float (&s)[64], int count) {
  UNROLL for (int i = 0; i < 64; i++)
    if (i / 4 * 8 + (int)(lane() & 3) * 2 + (i & 1) >= count) s[i] = as_float(0xff800000u);
}

DEV void pack(u32 (&p)[KEYS / 16][4], const float (&s)[64]) {
  UNROLL for (int i = 0; i < KEYS / 16; i++) UNROLL for (int c = 0; c < 4; c++) p[i][c] = pack_bf16(s[i * 8 + c * 2], s[i * 8 + c * 2 + 1]);
}

// produce copies q, and k and v in the order in which they are read.
DEV void produce(u64 map_q, u64 map_k, u64 map_v, u32 base, const Barriers& b, int first, int head, int kv_head, int tiles) {
  copy_head(base, map_q, head, first, b.q);
  Ring<STAGES> k{0, 0}, v{0, 0};
  for (int tile = 0; tile <= tiles; tile++) {
    if (tile < tiles) {
      await(b.k_empty + k.stage * 8, k.parity ^ 1);
      copy_head(base + K + k.stage * TILE, map_k, kv_head, tile * KEYS, b.k_full + k.stage * 8);
      k.advance();
    }
    if (tile > 0) {
      await(b.v_empty + v.stage * 8, v.parity ^ 1);
      copy_head(base + V + v.stage * TILE, map_v, kv_head, (tile - 1) * KEYS, b.v_full + v.stage * 8);
      v.advance();
    }
  }
}

// release gives a stage back, a warp at a time.
DEV void release(u32 barrier) {
  if (lane() == 0) arrive(barrier);
}

DEV void consume(u32 base, const Barriers& b, u32 group, u16* out, int pitch, int row, int n, int m, float factor) {
  Ring<STAGES> k{0, 0}, v{0, 0};
  Softmax x{{as_float(0xff800000u), as_float(0xff800000u)}, {0, 0}};
  float sum[64], s[64], by[2];
  u32 p[KEYS / 16][4], q = base + group * 64 * 128;
  int tiles = (m + KEYS - 1) / KEYS;
  undefined(sum);
  undefined(s);

  await(b.q, 0);
  await(b.k_full, 0);
  scores(s, q, base + K);
  multiply_wait<0>();
  release(b.k_empty);
  k.advance();
  if (tiles == 1) hide(s, m);
  weigh(x, s, by, factor);
  pack(p, s);
  NO_UNROLL for (int tile = 1; tile < tiles; tile++) {
    await(b.k_full + k.stage * 8, k.parity);
    scores(s, q, base + K + k.stage * TILE);
    await(b.v_full + v.stage * 8, v.parity);
    gather(sum, p, base + V + v.stage * TILE, tile > 1);
    multiply_wait<1>();
    release(b.k_empty + k.stage * 8);
    k.advance();
    if (tile == tiles - 1) hide(s, m - tile * KEYS);
    weigh(x, s, by, factor);
    multiply_wait<0>();
    release(b.v_empty + v.stage * 8);
    v.advance();
    UNROLL for (int j = 0; j < 16; j++) {
      sum[j * 4] *= by[0], sum[j * 4 + 1] *= by[0];
      sum[j * 4 + 2] *= by[1], sum[j * 4 + 3] *= by[1];
    }
    pack(p, s);
  }
  await(b.v_full + v.stage * 8, v.parity);
  gather(sum, p, base + V + v.stage * TILE, tiles > 1);
  multiply_wait<0>();

  row += group * 64 + warp() % 4 * 16 + (lane() >> 2);
  UNROLL for (int h = 0; h < 2; h++) {
    float total = x.total[h];
    total += shuffle_xor(total, 1);
    total += shuffle_xor(total, 2);
    if (row + h * 8 >= n) continue;
    float scale = 1.f / total;
    u16* to = out + (u64)(row + h * 8) * pitch + (lane() & 3) * 2;
    UNROLL for (int j = 0; j < 16; j++) *(u32*)(to + j * 8) = pack_bf16(sum[j * 4 + h * 2] * scale, sum[j * 4 + h * 2 + 1] * scale);
  }
}

KERNEL(384, 1)
attention_bf16_128_hopper(TensorMap q, TensorMap k, TensorMap v, u16* out, int n, int m, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  u32 base = shared_address(shared);
  Barriers b = Barriers::at(base + BARRIERS);
  int first = block_x() * ROWS, head = block_y();
  u64 map_q = MAP_ADDRESS(attention_bf16_128_hopper, 0), map_k = MAP_ADDRESS(attention_bf16_128_hopper, 1), map_v = MAP_ADDRESS(attention_bf16_128_hopper, 2);
  if (thread() == 0) {
    barrier_init(b.q, 1);
    for (u32 i = 0; i < STAGES * 8; i += 8) {
      barrier_init(b.k_full + i, 1), barrier_init(b.v_full + i, 1);
      barrier_init(b.k_empty + i, 8), barrier_init(b.v_empty + i, 8);  // the warps that read
    }
    barriers_ready();
  }
  sync_block();
  if (thread() < 128) {
    give_registers<24>();
    if (thread() == 0) produce(map_q, map_k, map_v, base, b, first, head, head * kv_heads / heads, (m + KEYS - 1) / KEYS);
  } else {
    take_registers<240>();
    consume(base, b, thread() / 128 - 1, out + head * D, heads * D, first, n, m, scale * log2e);
  }
}
