"""Inputs and calls that the accuracy tests and the benchmark share. Imports NumPy alone.

A *family* is a way to fill rows of logits. A *batch* holds rows of many families at one row length, dtype
and temperature, with the labels, soft targets, probabilities and cotangents that go with them. A *variant*
is one call of the public API on a batch, giving {output: array}; the names of the outputs are those of
`limits.LIMITS`.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from zlib import crc32

import numpy as np

DTYPES = ("float32", "float64")
HALVES = ("float16", "bfloat16")
"""Computed in float32. NumPy knows the name bfloat16 once ml_dtypes is imported."""
TEMPERATURES = (0.1, 10.0, 0.75, 1e-3, 3e4)
MARGINS = (10, 17, 20, 40, 90)
OFFSETS = (1e4, -1e4, 1e6, 1e8, -1e8)
LENGTHS = (*range(1, 71), 100, 128, 257, 1000, 4096)
FEW_LENGTHS = (1, 2, 3, 7, 10, 16, 33, 70, 128)
HALF_LENGTHS = (1, 2, 3, 10, 33, 128)
SQUARE_LENGTHS = (*range(1, 10), 15, 16, 17, 31, 32, 33, 64, 65, 100)
DEPTH = {"float16": 17.4, "bfloat16": 93.0, "float32": 104.0, "float64": 745.2}
"""e^-DEPTH is below half the smallest subnormal."""


def _raise_one(rng, x, value):
    """Put `value` at a random place of each row."""
    rows, n = x.shape
    x[np.arange(rows), rng.integers(n, size=rows)] = value
    return x


def _normal(rng, shape, depth, scale=3.0, centre=0.0):
    return centre + scale * rng.standard_normal(shape)


def _wide(rng, shape, depth):
    return depth / 3 * rng.standard_normal(shape)


def _equal(rng, shape, depth):
    return np.repeat(10 * rng.standard_normal((shape[0], 1)), shape[1], axis=1)


def _ties(rng, shape, depth):
    return rng.integers(-4, 1, shape).astype(float)


def _peaked(rng, shape, depth):
    x = rng.standard_normal(shape)
    return _raise_one(rng, x, x.max(axis=1) + rng.uniform(0, 40, shape[0]))


def _margin(rng, shape, depth, margin):
    return _raise_one(rng, -rng.uniform(0, 1, shape), margin)


def _subnormal(rng, shape, depth):
    return _raise_one(rng, rng.uniform(-1.003 * depth, -0.84 * depth, shape), 0.0)


def _staircase(rng, shape, depth):
    return rng.permuted(np.tile(np.linspace(-depth, 0, shape[1]), (shape[0], 1)), axis=1)


def _edge(rng, shape, depth, sign):
    """Row maxima at both sides of |m/T| = 208 or 1490, beyond which the kernels shift by m itself."""
    top = sign * 2 * depth + rng.uniform(-1, 1, (shape[0], 1))
    return _raise_one(rng, top - rng.uniform(0, depth, shape), top[:, 0])


def _masked(rng, shape, depth):
    masks = (-np.inf, -1e9, np.finfo("float32" if depth < 200 else "float64").min)
    x = np.where(rng.random(shape) < 0.4, rng.choice(masks, shape), 3 * rng.standard_normal(shape))
    return _raise_one(rng, x, rng.standard_normal(shape[0]))


FAMILIES = {
    "normal": _normal,
    "small": partial(_normal, scale=1e-3),
    "nearly equal": partial(_normal, scale=1e-6, centre=5.0),
    "ties": _ties,
    "equal": _equal,
    "peaked": _peaked,
    "wide": _wide,
    "staircase": _staircase,
    "subnormal": _subnormal,
    "masked": _masked,
    "huge": partial(_normal, scale=1e30),
    "high edge": partial(_edge, sign=1),
    "low edge": partial(_edge, sign=-1),
    **{f"margin {margin}": partial(_margin, margin=margin) for margin in MARGINS},
    **{f"offset {offset:g}": partial(_normal, scale=12.0, centre=offset) for offset in OFFSETS},
}
LONG_FAMILIES = ("normal", "equal", "margin 20", "offset 1e+06")
OPTION_FAMILIES = tuple(family for family in FAMILIES if family != "masked")
"""Smoothing gives each class a part of the loss, and at a mask that is infinite: tested apart."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of logits and what goes with them; the classes lie along `axis` of every 2-d array."""

    x: np.ndarray
    labels: np.ndarray
    soft: np.ndarray
    p: np.ndarray
    g: np.ndarray
    temperature: float
    families: tuple[str, ...]
    axis: int = -1

    @cached_property
    def indices(self):
        """The labels for functions that ignore none."""
        return np.maximum(self.labels, 0)

    @cached_property
    def weight(self):
        """One per class, float32 numbers as the kernels take them."""
        classes = self.x.shape[self.axis]
        return np.random.default_rng(classes).uniform(0.25, 2, classes).astype(np.float32)

    @cached_property
    def sample_weight(self):
        """One per row, of both signs."""
        rng = np.random.default_rng(len(self.labels))
        return rng.uniform(0.25, 2, len(self.labels)).astype(np.float32) * rng.choice([-1, 1], len(self.labels))

    @cached_property
    def where(self):
        """Three classes in four, those of the labels among them."""
        labels = np.concatenate([self.labels[:, None], np.maximum(self.sparse[0], 0)], axis=1)
        where = np.random.default_rng(len(labels)).random((len(labels), self.x.shape[self.axis])) < 0.75
        np.put_along_axis(where, labels, True, axis=1)
        return where if self.axis else where.T

    @cached_property
    def sparse(self):
        """Three labels per row and their probabilities; in turn equal labels, a padded slot, and padding only."""
        rng = np.random.default_rng(len(self.labels))
        rest = rng.integers(self.x.shape[self.axis], size=(len(self.labels), 2))
        index = np.concatenate([self.labels[:, None], rest], axis=1)
        index[0::5, 1] = index[0::5, 0]
        index[1::5, 2] = -100
        index[4::15] = -100
        return index, rng.uniform(0.1, 0.8, index.shape).astype(np.float32)

    @cached_property
    def logits(self):
        """Others beside x: in turn as far as a softmax can be from x's, next to it, and off by a common number."""
        rng = np.random.default_rng(len(self.x))
        x = self.x.astype(np.float64)
        noise = self.temperature * rng.standard_normal(x.shape)
        with np.errstate(over="ignore"):
            b = np.where((np.arange(len(x)) % 2 == 1)[:, None], x + 1e-3 * noise, x + noise)
            b[0::4] = x[0::4, ::-1]
            b[3::4] += 8
            return b.astype(self.x.dtype)

    @cached_property
    def columns(self):
        """The same rows with the class axis strided."""
        turned = {name: np.ascontiguousarray(getattr(self, name).T) for name in ("x", "soft", "p", "g")}
        columns = replace(self, axis=0, **turned)
        columns.__dict__["logits"] = np.ascontiguousarray(self.logits.T)
        return columns


