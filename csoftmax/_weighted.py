"""logsumexp with factors: in NumPy, over softmax and logsumexp without."""

import math

import numpy as np

from csoftmax import _arrays, _core


def logsumexp(a, b, axis, keepdims, return_sign, where, dtype, out):
    """The logarithm of sums with factors b: in float64, rounded once."""
    a, weak = _arrays.as_array(a, "a"), type(b) in (bool, int, float)
    b = _arrays.as_array(b, "b")
    _, result = _arrays.result_dtype(dtype, _arrays.floating(a) if weak else _arrays.floating(a, b))
    try:
        a, b = np.broadcast_arrays(a, b)
    except ValueError:
        raise ValueError(f"a has shape {a.shape} and b has shape {b.shape}, which do not broadcast") from None
    axes = _arrays.axes_of(axis, a.ndim)
    takes_part = b != 0
    if where is not None:
        mask = _arrays.as_mask(where)
        takes_part &= _arrays.broadcast(mask, a.shape, "where", f"the array it masks has shape {a.shape}")
    rows = _arrays.rows_of(a.shape, axes)
    target = _arrays.target_for(out, _arrays.kept_shape(a.shape, axes) if keepdims else rows, result, None, ())

    a, b, takes_part = (_arrays.classes_last(v, axes) for v in (a, b, takes_part))
    with np.errstate(all="ignore"):
        log, sign = _log_of_sum(a, b, takes_part, rows)
        if not return_sign:
            log = np.where(sign < 0, np.nan, log)
        target.array[...] = log.reshape(target.array.shape)
    if not return_sign:
        return target.finish()
    sign = sign.reshape(target.array.shape).astype(result)
    return target.finish(), sign if sign.ndim else sign[()]


def _log_of_sum(a, b, takes_part, rows):
    """(log abs(s), sign of s) with s = sum(b exp(a)) over the axes behind those of the rows.

    That is log(sum(exp(a))) + log abs(sum(b p)). Rows whose second sum is not safe from overflow, or from terms lost to
    underflow, are computed again.
    """
    classes = tuple(range(len(rows), a.ndim))
    p = _core.softmax(a, classes, where=takes_part, dtype=np.float64)
    s = np.multiply(p, b, out=p).sum(axis=classes)
    log = np.asarray(_core.logsumexp(a, classes, where=takes_part, dtype=np.float64) + np.log(np.abs(s)))
    sign = np.asarray(np.sign(s))
    largest = max(1.0, float(b.max(initial=0)), -float(b.min(initial=0)))
    again = ~np.asarray(np.isfinite(log) & (np.abs(s) > largest * 2.0**-900))
    if again.any():
        flat = (np.count_nonzero(again), math.prod(a.shape[len(rows):]))
        a, b = a[again].astype(np.float64), b[again].astype(np.float64)
        a, b = np.where(takes_part[again], a, -np.inf).reshape(flat), np.where(takes_part[again], b, 0).reshape(flat)
        log[again], sign[again] = _log_of_scaled_sum(a, b)
    return log, sign


def _log_of_scaled_sum(a, b):
    """The same along the last axis, -inf and 0 standing where nothing takes part.

    Terms are taken relative to the largest, b's power of two included, so that none that matters under- or
    overflows.
    """
    mantissa, exponent = np.frexp(b)
    exponent = exponent * np.log(2)
    most = np.finfo(np.float64).max
    shift = np.clip((a + exponent).max(axis=-1, keepdims=True, initial=-np.inf), -most, most)
    terms = np.where(b == 0, 0, mantissa * np.exp((a - shift) + exponent))
    s = terms.sum(axis=-1)
    return shift[..., 0] + np.log(np.abs(s)), np.sign(s)
