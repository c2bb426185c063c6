"""Makes the unusual plain: what can be an array, which dtype, which axes, where the result goes.

Knows NumPy and nothing of kernels. What it returns are ndarrays whose class axes come last and whose
dtypes the core reads; strides, byte order and alignment are left to the core.
"""

import operator
from typing import NamedTuple

import numpy as np

_HALVES = ("float16", "bfloat16")


def not_yet(name):
    return NotImplementedError(f"{name} is not supported yet")


def as_array(x, name):
    """x as an ndarray of float32, float64, an integer type or bool."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array whose mask would be lost: pass a plain array and where=~a.mask")
    a = np.asarray(x)
    if a.dtype.kind in "iub" or (a.dtype.kind == "f" and a.dtype.itemsize in (4, 8)):
        return a
    hint = ""
    if a.dtype.name in _HALVES:
        hint = f": pass {name}.astype(numpy.float32)"
    elif a.dtype.kind == "f":
        hint = f": pass {name}.astype(numpy.float64)"
    raise TypeError(f"{name} has dtype {a.dtype}, which is not supported{hint}")


def floating(*arrays):
    """The native dtype that the arrays are computed in: their common one, float64 if that is not floating."""
    common = np.result_type(*(a.dtype for a in arrays))
    return common if common.kind == "f" else np.dtype(np.float64)


def result_dtype(dtype, given):
    """(dtype to compute in, dtype of the result) for an argument `dtype` and the input's floating dtype."""
    if dtype is None:
        return given, given
    asked = np.dtype(dtype)
    if asked.kind != "f" or asked.itemsize not in (4, 8):
        raise TypeError(f"dtype must be float32 or float64, got {asked}")
    asked = asked.newbyteorder("=")
    return np.result_type(asked, given), asked


def temperature_of(temperature):
    """A scalar temperature as a float."""
    t = np.asarray(temperature)
    if t.dtype.kind not in "iuf":
        raise TypeError(f"temperature must be a real number, got {temperature!r}")
    if t.ndim:
        raise not_yet("an array as temperature")
    t = float(t)
    if not 0 < t < np.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature!r}")
    return t


def as_index(k, name):
    """An integer argument as an int."""
    try:
        return operator.index(k)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {k!r}") from None


def axes_of(axis, ndim):
    """An axis argument (int, tuple or None) as a tuple of non-negative ints. A 0-d array counts as one class."""
    if axis is None:
        return tuple(range(ndim))
    most = max(ndim, 1)
    axes = []
    for k in axis if isinstance(axis, tuple) else (axis,):
        k = as_index(k, "axis")
        if not -most <= k < most:
            raise np.exceptions.AxisError(k, ndim)
        axes.append(k % most)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(axes) if ndim else ()


def one_axis(axis, ndim):
    """An axis argument that must be one int."""
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"axis must be one int here, got {axis!r}")
    return axes_of(axis, ndim)


def classes_last(a, axes):
    """A view of `a` with `axes` moved behind the others; of a 0-d array, with one axis."""
    if a.ndim == 0:
        return a.reshape(1)
    rows = [i for i in range(a.ndim) if i not in axes]
    return a.transpose(*rows, *axes)


def overlaps_itself(a):
    """Whether two elements of `a` share memory."""
    reach = a.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if stride < reach:
            offsets = np.zeros(1, np.intp)
            for s, n in zip(a.strides, a.shape, strict=True):
                offsets = np.add.outer(offsets, np.arange(n) * s).ravel()
            return bool((np.diff(np.sort(offsets)) < a.itemsize).any())
        reach += stride * (length - 1)
    return False


class Target(NamedTuple):
    """Where a result is computed, and what the caller gets."""

    array: np.ndarray
    given: np.ndarray | None

    def finish(self):
        """The caller's array, filled; or the new one, as a scalar if it is 0-d."""
        if self.given is None:
            return self.array if self.array.ndim else self.array[()]
        if self.array is not self.given:
            np.copyto(self.given, self.array, casting="same_kind")
        return self.given


def target_for(out, shape, dtype, like, inputs, apart=()):
    """The array to compute a result of `shape` and `dtype` in.

    That is `out` where the core can write it, no input overlaps it but as the same array, and none of `apart`
    at all; else a new one: in the memory order of `like`, or C order if that is None.
    """
    if out is not None:
        check_out(out, shape, dtype)
        readable = out.dtype.kind == "f" and out.dtype.itemsize in (4, 8)
        overlaps = any(np.may_share_memory(out, a) and not same_layout(out, a) for a in inputs)
        if readable and not overlaps and not any(np.may_share_memory(out, a) for a in apart):
            return Target(out, out)
    if like is None:
        return Target(np.empty(shape, dtype), out)
    return Target(np.empty_like(like, dtype=dtype, shape=shape, subok=False), out)


def same_layout(a, b):
    return (
        a.__array_interface__["data"] == b.__array_interface__["data"]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.itemsize == b.itemsize
    )


def check_out(out, shape, dtype):
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, the result has shape {shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"out has dtype {out.dtype}, to which a result of dtype {dtype} cannot be cast safely")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if overlaps_itself(out):
        raise ValueError(f"out has elements that share memory (strides {out.strides})")
