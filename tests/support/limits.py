"""The one table of error bounds, and the yardstick that measures against it.

`LIMITS` gives, per output and dtype, the largest error allowed in ULP and what the ULP is of. `TRUTHS` gives
the exact outputs of a batch (cases.py) in extended precision, which test_accuracy.py checks against mpmath.
float16 and bfloat16 are computed in float32 and rounded once, to half an ULP of their own; their losses are float32.
Run as `python tests/support/limits.py`, prints the worst errors measured beside the bounds.
"""

import tempfile
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import cases
import numpy as np

EXTENDED = np.longdouble
EXTENDED_BITS = np.finfo(EXTENDED).nmant + 1
"""64 or 113 where the truth below is good to 0.01 ULP of float64; 53 where long double is double."""


class Limit(NamedTuple):
    float32: float
    float64: float
    of: str
    float16: float = 0.51
    bfloat16: float = 0.51


def _loss(float32, float64, of):
    """The limit of a loss, which is float32 for 16-bit logits."""
    return Limit(float32, float64, of, float32, float32)


_RESULT = "the result"
_ROW_LOSSES = "the sum of |row losses|"
_TERMS = "the largest term, a sum counting as that of its absolute terms"
_SOFT = "max(|p_j C|, |c_j|), C the sum of the targets c"
_LOSS_TERMS = "the sum of |c_j log p_j| + z L^2 + 2 u/T (C + z L), C the sum of |c_j|, u the largest capped |x|"
_GRADIENT_TERMS = (
    "max(|p_j (C + 2zL)|, |c_j|), twice for the slope of a softcap, + 2 u/T p_j (C + 2zL); with weights "
    "alone, the result"
)

_MEAN = "max(|E|, D), D = sum p |v - c|, c the value at the largest logit"
_SLOPE = "p_j/T (|v_j - c| + D), at least p_j/T times the least normal number"
_FOCAL = "(1 + gamma) times the result"

LIMITS = {
    "softmax": Limit(3, 3, _RESULT),
    "softmax, mean": Limit(0.5, 0.5, _RESULT),
    "log_softmax": Limit(4, 4, _RESULT),
    "logsumexp": Limit(2, 2, "max(|m|, log s, |result|), m the largest and s the sum of e^(a-m)"),
    "logsumexp, b": Limit(2, 2, "max(|m|, |log t|, t/|s|), s the sum of b e^(a-m) and t that of |b| e^(a-m)"),
    "softmax_jacobian": Limit(2, 2, _RESULT),
    "softmax_vjp": Limit(4, 4, _TERMS),
    "softmax_jvp": Limit(4, 4, _TERMS),
    "log_softmax_vjp": Limit(4, 4, _TERMS),
    "log_softmax_jvp": Limit(4, 4, _TERMS),
    "loss, index, none": _loss(4, 4, _RESULT),
    "loss, index, sum": _loss(4, 4, _ROW_LOSSES),
    "loss, index, mean": _loss(4, 4, _ROW_LOSSES),
    "loss, soft, none": _loss(4, 4, "the sum of |c_j log p_j|"),
    "loss, soft, sum": _loss(4, 4, _ROW_LOSSES),
    "loss, soft, mean": _loss(4, 4, _ROW_LOSSES),
    "gradient, index, none": Limit(3, 3, _RESULT),
    "gradient, index, none, own entry": Limit(4, 4, _RESULT),
    "gradient, index, mean": Limit(3, 3, _RESULT),
    "gradient, index, mean, own entry": Limit(4, 4, _RESULT),
    "gradient, soft, none": Limit(4, 4, _SOFT),
    "gradient, soft, mean": Limit(4, 4, _SOFT),
    "softmax_entropy": Limit(4, 4, _RESULT),
    "gradient, entropy": Limit(5, 5, "p_j/T max(d_j, D, the least normal number), d_j = (m - x_j)/T, D = sum p d"),
    **{f"softmax_expectation, {kind}": Limit(4, 4, _MEAN) for kind in cases.VALUES},
    **{f"gradient, expectation {kind}": Limit(5, 5, _SLOPE) for kind in cases.VALUES},
    "kl_divergence": _loss(4, 4, "the result where it is below 1/4, else the sum of p_j |log p_j - log q_j|"),
    "gradient, KL": Limit(4, 4, "|q_j - p_j|/T + p_j/T sum p |log p - log q|, at least the least normal number over T"),
    "selective_log_softmax": Limit(4, 4, _RESULT),
    "top_k_log_softmax": Limit(4, 4, _RESULT),
    **{f"hessian, {rule}": Limit(4, 4, _RESULT) for rule in cases.HESSIANS},
    **{f"loss, {kind}, {option}": _loss(4, 4, _LOSS_TERMS) for kind, option in cases.LOSSES},
    **{f"gradient, {kind}, {option}": Limit(4, 4, _GRADIENT_TERMS) for kind, option in cases.LOSSES},
    **{f"loss, index, {option}": _loss(4, 4, _FOCAL) for option in cases.FOCAL},
    **{f"gradient, index, {option}": Limit(4, 4, _FOCAL) for option in cases.FOCAL},
}


