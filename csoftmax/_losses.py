"""Losses: signatures, docstrings, and calls that are not plain.

Plain ones stop at the door that decorates cross_entropy, `_core.thin_cross_entropy`.
"""

import math

import numpy as np

from csoftmax import _arrays, _core

_HESSIANS = ("diagonal", "upper", "friedman", "residual")


@_core.thin_cross_entropy
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

    With ``v = logits/T`` and ``L = log(sum(exp(v)))`` a row's loss is ``sum(c * (L - v)) + z_loss * L**2``, times
    `sample_weight`, where ``c = weight * ((1 - label_smoothing) * t + label_smoothing/n)`` and t is one-hot for a
    class index, or the target probabilities. Its gradient is ``((sum(c) + 2 * z_loss * L) * softmax(v) - c)/T``,
    times `sample_weight`.

    Parameters
    ----------
    logits : array_like
        Any shape, classes along `axis`; "rows" are the shape without it. float16, bfloat16 (of ml_dtypes), float32
        and float64 are kept; integers and bool are computed as float64.
    target : array_like or tuple
        With the rows' number of axes: class indices in [0, n), of any integer type or whole floats, broadcast to the
        rows. With the shape of `logits`: probabilities, which need not sum to 1. A tuple ``(index, prob)``, both of
        shape rows + (k,), k standing last whatever `axis` is: probabilities of k classes, the others' being 0;
        those of an index that occurs twice add up.
    axis : int
        The class axis, of length n.
    weight : array_like, optional
        Of each class, shape (n,).
    sample_weight : array_like, optional
        Of each row, broadcast to the rows; of any sign.
    ignore_index : int or None
        Rows with this index are never read and get zero loss and gradient; None: no row is ignored. In
        ``(index, prob)`` an entry with this index is padding, and a row of padding alone is ignored.
    label_smoothing : float
        In [0, 1]: the share of the target that goes to all classes evenly.
    z_loss : float
        The factor of ``L**2``.
    softcap : float, optional
        Positive: ``softcap * tanh(logits/softcap)`` takes the place of `logits`, before T divides.
    temperature : float or array_like
        T > 0; an array broadcasts to the rows.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of ``weight[target]`` over the rows that are not ignored (class indices), or by
        their number (probabilities, or no `weight`); `sample_weight` plays no part in that. "none" gives the loss
        of every row.
    normalizer : float, optional
        What "mean" divides by instead.
    return_grad : bool
        Return the gradient of the reduced loss (of the sum, for "none") with respect to `logits` as well.
    out : ndarray, optional
        Where the gradient goes: the shape of `logits`; may be `logits` itself.

    Returns
    -------
    loss : scalar or ndarray
        In nats, of the dtype of `logits`, float32 for 16-bit ones; shaped like the rows if `reduction` is "none". The
        mean of no rows is nan, 0 with `normalizer`.
    grad : ndarray
        If `return_grad`: shape, dtype and memory order of `logits`.

    Raises
    ------
    IndexError
        A class index outside [0, n): the first such row and its index are named, nothing is written.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; `out` cannot take the gradient.
    ValueError
        A class index that is not a whole number; shapes that do not match; an option outside its range;
        `ignore_index` with probabilities; `normalizer` without "mean"; `out` without `return_grad`.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    The loss of an index is ``log1p(rest/e)``, e the target's exponential and rest the sum of the others, never
    ``logsumexp - logit``: it is right to 4 ULP at any margin and offset, and so is the target's own gradient,
    ``-rest/sum``. A class with c = 0 contributes 0 also where its logit is -inf. See docs/derivation.md.

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
    >>> pair = np.array([[0, 1], [2, -100]]), np.array([[0.75, 0.25], [1.0, 0.0]])
    >>> csoftmax.cross_entropy(logits, pair, reduction="none").round(4)
    array([0.6576, 1.0986])
    """
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if out is not None and not return_grad:
        raise ValueError("out receives the gradient: it needs return_grad=True")
    x = _arrays.as_array(logits, "logits")
    axes = _arrays.one_axis(axis, x.ndim)
    rows, last = _arrays.rows_of(x.shape, axes), _arrays.classes_last(x, axes)
    t = _arrays.temperature_for(temperature, rows)
    scalars = _scalar_options(label_smoothing, z_loss, softcap, reduction, normalizer)
    weights = {
        "weight": _class_weight(weight, x.shape, last.shape[-1]),
        "sample_weight": sample_weight_for(sample_weight, rows),
    }
    op, operands = target_operands(target, x, axes, ignore_index)
    check_classes(last, f"logits of shape {x.shape}")
    result = _arrays.floating(x)
    grad = y = None
    if return_grad:
        read = (t, *weights.values(), operands.get("g"), operands.get("prob"))
        grad = _arrays.target_for(out, x.shape, result, x, (x,), apart=read)
        y = _arrays.classes_last(grad.array, axes)
    dtype = _arrays.loss_dtype(result)
    r = np.empty(rows, dtype) if reduction == "none" else None
    loss = _core.run(
        op, _arrays.is_wide(result), last, y=y, r=r, temperature=t, reduction=reduction,
        **scalars, **weights, **operands,
    )
    loss = dtype.type(loss) if r is None else r if r.ndim else r[()]
    return (loss, grad.finish()) if return_grad else loss


@_core.thin_softmax_grad_hess
def softmax_grad_hess(raw, y, *, sample_weight=None, hessian="diagonal", eps=1e-16, out=None):
    """Compute gradient and diagonal Hessian of the cross-entropy, as boosting libraries want them.

    With ``p = softmax(raw)`` and t one-hot for a class index, or the target probabilities, the gradient is
    ``sample_weight * (sum(t) * p - t)``; the Hessian is ``sample_weight * sum(t) * p * (1 - p)`` times the factor
    of a rule, and at least `eps`.

    Parameters
    ----------
    raw : array_like
        Scores of n samples and K classes, shape (n, K), in C or Fortran order. dtypes as in `softmax`.
    y : array_like
        Class indices in [0, K), of any integer type or whole floats, shape (n,); or probabilities, shape (n, K).
    sample_weight : array_like, optional
        Of each sample, broadcast to (n,).
    hessian : {"diagonal", "upper", "friedman", "residual"}
        The rule. "diagonal": factor 1, the Hessian's own diagonal; "upper": 2, an upper bound of the Hessian
        (XGBoost up to 3.2); "friedman": K/(K-1) (LightGBM); "residual": ``sample_weight * abs(p - t)`` instead.
    eps : float
        The least Hessian, whatever the weight; 0 for none.
    out : tuple of two ndarrays, optional
        Where gradient and Hessian go: raw's shape, any order, a dtype they can be cast to (``same_kind``). The
        first may be `raw`.

    Returns
    -------
    grad, hess : ndarray
        Of raw's shape, dtype and memory order; each within 4 ULP.

    Raises
    ------
    IndexError
        A class index outside [0, K): the first such row and its index are named, nothing is written.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; `out` not a pair, or cannot take the
        results.
    ValueError
        Shapes that do not match; `hessian` unknown, or "friedman" with one class; `eps` negative or not finite; the
        two of `out` sharing memory.

    Notes
    -----
    1 - p is the sum of the other probabilities, so that the Hessian is right where p is next to 1;
    docs/derivation.md. Friedman, J. H. (2001), "Greedy function approximation: a gradient boosting machine",
    The Annals of Statistics 29.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> grad, hess = csoftmax.softmax_grad_hess(np.zeros((2, 2)), np.array([0, 1]))
    >>> grad
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    >>> hess
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    x = _arrays.as_array(raw, "raw")
    if x.ndim != 2:
        raise ValueError(f"raw has shape {x.shape}, but samples and classes need two axes")
    n, classes = x.shape
    if not isinstance(hessian, str) or hessian not in _HESSIANS:
        raise ValueError(f"hessian must be one of {', '.join(map(repr, _HESSIANS))}, got {hessian!r}")
    if hessian == "friedman" and classes == 1:
        raise ValueError("hessian='friedman' is K/(K-1) p (1-p), which one class does not have")
    floor = _arrays.as_number(eps, "eps")
    if not 0 <= floor < np.inf:
        raise ValueError(f"eps must be finite and not negative, got {eps!r}")
    weight = sample_weight_for(sample_weight, (n,))
    _, operands = _dense_target(y, "y", x, (1,), "raw")
    check_classes(x, f"raw of shape {x.shape}")
    result, read = _arrays.floating(x), (weight, operands.get("g"))
    outs = _pair(out)
    grad = _arrays.target_for(outs[0], x.shape, result, x, (x,), apart=(*read, outs[1]), name="out[0]")
    hess = _arrays.target_for(outs[1], x.shape, result, x, (), apart=(*read, x, outs[0]), name="out[1]")
    if out is not None and np.may_share_memory(*outs) and np.shares_memory(*outs):
        raise ValueError("out[0] and out[1] share memory")
    _core.run(
        _core.GRAD_HESS, _arrays.is_wide(result), x, y=grad.array, h=hess.array, sample_weight=weight,
        hessian=hessian, hessian_floor=floor, **operands,
    )
    return grad.finish(), hess.finish()


