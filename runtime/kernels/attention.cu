// attention.cu: softmax(scale·q·kᵀ)·v in one pass over k and v, head by head, with bf16
// operands, float32 sums and a float32 softmax. Nothing of size n·m is stored.
//
// attention_bf16_64, _80, _128 and attention_bf16_64_short, _80_short, _128_short (out, q,
// k, v, tiles, n, m, heads, kv_heads, scale, causal); the number is the width d of a head.
//
//   bf16*        out       [n, heads·d]
//   const bf16*  q         [n, heads·d]
//   const bf16*  k, v      [m, kv_heads·d]; query head h reads head h·kv_heads/heads
//   const int4*  tiles     {first query, past the last, first key, past the last} for each
//                          block; at most ROWS queries and at least one key each. null: all
//                          n queries in order, each seeing all m keys
//   int          n, m, heads, kv_heads
//   float        scale
//   int          causal    1: query i sees keys up to i only (and of those, its tile's);
//                          every query must see its tile's first key
//
// n and m >= 1; kv_heads divides heads. Pointers are aligned to 16 bytes. out overlaps
// nothing.
//
//              ROWS   grid (x, y)                       block   dynamic shared memory
//   64         128    len(tiles) or ceil(n/128), heads  128     32768
//   80         128                                      128     45056
//   128        128                                      128     65536
//   64_short   64     len(tiles) or ceil(n/64), heads   128     24576
//   80_short   64                                       128     33792
//   128_short  64                                       128     49152
//
// Windows are tiles that see their own window. The short kernels are for windows or
// sequences of at most 64 rows or few: they waste less of a block, but read k and v twice
// as often.
#include "dev.cuh"

// Shape is a block's: ROWS queries by 4 warps, KEYS keys at a time.
template <int D_, int ROWS_, int KEYS_>
struct Shape {
  static constexpr int D = D_, ROWS = ROWS_, KEYS = KEYS_;
  static constexpr int WARP_ROWS = ROWS / 4, MI = WARP_ROWS / 16;
  // Rows of a multiple of 128 bytes are swizzled, others padded: either way eight rows that
  // follow each other have the same chunk of 16 bytes in different banks.
  static constexpr bool SWIZZLE = D % 64 == 0;
  static constexpr int PITCH = SWIZZLE ? D * 2 : D * 2 + 16;
  static constexpr int CHUNKS = D / 8;
  static constexpr int K = ROWS * PITCH, V = K + KEYS * PITCH, SHARED = V + KEYS * PITCH;
  DEV u32 offset(u32 row, u32 chunk) { return row * PITCH + ((SWIZZLE ? chunk ^ (row & 7) : chunk) << 4); }
  // along moves an address that offset gave for chunk 0 or 1 by `steps` pairs of chunks.
  DEV u32 along(u32 at, u32 steps) { return SWIZZLE ? (at ^ (steps & 3) << 5) + (steps >> 2) * 128 : at + steps * 32; }
};

// copy_rows copies rows first to first+rows-1 of one head; rows from end on become zeros.
template <class S, int rows>
DEV void copy_rows(u32 to, const u16* head, int pitch, int first, int end) {
  UNROLL for (int i = 0; i < rows * S::CHUNKS / 128; i++) {
    u32 at = i * 128 + thread(), row = at / S::CHUNKS, chunk = at % S::CHUNKS;
    bool valid = first + (int)row < end;
    copy_async16(to + S::offset(row, chunk), head + (u64)(valid ? first + row : 0) * pitch + chunk * 8, valid);
  }
}

// Rows is what a warp knows of its queries: for each fragment of 16 rows, the sums of
// v, and for the two rows of a thread the greatest score and the thread's part of the sum
// of the weights.
template <class S>
struct Rows {
  float out[S::MI][S::D / 8][4];
  float most[S::MI][2], total[S::MI][2];
};

