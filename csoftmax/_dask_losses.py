"""What one task of a loss computes: on whole rows, on a shard of their classes, or on what the shards of rows sent.

Classes are the last axis. A task of whole rows is a function of csoftmax.
"""

from typing import Any

import numpy as np

import csoftmax
from csoftmax._dask_blocks import Array, capped, check_labels, local, lse_of, scaled, task

# Losses of whole rows


def valid(labels: Array, ignore_index: int | None, pairs: bool) -> Any:
    """Which rows have a class index that counts."""
    kept = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    return kept.any(-1) if pairs else kept


@task
def counted(labels: Array, weight: Any, ignore_index: int | None, pairs: bool) -> Array:
    """What each row adds to the divisor of a mean."""
    kept: Array = valid(labels, ignore_index, pairs)
    if weight is None:
        return kept.astype(np.float64)
    known = kept & (labels >= 0) & (labels < len(weight))  # the others are refused elsewhere
    return np.asarray(np.where(known, weight[np.where(known, labels, 0).astype(np.int64)], 0.0))


@task
def row_losses(
    x: Array,
    target: Any,
    prob: Any,
    sample_weight: Any,
    temperature: Any,
    where: Any,
    divisor: Any,
    *starts: Array,
    options: dict[str, Any],
    return_grad: bool,
) -> Any:
    """The losses of rows, and the gradient of their sum over the divisor; with a divisor of 0 the gradient is 0."""
    if target.ndim < x.ndim or prob is not None:
        name = "target" if prob is None else "target[0]"
        check_labels(target, x.shape[-1], options["ignore_index"], starts, name)
    nothing = divisor is not None and divisor == 0
    weights = weights_over(sample_weight, None if nothing else divisor, x.shape[:-1])
    result = csoftmax.cross_entropy(
        x,
        target if prob is None else (target, prob),
        sample_weight=weights,
        where=where,
        reduction="none",
        temperature=temperature,
        return_grad=return_grad,
        **options,
    )
    if return_grad and nothing:
        result[1][...] = 0
    return result


def weights_over(sample_weight: Any, divisor: Any, rows: tuple[int, ...]) -> Any:
    """Weights by which the sum over rows is a mean, in float64."""
    if divisor is None:
        return sample_weight
    return np.full(rows, 1 / float(divisor)) if sample_weight is None else sample_weight / float(divisor)


@task
def linear_losses(
    x: Array,
    w: Array,
    bias: Any,
    target: Any,
    prob: Any,
    sample_weight: Any,
    temperature: Any,
    where: Any,
    divisor: Any,
    *starts: Array,
    options: dict[str, Any],
    return_grad: bool,
) -> Any:
    """(dx, dw, db, losses) of a block of rows, or the losses alone."""
    if target.ndim == 1 or prob is not None:
        check_labels(target, len(w), options["ignore_index"], starts, "target" if prob is None else "target[0]")
    nothing = divisor is not None and divisor == 0
    result = csoftmax.linear_cross_entropy(
        x,
        w,
        target if prob is None else (target, prob),
        bias,
        where=where,
        reduction="none",
        sample_weight=weights_over(sample_weight, None if nothing else divisor, x.shape[:-1]),
        temperature=temperature,
        return_grad=return_grad,
        **options,
    )
    if not return_grad:
        return result
    losses, gradients = result
    return *(None if a is None else a * 0 if nothing else a for a in gradients), losses


# Losses of shards. A row's loss is s sum c (L - v) + s z L**2; shard k sends (L_k, sum c (L_k - v), sum c).


def coefficients(
    x: Array, target: Array, prob: Any, weight: Any, start: int, options: dict[str, Any]
) -> tuple[Array, Array]:
    """(c of a shard's classes, which rows count)."""
    ignore_index, smoothing = options["ignore_index"], options["label_smoothing"]
    counts = np.ones(x.shape[:-1], bool)
    if prob is None and target.ndim == x.ndim:
        t = target.astype(np.float64)
    else:
        index = target[..., None] if prob is None else target
        amount = np.ones(index.shape) if prob is None else np.array(prob, np.float64)
        if ignore_index is not None:
            counts = (index != ignore_index).any(-1)
            amount[index == ignore_index] = 0
        here = local(index, start, x.shape[-1])
        amount[here < 0] = 0
        t = np.zeros(x.shape)
        places = np.indices(here.shape, sparse=True)[:-1]
        np.add.at(t, (*places, here), amount)
    c = (1 - smoothing) * t + smoothing / options["classes"]
    c = c if weight is None else c * weight
    return np.where(counts[..., None], c, 0), counts


