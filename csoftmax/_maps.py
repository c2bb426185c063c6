"""Maps of logits: signatures, docstrings, and calls that are not plain.

Plain ones stop at the doors that decorate the functions, `_core.thin_*`.
"""

import math

import numpy as np

from csoftmax import _arrays, _core


@_core.thin_softmax
def softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the softmax of logits, ``exp(x/T) / sum(exp(x/T))`` along `axis`.

    Parameters
    ----------
    x : array_like
        Logits of any shape. float16, bfloat16 (of ml_dtypes), float32 and float64 are kept; integers and bool are
        computed as float64.
    axis : int, tuple of int or None
        The class axis or axes; None for all.
    temperature : float or array_like
        T > 0: above 1 flattens, below 1 sharpens. An array broadcasts to the rows, x's shape without `axis`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x. What stands elsewhere is never used; its result is 0.
    dtype : dtype, optional
        One of the four floating ones, that of the result: computed in the wider of it and x's, rounded once.
    out : ndarray, optional
        Where the result goes: x's shape, any strides, a dtype it can be cast to (``same_kind``). May be `x`.

    Returns
    -------
    ndarray or scalar
        Probabilities of x's shape and memory order, each within 3 ULP; of the 16-bit types, computed in float32
        and rounded once. A row with a NaN or +inf, or of -inf alone, is NaN; one without classes in `where` is 0.

    Raises
    ------
    TypeError
        A dtype that is not supported; `x` is a masked array; `where` not bool; `out` cannot take the result.
    ValueError
        `temperature` not positive and finite; `temperature` or `where` of a shape that does not broadcast; `out`
        of another shape, read-only, or overlapping itself.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    Bridle, J. S. (1990), "Training stochastic model recognition algorithms as networks can lead to maximum
    mutual information estimation of parameters", NIPS 2.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax(np.array([1.0, 2.0, 3.0])).round(4)
    array([0.09  , 0.2447, 0.6652])
    >>> csoftmax.softmax(np.array([1.0, 2.0, np.nan]), where=np.array([True, True, False])).round(4)
    array([0.2689, 0.7311, 0.    ])
    """
    return _map(_core.SOFTMAX, x, axis, temperature, where, dtype, out)


@_core.thin_log_softmax
def log_softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the logarithm of softmax, ``x/T - log(sum(exp(x/T)))`` along `axis`.

    Right to 4 ULP also where it is next to 0, and for logits with a large common offset.

    Parameters
    ----------
    x, axis, temperature, dtype, out
        As in `softmax`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x; the result is -inf elsewhere.

    Returns
    -------
    ndarray or scalar
        Log-probabilities, at most 0, of x's shape and memory order.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Computed as ``(x - m)/T - log1p(rest)``, m the largest logit and rest the sum of the other exponentials over
    its own: nothing cancels. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> print(f"{csoftmax.log_softmax(np.array([40.0, 0.0]))[0]:.12g}")
    -4.24835425529e-18
    """
    return _map(_core.LOG_SOFTMAX, x, axis, temperature, where, dtype, out)


