"""Makes the unusual plain: what can be an array, which dtype, which axes, where the result goes.

Knows NumPy and nothing of kernels. What it returns are ndarrays whose class axes come last and whose
dtypes the core reads; strides, byte order and alignment are left to the core.
"""

import operator
from typing import NamedTuple

import numpy as np


def is_bfloat16(dtype):
    """Whether a dtype is that of ml_dtypes.bfloat16, which NumPy itself does not know."""
    return dtype.type.__name__ == "bfloat16" and dtype.type.__module__ == "ml_dtypes"


def is_floating(dtype):
    """Whether a dtype is one of the four that results may have, of either byte order."""
    return (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or is_bfloat16(dtype)


def as_array(x, name):
    """x as an ndarray of a floating dtype, an integer type or bool."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array whose mask would be lost: pass a plain array and where=~a.mask")
    a = np.asarray(x)
    if a.dtype.kind in "iub" or is_floating(a.dtype):
        return a
    hint = f": pass {name}.astype(numpy.float64)" if a.dtype.kind == "f" else ""
    raise TypeError(f"{name} has dtype {a.dtype}, which is not supported{hint}")


def floating(*arrays):
    """The native dtype of a result from these arrays: their common one, float64 if that is not floating."""
    common = np.result_type(*(a.dtype for a in arrays))
    return common if is_floating(common) else np.dtype(np.float64)


def result_dtype(dtype, given):
    """(whether to compute in float64, dtype of the result) for an argument `dtype` and the input's floating dtype."""
    if dtype is None:
        return is_wide(given), given
    asked = np.dtype(dtype)
    if not is_floating(asked):
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, got {asked}")
    return is_wide(asked) or is_wide(given), asked.newbyteorder("=")


def is_wide(dtype):
    """Whether the core computes in float64 for a floating dtype; else it does in float32."""
    return dtype.itemsize == 8


def loss_dtype(given):
    """The dtype of a loss of logits of a floating dtype."""
    return np.dtype(np.float64) if is_wide(given) else np.dtype(np.float32)


def as_number(v, name):
    """A real number as a float."""
    a = np.asarray(v)
    if a.dtype.kind not in "iufb" and not is_bfloat16(a.dtype):
        raise TypeError(f"{name} must be a real number, got {v!r}")
    if a.ndim:
        raise TypeError(f"{name} must be one number, got an array of shape {a.shape}")
    return float(a)


def as_index(k, name):
    """An integer argument as an int."""
    try:
        return operator.index(k)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {k!r}") from None


def as_doubles(v, name):
    """Real numbers as an array of native aligned float64."""
    return np.require(as_array(v, name), np.float64, ["ALIGNED", "ENSUREARRAY"])


def temperature_for(temperature, rows):
    """A temperature as a float, or as an array of the shape `rows`, all positive and finite."""
    if np.ndim(temperature) == 0:
        t = as_number(temperature, "temperature")
        if not 0 < t < np.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature!r}")
        return t
    t = as_doubles(temperature, "temperature")
    bad = ~((t > 0) & (t < np.inf))
    if bad.any():
        row = np.unravel_index(bad.argmax(), t.shape)
        place = ", ".join(map(str, row))
        raise ValueError(f"temperature must be positive and finite, got temperature[{place}] = {float(t[row])}")
    return over_rows(t, rows, "temperature")


def over_rows(a, rows, name):
    """An array broadcast to the rows."""
    return broadcast(a, rows, name, f"there are rows of shape {rows}")


def broadcast(a, shape, name, what):
    """An array broadcast to a shape, or an error that says `what` has it."""
    if a.shape == shape:
        return a
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}, which does not broadcast: {what}") from None


def where_for(where, x, axes):
    """A mask broadcast to x, with the class axes last; None if all classes take part."""
    if where is None:
        return None
    if isinstance(where, np.ma.MaskedArray):
        raise TypeError("where is a masked array whose mask would be lost: pass a plain array")
    mask = np.asarray(where)
    if mask.dtype != np.bool_:
        raise TypeError(f"where must be an array of bool, got dtype {mask.dtype}")
    return classes_last(broadcast(mask, x.shape, "where", f"the array it masks has shape {x.shape}"), axes)


def rows_of(shape, axes):
    """A shape without some of its axes."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


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


def class_axes(a, axes):
    """How many axes `classes_last` moves back."""
    return len(axes) if a.ndim else 1


def as_labels(a, name):
    """An array as class indices of a dtype that the core reads."""
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost")
    a = np.asarray(a)
    if a.dtype.kind in "iu" or (a.dtype.kind == "f" and a.dtype.itemsize in (4, 8)):
        return a
    if a.dtype.kind == "f" or is_bfloat16(a.dtype):
        return a.astype(np.float64)
    raise TypeError(f"{name} has dtype {a.dtype}: class indices must be integers or whole floats")


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
            np.copyto(self.given, self.array, casting="unsafe")
        return self.given


def target_for(out, shape, dtype, like, inputs, apart=(), name="out"):
    """The array to compute a result of `shape` and `dtype` in.

    That is `out` where the core can write it, no input overlaps it but as the same array, and none of `apart`
    at all (some of these may be None or numbers); else a new one: in the memory order of `like`, or C order if
    that is None.
    """
    if out is not None:
        check_out(out, shape, dtype, name)
        others = [a for a in apart if isinstance(a, np.ndarray)]
        others += [a for a in inputs if not same_layout(out, a)]
        if is_floating(out.dtype):
            if not any(np.may_share_memory(out, a) for a in others):
                return Target(out, out)
            dtype = out.dtype.newbyteorder("=")
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


def check_out(out, shape, dtype, name="out"):
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, the result has shape {shape}")
    if not (is_floating(out.dtype) or np.can_cast(dtype, out.dtype, "same_kind")):
        raise TypeError(f"{name} has dtype {out.dtype}, to which a result of dtype {dtype} cannot be cast safely")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if overlaps_itself(out):
        raise ValueError(f"{name} has elements that share memory (strides {out.strides})")