// scores computes s = q·kᵀ for a warp's queries and the keys in shared memory.
template <class S>
DEV void scores(float (&s)[S::MI][S::KEYS / 8][4], u32 at_q, u32 at_k) {
  UNROLL for (int i = 0; i < S::MI; i++) UNROLL for (int j = 0; j < S::KEYS / 8; j++) UNROLL for (int c = 0; c < 4; c++) s[i][j][c] = 0;
  UNROLL for (int step = 0; step < S::D / 16; step++) {
    u32 q[S::MI][4], k[4];
    UNROLL for (int i = 0; i < S::MI; i++) load_matrices(q[i], S::along(at_q, step) + i * 16 * S::PITCH);
    UNROLL for (int j = 0; j < S::KEYS / 16; j++) {
      load_matrices(k, S::along(at_k, step) + j * 16 * S::PITCH);
      UNROLL for (int i = 0; i < S::MI; i++) {
        multiply_add(s[i][2 * j], q[i], k[0], k[1]);
        multiply_add(s[i][2 * j + 1], q[i], k[2], k[3]);
      }
    }
  }
}

// hide takes away the keys from end on and, if causal, those after the query.
template <class S>
DEV void hide(float (&s)[S::MI][S::KEYS / 8][4], int query, int key, int end, bool causal) {
  UNROLL for (int i = 0; i < S::MI; i++)
    UNROLL for (int j = 0; j < S::KEYS / 8; j++)
      UNROLL for (int c = 0; c < 4; c++) {
        int column = key + j * 8 + (lane() & 3) * 2 + (c & 1), row = query + i * 16 + (lane() >> 2) + (c >> 1) * 8;
        if (column >= end || (causal && column > row)) s[i][j][c] = as_float(0xff800000u);
      }
}

// weigh turns scores into weights 2^(factor·(s − most)), and scales what was summed up so
// far to a new maximum.
template <class S>
DEV void weigh(Rows<S>& r, float (&s)[S::MI][S::KEYS / 8][4], float factor) {
  UNROLL for (int i = 0; i < S::MI; i++) {
    float old[2];
    bool same = true;
    UNROLL for (int h = 0; h < 2; h++) {
      float most = r.most[i][h];
      UNROLL for (int j = 0; j < S::KEYS / 8; j++) most = max_(most, max_(s[i][j][2 * h], s[i][j][2 * h + 1]));
      most = max_(most, shuffle_xor(most, 1));
      most = max_(most, shuffle_xor(most, 2));
      old[h] = exp2_((r.most[i][h] - most) * factor);
      same = same && r.most[i][h] == most;
      r.most[i][h] = most;
      float shift = most * factor, sum = 0;
      UNROLL for (int j = 0; j < S::KEYS / 8; j++)
        UNROLL for (int c = 2 * h; c < 2 * h + 2; c++) {
          s[i][j][c] = exp2_(__builtin_fmaf(s[i][j][c], factor, -shift));
          sum += s[i][j][c];
        }
      r.total[i][h] = r.total[i][h] * old[h] + sum;
    }
    // Most keys change no maximum.
    if (warp_all(same)) continue;
    UNROLL for (int j = 0; j < S::D / 8; j++) {
      r.out[i][j][0] *= old[0], r.out[i][j][1] *= old[0];
      r.out[i][j][2] *= old[1], r.out[i][j][3] *= old[1];
    }
  }
}

// gather adds weights·v.
template <class S>
DEV void gather(Rows<S>& r, const float (&s)[S::MI][S::KEYS / 8][4], u32 at_v) {
  UNROLL for (int step = 0; step < S::KEYS / 16; step++) {
    u32 p[S::MI][4], v[4];
    UNROLL for (int i = 0; i < S::MI; i++) {
      UNROLL for (int c = 0; c < 4; c++) p[i][c] = pack_bf16(s[i][2 * step + (c >> 1)][(c & 1) * 2], s[i][2 * step + (c >> 1)][(c & 1) * 2 + 1]);
    }
    UNROLL for (int j = 0; j < S::D / 16; j++) {
      load_matrices_transposed(v, S::along(at_v, j) + step * 16 * S::PITCH);
      UNROLL for (int i = 0; i < S::MI; i++) {
        multiply_add(r.out[i][2 * j], p[i], v[0], v[1]);
        multiply_add(r.out[i][2 * j + 1], p[i], v[2], v[3]);
      }
    }
  }
}

