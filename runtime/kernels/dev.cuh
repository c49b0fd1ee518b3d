// dev.cuh is all that the kernels need of CUDA's own headers: the words of the language,
// names for the PTX instructions that C++ has no operator for, and the arithmetic that
// would come from libdevice. It is written for clang with -nocudainc and -nocudalib, so
// that a C++ compiler is enough to build the kernels:
//
//     clang++-19 -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -nocudainc -nocudalib \
//         -std=c++17 -O3 -S name.cu -o name.ptx
//
// All of it is for sm_80 and newer. bf16 values are u16 in memory and float in registers.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i8 = signed char;
using i32 = int;
using i64 = long long;

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define DEV static __device__ inline __attribute__((always_inline))
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")

// KERNEL begins a kernel: the most threads of a block, and how many blocks a
// multiprocessor should hold, which bounds the registers.
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

// DYNAMIC_SHARED names the block's dynamic shared memory.
#define DYNAMIC_SHARED(name) extern __shared__ __attribute__((aligned(1024))) u8 name[]

// ---- where a thread is ----

DEV u32 thread() { return (u32)__nvvm_read_ptx_sreg_tid_x(); }
DEV u32 threads() { return (u32)__nvvm_read_ptx_sreg_ntid_x(); }
DEV u32 block_x() { return (u32)__nvvm_read_ptx_sreg_ctaid_x(); }
DEV u32 block_y() { return (u32)__nvvm_read_ptx_sreg_ctaid_y(); }
DEV u32 block_z() { return (u32)__nvvm_read_ptx_sreg_ctaid_z(); }
DEV u32 blocks_x() { return (u32)__nvvm_read_ptx_sreg_nctaid_x(); }
DEV u32 blocks_y() { return (u32)__nvvm_read_ptx_sreg_nctaid_y(); }
DEV u32 lane() { return thread() & 31; }
DEV u32 warp() { return thread() >> 5; }
// global_thread counts through the whole of a one-dimensional grid.
DEV u64 global_thread() { return (u64)block_x() * threads() + thread(); }
DEV u64 global_threads() { return (u64)blocks_x() * threads(); }

DEV void sync_block() { __syncthreads(); }
DEV void sync_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// ---- values of several words, moved by one instruction ----

struct alignas(8) U2 { u32 x, y; };
struct alignas(16) U4 { u32 x, y, z, w; };
struct alignas(8) F2 { float x, y; };
struct alignas(16) F4 { float x, y, z, w; };
struct alignas(16) I4 { int x, y, z, w; };

// ---- bits and bf16 ----

