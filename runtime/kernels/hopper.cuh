// hopper.cuh is what Hopper (sm_90a) has beyond dev.cuh: copies of whole tiles by the tensor
// memory accelerator, barriers that count bytes, and products by a warpgroup of 4 warps.
#pragma once
#include "dev.cuh"

// ---- tensor maps ----

// TensorMap describes a matrix and the tile that is copied from it, as cuTensorMapEncodeTiled
// makes it. A kernel takes it by value and gives its address to copies. clang 19 has no
// __grid_constant__ and would copy a parameter to local memory, where no map may lie, to take
// its address: MAP_ADDRESS names the parameter, `i` of `kernel`, as the PTX does.
struct alignas(64) TensorMap {
  u64 opaque[16];
};
#define MAP_ADDRESS(kernel, i) map_address([] { u64 a; asm volatile("mov.b64 %0, " #kernel "_param_" #i ";" : "=l"(a)); return a; }())
DEV u64 map_address(u64 parameter) {
  u64 a;
  asm volatile("cvta.param.u64 %0, %1;" : "=l"(a) : "l"(parameter));
  return a;
}
DEV void prefetch_map(u64 map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

// copy_tile copies the tile whose first column and row are given to shared memory; the
// barrier counts its bytes. What lies outside of the matrix arrives as zeros, and counts.
DEV void copy_tile(u32 to, u64 map, int column, int row, u32 barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
               ::"r"(to), "l"(map), "r"(column), "r"(row), "r"(barrier) : "memory");
}

// ---- barriers in shared memory, of 8 bytes ----

DEV void barrier_init(u32 barrier, u32 arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory"); }
// barriers_ready makes initialised barriers known to the copies; the block has to wait after it.
DEV void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory"); }
DEV void arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
DEV void arrive_expecting(u32 barrier, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory"); }
// await waits for the end of the barrier's phase of that parity: 0 is the first.
DEV void await(u32 barrier, u32 parity) {
  u32 done;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
  } while (!done);
}

// Ring is a place in a ring of n stages, and the parity of its barriers there.
template <u32 n>
struct Ring {
  u32 stage, parity;
  __device__ inline __attribute__((always_inline)) void advance() {
    if (++stage == n) stage = 0, parity ^= 1;
  }
};

// ---- warpgroups ----

// store_matrices stores four 8x8 matrices of 16-bit values, the other way round than
// load_matrices of dev.cuh.
DEV void store_matrices(u32 address, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

template <int registers>
DEV void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers)); }
template <int registers>
DEV void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers)); }

DEV void multiply_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void multiply_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int n>
DEV void multiply_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory"); }

// undefined gives sums a value without an instruction: the first product of a sum does not
// add, and to clear the registers would make ptxas wait between the products.
template <int n>
DEV void undefined(float (&c)[n]) { UNROLL for (int i = 0; i < n; i++) asm volatile("" : "=f"(c[i])); }
template <int n>
DEV void undefined(int (&c)[n]) { UNROLL for (int i = 0; i < n; i++) asm volatile("" : "=r"(c[i])); }

// Tiles lie in shared memory as copies with a 128-byte swizzle leave them: rows of 128 bytes,
// aligned to 1024. rows_at describes one whose rows are rows of A or columns of B, 64 deep;
// 16 further of the depth is 2 more. columns_at describes one whose rows are the depth, and
// whose 128 bytes are 64 columns of B; further columns lie `next` bytes on. 16 further of the
// depth is 128 more.
DEV u64 rows_at(u32 address) { return (u64)((address >> 4) & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
DEV u64 columns_at(u32 address, u32 next) { return (u64)((address >> 4) & 0x3fff) | (u64)(next >> 4) << 16 | 64ull << 32 | 1ull << 62; }

#define SUMS_4(r, c, i) r(c[i]), r(c[i + 1]), r(c[i + 2]), r(c[i + 3])
#define SUMS_16(r, c, i) SUMS_4(r, c, i), SUMS_4(r, c, i + 4), SUMS_4(r, c, i + 8), SUMS_4(r, c, i + 12)
#define SUMS_64(r, c) SUMS_16(r, c, 0), SUMS_16(r, c, 16), SUMS_16(r, c, 32), SUMS_16(r, c, 48)
#define SUMS_128(r, c) SUMS_64(r, c), SUMS_16(r, c, 64), SUMS_16(r, c, 80), SUMS_16(r, c, 96), SUMS_16(r, c, 112)

// multiply_N is c = a·b, or c += a·b with add, of a [64,16] and b [16,N] in bf16 by a
// warpgroup: it begins, and is done when multiply_wait says so. Of c, warp i of the four holds
// rows 16·i to 16·i+15; sums 4·j to 4·j+3 are those that multiply_add of dev.cuh has of columns
// 8·j to 8·j+7. multiply_N_columns takes a from registers, as multiply_add does, and b from
// a tile of columns_at. The one with whole numbers is of s8, 32 deep.
DEV void multiply_256(float (&c)[128], u64 a, u64 b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, "
      "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "
      "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, "
      "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, p, 1, 1, 0, 0; }"
      : SUMS_128("+f", c) : "l"(a), "l"(b), "r"((u32)add));
}
DEV void multiply_256(int (&c)[128], u64 a, u64 b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, "
      "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "
      "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, "
      "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, p; }"
      : SUMS_128("+r", c) : "l"(a), "l"(b), "r"((u32)add));
}
DEV void multiply_128(float (&c)[64], u64 a, u64 b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, 0; }"
      : SUMS_64("+f", c) : "l"(a), "l"(b), "r"((u32)add));
}
DEV void multiply_128_columns(float (&c)[64], const u32 (&a)[4], u64 b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1; }"
      : SUMS_64("+f", c) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((u32)add));
}