def _labels(rng, x):
    """In turn the largest logit, the smallest and any."""
    choices = np.stack([x.argmax(axis=1), x.argmin(axis=1), rng.integers(x.shape[1], size=len(x))])
    return choices[np.arange(len(x)) % 3, np.arange(len(x))]


def _softmax(x, temperature):
    with np.errstate(over="ignore"):
        e = np.exp((x.astype(np.float64) - x.max(axis=1, keepdims=True)) / temperature)
    return e / e.sum(axis=1, keepdims=True)


def _soft(rng, x, p, labels):
    """In turn a distribution, a smoothed label, the probabilities themselves, weights of both signs."""
    n = x.shape[1]
    soft = rng.dirichlet(np.full(n, 0.5), len(x))
    soft[1::4] = 0.9 * (np.arange(n) == labels[1::4, None]) + 0.1 / n
    soft[2::4] = p[2::4]
    soft[3::4] = rng.standard_normal(soft[3::4].shape)
    soft[x < -1e-6 * np.finfo("float64" if x.dtype == np.float64 else "float32").max] = 0
    return soft


def _cotangents(rng, p):
    """In turn of both signs, positive, one at the most probable class, and nearly constant."""
    g = rng.standard_normal(p.shape)
    g[1::4] = rng.random(g[1::4].shape)
    g[2::4] = np.arange(p.shape[1]) == p[2::4].argmax(axis=1)[:, None]
    g[3::4] = 1e3 + g[3::4]
    return g


@cache
def batch(dtype, n, temperature=1.0, families=tuple(FAMILIES), rows=None):
    """Rows of length n; with a temperature T each family comes as it is and multiplied by T.

    Rows that overflow in a narrow dtype are left out.
    """
    rows = rows or (20 if n <= 16 else 3 if n <= 1000 else 1)
    parts, names = [], []
    for scale in sorted({1.0, temperature}):
        for family in families:
            rng = np.random.default_rng([n, crc32(family.encode())])
            part = FAMILIES[family](rng, (rows, n), DEPTH[dtype])
            with np.errstate(over="ignore"):
                part = (scale * part).astype(dtype)
            parts.append(part[np.isfinite(part.max(axis=1))])
            names += [family if scale == 1 else f"{family}, times T"] * len(parts[-1])
    x = np.concatenate(parts)
    rng = np.random.default_rng(n)
    labels, p = _labels(rng, x), _softmax(x, temperature)
    soft, g = _soft(rng, x, p, labels).astype(dtype), _cotangents(rng, p).astype(dtype)
    return Batch(x, labels, soft, p.astype(dtype), g, temperature, tuple(names))


