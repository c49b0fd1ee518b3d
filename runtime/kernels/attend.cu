// attend.cu: attention for heads of any width, one query after the other: for what
// attention.cu has no kernel for.
//
// attend_any (out, q, k, v, tiles, n, m, heads, kv_heads, dim, scale, causal): parameters
// as in attention.cu, but
//
//   const int4*  tiles     {first query, past the last, first key, past the last}; not null
//   int          dim       width of a head, at most 512
//
//   grid: tiles, heads; block: 128; no dynamic shared memory. A warp takes every fourth
//   query of a tile.
#include "values.cuh"

constexpr int WIDEST = 512, PARTS = WIDEST / 32;

KERNEL(128, 4)
attend_any(u16* out, const u16* q, const u16* k, const u16* v, const I4* tiles, int n, int m, int heads, int kv_heads,
           int dim, float scale, int causal) {
  __shared__ float queries[4][WIDEST];
  I4 tile = tiles[block_x()];
  int head = block_y(), pitch = kv_heads * dim;
  float* query = queries[warp()];
  k += head / (heads / kv_heads) * dim, v += head / (heads / kv_heads) * dim;
  float factor = scale * log2e;
  for (int row = tile.x + warp(); row < tile.y; row += 4) {
    u64 at = ((u64)row * heads + head) * dim;
    sync_warp();
    for (int i = lane(); i < dim; i += 32) query[i] = from_bf16(q[at + i]) * factor;
    sync_warp();
    int end = causal ? min_(tile.w, row + 1) : tile.w;
    float most = as_float(0xff800000u), total = 0, sum[PARTS] = {};
    // 32 keys at a time, one to a lane; then the values, the columns dealt to the lanes.
    for (int first = tile.z; first < end; first += 32) {
      int key = first + lane();
      float score = as_float(0xff800000u);
      if (key < end) {
        const u16* from = k + (u64)key * pitch;
        score = 0;
        for (int i = 0; i < dim; i++) score = __builtin_fmaf(query[i], from_bf16(from[i]), score);
      }
      float top = max_(most, warp_max(score)), fade = exp2_(most - top), weight = exp2_(score - top);
      most = top;
      total = total * fade + warp_sum(weight);
      UNROLL for (int p = 0; p < PARTS; p++) sum[p] *= fade;
      int count = min_(32, end - first);
      for (int j = 0; j < count; j++) {
        float w;
        asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(w) : "f"(weight), "r"(j));
        const u16* from = v + (u64)(first + j) * pitch;
        UNROLL for (int p = 0; p < PARTS; p++) {
          int i = p * 32 + lane();
          if (i < dim) sum[p] = __builtin_fmaf(w, from_bf16(from[i]), sum[p]);
        }
      }
    }
    UNROLL for (int p = 0; p < PARTS; p++) {
      int i = p * 32 + lane();
      if (i < dim) out[at + i] = to_bf16(sum[p] / total);
    }
  }
}
