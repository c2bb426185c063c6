"""csoftmax for dask arrays, in chunks along rows and along classes.

Arguments and results are those of the functions of the same names in `csoftmax`, as dask arrays, which are computed
when asked for; what differs is said here. Losses of rows whose classes lie in one chunk are those of `csoftmax` itself.
Of other rows each shard of the classes sends a few float64 numbers per row. A task computes on one thread.
"""

import functools
import math
from typing import Any, TypeAlias

import dask.array
import numpy as np

from csoftmax import _dask_blocks as _blocks
from csoftmax._dask_graphs import (
    ROW,
    Loss,
    axes_of,
    blockwise,
    class_starts,
    floating,
    known,
    like_rows,
    logits_of,
    moved,
    per_row,
    row_starts,
    send,
    starts_of,
)

da: Any = dask.array  # most of which has no types

__all__ = [
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "selective_log_softmax",
    "softmax",
    "softmax_entropy",
    "softmax_expectation",
]

_Array: TypeAlias = Any  # of dask, which has no types for it, or of NumPy


def softmax(x: _Array, axis: int = -1, *, temperature: Any = 1.0, where: _Array | None = None) -> _Array:
    """Compute the softmax of logits along `axis`.

    Parameters
    ----------
    x : dask array
        Logits of any shape and chunks.
    axis : int
        The class axis.
    temperature : float or array
        T > 0; an array broadcasts to the rows.
    where : array of bool, optional
        The classes that take part, broadcast to x.

    Returns
    -------
    dask array
        Probabilities of x's shape, dtype and chunks.

    Raises
    ------
    ValueError
        Chunks of unknown size.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    Shards send their logsumexp. What `csoftmax.softmax` raises is raised when the result is computed.

    Examples
    --------
    >>> import dask.array, csoftmax.dask
    >>> x = dask.array.from_array([[1.0, 2.0, 3.0]], chunks=(1, 2))
    >>> csoftmax.dask.softmax(x).compute().round(4)
    array([[0.09  , 0.2447, 0.6652]])
    """
    return _map("softmax", x, axis, temperature, where, 0.0)


def log_softmax(x: _Array, axis: int = -1, *, temperature: Any = 1.0, where: _Array | None = None) -> _Array:
    """Compute the logarithm of softmax along `axis`: see `softmax`."""
    return _map("log_softmax", x, axis, temperature, where, -math.inf)


def logsumexp(a: _Array, axis: Any = None, keepdims: bool = False, *, where: _Array | None = None) -> _Array:
    """Compute ``log(sum(exp(a)))`` over one axis, several, or all, by a tree over the chunks.

    Parameters
    ----------
    a : dask array
    axis : int, tuple of int or None
    keepdims : bool
    where : array of bool, optional
        The terms that take part, broadcast to a.

    Returns
    -------
    dask array

    Raises
    ------
    ValueError
        Chunks of unknown size.

    Examples
    --------
    >>> import dask.array, csoftmax.dask
    >>> float(csoftmax.dask.logsumexp(dask.array.zeros(1000, chunks=300)).compute().round(4))
    6.9078
    """
    a = floating(known(a, "a"))
    if where is not None:
        a = da.where(da.broadcast_to(da.asarray(where), a.shape), a, a.dtype.type(-np.inf))
    last = functools.partial(_blocks.logsumexp, dtype=a.dtype)
    return da.reduction(
        a, _blocks.logsumexp, last, axis=axis, keepdims=keepdims, dtype=a.dtype, combine=_blocks.logsumexp
    )


def softmax_entropy(
    x: _Array,
    axis: int = -1,
    *,
    temperature: Any = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
) -> _Array:
    """Compute the entropy of softmax along `axis`, in nats: see `softmax`. Shards send logsumexp and entropy."""
    x, axis = logits_of(x, axis, "x")
    x, some = _masked(x, where, axis)
    rows, T = axes_of(x)[:-1], per_row(temperature, x, "temperature")
    if len(x.chunks[-1]) == 1:
        y = blockwise(_blocks.rowwise, rows, x.dtype, ("softmax_entropy", None), (x, axes_of(x)), T)
    else:
        sent = send(_blocks.shard_entropy, 2, (x, axes_of(x)), T)
        y = blockwise(_blocks.merged_entropy, rows, x.dtype, (sent, axes_of(x)), options={"to": x.dtype})
    if some is not None:
        y = da.where(some[..., 0], y, x.dtype.type(0))
    return da.expand_dims(y, axis) if keepdims else y


