// conv.cu: convolutions of one picture, as a product whose A is never written down: row
// i of A is the neighbourhood of output pixel i, and is read from the picture as it is
// needed.
//
//     out[i,o] = residual + activation(Σ x[pixel(i,tap),c]·weight[o,tap,c] + bias)
//
// conv_bf16_128x96, conv_bf16_128x32 (out, x, weight, bias, residual, h, w, in, oh, ow,
// outs, kh, kw, stride, top, left, upsample, flags)
//
//   void*        out       [oh·ow, outs] bf16, or float32 if flags has OUT_F32 (8)
//   const bf16*  x         [h·w, in], rows of pixels from top to bottom
//   const bf16*  weight    [outs, kh·kw, in]: conv_weights makes it
//   const float* bias      [outs], or null
//   const void*  residual  [oh·ow, outs] bf16, or float32 if flags has RESIDUAL_F32 (16),
//                          or null; may be out
//   int          h, w, in, oh, ow, outs, kh, kw, stride, top, left
//   int          upsample  1 takes every pixel of x four times first, else 0; h and w are
//                          those of x before that
//   u32          flags     as gemm.cu's
//
// in is a multiple of 8 (pad_columns makes it so); all else is free. top and left are the
// zeros before the picture; what lies behind it follows from oh and ow. Pointers are
// aligned to 16 bytes.
//
//              grid (x)                             block   dynamic shared memory
//   128x96     ceil(oh·ow/128)·ceil(outs/96)        128     57344
//   128x32     ceil(oh·ow/128)·ceil(outs/32)        128     51200
//
// conv_weights (out, in, in_bf16, outs, ins, padded, taps, first, count): weights of a file,
// [outs, ins, taps], to [outs, count, padded]: taps first to first+count-1, channels from
// ins to padded zero. A convolution over time keeps the last of its kt slices.
//
//   bf16*        out       [outs, count, padded]
//   const void*  in        [outs, ins, taps], bf16 if in_bf16 is 1, else float32
//   int          in_bf16, outs, ins, padded, taps, first, count
//
//   grid: any x; block: 256; no dynamic shared memory.
#include "tiles.cuh"

// Picture is what a convolution reads, and how.
struct Picture {
  const u16* x;
  int h, w, in, oh, ow, kh, kw, stride, top, left, upsample;
};

// Neighbourhoods copies a block's rows of A into stages: for each output pixel the values
// of one tap after the other, zeros outside of the picture.
template <class T>
struct Neighbourhoods {
  static constexpr int PASSES = T::PASSES_A;
  int y[PASSES], x[PASSES];  // the neighbourhood's upper left corner
  int ky, kx, c;             // the tap and the channel of the next chunk

  DEV void begin(Neighbourhoods& r, const Picture& p, int first) {
    UNROLL for (int i = 0; i < PASSES; i++) {
      int n = min_(first + (int)(thread() / T::CHUNKS) + i * T::STEP, p.oh * p.ow - 1);
      r.y[i] = n / p.ow * p.stride - p.top;
      r.x[i] = n % p.ow * p.stride - p.left;
    }
    r.ky = r.kx = 0;
    r.c = thread() % T::CHUNKS * 8;
    r.settle(p);
  }
  // settle carries channels past the last one into taps.
  __device__ inline __attribute__((always_inline)) void settle(const Picture& p) {
    while (c >= p.in) {
      c -= p.in;
      if (++kx == p.kw) kx = 0, ky++;
    }
  }
  __device__ inline __attribute__((always_inline)) void copy(const Picture& p, u32 to) {
    UNROLL for (int i = 0; i < PASSES; i++) {
      int py = y[i] + ky, px = x[i] + kx;
      bool inside = (u32)py < (u32)(p.h << p.upsample) && (u32)px < (u32)(p.w << p.upsample) && ky < p.kh;
      const u16* from = p.x + ((u64)(u32)((py >> p.upsample) * p.w + (px >> p.upsample)) * (u32)p.in + c);
      copy_async16(to + i * T::STEP * T::BK * 2, inside ? from : p.x, inside);
    }
    c += T::BK;
    settle(p);
  }
};

template <class T>
DEV void convolve(const Picture& p, const u16* weight, Epilogue e) {
  DYNAMIC_SHARED(shared);
  u32 tile_m, tile_n;
  block_of(block_x(), (e.m + T::BM - 1) / T::BM, (e.n + T::BN - 1) / T::BN, 8, tile_m, tile_n);
  int row = tile_m * T::BM, column = tile_n * T::BN, k = p.kh * p.kw * p.in;

  Neighbourhoods<T> pixels;
  MatrixRows<T, T::PASSES_B> weights;
  pixels.begin(pixels, p, row);
  weights.begin(weights, weight, column, e.n, k);
  u32 at = T::offset(thread() / T::CHUNKS, thread() % T::CHUNKS);
  auto next = [&](u32 stage) {
    pixels.copy(p, stage + at);
    weights.copy(stage + T::BYTES_A + at);
  };
  float sum[T::WM / 16][T::WN / 8][4];
  multiply<T>(sum, shared_address(shared), (k + T::BK - 1) / T::BK, next);
  store<T>(e, shared, sum, row, column);
}

#define CONV(name, blocks, ...)                                                                              \
  using name##_tile = Tile<__VA_ARGS__>;                                                                     \
  KERNEL(name##_tile::THREADS, blocks)                                                                       \
  name(void* out, const u16* x, const u16* weight, const float* bias, const void* residual, int h, int w,    \
       int in, int oh, int ow, int outs, int kh, int kw, int stride, int top, int left, int upsample,        \
       u32 flags) {                                                                                          \
    convolve<name##_tile>(Picture{x, h, w, in, oh, ow, kh, kw, stride, top, left, upsample}, weight,         \
                          Epilogue{out, bias, residual, nullptr, nullptr, 0, oh * ow, outs, flags});         \
  }

CONV(conv_bf16_128x96, 2, 128, 96, 64, 48, 32, 4)
CONV(conv_bf16_128x32, 3, 128, 32, 32, 32, 32, 5)

KERNEL(256, 1)
conv_weights(u16* out, const void* in, int in_bf16, int outs, int ins, int padded, int taps, int first, int count) {
  u64 total = (u64)outs * count * padded;
  for (u64 i = global_thread(); i < total; i += global_threads()) {
    int c = i % padded, t = i / padded % count, o = i / padded / count;
    u64 from = ((u64)o * ins + c) * taps + first + t;
    float v = 0;
    if (c < ins) v = in_bf16 ? from_bf16(((const u16*)in)[from]) : ((const float*)in)[from];
    out[i] = to_bf16(v);
  }
}