class Truth:
    """Exact values, the quantity `size` whose ULP counts, and the mask `where` of entries that count."""

    def __init__(self, value, size=None, where=True):
        self.value, self.where = value, where
        self.size = np.abs(value if size is None else size)


def two_sum(a, b):
    """s + error = a + b exactly, s being the rounded sum (Knuth)."""
    s = a + b
    of_b = s - a
    return s, (a - (s - of_b)) + (b - of_b)


def _product_error(a, b, product):
    """a*b - product exactly, product being the rounded one (Dekker)."""
    half = EXTENDED(2) ** ((EXTENDED_BITS + 1) // 2) + 1

    def split(v):
        high = v * half - (v * half - v)
        return high, v - high

    (a1, a0), (b1, b0) = split(a), split(b)
    return ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0


class Rows(NamedTuple):
    """Statistics of each row: the maximum m, e = exp((x-m)/T), its sum, log p."""

    m: np.ndarray
    e: np.ndarray
    s: np.ndarray
    log_p: np.ndarray


def capped(b, softcap=None):
    x = b.x.astype(EXTENDED)
    return x if softcap is None else softcap * np.tanh(x / EXTENDED(softcap))


@cache
def rows(b, softcap=None, masks=False):
    """Of the classes in `where` alone, if it `masks`.

    (x-m)/T is kept as an unevaluated sum, so that its rounding costs the exponential nothing."""
    x, t = capped(b, softcap), EXTENDED(b.temperature)
    if masks:
        x = np.where(b.where, x, -np.inf)
    m = x.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        difference, error = two_sum(x, -m)
        z = difference / t
        error = (error - _product_error(z, t, z * t) + (difference - z * t)) / t
        error = np.where(np.isfinite(z), error, 0)
        e = np.exp(z) * (1 + error)
    below = np.where(z == 0, 0, e).sum(axis=1, keepdims=True)
    above = (z == 0).sum(axis=1, keepdims=True) - EXTENDED(1)
    return Rows(m, e, 1 + above + below, z - np.log1p(above + below) + error)


def _at(values, labels):
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def _is_label(b):
    return np.arange(b.x.shape[1]) == b.labels[:, None]


def _without(values, mask):
    """Row sums of the entries outside the mask, as columns."""
    return np.where(mask, 0, values).sum(axis=1, keepdims=True)


def _softmax(b):
    r = rows(b)
    return Truth(r.e / r.s)


def _log_softmax(b):
    return Truth(rows(b).log_p)


def _logsumexp(b):
    r = rows(b)
    m, log_s = r.m[:, 0], -r.log_p.max(axis=1)
    return Truth(m + log_s, np.maximum(abs(m + log_s), np.maximum(abs(m), log_s)))


def _logsumexp_b(b):
    r, g = rows(b), b.g.astype(EXTENDED)
    m, s, t = r.m[:, 0], abs((g * r.e).sum(axis=1)), abs(g * r.e).sum(axis=1)
    return Truth(m + np.log(s), np.maximum(abs(m), np.maximum(abs(np.log(t)), t / s)))


def _most_probable(b):
    """The probabilities given, and the mask of the largest of each row."""
    p = b.p.astype(EXTENDED)
    return p, np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]


