"""softmax, log_softmax and logsumexp of longdouble and complex arrays, which the kernels lack, by functions of NumPy.

float32 parts are computed as float64 ones, and rounded once. Nothing here warns.
"""

import math
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

Axes: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Array: TypeAlias = NDArray[Any]


def softmax(x: _Array, axis: Axes) -> Any:
    rows = _rows(x, axis)
    if not x.size:
        return x.copy()
    with np.errstate(all="ignore"):
        e = np.exp(rows - rows.max(axis=1, keepdims=True))
        return _restored(e / e.sum(axis=1, keepdims=True), x, axis)


def log_softmax(x: _Array, axis: Axes) -> Any:
    """``(x - m) - log1p(rest)``, m the largest logit and rest the sum of the other exponentials over its own."""
    rows = _rows(x, axis)
    if not x.size:
        return x.copy()
    with np.errstate(all="ignore"):
        largest = rows.argmax(axis=1, keepdims=True)
        difference = rows - np.take_along_axis(rows, largest, axis=1)
        e = np.exp(difference)
        np.put_along_axis(e, largest, np.take_along_axis(e, largest, axis=1) - 1, axis=1)  # 0, or nan of infinities
        return _restored(difference - _log1p(e.sum(axis=1, keepdims=True)), x, axis)


def logsumexp(a: _Array, axis: Axes, b: _Array | None, dtype: np.dtype[Any], keepdims: bool, return_sign: bool) -> Any:
    """The logarithm of ``sum(b * exp(a))``, of its absolute value beside the sign, in the real or complex `dtype`."""
    if b is not None:
        a, b = np.broadcast_arrays(a, b)
    real = np.empty(0, dtype).real.dtype
    is_complex = dtype.kind == "c"
    with np.errstate(all="ignore"):
        log, total = _log_and_sum(_rows(a.astype(dtype), axis), None if b is None else _rows(b.astype(dtype), axis))
        if return_sign:
            results = [log.astype(real), _sign(total).astype(dtype)]
        elif is_complex:
            result = np.empty(log.shape, dtype)
            result.real, result.imag = log, _phase(total)
            results = [result]
        else:
            results = [np.where(total < 0, np.nan, log).astype(dtype)]
    results = [result.reshape(_row_shape(a, axis)) for result in results]
    if keepdims:
        results = [np.expand_dims(result, _class_axes(a, axis)) for result in results]
    return (results[0][()], results[1][()]) if return_sign else results[0][()]


def _log_and_sum(a: _Array, b: _Array | None) -> tuple[_Array, _Array]:
    """For each row of `a`: log(abs(s)) of ``s = sum(b * exp(a))``, and s times some positive number.

    The term of the largest absolute value is taken out of the sum: ``s = t (1 + z)``, z the sum of the others over t.
    Rows with infinities are computed as the formula says, since C99 settles what exp and log make of them.
    """
    if a.shape[1] == 0:
        return np.full(len(a), -np.inf, a.real.dtype), np.zeros(len(a), a.dtype)
    size = a.real
    if b is not None:
        a = np.where(b == 0, -np.inf, a)
        size = a.real + np.log(np.abs(b))
    largest = size.argmax(axis=1, keepdims=True)
    top = np.take_along_axis(a, largest, axis=1)
    if b is None:
        ratio, factor = np.exp(a - top), np.ones_like(top)
    else:
        factor = np.take_along_axis(b, largest, axis=1)
        root = np.exp((a - top) * 0.5)  # twice half the exponent: neither factor overflows where the product does not
        ratio = root * b / factor * root
    ratio[a.real == -np.inf] = 0
    np.put_along_axis(ratio, largest, 0, axis=1)
    z = ratio.sum(axis=1)
    top, factor = top[:, 0], factor[:, 0]
    log = top.real + np.log(np.abs(factor)) + _log_abs1p(z)
    total = factor / np.abs(factor) * (1 + z)
    if a.dtype.kind == "c":
        total = total * np.exp(top - top.real)
    infinite = ~np.isfinite(top)
    if infinite.any():
        e = np.exp(a[infinite])
        total[infinite] = (e if b is None else b[infinite] * e).sum(axis=1)
        log[infinite] = np.log(np.abs(total[infinite]))
    return log, total


def _log_abs1p(z: _Array) -> Any:
    """log(abs(1 + z)), exact where z is small: ``abs(1 + z)**2 = 1 + x (2 + x) + y**2``."""
    if z.dtype.kind != "c":
        return np.log1p(np.where(z < -1, -2 - z, z))
    x, y = z.real, z.imag
    return np.where(np.abs(z) < 0.5, np.log1p(x * (2 + x) + y * y) * 0.5, np.log(np.abs(1 + z)))


def _log1p(z: _Array) -> Any:
    if z.dtype.kind != "c":
        return np.log1p(z)
    result = np.empty_like(z)
    result.real, result.imag = _log_abs1p(z), np.arctan2(z.imag, 1 + z.real)
    return result


def _phase(s: _Array) -> Any:
    """The angle of a complex number, in (-pi, pi]."""
    angle = np.arctan2(s.imag, s.real)
    return np.where(angle == -angle.dtype.type(np.pi), -angle, angle)


def _sign(s: _Array) -> Any:
    """s/abs(s), and 0 for 0; of a complex number with one infinite part, the sign of that."""
    if s.dtype.kind != "c":
        return np.sign(s)
    size = np.abs(s)
    unit = np.where(size == 0, 0, s / size)
    for part, direction in ((s.real, 1), (s.imag, 1j)):
        alone = np.isinf(part) & (np.isinf(s.real) != np.isinf(s.imag))
        unit = np.where(alone, np.sign(part) * direction, unit)
    return unit


def _class_axes(a: _Array, axis: Axes) -> tuple[SupportsIndex, ...]:
    return tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def _moved(a: _Array, axis: Axes) -> _Array:
    """A view of `a`, of one axis at least, with the class axes last."""
    a = np.atleast_1d(a)
    axes = _class_axes(a, axis)
    return np.moveaxis(a, axes, range(-len(axes), 0))


def _rows(a: _Array, axis: Axes) -> _Array:
    """The rows of `a` as the rows of a matrix, with parts of at least 64 bits."""
    moved = _moved(a, axis)
    count = math.prod(_row_shape(a, axis))
    return moved.astype(np.result_type(a.dtype, np.float64)).reshape(count, moved.size // max(count, 1))


def _row_shape(a: _Array, axis: Axes) -> tuple[int, ...]:
    a = np.atleast_1d(a)
    return _moved(a, axis).shape[: a.ndim - len(_class_axes(a, axis))]


def _restored(rows: _Array, like: _Array, axis: Axes) -> Any:
    """A result that has been computed on the rows of `like`, in its shape and dtype."""
    result = np.empty_like(like, subok=False)
    moved = _moved(result, axis)
    moved[...] = rows.reshape(moved.shape)
    return result[()]