@_core.thin_logsumexp
def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None):
    """Compute ``log(sum(b * exp(a)))`` without overflow; without `b`, in one pass over memory.

    Parameters
    ----------
    a : array_like
        Of any shape. float16, bfloat16 (of ml_dtypes), float32 and float64 are kept; integers and bool are computed
        as float64.
    axis : int, tuple of int or None
        The axis or axes to sum over; None for all.
    b : array_like, optional
        Factors of any sign; `a` and `b` broadcast to each other, and their common dtype is kept. Where `b` is 0
        there is no term, whatever `a` is.
    keepdims : bool
        Keep summed axes with length 1.
    return_sign : bool
        Return the sign of the sum as well, and the logarithm of its absolute value.
    where : array_like of bool, optional
        The terms that take part, broadcast to `a` (and `b`).
    dtype : dtype, optional
        One of the four floating ones, that of the result.
    out : ndarray, optional
        Where the logarithm goes.

    Returns
    -------
    ndarray or scalar
        Within 2 ULP of the larger of abs(max) and log(sum(exp(a - max))). -inf of nothing and of -inf alone,
        +inf if there is one and no NaN. With `b`, as exact as the sum relative to ``sum(abs(b) * exp(a))``; NaN
        where the sum is negative, unless `return_sign`.
    sign : ndarray or scalar
        If `return_sign`: 1, 0, -1, or NaN where the sum is NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; `a` and `b` of shapes that do not broadcast.

    Notes
    -----
    Signature and conventions of ``scipy.special.logsumexp``; the sign of an empty sum is 0.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    >>> csoftmax.logsumexp(np.array([1000.0, 1000.0]), b=np.array([1.0, -3.0]), return_sign=True)
    (np.float64(1000.6931471805599), np.float64(-1.0))
    """
    if b is not None:
        return _signed_logsumexp(a, b, axis, keepdims, return_sign, where, dtype, out)
    result = _reduce(_core.LOGSUMEXP, a, "a", axis, 1.0, where, keepdims, dtype, out)
    if not return_sign:
        return result
    sign = np.where(np.isnan(result), np.nan, result > -np.inf).astype(result.dtype)
    return result, sign if sign.ndim else sign[()]


def selective_log_softmax(x, index, axis=-1, *, temperature=1.0, dtype=None, out=None):
    """Compute the log-probabilities of chosen classes, ``log_softmax(x)[index]``, without those of the others.

    Parameters
    ----------
    x : array_like
        Logits of any shape; "rows" are the shape without `axis`. dtypes as in `softmax`.
    index : array_like
        Class indices in [0, n), of any integer type or whole floats: one per row, broadcast to the rows, or k per row
        in an array of shape rows + (k,), k standing last whatever `axis` is.
    axis : int
        The class axis, of length n.
    temperature, dtype
        As in `softmax`.
    out : ndarray, optional
        Where the result goes: rows, or rows + (k,).

    Returns
    -------
    ndarray or scalar
        Log-probabilities, shaped like the rows or rows + (k,), each within 4 ULP.

    Raises
    ------
    IndexError
        A class index outside [0, n): the first such row and its index are named, nothing is written.
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; `index` bool, of fractions, or of a shape that does not match.

    Notes
    -----
    Minus the loss of `cross_entropy` under ``reduction="none"``, docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> x = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    >>> csoftmax.selective_log_softmax(x, np.array([0, 2])).round(4)
    array([-0.4076, -1.0986])
    >>> csoftmax.selective_log_softmax(x, np.array([[0, 1], [2, 2]])).round(4)
    array([[-0.4076, -1.4076],
           [-1.0986, -1.0986]])
    """
    x = _arrays.as_array(x, "x")
    axes = _arrays.one_axis(axis, x.ndim)
    rows = _arrays.rows_of(x.shape, axes)
    t = _arrays.temperature_for(temperature, rows)
    wide, result = _arrays.result_dtype(dtype, _arrays.floating(x))
    index = _arrays.as_labels(index, "index")
    if index.ndim not in (len(rows), len(rows) + 1):
        raise ValueError(f"index has shape {index.shape}, but x of shape {x.shape} has rows of shape {rows}")
    slots = index.shape[len(rows):]
    index = _arrays.broadcast(index, rows + slots, "index", f"x of shape {x.shape} has rows of shape {rows}")
    target = _arrays.target_for(out, index.shape, result, None, (), apart=(x, t))
    if index.size:
        last = _arrays.classes_last(x, axes)
        _core.run(_core.SELECTIVE, wide, last, r=target.array, temperature=t, target=index, name="index")
    return target.finish()