def _jacobian(b):
    p, largest = _most_probable(b)
    complement = np.where(largest & (p > 0.5), _without(p, largest), 1 - p)
    j = -p[:, :, None] * p[:, None, :]
    diagonal = np.arange(p.shape[1])
    j[:, diagonal, diagonal] = p * complement
    return Truth(j / EXTENDED(b.temperature))


def _has_one_pivot(b):
    """Rows without a second p of at least 1/2: 16-bit p need not add up to 1, and then the choice shows."""
    return (b.p.astype(EXTENDED) >= 0.5).sum(axis=1, keepdims=True) < 2


def _pivoted(b):
    """p, g less the g of a p of at least 1/2, and the size of the terms of g - sum p g."""
    p, largest = _most_probable(b)
    g = b.g.astype(EXTENDED)
    g = g - np.where(largest & (p >= 0.5), g, 0).sum(axis=1, keepdims=True)
    return p, g, np.maximum(abs(g), abs(p * g).sum(axis=1, keepdims=True))


def _softmax_vjp(b):
    (p, g, size), t = _pivoted(b), EXTENDED(b.temperature)
    return Truth(p * (g - (p * g).sum(axis=1, keepdims=True)) / t, p * size / t, _has_one_pivot(b))


def _log_softmax_vjp(b):
    p, g, t = b.p.astype(EXTENDED), b.g.astype(EXTENDED), EXTENDED(b.temperature)
    size = np.maximum(abs(g), p * abs(g).sum(axis=1, keepdims=True))
    return Truth((g - p * g.sum(axis=1, keepdims=True)) / t, size / t)


def _log_softmax_jvp(b):
    (p, g, size), t = _pivoted(b), EXTENDED(b.temperature)
    return Truth((g - (p * g).sum(axis=1, keepdims=True)) / t, size / t, _has_one_pivot(b))


def _index_loss(b):
    return Truth(-_at(rows(b).log_p, b.labels))


def _soft_loss(b):
    c = b.soft.astype(EXTENDED)
    with np.errstate(invalid="ignore"):
        terms = np.where(c == 0, 0, -c * rows(b).log_p)
    return Truth(terms.sum(axis=1), abs(terms).sum(axis=1))


def _sum(losses, b):
    row = losses(b)
    return Truth(row.value.sum(), row.size.sum())


def _mean(truth, b):
    """The truth of each output divided by the number of rows."""
    whole = truth(b)
    return Truth(whole.value / len(b.x), whole.size / len(b.x), whole.where)


def _index_gradient(b):
    r = rows(b)
    return Truth(r.e / r.s / EXTENDED(b.temperature), where=~_is_label(b))


def _own_gradient(b):
    r, mask = rows(b), _is_label(b)
    own = -_without(r.e, mask) / r.s / EXTENDED(b.temperature)
    return Truth(np.where(mask, own, 0), where=mask)


def _soft_gradient(b):
    r, c, t = rows(b), b.soft.astype(EXTENDED), EXTENDED(b.temperature)
    first = c.sum(axis=1, keepdims=True) * r.e / r.s
    return Truth((first - c) / t, np.maximum(abs(first), abs(c)) / t)


def _entropy(b):
    r = rows(b)
    with np.errstate(invalid="ignore"):
        terms = np.where(r.e == 0, 0, -r.e / r.s * r.log_p)
    return Truth(terms.sum(axis=1))


def _least(b):
    """The least normal number of what is computed in."""
    return np.finfo("float64" if b.x.dtype == "float64" else "float32").tiny