def _map(function):
    def call(csm, b):
        return {function: getattr(csm, function)(b.x, b.axis, temperature=b.temperature)}

    return call


def _derivative(function):
    def call(csm, b):
        return {function: getattr(csm, function)(b.p, b.g, b.axis, temperature=b.temperature)}

    return call


def _logsumexp(csm, b):
    return {"logsumexp": csm.logsumexp(b.x, b.axis)}


def _logsumexp_b(csm, b):
    return {"logsumexp, b": csm.logsumexp(b.x, b.axis, b.g, return_sign=True)[0]}


def _jacobian(csm, b):
    return {"softmax_jacobian": csm.softmax_jacobian(b.p, b.axis, temperature=b.temperature)}


def _loss(kind, reduction):
    def call(csm, b):
        target = b.labels if kind == "index" else b.soft
        loss = csm.cross_entropy(b.x, target, b.axis, temperature=b.temperature, reduction=reduction)
        return {f"loss, {kind}, {reduction}": loss}

    return call


def _loss_and_gradient(kind, reduction):
    def call(csm, b):
        target = b.labels if kind == "index" else b.soft
        loss, gradient = csm.cross_entropy(
            b.x, target, b.axis, temperature=b.temperature, reduction=reduction, return_grad=True
        )
        name = f"gradient, {kind}, {reduction}"
        own = {f"{name}, own entry": gradient} if kind == "index" else {}
        return {f"loss, {kind}, {reduction}": loss, name: gradient, **own}

    return call


def _entropy(csm, b):
    return {"softmax_entropy": csm.softmax_entropy(b.x, b.axis, temperature=b.temperature)}


def _entropy_and_gradient(csm, b):
    entropy, gradient = csm.softmax_entropy(b.x, b.axis, temperature=b.temperature, return_grad=True)
    return {"softmax_entropy": entropy, "gradient, entropy": gradient}


VALUES = {"of rows": lambda b: b.g, "of classes": lambda b: b.weight}
"""The values whose expectations are taken: those of each row, or one vector."""


def _expectation(kind):
    def call(csm, b):
        options = {"temperature": b.temperature, "return_grad": True}
        mean, gradient = csm.softmax_expectation(b.x, VALUES[kind](b), b.axis, **options)
        return {f"softmax_expectation, {kind}": mean, f"gradient, expectation {kind}": gradient}

    return call


MOST = 3
"""The largest log-probability that is measured is the third, or the last."""


def _top_k(csm, b):
    k = min(MOST, b.x.shape[b.axis])
    return {"top_k_log_softmax": csm.top_k_log_softmax(b.x, k, b.axis, temperature=b.temperature)[0][..., -1]}


def _divergence(csm, b):
    loss, gradient = csm.kl_divergence(
        b.x, b.logits, b.axis, temperature=b.temperature, reduction="none", return_grad=True
    )
    return {"kl_divergence": loss, "gradient, KL": gradient}


def _selective(csm, b):
    picked = csm.selective_log_softmax(b.x, b.indices, b.axis, temperature=b.temperature)
    return {"selective_log_softmax": picked}


HESSIANS = ("diagonal", "upper", "friedman", "residual")


def _grad_hess(rule):
    def call(csm, b):
        raw = b.x if b.axis == -1 else b.x.T
        gradient, hessian = csm.softmax_grad_hess(raw, b.indices, hessian=rule, eps=0.0)
        if b.axis == 0:
            gradient, hessian = gradient.T, hessian.T
        own = "gradient, index, none, own entry"
        return {f"hessian, {rule}": hessian, "gradient, index, none": gradient, own: gradient}

    return call


SMOOTHING, Z_LOSS, SOFTCAP = 0.125, 2.0**-10, 30.0
OPTIONS = {
    "weight": lambda b: {"weight": b.weight},
    "sample weight": lambda b: {"sample_weight": b.sample_weight},
    "smoothing": lambda b: {"label_smoothing": SMOOTHING},
    "z-loss": lambda b: {"z_loss": Z_LOSS},
    "softcap": lambda b: {"softcap": SOFTCAP},
}
OPTIONS["all options"] = lambda b: {k: v for option in list(OPTIONS)[:5] for k, v in OPTIONS[option](b).items()}
OPTIONS["no option"] = lambda b: {}
OPTIONS["where"] = lambda b: {"where": b.where, "label_smoothing": SMOOTHING}
FOCAL = {"focal": 2.0, "weak focal, weights": 0.25, "strong focal": 30.0}
OPTIONS |= {option: lambda b, gamma=gamma: {"focal_gamma": gamma} for option, gamma in FOCAL.items()}
OPTIONS["weak focal, weights"] = lambda b: {
    "focal_gamma": FOCAL["weak focal, weights"],
    "weight": b.weight,
    "sample_weight": b.sample_weight,
}
LOSSES = (
    *(("index", option) for option in list(OPTIONS)[:6]),
    ("soft", "all options"),
    ("sparse", "no option"),
    ("sparse", "all options"),
    ("index", "where"),
    ("sparse", "where"),
    *(("index", option) for option in FOCAL),
)
"""The kinds of target and the options whose errors are measured."""