@task
def shard_stats(
    x: Array, start: Array, target: Array, prob: Any, weight: Any, temperature: Any, options: dict[str, Any]
) -> Array:
    """(L_k, sum c (L_k - v), sum c) of a shard, in float64."""
    u, T = capped(x, options["softcap"]), temperature
    if options["by_label"]:
        here = local(target, int(start[0]), x.shape[-1])
        if options["ignore_index"] is not None:
            here[target == options["ignore_index"]] = -1
        gap = csoftmax.cross_entropy(u, here, ignore_index=-1, reduction="none", temperature=T)
        total = some = here >= 0
    else:
        c, counts = coefficients(x, target, prob, weight, int(start[0]), options)
        gap = csoftmax.cross_entropy(u, c, sample_weight=counts, reduction="none", temperature=T)
        total = c.sum(-1)
        some = (c != 0).any(-1)
    lse = lse_of(u, temperature)
    gap = np.where(lse == -np.inf, np.where(some, np.inf, 0), gap)
    return np.stack([lse, gap, total], -1).astype(np.float64)


@task
def merged_stats(
    sent: Array, labels: Any, weight: Any, sample_weight: Any, *starts: Array, options: dict[str, Any], pairs: bool
) -> Array:
    """(loss, L, what multiplies p, what multiplies c, and of a single label its own gradient), before T and divisor."""
    ignore_index = options["ignore_index"]
    if labels is not None:
        check_labels(labels, options["classes"], ignore_index, starts, "target[0]" if pairs else "target")
    lse, gap, c = sent[..., ::3], sent[..., 1::3], sent[..., 2::3]
    L, log_share = csoftmax.logsumexp(lse, -1), csoftmax.log_softmax(lse)
    nll = (gap - np.where(c == 0, 0, c * log_share)).sum(-1)
    nll = np.where(np.isnan(L), L, nll)
    s = np.ones(nll.shape) if sample_weight is None else np.array(sample_weight, np.float64)
    if labels is not None:
        s[~valid(labels, ignore_index, pairs)] = 0
    a = s
    if weight is not None:
        a = s * weight[np.where(s == 0, 0, labels).astype(np.int64)]
    zL = options["z_loss"] * L if options["z_loss"] else np.zeros(nll.shape)
    loss = a * nll + s * zL * L
    by_p = a * c.sum(-1) + 2 * s * zL
    own = a * np.expm1(-nll) + 2 * s * zL * np.exp(-nll)
    read = s != 0  # the other rows are not read: a NaN there does no harm
    return np.where(read[..., None], np.stack([loss, L, by_p, a, own], -1), 0)


@task
def shard_gradient(
    x: Array,
    start: Array,
    target: Array,
    prob: Any,
    weight: Any,
    temperature: Any,
    sent: Array,
    merged: Array,
    divisor: Any,
    options: dict[str, Any],
) -> Array:
    """The gradient of a shard: p times a number per row, less c times another."""
    cap, T = options["softcap"], np.asarray(temperature, np.float64)
    u = capped(x, cap)
    grad = csoftmax.softmax(u, temperature=T)
    _, L, by_p, by_c, own = (merged[..., i] for i in range(5))
    size = T * (np.inf if divisor is not None and divisor == 0 else 1.0 if divisor is None else float(divisor))
    lse = sent[..., 0]
    unread = (by_p == 0) & (by_c == 0)
    factor = np.where(unread, 0, np.where(np.isfinite(L), np.exp(lse - L) * by_p / size, np.nan))
    scaled(grad, factor, (lse == -np.inf) | unread)
    if options["by_label"]:
        here = local(target, int(start[0]), x.shape[-1])
        rows = np.nonzero((here >= 0) & ~unread)
        grad[(*rows, here[rows])] = (own / size)[rows]
    else:
        c, _ = coefficients(x, target, prob, weight, int(start[0]), options)
        np.subtract(grad, c * (by_c / size)[..., None], out=grad, casting="unsafe")
    if cap is not None:
        grad *= 1 - np.tanh(x.astype(np.float64) / cap) ** 2
    return grad.astype(x.dtype, copy=False)


# A linear layer, of which each task makes its own logits


@task
def linear_stats(x: Array, w: Array, bias: Any, *arguments: Any, options: dict[str, Any]) -> Any:
    return shard_stats(logits_of(x, w, bias), *arguments, options=options)


@task
def linear_gradients(x: Array, w: Array, bias: Any, *arguments: Any, options: dict[str, Any]) -> tuple[Any, ...]:
    """(dx, dw, db) of a block of rows and a shard of classes."""
    g = shard_gradient(logits_of(x, w, bias), *arguments, options=options)
    return g @ w, g.T @ x, g.sum(0)


def logits_of(x: Array, w: Array, bias: Any) -> Array:
    real = np.result_type(x.dtype, w.dtype, np.float32)
    logits = np.asarray(x.astype(real, copy=False) @ w.T.astype(real, copy=False))
    return logits if bias is None else logits + bias


def part(parts: tuple[Any, ...], number: int, axis: int | None) -> Any:
    """One of several results of a task, with a new axis along which to sum over tasks."""
    return parts[number] if axis is None else np.expand_dims(parts[number], axis)
