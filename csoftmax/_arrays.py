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
        raise TypeError(f"{name} is a masked array, and its mask would be lost: pass a plain array, and where=~a.mask")
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
    """The native floating dtype that the arrays are computed in: integers count as float64."""
    return np.result_type(*(a.dtype if a.dtype.kind == "f" else np.float64 for a in arrays))


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


def axes_of(axis, ndim):
    """An axis argument (int, tuple or None) as a tuple of non-negative ints. A 0-d array counts as one class."""
    if axis is None:
        return tuple(range(ndim))
    most = max(ndim, 1)
    axes = []
    for k in axis if isinstance(axis, tuple) else (axis,):
        k = operator.index(k)
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


def target_for(out, shape, dtype, like, inputs, name="out"):
    """The array to compute a result of `shape` and `dtype` in.

    That is `out` where the core can write it and no input overlaps it but as the same array, else a new one:
    in the memory order of `like`, or C order if that is None.
    """
    if out is not None:
        check_out(out, shape, dtype, name)
        readable = out.dtype.kind == "f" and out.dtype.itemsize in (4, 8)
        if readable and all(same_layout(out, a) or not np.may_share_memory(out, a) for a in inputs):
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


def check_out(out, shape, dtype, name):
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, the result has shape {shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{name} has dtype {out.dtype}, to which a result of dtype {dtype} cannot be cast safely")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if overlaps_itself(out):
        raise ValueError(f"{name} has elements that share memory (strides {out.strides})")