template <class S>
DEV void write(const Rows<S>& r, u16* head, int pitch, int query, int end) {
  UNROLL for (int i = 0; i < S::MI; i++)
    UNROLL for (int h = 0; h < 2; h++) {
      float total = r.total[i][h];
      total += shuffle_xor(total, 1);
      total += shuffle_xor(total, 2);
      int row = query + i * 16 + (lane() >> 2) + h * 8;
      if (row >= end) continue;
      float by = 1.f / total;
      u16* to = head + (u64)row * pitch + (lane() & 3) * 2;
      UNROLL for (int j = 0; j < S::D / 8; j++) *(u32*)(to + j * 8) = pack_bf16(r.out[i][j][2 * h] * by, r.out[i][j][2 * h + 1] * by);
    }
}

template <class S>
DEV void attend(u16* out, const u16* q, const u16* k, const u16* v, const I4* tiles, int n, int m, int heads, int kv_heads, float scale, int causal) {
  DYNAMIC_SHARED(shared);
  int first = block_x() * S::ROWS;
  I4 tile = tiles ? tiles[block_x()] : I4{first, min_(first + S::ROWS, n), 0, m};
  int end = causal ? min_(tile.w, tile.y) : tile.w;
  int head = block_y(), kv_head = head * kv_heads / heads, pitch = heads * S::D, kv_pitch = kv_heads * S::D;
  q += head * S::D, k += kv_head * S::D, v += kv_head * S::D;

  u32 base = shared_address(shared), l = lane(), row = warp() * S::WARP_ROWS;
  u32 at_q = base + S::offset(row + (l & 15), l >> 4);
  u32 at_k = base + S::K + S::offset((l & 7) + (l >> 4) * 8, l >> 3 & 1);
  u32 at_v = base + S::V + S::offset(l & 15, l >> 4);
  copy_rows<S, S::ROWS>(base, q, pitch, tile.x, tile.y);
  copy_rows<S, S::KEYS>(base + S::K, k, kv_pitch, tile.z, end);
  copy_commit();

  Rows<S> r;
  UNROLL for (int i = 0; i < S::MI; i++) {
    r.most[i][0] = r.most[i][1] = as_float(0xff800000u), r.total[i][0] = r.total[i][1] = 0;
    UNROLL for (int j = 0; j < S::D / 8; j++) UNROLL for (int c = 0; c < 4; c++) r.out[i][j][c] = 0;
  }
  // While the scores are computed v arrives, and while v is gathered the next k.
  NO_UNROLL for (int key = tile.z; key < end; key += S::KEYS) {
    copy_wait<0>();
    sync_block();
    copy_rows<S, S::KEYS>(base + S::V, v, kv_pitch, key, end);
    copy_commit();
    float s[S::MI][S::KEYS / 8][4];
    scores<S>(s, at_q, at_k);
    copy_wait<0>();
    sync_block();
    if (key + S::KEYS < end) copy_rows<S, S::KEYS>(base + S::K, k, kv_pitch, key + S::KEYS, end);
    copy_commit();
    if (key + S::KEYS > end || (causal && key + S::KEYS > tile.x)) hide<S>(s, tile.x + row, key, end, causal);
    weigh<S>(r, s, scale * log2e);
    gather<S>(r, s, at_v);
  }
  write<S>(r, out + head * S::D, pitch, tile.x + row, tile.y);
}

#define ATTENTION(name, blocks, ...)                                                                     \
  KERNEL(128, blocks)                                                                                    \
  name(u16* out, const u16* q, const u16* k, const u16* v, const I4* tiles, int n, int m, int heads,     \
       int kv_heads, float scale, int causal) {                                                          \
    attend<Shape<__VA_ARGS__>>(out, q, k, v, tiles, n, m, heads, kv_heads, scale, causal);               \
  }

ATTENTION(attention_bf16_64, 2, 64, 128, 64)
ATTENTION(attention_bf16_80, 2, 80, 128, 64)
ATTENTION(attention_bf16_128, 2, 128, 128, 64)
ATTENTION(attention_bf16_64_short, 3, 64, 64, 64)
ATTENTION(attention_bf16_80_short, 3, 80, 64, 64)
ATTENTION(attention_bf16_128_short, 3, 128, 64, 64)