DEV float as_float(u32 bits) { return __builtin_bit_cast(float, bits); }
DEV u32 as_bits(float x) { return __builtin_bit_cast(u32, x); }
DEV float from_bf16(u16 x) { return as_float((u32)x << 16); }
DEV float bf16_low(u32 pair) { return as_float(pair << 16); }
DEV float bf16_high(u32 pair) { return as_float(pair & 0xffff0000u); }
// pack_bf16 rounds to nearest, ties to even; low is the value at the lower address.
DEV u32 pack_bf16(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
DEV u16 to_bf16(float x) { return (u16)pack_bf16(x, 0.f); }

// ---- arithmetic ----

DEV float min_(float a, float b) { return __builtin_fminf(a, b); }
DEV float max_(float a, float b) { return __builtin_fmaxf(a, b); }
DEV float abs_(float x) { return __builtin_fabsf(x); }
DEV int min_(int a, int b) { return a < b ? a : b; }
DEV int max_(int a, int b) { return a > b ? a : b; }
DEV float sqrt_(float x) {
  float y;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// rsqrt_ and exp2_ are within 2 units of the last place; exp2_ flushes denormals.
DEV float rsqrt_(float x) {
  float y;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEV float exp2_(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
constexpr float log2e = 1.4426950408889634f;
// exp_ multiplies in two steps, so that the product's rounding does not grow with |x|.
DEV float exp_(float x) {
  float y = x * log2e;
  float rest = __builtin_fmaf(x, log2e, -y) + x * 1.925963033e-8f;
  return exp2_(y) * __builtin_fmaf(rest, 0.6931471806f, 1.f);
}
// inverse is 1/x within a unit of the last place, 0 for |x| over 2^126; a division takes
// several times as long.
DEV float inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEV float silu(float x) { return x * inverse(1.f + exp_(-x)); }
DEV float tanh_(float x) { return 1.f - 2.f * inverse(1.f + exp_(2.f * x)); }
// erf_ is formula 7.1.26 of Abramowitz and Stegun: an absolute error below 1.5e-7.
DEV float erf_(float x) {
  float a = abs_(x), t = inverse(__builtin_fmaf(0.3275911f, a, 1.f));
  float p = __builtin_fmaf(1.061405429f, t, -1.453152027f);
  p = __builtin_fmaf(p, t, 1.421413741f);
  p = __builtin_fmaf(p, t, -0.284496736f);
  p = __builtin_fmaf(p, t, 0.254829592f) * t;
  float y = 1.f - p * exp_(-a * a);
  return x < 0 ? -y : y;
}
DEV float gelu_erf(float x) { return 0.5f * x * (1.f + erf_(x * 0.70710678118654752f)); }
// gelu_tanh is x·(1 + tanh(u))/2 = x/(1 + e^−2u). Beyond 80 the exponential says nothing
// more, and must not become infinite: exp_ of that is no number.
DEV float gelu_tanh(float x) {
  float u2 = 1.5957691216057308f * __builtin_fmaf(0.044715f * x * x, x, x);
  return x * inverse(1.f + exp_(min_(-u2, 80.f)));
}

// ---- across a warp and a block ----

DEV float shuffle_xor(float x, int mask) {
  float y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(mask));
  return y;
}
// warp_all reports whether x holds in every lane.
DEV bool warp_all(bool x) {
  u32 y;
  asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.all.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }" : "=r"(y) : "r"((u32)x));
  return y;
}
DEV float warp_sum(float x) {
  UNROLL for (int m = 16; m > 0; m >>= 1) x += shuffle_xor(x, m);
  return x;
}
DEV float warp_max(float x) {
  UNROLL for (int m = 16; m > 0; m >>= 1) x = max_(x, shuffle_xor(x, m));
  return x;
}
// block_sum gives every thread the sum over the block; scratch holds 32 floats. The order
// of the additions is fixed. It waits for the block before it writes scratch, so that it
// can be called again at once.
DEV float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  sync_block();
  if (lane() == 0) scratch[warp()] = x;
  sync_block();
  return warp_sum(lane() < (threads() + 31) / 32 ? scratch[lane()] : 0.f);
}
DEV float block_max(float x, float* scratch) {
  x = warp_max(x);
  sync_block();
  if (lane() == 0) scratch[warp()] = x;
  sync_block();
  return warp_max(lane() < (threads() + 31) / 32 ? scratch[lane()] : as_float(0xff800000u));
}

// ---- shared memory and the tensor cores ----

// shared_address is where p lies in shared memory, as the instructions below want it.
DEV u32 shared_address(const void* p) {
  u64 a;
  asm("cvta.to.shared.u64 %0, %1;" : "=l"(a) : "l"(p));
  return (u32)a;
}
DEV U4 load_shared16(u32 address) {
  U4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address) : "memory");
  return v;
}
DEV void store_shared16(u32 address, U4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
// copy_async16 copies 16 bytes, both sides aligned to 16, past the first-level cache. With
// valid false it writes zeros, and from is not read.
DEV void copy_async16(u32 to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
DEV void copy_async16(u32 to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
DEV void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// copy_wait waits until at most n of the thread's groups are under way.
template <int n>
DEV void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
// load_matrices loads four 8x8 matrices of 16-bit values: lane i gives the address of row
// i%8 of matrix i/8 and gets the values 2*(i%4) and the next of row i/4 of each.
DEV void load_matrices(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
DEV void load_matrices_transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// multiply_add is c += a*b with a [16,16], b [16,8] and c [16,8], bf16 and float32. Lane i
// holds of c the rows i/4 (c[0], c[1]) and i/4+8 (c[2], c[3]), columns 2*(i%4) and the next.
DEV void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