def _entropy_gradient(b):
    r, t = rows(b), EXTENDED(b.temperature)
    p = r.e / r.s
    d = np.where(r.e == 0, 0, r.m - b.x.astype(EXTENDED)) / t
    mean = (p * d).sum(axis=1, keepdims=True)
    return Truth(p * (d - mean) / t, p * np.maximum(np.maximum(d, mean), _least(b)) / t)


def _deviations(kind, b):
    """p; of each value v - c, c being that at the largest logit; c; and sum p |v - c|."""
    r, v = rows(b), np.broadcast_to(cases.VALUES[kind](b).astype(EXTENDED), b.x.shape)
    c = np.where(b.x == b.x.max(axis=1, keepdims=True), v, -np.inf).max(axis=1, keepdims=True)
    p, d = r.e / r.s, v - c
    return p, d, c, (p * abs(d)).sum(axis=1, keepdims=True)


def _expectation(kind, b):
    p, d, c, size = _deviations(kind, b)
    mean = c + (p * d).sum(axis=1, keepdims=True)
    return Truth(mean[:, 0], np.maximum(abs(mean), size)[:, 0])


def _expectation_gradient(kind, b):
    (p, d, _, size), t = _deviations(kind, b), EXTENDED(b.temperature)
    size = np.maximum(abs(d) + size, _least(b))
    return Truth(p * (d - (p * d).sum(axis=1, keepdims=True)) / t, p * size / t)


def phi(t):
    """e^t - 1 - t, by its series where that is short."""
    term, series = t * t / 2, np.zeros_like(t)
    for k in range(3, 24):
        series, term = series + term, term * t / k
    return np.where(abs(t) < 0.5, series, np.exp(t) - 1 - t)


@cache
def _divergences(b):
    """p, q, sum p (log p - log q), that of the absolute terms, and log q - log p."""
    a, other, t = rows(b), rows(replace(b, x=b.logits)), EXTENDED(b.temperature)
    p, q = a.e / a.s, other.e / other.s
    with np.errstate(all="ignore"):
        d, error = (
            u - v
            for u, v in zip(two_sum(b.x.astype(EXTENDED), -b.logits.astype(EXTENDED)), (a.m - other.m, 0), strict=True)
        )
        d = np.where(p == 0, 0, (d + error) / t)
        terms = np.where(p == 0, 0, p * (a.log_p - other.log_p))
        shift = (p * d).sum(axis=1, keepdims=True) - d
        far = terms.sum(axis=1, keepdims=True)
        near = np.log1p((p * phi(shift)).sum(axis=1, keepdims=True))
        unseen = np.where(p == 0, q, 0).max(axis=1, keepdims=True)
        KL = np.where((far < 1) & (abs(shift).max(axis=1, keepdims=True) < 1000) & (unseen < 1e-300), near, far)
    return p, q, KL, abs(terms).sum(axis=1, keepdims=True), shift - KL


def _divergence(b):
    _, _, KL, size, _ = _divergences(b)
    return Truth(KL[:, 0], np.where(KL < 0.25, KL, size)[:, 0])


def _divergence_gradient(b):
    p, q, _, size, log_ratio = _divergences(b)
    with np.errstate(all="ignore"):
        g = np.where((abs(log_ratio) < 0.5) & (p != 0), p * np.expm1(log_ratio), q - p)
    return Truth(g / EXTENDED(b.temperature), np.maximum(abs(g) + p * size, _least(b)) / EXTENDED(b.temperature))


def _selective(b):
    return Truth(_at(rows(b).log_p, b.labels))


def _top_k(b):
    log_p = np.sort(rows(b).log_p, axis=1)
    return Truth(log_p[:, -min(cases.MOST, log_p.shape[1])])


def _without_each(e):
    """For each entry the sum of the others of its row."""
    before, after = np.zeros_like(e), np.zeros_like(e)
    before[:, 1:] = np.cumsum(e[:, :-1], axis=1)
    after[:, :-1] = np.cumsum(e[:, :0:-1], axis=1)[:, ::-1]
    return before + after