def _scalar_options(label_smoothing, z_loss, softcap, reduction, normalizer):
    """Options of the loss that are numbers, checked, as `_core.run` takes them."""
    smoothing, z = _arrays.as_number(label_smoothing, "label_smoothing"), _arrays.as_number(z_loss, "z_loss")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing!r}")
    if not math.isfinite(z):
        raise ValueError(f"z_loss must be finite, got {z_loss!r}")
    options = {"label_smoothing": smoothing, "z_loss": z}
    if softcap is not None:
        options["softcap"] = _arrays.as_number(softcap, "softcap")
        if not 0 < options["softcap"] < np.inf:
            raise ValueError(f"softcap must be positive and finite, got {softcap!r}")
    if normalizer is not None:
        options["normalizer"] = _arrays.as_number(normalizer, "normalizer")
        if reduction != "mean":
            raise ValueError(f"normalizer divides the mean: it has no meaning with reduction={reduction!r}")
        if not math.isfinite(options["normalizer"]) or options["normalizer"] == 0:
            raise ValueError(f"normalizer must be finite and not 0, got {normalizer!r}")
    return options


def _class_weight(weight, shape, classes):
    if weight is None:
        return None
    w = _arrays.as_doubles(weight, "weight")
    if w.shape != (classes,):
        raise ValueError(f"weight has shape {w.shape}, but logits of shape {shape} take one of shape {(classes,)}")
    return np.ascontiguousarray(w)