def _optional_loss(kind, option):
    def call(csm, b):
        target = {"index": b.labels, "soft": b.soft, "sparse": b.sparse}[kind]
        loss, gradient = csm.cross_entropy(
            b.x, target, b.axis, temperature=b.temperature, reduction="none", return_grad=True, **OPTIONS[option](b)
        )
        return {f"loss, {kind}, {option}": loss, f"gradient, {kind}, {option}": gradient}

    return call


VARIANTS = {
    "softmax": _map("softmax"),
    "log_softmax": _map("log_softmax"),
    "logsumexp": _logsumexp,
    "logsumexp, b": _logsumexp_b,
    "softmax_jacobian": _jacobian,
    "softmax_vjp": _derivative("softmax_vjp"),
    "softmax_jvp": _derivative("softmax_jvp"),
    "log_softmax_vjp": _derivative("log_softmax_vjp"),
    "log_softmax_jvp": _derivative("log_softmax_jvp"),
    "loss, index": _loss("index", "none"),
    "loss, soft": _loss("soft", "none"),
    "loss and gradient, index": _loss_and_gradient("index", "none"),
    "loss and gradient, soft": _loss_and_gradient("soft", "none"),
    "sum, index": _loss("index", "sum"),
    "sum, soft": _loss("soft", "sum"),
    "mean and gradient, index": _loss_and_gradient("index", "mean"),
    "mean and gradient, soft": _loss_and_gradient("soft", "mean"),
    "softmax_entropy": _entropy,
    "entropy and gradient": _entropy_and_gradient,
    **{f"expectation {kind}": _expectation(kind) for kind in VALUES},
    "kl_divergence": _divergence,
    "selective_log_softmax": _selective,
    "top_k_log_softmax": _top_k,
    **{f"grad_hess, {rule}": _grad_hess(rule) for rule in HESSIANS},
    **{f"{kind}, {option}": _optional_loss(kind, option) for kind, option in LOSSES},
}


REDUCED = ("sum, index", "sum, soft", "mean and gradient, index", "mean and gradient, soft")
"""The variants that give one number for a whole batch: of one family, lest the largest hide the rest."""


GRAD_HESS = tuple(f"grad_hess, {rule}" for rule in HESSIANS)
OPTIONAL = tuple(f"{kind}, {option}" for kind, option in LOSSES)


FINITE = tuple(family for family in FAMILIES if family != "masked")
"""Of rows whose divergence from others is finite."""


def plan(variant, dtype):
    """The batches that show the accuracy of a variant."""
    if variant in REDUCED:
        lengths, temperatures = ((1, 3, 33), (1.0,)) if dtype in HALVES else ((1, 3, 10, 33, 1000), (1.0, 0.1))
        batches = [batch(dtype, n, t, (family,)) for n in lengths for t in temperatures for family in FAMILIES]
        return [b for b in batches if len(b.x)]
    if variant == "softmax_jacobian" and dtype not in HALVES:
        return [
            *(batch(dtype, n) for n in SQUARE_LENGTHS),
            *(batch(dtype, n, t) for n in (2, 7, 33) for t in TEMPERATURES),
        ]
    families = OPTION_FAMILIES if variant in OPTIONAL else tuple(FAMILIES)
    lengths, few, temperatures = LENGTHS, FEW_LENGTHS, TEMPERATURES
    if variant in OPTIONAL:
        lengths, few, temperatures = FEW_LENGTHS, (2, 10, 33), (0.1, 10.0)
    if variant in GRAD_HESS:
        lengths, temperatures = (*FEW_LENGTHS[1:], 1000, 4096), ()
    if dtype in HALVES:
        lengths, few = tuple(n for n in HALF_LENGTHS if n >= lengths[0]), (2, 10, 33)
        temperatures = (0.1, 10.0) if temperatures else ()
    if variant in ("logsumexp", "logsumexp, b"):
        temperatures = ()
    if variant == "kl_divergence":
        families = FINITE
        lengths = tuple(n for n in lengths if n in FEW_LENGTHS or n == 1000)
    return [
        *(batch(dtype, n, families=families) for n in lengths),
        *(batch(dtype, n, t, families) for n in few for t in temperatures),
    ]
