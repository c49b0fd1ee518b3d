"""The CUDA driver API over ctypes, as far as kernels.py needs it, in PyTorch's own context."""

import ctypes
import statistics

import torch

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
LOCAL_SIZE, REGISTERS = 3, 4  # CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, _NUM_REGS

cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{name}: {code} {(text.value or b'').decode()}")


class TensorMap:
    """A CUtensorMap of a matrix of bf16 and a tile of so many of its rows and 64 columns, with a
    128-byte swizzle and zeros outside."""

    def __init__(self, matrix, rows):
        self.matrix = matrix  # must stay as long as the map
        self.memory = ctypes.create_string_buffer(192)
        self.address = ctypes.addressof(self.memory) + 63 & ~63
        sizes = (ctypes.c_uint64 * 2)(matrix.shape[1], matrix.shape[0])
        strides = (ctypes.c_uint64 * 1)(matrix.stride(0) * 2)
        box, steps = (ctypes.c_uint32 * 2)(64, rows), (ctypes.c_uint32 * 2)(1, 1)
        bf16, swizzle_128, promote_256, zeros = 9, 3, 3, 0
        call("cuTensorMapEncodeTiled", ctypes.c_void_p(self.address), bf16, 2, ctypes.c_void_p(matrix.data_ptr()), sizes, strides, box, steps,
             0, swizzle_128, promote_256, zeros)


class Kernel:
    """A function of a module. Calling it launches it on PyTorch's current stream."""

    def __init__(self, handle, name):
        self.handle, self.name = handle, name

    def attribute(self, which):
        value = ctypes.c_int()
        call("cuFuncGetAttribute", ctypes.byref(value), which, self.handle)
        return value.value

    def __call__(self, grid, block, shared, *arguments):
        grid = (grid if isinstance(grid, tuple) else (grid,)) + (1, 1)
        values = [self.parameter(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[v.address if isinstance(v, TensorMap) else ctypes.addressof(v) for v in values])
        if shared > 48 << 10:
            call("cuFuncSetAttribute", self.handle, MAX_DYNAMIC_SHARED, shared)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        call("cuLaunchKernel", self.handle, grid[0], grid[1], grid[2], block, 1, 1, shared, stream, pointers, None)

    @staticmethod
    def parameter(a):
        if a is None:
            return ctypes.c_void_p(0)
        if isinstance(a, torch.Tensor):
            assert a.is_contiguous() and a.data_ptr() % 16 == 0, (a.shape, a.stride(), a.data_ptr())
            return ctypes.c_void_p(a.data_ptr())
        if isinstance(a, TensorMap):
            return a
        if isinstance(a, float):
            return ctypes.c_float(a)
        return ctypes.c_int(int(a))


class Module:
    """A module of PTX or machine code from a file, compiled by the driver as it is loaded."""

    def __init__(self, path):
        torch.cuda.init()
        torch.zeros(1, device="cuda")
        data = open(path, "rb").read() + b"\0"
        self.handle = ctypes.c_void_p()
        call("cuModuleLoadData", ctypes.byref(self.handle), data)

    def __getattr__(self, name):
        handle = ctypes.c_void_p()
        call("cuModuleGetFunction", ctypes.byref(handle), self.handle, name.encode())
        kernel = Kernel(handle, name)
        setattr(self, name, kernel)
        return kernel


def milliseconds(launches, repeat=7):
    """The median time of one of the launches, a list of functions that are run one after the
    other, from replays of a graph, so that the host's part is not in it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for f in launches[:2]:
            f()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for f in launches:
            f()
    times = []
    for i in range(repeat + 1):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / len(launches))
    return statistics.median(times[1:])