def _hessian(rule, b):
    r, n = rows(b), b.x.shape[1]
    p, complement = r.e / r.s, _without_each(r.e) / r.s
    if rule == "residual":
        return Truth(np.where(_is_label(b), complement, p))
    factor = {"diagonal": EXTENDED(1), "upper": EXTENDED(2), "friedman": EXTENDED(n) / max(n - 1, 1)}[rule]
    return Truth(factor * p * complement)


def _optional_parts(kind, option, b):
    """Statistics of the rows, c and its size, sample weights, z, L and its size, and the largest capped logit, or 0
    without a softcap: columns where per row."""
    options = cases.OPTIONS[option](b)
    if kind == "sparse":
        index, probabilities = b.sparse
        t = np.zeros(b.x.shape, EXTENDED)
        at = np.broadcast_to(np.arange(len(b.x))[:, None], index.shape)[index >= 0]
        np.add.at(t, (at, index[index >= 0]), probabilities[index >= 0].astype(EXTENDED))
    else:
        t = b.soft.astype(EXTENDED) if kind == "soft" else _is_label(b).astype(EXTENDED)
    smoothing = EXTENDED(options.get("label_smoothing", 0))
    weight = np.asarray(options.get("weight", 1), EXTENDED)
    where = options.get("where", np.ones(t.shape, bool))
    share = np.where(where, smoothing / where.sum(axis=1, keepdims=True), 0)
    c, size_of_c = (weight * ((1 - smoothing) * of_t + share) for of_t in (t, abs(t)))
    s = options.get("sample_weight", np.ones(len(b.x))).astype(EXTENDED)
    if kind == "sparse":
        s = np.where((index >= 0).any(axis=1), s, 0)
    softcap = options.get("softcap")
    r, temperature = rows(b, softcap, "where" in options), EXTENDED(b.temperature)
    most = EXTENDED(0) if softcap is None else abs(capped(b, softcap)).max(axis=1, keepdims=True)
    top, log_s = r.m / temperature, -r.log_p.max(axis=1, keepdims=True)
    z = EXTENDED(options.get("z_loss", 0))
    return r, c, size_of_c, s[:, None], z, top + log_s, np.maximum(abs(top), log_s), most


def _optional_loss(kind, option, b):
    r, c, size_of_c, s, z, lse, size_of_lse, most = _optional_parts(kind, option, b)
    with np.errstate(invalid="ignore"):
        terms, sizes = (np.where(v == 0, 0, -v * r.log_p) for v in (c, size_of_c))
    of_cap = 2 * most / EXTENDED(b.temperature) * (size_of_c.sum(axis=1, keepdims=True) + z * size_of_lse)
    value = s * (terms.sum(axis=1, keepdims=True) + z * lse**2)
    size = s * (sizes.sum(axis=1, keepdims=True) + z * abs(lse) * size_of_lse + of_cap)
    return Truth(value[:, 0], size[:, 0])


def _optional_gradient(kind, option, b):
    r, c, size_of_c, s, z, lse, size_of_lse, most = _optional_parts(kind, option, b)
    p, scale = r.e / r.s, s / EXTENDED(b.temperature)
    if kind == "index" and option in ("weight", "sample weight"):
        own, others = -c * _without_each(r.e) / r.s, c.sum(axis=1, keepdims=True) * p
        return Truth(scale * np.where(_is_label(b), own, others))
    pull = c.sum(axis=1, keepdims=True) + 2 * z * lse
    size_of_pull = size_of_c.sum(axis=1, keepdims=True) + 2 * z * size_of_lse
    size = np.maximum(p * size_of_pull, size_of_c)
    if "softcap" in cases.OPTIONS[option](b):
        q = np.exp(-2 * abs(b.x.astype(EXTENDED)) / cases.OPTIONS[option](b)["softcap"])
        scale = scale * 4 * q / (1 + q) ** 2
        size = 2 * size + 2 * most / EXTENDED(b.temperature) * p * size_of_pull
    return Truth(scale * (pull * p - c), scale * size)


