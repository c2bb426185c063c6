"""Maps of logits: signatures and docstrings; plain calls go straight to the core."""

import numpy as np

from csoftmax import _arrays, _core
from csoftmax._core import plain_log_softmax, plain_logsumexp, plain_softmax


def softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the softmax of logits, ``exp(x/T) / sum(exp(x/T))`` along `axis`.

    Parameters
    ----------
    x : array_like
        Logits of any shape. float32 and float64 are kept; integers and bool are computed as float64.
    axis : int, tuple of int or None
        The class axis or axes; None for all.
    temperature : float
        T > 0: above 1 flattens, below 1 sharpens.
    where : None
        Not supported yet.
    dtype : dtype, optional
        float32 or float64, that of the result: computed in the wider of it and x's, rounded once.
    out : ndarray, optional
        Where the result goes: x's shape, any strides, a dtype it can be cast to (``same_kind``). May be `x`.

    Returns
    -------
    ndarray or scalar
        Probabilities of x's shape and memory order, each within 3 ULP. A row with a NaN or +inf, or of -inf alone,
        is NaN.

    Raises
    ------
    TypeError
        A dtype that is not supported; `x` is a masked array; `out` cannot take the result.
    ValueError
        `temperature` not positive and finite; `out` of another shape, read-only, or overlapping itself.
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
    """
    y = plain_softmax(x, axis, temperature, where, dtype, out)
    return _map(_core.SOFTMAX, x, axis, temperature, where, dtype, out) if y is None else y


def log_softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the logarithm of softmax, ``x/T - log(sum(exp(x/T)))`` along `axis`.

    Right to 4 ULP also where it is next to 0, and for logits with a large common offset.

    Parameters
    ----------
    x : array_like
        Logits of any shape. float32 and float64 are kept; integers and bool are computed as float64.
    axis : int, tuple of int or None
        The class axis or axes; None for all.
    temperature : float
        T > 0.
    where : None
        Not supported yet.
    dtype : dtype, optional
        float32 or float64, that of the result.
    out : ndarray, optional
        Where the result goes; may be `x`. As in `softmax`.

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
    >>> csoftmax.log_softmax(np.array([40.0, 0.0]))[0]
    np.float64(-4.248354255291589e-18)
    """
    y = plain_log_softmax(x, axis, temperature, where, dtype, out)
    return _map(_core.LOG_SOFTMAX, x, axis, temperature, where, dtype, out) if y is None else y


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None):
    """Compute ``log(sum(exp(a)))`` without overflow, in one pass over memory.

    Parameters
    ----------
    a : array_like
        Of any shape. float32 and float64 are kept; integers and bool are computed as float64.
    axis : int, tuple of int or None
        The axis or axes to sum over; None for all.
    b : None
        Not supported yet.
    keepdims : bool
        Keep summed axes with length 1.
    return_sign : bool
        Not supported yet.
    where : None
        Not supported yet.
    dtype : dtype, optional
        float32 or float64, that of the result.
    out : ndarray, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Within 2 ULP of the larger of abs(max) and log(sum(exp(a - max))). -inf of nothing and of -inf alone,
        +inf if there is one and no NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Signature and conventions of ``scipy.special.logsumexp``.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    """
    if b is None and where is None and dtype is None and not keepdims and not return_sign:
        result = plain_logsumexp(a, axis, out)
        if result is not None:
            return result
    for name, given in (("b", b is not None), ("return_sign", return_sign), ("where", where is not None)):
        if given:
            raise _arrays.not_yet(name)
    a = _arrays.as_array(a, "a")
    compute, result = _arrays.result_dtype(dtype, _arrays.floating(a))
    axes = _arrays.axes_of(axis, a.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
    shape = kept if keepdims else tuple(n for i, n in enumerate(a.shape) if i not in axes)
    target = _arrays.target_for(out, shape, result, None, (a,))
    x = _arrays.classes_last(a, axes)
    nclass = max(len(axes), 1) if a.ndim == 0 else len(axes)
    rows = target.array
    if keepdims and a.ndim:
        rows = np.squeeze(rows, axis=axes)
    _core.run(_core.LOGSUMEXP, compute == np.float64, x, None, None, rows, nclass, 1.0)
    return target.finish()


def _map(op, x, axis, temperature, where, dtype, out):
    if where is not None:
        raise _arrays.not_yet("where")
    x = _arrays.as_array(x, "x")
    t = _arrays.temperature_of(temperature)
    compute, result = _arrays.result_dtype(dtype, _arrays.floating(x))
    axes = _arrays.axes_of(axis, x.ndim)
    target = _arrays.target_for(out, x.shape, result, x, (x,))
    y = _arrays.classes_last(target.array, axes)
    nclass = len(axes) if x.ndim else 1
    _core.run(op, compute == np.float64, _arrays.classes_last(x, axes), None, y, None, nclass, t)
    return target.finish()
