"""The losses in NumPy and float64, for logits of any shape at once: the formulas, with no care for rounding.

Beside each result comes the size of its terms, of which an error is a part.
"""

import math
from typing import NamedTuple

import numpy as np


class Loss(NamedTuple):
    """Loss and gradient, and the sizes of the terms that they are the sums of."""

    loss: np.ndarray
    gradient: np.ndarray
    size_of_loss: np.ndarray
    size_of_gradient: np.ndarray


def dense(target, shape, ignore_index):
    """(probabilities t with the classes last and their sizes, rows that count, class indices or None) of a target.

    `shape` is that of the logits with the classes last.
    """
    rows, n = shape[:-1], shape[-1]
    if not isinstance(target, tuple):
        labels = np.broadcast_to(target, rows)
        counts = np.full(rows, True) if ignore_index is None else labels != ignore_index
        labels = np.where(counts, labels, 0).astype(np.intp)
        one_hot = (np.arange(n) == labels[..., None]) & counts[..., None]
        return one_hot, one_hot, counts, labels
    index, probabilities = np.asarray(target[0]), np.asarray(target[1], np.float64)
    kept = np.full(index.shape, True) if ignore_index is None else index != ignore_index
    index = np.where(kept, index, 0).astype(np.intp)
    one_hot = (np.arange(n) == index[..., None]) & kept[..., None]
    slots = one_hot * np.where(kept, probabilities, 0)[..., None]
    return slots.sum(axis=-2), abs(slots).sum(axis=-2), kept.any(axis=-1), None


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
):
    """What `csoftmax.cross_entropy` gives, as a `Loss`; the loss has the shape of the rows if "none"."""
    x = np.moveaxis(np.asarray(logits, np.float64), axis, -1)
    rows, n = x.shape[:-1], x.shape[-1]
    if not isinstance(target, tuple) and np.ndim(target) == x.ndim:
        t = np.moveaxis(np.asarray(target, np.float64), axis, -1)
        size_of_t, counts, labels = abs(t), np.full(rows, True), None
    else:
        t, size_of_t, counts, labels = dense(target, x.shape, ignore_index)
    w = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    s = np.ones(rows) if sample_weight is None else np.broadcast_to(sample_weight, rows)
    s = np.where(counts, s, 0.0)[..., None]
    temperatures = np.broadcast_to(temperature, rows)[..., None].astype(np.float64)

    x = np.where(counts[..., None], x, 0.0)
    u, slope = x, np.ones(x.shape)
    if softcap is not None:
        u, slope = softcap * np.tanh(x / softcap), 1 / np.cosh(np.clip(x / softcap, -300, 300)) ** 2
    v = u / temperatures
    m = v.max(axis=-1, keepdims=True, initial=-np.inf if n else 0.0)
    e = np.exp(v - m)
    below = np.sort(e, axis=-1)[..., :-1].sum(axis=-1, keepdims=True)
    log_s = np.log1p(below)
    lse, p = m + log_s, e / (1 + below)

    smoothed = label_smoothing / max(n, 1)
    c, size_of_c = (w * ((1 - label_smoothing) * a + smoothed) for a in (t, size_of_t))
    with np.errstate(invalid="ignore"):
        nll = np.where(size_of_c == 0, 0.0, (m - v) + log_s)
    terms = c * nll
    cap = 0.0 if softcap is None else softcap / temperatures
    size_of_lse = abs(m) + log_s + cap
    sum_of_c = size_of_c.sum(axis=-1, keepdims=True)
    losses = (s * (terms.sum(axis=-1, keepdims=True) + z_loss * lse**2))[..., 0]
    sizes = (size_of_c * nll).sum(axis=-1, keepdims=True) + abs(z_loss) * size_of_lse**2 + 2 * cap * sum_of_c
    sizes = (abs(s) * sizes)[..., 0]
    pull = c.sum(axis=-1, keepdims=True) + 2 * z_loss * lse
    size_of_pull = (sum_of_c + 2 * abs(z_loss) * size_of_lse) * (1 + 2 * cap + (m - v))
    gradient = s * (pull * p - c) / temperatures * slope
    size = abs(s) * (size_of_pull * p + size_of_c) / temperatures * slope

    divisor = 1.0
    if reduction == "mean":
        divisor = counts.sum() if labels is None else w[labels[counts]].sum()
        divisor = float(divisor) if normalizer is None else normalizer
    nothing = reduction == "mean" and divisor == 0
    if reduction != "none":
        losses, sizes = losses.sum(), sizes.sum()
    if nothing:
        losses, divisor = np.float64(math.nan), 1.0
    gradient, size = (np.moveaxis(a / divisor, -1, axis) for a in (gradient, size))
    return Loss(losses / divisor, gradient, abs(sizes / divisor), abs(size))