def sample_weight_for(weight, rows):
    """The weights as float64, broadcast to the rows; None if there are none."""
    if weight is None:
        return None
    return _arrays.over_rows(_arrays.as_doubles(weight, "sample_weight"), rows, "sample_weight")


def check_classes(last, what):
    """Refuse rows without classes: no target is one of them."""
    if last.shape[-1] == 0 and math.prod(last.shape[:-1]):
        raise IndexError(f"{what} has no classes, so no target is one of them")


def _pair(out):
    if out is None:
        return None, None
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise TypeError("out must be a pair of arrays, (grad, hess)")
    return tuple(out)


def target_operands(target, x, axes, ignore_index):
    """A target as an operation and its operands for `_core.run`."""
    if ignore_index is not None:
        ignore_index = _arrays.as_index(ignore_index, "ignore_index")
    if isinstance(target, tuple):
        return _core.CROSS_ENTROPY, _sparse_target(target, x, axes, ignore_index)
    op, operands = _dense_target(target, "target", x, axes, "logits")
    if op == _core.CROSS_ENTROPY:
        return op, operands | {"ignore_index": ignore_index}
    if ignore_index not in (-100, None):
        raise ValueError(f"ignore_index={ignore_index!r} has no meaning for target probabilities")
    return op, operands


def _dense_target(target, name, x, axes, x_name):
    """An array as class indices of the rows, or as probabilities with the classes last."""
    if isinstance(target, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost: pass a plain array")
    a, rows = np.asarray(target), _arrays.rows_of(x.shape, axes)
    if a.ndim == len(rows):
        labels = _arrays.as_labels(a, name)
        labels = _arrays.broadcast(labels, rows, name, f"{x_name} of shape {x.shape} has rows of shape {rows}")
        return _core.CROSS_ENTROPY, {"target": labels, "name": name}
    if a.shape != x.shape:
        raise ValueError(
            f"{name} has shape {a.shape}, but {x_name} of shape {x.shape} take class indices of shape {rows} "
            f"or probabilities of shape {x.shape}"
        )
    return _core.SOFT_CROSS_ENTROPY, {"g": _arrays.classes_last(_arrays.as_array(a, name), axes)}


def _sparse_target(pair, x, axes, ignore_index):
    """(index, prob) broadcast to rows + (k,)."""
    if len(pair) != 2:
        raise ValueError(f"target is a tuple of {len(pair)}: it must be a pair (index, prob)")
    index, prob = _arrays.as_labels(pair[0], "target[0]"), _arrays.as_doubles(pair[1], "target[1]")
    rows = _arrays.rows_of(x.shape, axes)
    if index.ndim != len(rows) + 1 or prob.ndim != len(rows) + 1 or index.shape[-1] != prob.shape[-1]:
        raise ValueError(
            f"target[0] has shape {index.shape} and target[1] has shape {prob.shape}, but logits of shape {x.shape} "
            f"take both of shape {rows} + (k,)"
        )
    shape = rows + index.shape[-1:]
    what = f"logits of shape {x.shape} have rows of shape {rows}"
    index = _arrays.broadcast(index, shape, "target[0]", what)
    prob = _arrays.broadcast(prob, shape, "target[1]", what)
    if shape[-1] == 0:
        index, prob = np.zeros((*rows, 1), int), np.zeros((*rows, 1))
        ignore_index = None if ignore_index is None else 0
    return {"target": index, "prob": prob, "name": "target[0]", "ignore_index": ignore_index}