@_core.thin_softmax_entropy
def softmax_entropy(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, dtype=None, out=None):
    """Compute the entropy of softmax, ``-sum(p * log(p))`` with ``p = softmax(x/T)``, in nats.

    Parameters
    ----------
    x, axis, temperature, dtype
        As in `softmax`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x; without any, the entropy is 0.
    keepdims : bool
        Keep class axes with length 1.
    out : ndarray, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Between 0 and log(n), within 4 ULP; x's shape without `axis`. NaN where softmax is.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Computed as ``L + sum(e * (m - x)/T) / sum(e)`` from the logits, e their exponentials, m the largest and L the
    logarithm of the sum over its exponential: p = 0 contributes 0. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_entropy(np.array([[0.0, 0.0], [0.0, -np.inf]])).round(4)
    array([0.6931, 0.    ])
    """
    return _reduce(_core.ENTROPY, x, "x", axis, temperature, where, keepdims, dtype, out)


def _map(op, x, axis, temperature, where, dtype, out):
    x = _arrays.as_array(x, "x")
    axes = _arrays.axes_of(axis, x.ndim)
    t = _arrays.temperature_for(temperature, _arrays.rows_of(x.shape, axes))
    mask = _arrays.where_for(where, x, axes)
    wide, result = _arrays.result_dtype(dtype, _arrays.floating(x))
    target = _arrays.target_for(out, x.shape, result, x, (x,), apart=(mask, t))
    last = _arrays.classes_last(x, axes)
    y = _arrays.classes_last(target.array, axes)
    _core.run(op, wide, last, _arrays.class_axes(x, axes), y=y, temperature=t, where=mask)
    return target.finish()


def _reduce(op, x, name, axis, temperature, where, keepdims, dtype, out):
    x = _arrays.as_array(x, name)
    axes = _arrays.axes_of(axis, x.ndim)
    rows = _arrays.rows_of(x.shape, axes)
    t = _arrays.temperature_for(temperature, rows)
    mask = _arrays.where_for(where, x, axes)
    wide, result = _arrays.result_dtype(dtype, _arrays.floating(x))
    target = _arrays.target_for(out, _kept(x.shape, axes) if keepdims else rows, result, None, (x,), apart=(mask, t))
    last = _arrays.classes_last(x, axes)
    r = np.squeeze(target.array, axis=axes) if keepdims else target.array
    _core.run(op, wide, last, _arrays.class_axes(x, axes), r=r, temperature=t, where=mask)
    return target.finish()


def _kept(shape, axes):
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _signed_logsumexp(a, b, axis, keepdims, return_sign, where, dtype, out):
    """The logarithm of sums with factors b: in float64, rounded once."""
    a, weak = _arrays.as_array(a, "a"), type(b) in (bool, int, float)
    b = _arrays.as_array(b, "b")
    _, result = _arrays.result_dtype(dtype, _arrays.floating(a) if weak else _arrays.floating(a, b))
    try:
        a, b = np.broadcast_arrays(a, b)
    except ValueError:
        raise ValueError(f"a has shape {a.shape} and b has shape {b.shape}, which do not broadcast") from None
    axes = _arrays.axes_of(axis, a.ndim)
    mask = _arrays.where_for(where, a, axes)
    rows = _arrays.rows_of(a.shape, axes)
    target = _arrays.target_for(out, _kept(a.shape, axes) if keepdims else rows, result, None, ())

    a, b = _arrays.classes_last(a, axes), _arrays.classes_last(b, axes)
    with np.errstate(all="ignore"):
        log, sign = _log_of_sum(a, b, b != 0 if mask is None else (b != 0) & mask, rows)
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
    p = softmax(a, classes, where=takes_part, dtype=np.float64)
    s = np.multiply(p, b, out=p).sum(axis=classes)
    log = np.asarray(logsumexp(a, classes, where=takes_part, dtype=np.float64) + np.log(np.abs(s)))
    sign = np.asarray(np.sign(s))
    largest = max(1.0, float(b.max(initial=0)), -float(b.min(initial=0)))
    again = ~np.asarray(np.isfinite(log) & (np.abs(s) > largest * 2.0**-900))
    if again.any():
        flat = (np.count_nonzero(again), math.prod(a.shape[len(rows):]))
        a, b = (np.where(takes_part[again], v[again], nothing).reshape(flat) for v, nothing in ((a, -np.inf), (b, 0)))
        log[again], sign[again] = _log_of_scaled_sum(a.astype(np.float64), b.astype(np.float64))
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