def softmax_expectation(
    x: _Array, values: _Array, axis: int = -1, *, temperature: Any = 1.0, where: _Array | None = None
) -> _Array:
    """Compute the expectation of values under softmax along `axis`: see `softmax`.

    `values` are one vector of the classes, or broadcast to x. Shards send logsumexp and expectation.
    """
    x, axis = logits_of(x, axis, "x")
    values = known(values, "values")
    if values.shape == x.shape[-1:]:
        given = (values.rechunk((x.chunks[-1],)), axes_of(x)[-1:])
    else:
        given = (moved(values, x, axis, "values"), axes_of(x))
    x, some = _masked(x, where, axis)
    sent = send(_blocks.shard_expectation, 2, (x, axes_of(x)), given, per_row(temperature, x, "temperature"))
    y = blockwise(_blocks.merged_expectation, axes_of(x)[:-1], x.dtype, (sent, axes_of(x)), options={"to": x.dtype})
    return y if some is None else da.where(some[..., 0], y, x.dtype.type(0))


def selective_log_softmax(
    x: _Array,
    index: _Array,
    axis: int = -1,
    *,
    temperature: Any = 1.0,
    softcap: float | None = None,
    where: _Array | None = None,
    ignore_index: int | None = None,
) -> _Array:
    """Compute the log-probabilities of chosen classes.

    Parameters
    ----------
    x, axis, temperature, where
        As in `softmax`.
    index : array of int
        The shape of the rows, or rows + (k,).
    softcap, ignore_index
        As in `csoftmax.selective_log_softmax`.

    Returns
    -------
    dask array
        Of the shape of `index`, and x's dtype.

    Raises
    ------
    IndexError
        An index out of range, when the result is computed.
    ValueError
        Chunks of unknown size; an `index` of another shape.

    Examples
    --------
    >>> import dask.array, csoftmax.dask
    >>> x = dask.array.zeros((3, 4), chunks=(2, 2))
    >>> csoftmax.dask.selective_log_softmax(x, [0, 1, 3]).compute().round(4)
    array([-1.3863, -1.3863, -1.3863])
    """
    x, axis = logits_of(x, axis, "x")
    x, _ = _masked(x, where, axis)
    index, rows = da.asarray(index), axes_of(x)[:-1]
    one = index.ndim == len(rows)
    if index.ndim not in (len(rows), x.ndim) or index.shape[: len(rows)] != x.shape[:-1]:
        raise ValueError(f"index has shape {index.shape}, but x has rows of shape {x.shape[:-1]}")
    index = like_rows(index[..., None] if one else index, x)
    T, k, classes = per_row(temperature, x, "temperature"), index.shape[-1], x.shape[-1]
    which = index, (*rows, ROW)
    options: dict[str, Any] = {"softcap": softcap, "ignore_index": ignore_index}
    sent = send(_blocks.shard_selected, 1 + k, (x, axes_of(x)), which, class_starts(x), T, options=options)
    shards = *starts_of(x.chunks[-1]), classes
    options = {"shards": shards, "ignore_index": ignore_index, "one": one, "to": x.dtype}
    y = blockwise(
        _blocks.merged_selected, (*rows, ROW), x.dtype, (sent, axes_of(x)), which, *row_starts(x), options=options
    )
    return y[..., 0] if one else y


def cross_entropy(
    logits: _Array,
    target: Any,
    axis: int = -1,
    *,
    weight: _Array | None = None,
    sample_weight: _Array | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: Any = 1.0,
    where: _Array | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    return_grad: bool = False,
) -> Any:
    """Compute the softmax cross-entropy loss and, if asked, its gradient.

    Parameters
    ----------
    logits : dask array
        Logits of any shape and chunks.
    target : array or tuple of two arrays
        Class indices, probabilities, or a pair (index, prob), of dask or NumPy.
    axis, weight, sample_weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap, temperature, where, \
reduction, normalizer
        As in `csoftmax.cross_entropy`. `focal_gamma` and `where` need the classes in one chunk.
    return_grad : bool
        Return the gradient as well; compute both by one ``dask.compute(loss, grad)``.

    Returns
    -------
    loss : dask array
        Of no axes; shaped like the rows if `reduction` is "none".
    grad : dask array
        If `return_grad`: of the shape, dtype and chunks of `logits`.

    Raises
    ------
    IndexError
        A class index out of range, when a result is computed: the row and the index are named.
    ValueError
        Chunks of unknown size; an option outside its range; `focal_gamma` or `where` with classes in several chunks.

    Notes
    -----
    A shard of the classes sends, per row, its logsumexp and what the target adds to the loss within the shard; the
    gradient needs three numbers per row in return.

    Examples
    --------
    >>> import dask, dask.array, csoftmax.dask
    >>> logits = dask.array.from_array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], chunks=(1, 2))
    >>> loss, grad = dask.compute(*csoftmax.dask.cross_entropy(logits, [0, 2], return_grad=True))
    >>> float(loss)
    0.753109126556245
    >>> grad.round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.1667,  0.1667, -0.3333]])
    """
    logits, axis = logits_of(logits, axis, "logits")
    options = {
        "weight": weight,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "focal_gamma": focal_gamma,
        "z_loss": z_loss,
        "softcap": softcap,
    }
    loss = Loss(logits, axis, target, sample_weight, temperature, where, reduction, normalizer, options)
    losses, grad = loss.of_logits(logits, return_grad)
    result = loss.reduce(losses)
    return (result, da.moveaxis(grad, -1, axis)) if return_grad else result