def _focal_parts(option, b):
    """gamma, the loss without it, p and 1 - p of the labels, and the weights of the rows: columns."""
    r, c, _, s, *_ = _optional_parts("index", option, b)
    p, mask = r.e / r.s, _is_label(b)
    own, rest = np.where(mask, p, 0).sum(axis=1, keepdims=True), _without(r.e, mask) / r.s
    loss = -_at(r.log_p, b.labels)[:, None]
    return EXTENDED(cases.FOCAL[option]), loss, own, rest, s * c.sum(axis=1, keepdims=True)


def _focal_loss(option, b):
    gamma, loss, _, rest, weight = _focal_parts(option, b)
    value = np.where(rest == 0, 0, weight * rest**gamma * loss)[:, 0]
    return Truth(value, (1 + gamma) * value)


def _focal_gradient(option, b):
    gamma, loss, own, rest, weight = _focal_parts(option, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = np.where(own == 0, 0, gamma * own * loss / rest)
        factor = np.where(rest == 0, 0, rest**gamma * (1 + pull))
    r = rows(b)
    value = weight * factor * np.where(_is_label(b), -rest, r.e / r.s) / EXTENDED(b.temperature)
    return Truth(value, (1 + gamma) * value)


TRUTHS = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "logsumexp, b": _logsumexp_b,
    "softmax_jacobian": _jacobian,
    "softmax_vjp": _softmax_vjp,
    "softmax_jvp": _softmax_vjp,
    "log_softmax_vjp": _log_softmax_vjp,
    "log_softmax_jvp": _log_softmax_jvp,
    "loss, index, none": _index_loss,
    "loss, index, sum": partial(_sum, _index_loss),
    "loss, index, mean": partial(_mean, partial(_sum, _index_loss)),
    "loss, soft, none": _soft_loss,
    "loss, soft, sum": partial(_sum, _soft_loss),
    "loss, soft, mean": partial(_mean, partial(_sum, _soft_loss)),
    "gradient, index, none": _index_gradient,
    "gradient, index, none, own entry": _own_gradient,
    "gradient, index, mean": partial(_mean, _index_gradient),
    "gradient, index, mean, own entry": partial(_mean, _own_gradient),
    "gradient, soft, none": _soft_gradient,
    "gradient, soft, mean": partial(_mean, _soft_gradient),
    "softmax_entropy": _entropy,
    "gradient, entropy": _entropy_gradient,
    **{f"softmax_expectation, {kind}": partial(_expectation, kind) for kind in cases.VALUES},
    **{f"gradient, expectation {kind}": partial(_expectation_gradient, kind) for kind in cases.VALUES},
    "kl_divergence": _divergence,
    "gradient, KL": _divergence_gradient,
    "selective_log_softmax": _selective,
    "top_k_log_softmax": _top_k,
    **{f"hessian, {rule}": partial(_hessian, rule) for rule in cases.HESSIANS},
    **{f"loss, {kind}, {option}": partial(_optional_loss, kind, option) for kind, option in cases.LOSSES},
    **{f"gradient, {kind}, {option}": partial(_optional_gradient, kind, option) for kind, option in cases.LOSSES},
    **{f"loss, index, {option}": partial(_focal_loss, option) for option in cases.FOCAL},
    **{f"gradient, index, {option}": partial(_focal_gradient, option) for option in cases.FOCAL},
}


def ulp(size, dtype):
    """The distance of neighbouring numbers at `size`; the smallest subnormal below the normal range."""
    dtype = np.dtype(dtype)
    info = np.finfo("float32" if dtype == "bfloat16" else dtype)
    digits = 7 if dtype == "bfloat16" else info.nmant
    lowest = info.minexp - digits
    exponent = np.frexp(size)[1] - 1 - digits
    return np.ldexp(EXTENDED(1), np.where(size == 0, lowest, np.maximum(exponent, lowest)))


