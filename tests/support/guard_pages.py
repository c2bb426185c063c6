"""Memory between two pages that may not be touched: one stray element kills the process."""

import ctypes
import mmap

import numpy as np

SIZE = 64 * mmap.PAGESIZE
EDGES = ("start", "end")


class Arena:
    """Memory between two pages that may not be touched."""

    def __init__(self):
        self.memory = mmap.mmap(-1, SIZE + 2 * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        no_access = 0
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (start, start + mmap.PAGESIZE + SIZE):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), no_access):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, a, edge):
        """A copy of `a`, of the same strides, that starts after the first page or ends before the second."""
        extent = a.itemsize + sum((n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True))
        offset = mmap.PAGESIZE + (0 if edge == "start" else SIZE - extent)
        copy = np.ndarray(a.shape, a.dtype, self.memory, offset, a.strides)
        copy[...] = a
        return copy