def linear_cross_entropy(
    x: _Array,
    w: _Array,
    target: Any,
    bias: _Array | None = None,
    *,
    weight: _Array | None = None,
    sample_weight: _Array | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: Any = 1.0,
    where: _Array | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    return_grad: bool = False,
) -> Any:
    """Compute the cross-entropy of ``x @ w.T + bias`` and, if asked, its gradients.

    Parameters
    ----------
    x : dask array
        Shape (rows, features), in chunks along the rows.
    w : dask array
        Shape (classes, features), in chunks along the classes.
    target, weight, sample_weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap, temperature, where, \
reduction, normalizer
        As in `cross_entropy`, of logits of shape (rows, classes).
    bias : array, optional
        Shape (classes,).
    return_grad : bool
        Return the gradients as well; compute all by one ``dask.compute``.

    Returns
    -------
    loss : dask array
        Of no axes; of shape (rows,) if `reduction` is "none".
    gradients : tuple
        If `return_grad`: dask arrays (dx, dw, db), of the shapes and dtypes of x, w and bias; db None without a bias.

    Raises
    ------
    IndexError, ValueError
        As `cross_entropy`; ValueError also for features in several chunks.

    Notes
    -----
    With the classes in one chunk a task is `csoftmax.linear_cross_entropy`, and dw and db are summed over the chunks of
    rows by a tree. With the classes in several chunks a task holds the logits of its rows and its shard; it makes them
    twice, for the loss and for the gradients, so that they need not be kept meanwhile; dx is summed over the shards.

    Examples
    --------
    >>> import dask, dask.array, csoftmax.dask
    >>> x = dask.array.from_array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], chunks=(2, 2))
    >>> w = dask.array.from_array([[1.0, 0.0], [0.0, 1.0]], chunks=(1, 2))
    >>> loss, (dx, dw, db) = csoftmax.dask.linear_cross_entropy(x, w, [0, 1, -100], return_grad=True)
    >>> dw.compute().round(4)
    array([[-0.1611, -1.1398],
           [ 0.1611,  1.1398]])
    """
    x, w = known(x, "x"), known(w, "w")
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape} and w has shape {w.shape}: pass (rows, features), (classes, features)")
    for name, a in (("x", x), ("w", w)):
        if len(a.chunks[1]) > 1:
            raise ValueError(f"{name} has its features in {len(a.chunks[1])} chunks: pass {name}.rechunk({{1: -1}})")
    if bias is not None:
        bias = da.asarray(bias)
        if bias.shape != w.shape[:1]:
            raise ValueError(f"bias has shape {bias.shape}, but w of shape {w.shape} takes {w.shape[:1]}")
        bias = bias.rechunk((w.chunks[0],))
    options = {
        "weight": weight,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "focal_gamma": focal_gamma,
        "z_loss": z_loss,
        "softcap": softcap,
    }
    dtype = np.result_type(x.dtype, w.dtype)
    logits = da.empty((len(x), len(w)), dtype=dtype, chunks=(x.chunks[0], w.chunks[0]))  # the shape alone is used
    loss = Loss(logits, 1, target, sample_weight, temperature, where, reduction, normalizer, options)
    losses, gradients = loss.of_layer(x, w, bias, return_grad)
    result = loss.reduce(losses)
    return (result, gradients) if return_grad else result


def _map(function: str, x: _Array, axis: int, temperature: Any, where: _Array | None, nothing: float) -> _Array:
    """softmax or log_softmax, `nothing` being its value where no class of a row takes part."""
    x, axis = logits_of(x, axis, "x")
    x, some = _masked(x, where, axis)
    axes, T = axes_of(x), per_row(temperature, x, "temperature")
    if len(x.chunks[-1]) == 1:
        y = blockwise(_blocks.rowwise, axes, x.dtype, (function, None), (x, axes), T)
    else:
        lse = send(_blocks.shard_lse, 1, (x, axes), T)
        total = blockwise(_blocks.merged_lse, (*axes[:-1], ROW), np.float64, (lse, axes), new_axes={ROW: 1})
        y = blockwise(
            _blocks.shard_map, axes, x.dtype, (x, axes), (function, None), T, (lse, axes), (total, (*axes[:-1], ROW))
        )
    if some is not None:
        y = da.where(some, y, x.dtype.type(nothing))
    return da.moveaxis(y, -1, axis)


def _masked(x: _Array, where: _Array | None, axis: int) -> tuple[_Array, _Array | None]:
    """Logits of which those that take no part are -inf; which rows have some that do."""
    if where is None:
        return x, None
    mask = moved(where, x, axis, "where")
    return da.where(mask, x, x.dtype.type(-np.inf)), mask.any(axis=-1, keepdims=True)