def errors(result, truth):
    """The error of each entry in ULP: 0 where not counted, infinite for a NaN or a wrong infinity.

    The one rounding to 16 bits is half an ULP of the result, however small the terms.
    """
    size = truth.size
    if result.dtype.itemsize == 2:
        size = np.maximum(size, abs(truth.value))
    with np.errstate(all="ignore"):
        expected = truth.value.astype(result.dtype)
        error = abs(result.astype(EXTENDED) - truth.value) / ulp(size, result.dtype)
    error = np.where(np.isinf(expected), np.where(result == expected, 0, np.inf), error)
    return np.where(truth.where, np.where(np.isnan(error), np.inf, error), 0)


class Measured(NamedTuple):
    """The worst error of one output on one batch, with the entry that shows it."""

    output: str
    dtype: str
    isa: str
    worst: float
    witness: str

    @property
    def bound(self):
        return getattr(LIMITS[self.output], self.dtype)


MEASURED = []
"""What the accuracy tests of this process found."""


def measure(csm, variant, batch, layout="rows"):
    """The errors of every output of a variant (cases.VARIANTS) on a batch laid out as rows or columns."""
    given = batch.columns if layout == "columns" else batch
    isa, dtype = csm.show_config(mode="dicts")["isa"], batch.x.dtype.name
    found = []
    for output, result in cases.VARIANTS[variant](csm, given).items():
        result = np.asarray(result)
        wanted = "float32" if dtype in cases.HALVES and output.startswith(("loss", "kl")) else dtype
        assert result.dtype == wanted, f"{variant}: {output} of {dtype} came as {result.dtype}"
        result = result.T if layout == "columns" and result.ndim == 2 else result
        truth = TRUTHS[output](batch)
        error = errors(result, truth)
        place = np.unravel_index(error.argmax(), error.shape)
        family = batch.families[place[0] if place else 0]
        value = np.broadcast_to(truth.value, error.shape)[place]
        where = f"{dtype}, {layout} of {given.x.shape}, T = {batch.temperature:g}"
        witness = f"{where}, entry {tuple(map(int, place))} ({family}): {result[place]!r} for {value:.21g}"
        found.append(Measured(output, dtype, isa, float(error[place]), witness))
        if f"{output}, mean" in LIMITS:
            representable = truth.value > ulp(0, dtype) / 2
            found.append(Measured(f"{output}, mean", dtype, isa, float(error[representable].mean()), where))
    return found


def worst(measured):
    """The worst of each output, dtype and instruction set, in the order of `LIMITS`."""
    kept = {}
    for m in measured:
        key = m.output, m.dtype, m.isa
        if key not in kept or m.worst > kept[key].worst:
            kept[key] = m
    return sorted(kept.values(), key=lambda m: list(LIMITS).index(m.output))


def table(measured):
    """The worst errors beside the bounds, as text: a line per output and dtype, a column per level."""
    kept = {(m.output, m.dtype, m.isa): m for m in worst(measured)}
    levels = list(dict.fromkeys(m.isa for m in measured))
    columns = "".join(f"{level:>9}" for level in levels)
    lines = [f"{'worst error in ULP':34}{'dtype':9}{'bound':>6}{columns}  of"]
    for output, dtype in dict.fromkeys((output, dtype) for output, dtype, _ in kept):
        found = [kept.get((output, dtype, level)) for level in levels]
        figures = "".join(f"{m.worst:9.{'2f' if m.worst < 1e4 else '1e'}}" if m else f"{'':9}" for m in found)
        limit = LIMITS[output]
        lines.append(f"{output:34}{dtype:9}{getattr(limit, dtype):6.2f}{figures}  {limit.of}")
    return "\n".join(lines)


def main():
    import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
    from levels import LEVELS, load_level

    measured = []
    for level in LEVELS:
        with tempfile.TemporaryDirectory() as folder:
            csm = load_level(level, folder)
        for dtype in (*cases.DTYPES, *cases.HALVES):
            for variant in cases.VARIANTS:
                for batch in cases.plan(variant, dtype):
                    for layout in ("rows", "columns"):
                        measured += measure(csm, variant, batch, layout)
    print(table(measured))


if __name__ == "__main__":
    main()
