"""Cross-entropy: signature and docstring; plain calls go straight to the core."""

import math

import numpy as np

from csoftmax import _arrays, _core
from csoftmax._core import plain_cross_entropy


def cross_entropy(
    logits,
    target,
    axis=-1,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    softcap=None,
    temperature=1.0,
    reduction="mean",
    normalizer=None,
    return_grad=False,
    out=None,
):
    """Compute the softmax cross-entropy loss and, if asked, its gradient in the same pass.

    With ``p = softmax(logits/T)`` a row's loss is ``-log(p[target])`` for a class index and
    ``-sum(target * log(p))`` for target probabilities; its gradient is ``(p - onehot(target))/T`` and
    ``(p * sum(target) - target)/T``.

    Parameters
    ----------
    logits : array_like
        Any shape, classes along `axis`; "rows" are the shape without it. float32 and float64 are kept, integers
        and bool are computed as float64.
    target : array_like
        With the rows' number of axes: class indices in [0, n), of any integer type or whole floats, broadcast to the
        rows. With the shape of `logits`: probabilities, which need not sum to 1.
    axis : int
        The class axis, of length n.
    weight, sample_weight, label_smoothing, z_loss, softcap, normalizer
        Not supported yet.
    ignore_index : int or None
        Rows with this index are never read and get zero loss and gradient; None: no row is ignored.
    temperature : float
        T > 0.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of rows that are not ignored; "none" gives the loss of every row.
    return_grad : bool
        Return the gradient of the reduced loss (of the sum, for "none") with respect to `logits` as well.
    out : ndarray, optional
        Where the gradient goes: the shape of `logits`; may be `logits` itself.

    Returns
    -------
    loss : scalar or ndarray
        In nats, of the dtype of `logits`; shaped like the rows if `reduction` is "none". The mean of no rows is nan.
    grad : ndarray
        If `return_grad`: shape, dtype and memory order of `logits`.

    Raises
    ------
    IndexError
        A class index outside [0, n): the first such row and its index are named, nothing is written.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; `out` cannot take the gradient.
    ValueError
        A class index that is not a whole number; shapes that do not match; `temperature` not positive and finite;
        `ignore_index` with probabilities; `out` without `return_grad`.
    NotImplementedError
        An option that is not supported yet.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    The loss of an index is ``log1p(rest/e)``, e the target's exponential and rest the sum of the others, never
    ``logsumexp - logit``: it is right to 4 ULP at any margin and offset, and so is the target's own gradient,
    ``-rest/sum``. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    >>> loss, grad = csoftmax.cross_entropy(logits, np.array([0, 2]), return_grad=True)
    >>> loss
    np.float64(0.753109126556245)
    >>> grad.round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.1667,  0.1667, -0.3333]])
    """
    unset = weight is None and sample_weight is None and softcap is None and normalizer is None
    if unset and label_smoothing == 0 and z_loss == 0:
        result = plain_cross_entropy(
            logits, target, axis, ignore_index, temperature, reduction, return_grad, out
        )
        if result is not None:
            return result if return_grad else result[0]
    options = {
        "weight": weight is not None,
        "sample_weight": sample_weight is not None,
        "label_smoothing": label_smoothing != 0,
        "z_loss": z_loss != 0,
        "softcap": softcap is not None,
        "normalizer": normalizer is not None,
        "a tuple as target": isinstance(target, tuple),
    }
    for name, given in options.items():
        if given:
            raise _arrays.not_yet(name)
    return _cross_entropy(logits, target, axis, ignore_index, temperature, reduction, return_grad, out)


def _cross_entropy(logits, target, axis, ignore_index, temperature, reduction, return_grad, out):
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if out is not None and not return_grad:
        raise ValueError("out receives the gradient: it needs return_grad=True")
    x = _arrays.as_array(logits, "logits")
    t = _arrays.temperature_of(temperature)
    axes = _arrays.one_axis(axis, x.ndim)
    labels, soft = _target(target, x, axes, ignore_index)
    last = _arrays.classes_last(x, axes)
    if last.shape[-1] == 0 and math.prod(last.shape[:-1]):
        raise IndexError(f"logits of shape {x.shape} have no classes along axis {axis}")
    result = _arrays.floating(x)
    grad = y = None
    if return_grad:
        grad = _arrays.target_for(out, x.shape, result, x, (x,), apart=(labels,) if soft else ())
        y = _arrays.classes_last(grad.array, axes)
    if ignore_index is not None:
        ignore_index = _arrays.as_index(ignore_index, "ignore_index")
    loss = _core.run_loss(soft, result == np.float64, last, labels, y, t, ignore_index, reduction)
    return (loss, grad.finish()) if return_grad else loss


def _target(target, x, axes, ignore_index):
    """The target as (class indices of the rows, False) or (probabilities with the classes last, True)."""
    if isinstance(target, np.ma.MaskedArray):
        raise TypeError("target is a masked array, and its mask would be lost: mark rows with ignore_index")
    a = np.asarray(target)
    rows = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    if a.ndim == len(rows) and (x.ndim or a.ndim == 0):
        if a.dtype.kind not in "iuf":
            raise TypeError(f"target has dtype {a.dtype}: class indices must be integers or whole floats")
        if a.dtype.kind == "f" and a.dtype.itemsize not in (4, 8):
            a = a.astype(np.float64)
        try:
            return np.broadcast_to(a, rows), False
        except ValueError:
            raise ValueError(
                f"target has shape {a.shape}, but logits of shape {x.shape} have rows of shape {rows}"
            ) from None
    if a.shape != x.shape:
        raise ValueError(
            f"target has shape {a.shape}, but logits of shape {x.shape} take class indices of shape {rows} "
            f"or probabilities of shape {x.shape}"
        )
    if ignore_index not in (-100, None):
        raise ValueError(f"ignore_index={ignore_index!r} has no meaning for target probabilities")
    return _arrays.classes_last(_arrays.as_array(a, "target"), axes), True
