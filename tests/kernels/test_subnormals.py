"""No kernel computes with subnormal numbers where neither an input nor a result is one.

Some CPUs take 150 cycles for an instruction that has a subnormal operand or result, others hardly one more: so this is
not timed but counted, by the flags of the control word that such an instruction raises.
"""

import ctypes

import ml_dtypes
import numpy as np
import pytest

DENORMAL_OPERAND, UNDERFLOW = 2, 16
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
CLASSES = [3, 10, 17, 80, 128, 1000, 32000, 150000]


def rows_of(rng, kind, shape, dtype):
    """Logits whose probabilities are either 0 or normal numbers of the dtype, or their classes are far apart."""
    x = rng.standard_normal(shape)
    if kind == "flat":
        x *= 0.02
    elif kind == "zeros":
        x[...] = 0
    elif kind == "tiny":
        x *= 1e-25
    elif kind == "peaked":
        x[..., ::2] -= 75
        x[..., 1] += 20
    elif kind == "bimodal":
        x[..., ::2] -= 75
    elif kind == "masked":
        x[..., ::2] = -np.inf
    elif kind == "filled":
        x[..., ::2] = np.finfo(dtype if dtype != ml_dtypes.bfloat16 else np.float32).min
    elif kind == "far":
        x += 3000
    elif kind == "one-hot":
        x = np.where(np.arange(shape[-1]) == 1, 1000.0, 0.0) + 0 * x
    return x.astype(dtype)


KINDS = ["normal", "flat", "zeros", "tiny", "peaked", "bimodal", "masked", "filled", "far", "one-hot"]


def temperatures(kind):
    return {"hot": 100.0, "cold": 0.02}.get(kind, 1.0)


def has_subnormal(a):
    """Whether an array holds a subnormal number of its own dtype."""
    a = np.asarray(a)
    bits = a.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[a.itemsize])
    fraction = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[a.dtype.name]
    one = bits.dtype.type(1)
    exponent = (bits >> bits.dtype.type(fraction)) & ((one << bits.dtype.type(8 * a.itemsize - 1 - fraction)) - one)
    return bool(((exponent == 0) & (bits << one != 0)).any())


def spread(x, t, dtype):
    """Logits of cold rows brought to where their probabilities are plainly normal, or plainly 0."""
    low, high = {8: (600, 760)}.get(np.dtype(dtype).itemsize, (70, 115))
    below = (x.max(axis=-1, keepdims=True) - x) / t
    return np.where((below > low) & (below < high), x.max(axis=-1, keepdims=True) - t * low / 2, x)


def outputs(csm, x, axis, t, rng):
    """Every output that is made from logits, by name: a function of no arguments."""
    classes, rows = x.shape[axis], x.shape[1 + axis]
    labels = rng.integers(0, classes, rows)
    best = x.astype(np.float64).argmax(axis=axis)
    soft = np.moveaxis(np.zeros(x.shape, x.dtype), axis, -1)
    soft[..., :2] = 0.5
    soft = np.moveaxis(soft, -1, axis)
    index, prob = np.stack([labels, best], axis=1), np.full((rows, 2), 0.5)
    weight, sample_weight = rng.uniform(0.5, 2, classes), rng.uniform(0.5, 2, rows)
    other = np.roll(x, 1, 1 + axis)
    values = (rng.uniform(0.5, 2, x.shape) * rng.choice([-1, 1], x.shape)).astype(x.dtype)
    options = {"temperature": t, "reduction": "sum", "return_grad": True}
    calls = {
        "softmax": lambda: csm.softmax(x, axis, temperature=t),
        "log_softmax": lambda: csm.log_softmax(x, axis, temperature=t),
        "softmax_entropy": lambda: csm.softmax_entropy(x, axis, temperature=t),
        "entropy and gradient": lambda: csm.softmax_entropy(x, axis, temperature=t, return_grad=True),
        "selective_log_softmax": lambda: csm.selective_log_softmax(x, labels, axis, temperature=t),
        "loss": lambda: csm.cross_entropy(x, labels, axis, **options),
        "loss of the best": lambda: csm.cross_entropy(x, best, axis, **options),
        "loss, none": lambda: csm.cross_entropy(x, best, axis, **options | {"reduction": "none"}),
        "loss of probabilities": lambda: csm.cross_entropy(x, soft, axis, **options),
        "loss, smoothing": lambda: csm.cross_entropy(x, labels, axis, label_smoothing=0.1, **options),
        "loss, z": lambda: csm.cross_entropy(x, labels, axis, z_loss=1e-2, **options),
        "loss, weights": lambda: csm.cross_entropy(
            x, labels, axis, weight=weight, sample_weight=sample_weight, **options
        ),
        "loss, focal": lambda: csm.cross_entropy(x, labels, axis, focal_gamma=2.0, **options),
        "loss of the best, focal": lambda: csm.cross_entropy(x, best, axis, focal_gamma=2.0, **options),
        "loss, pairs": lambda: csm.cross_entropy(x, (index, prob), axis, **options),
        "temperature per row": lambda: csm.softmax(x, axis, temperature=np.full(rows, t)),
        "expectation": lambda: csm.softmax_expectation(x, values, axis, temperature=t),
        "expectation and gradient": lambda: csm.softmax_expectation(x, values, axis, temperature=t, return_grad=True),
        "expectation of classes": lambda: csm.softmax_expectation(x, weight, axis, temperature=t, return_grad=True),
        "top_k_log_softmax": lambda: csm.top_k_log_softmax(x, min(3, classes), axis, temperature=t)[0],
        "kl_divergence": lambda: csm.kl_divergence(x, other, axis, temperature=t, reduction="none"),
        "kl_divergence and gradient": lambda: csm.kl_divergence(x, other, axis, **options),
    }
    if axis == -1:
        flat, offsets = x.ravel(), np.arange(rows + 1) * classes
        reduced = {"reduction": "sum", "return_grad": True}
        calls["segment_softmax"] = lambda: csm.segment_softmax(flat, offsets, temperature=t)
        calls["segment_log_softmax"] = lambda: csm.segment_log_softmax(flat, offsets, temperature=t)
        calls["segment_logsumexp"] = lambda: csm.segment_logsumexp(flat, offsets, temperature=t)
        if t == 1:
            calls["segment_cross_entropy"] = lambda: csm.segment_cross_entropy(flat, labels, offsets, **reduced)
    if t == 1:
        b = rng.uniform(0.1, 2, x.shape) * rng.choice([-1, 0, 1], x.shape, p=[0.4, 0.1, 0.5])
        b = b.astype(x.dtype)
        calls["logsumexp"] = lambda: csm.logsumexp(x, axis)
        wide = np.float32 if x.dtype.itemsize == 2 else x.dtype
        p = csm.softmax(x.astype(wide), axis)
        g = (rng.uniform(0.1, 1, x.shape) * rng.choice([-1, 1], x.shape)).astype(x.dtype)
        if p[p > 0].min() > 2.0**30 * np.finfo(wide).smallest_normal:
            p = p.astype(x.dtype)
            p[p < ml_dtypes.finfo(p.dtype).smallest_normal] = 0
            calls["softmax_vjp"] = lambda: csm.softmax_vjp(p, g, axis)
            calls["log_softmax_vjp"] = lambda: csm.log_softmax_vjp(p, g, axis)
            calls["log_softmax_jvp"] = lambda: csm.log_softmax_jvp(p, g, axis)
            if classes <= 128:
                calls["softmax_jacobian"] = lambda: csm.softmax_jacobian(p, axis)
        calls["logsumexp, b"] = lambda: csm.logsumexp(x, axis, b, return_sign=True)
    if t == 1 and axis == -1 and classes > 1:
        for rule in ("diagonal", "residual"):
            calls[f"grad_hess, {rule}"] = lambda rule=rule: csm.softmax_grad_hess(x, labels, hessian=rule)
        calls["grad_hess of probabilities"] = lambda: csm.softmax_grad_hess(x, soft)
    return calls


def flags_of(word, function):
    """What a call raised of the two flags, and its results."""
    word.clear_flags()
    results = function()
    flags = word.flags() & (DENORMAL_OPERAND | UNDERFLOW)
    return flags, results if isinstance(results, tuple) else (results,)


def logits_of(rng, kind, dtype, classes):
    x = rows_of(rng, kind, (2 if classes > 1000 else 70, classes), np.float64)
    with np.errstate(over="ignore"):
        x = (spread(x, temperatures(kind), DTYPES[dtype]) if kind == "cold" else x).astype(DTYPES[dtype])
    x[abs(x) < np.float64(ml_dtypes.finfo(x.dtype).tiny)] = 0
    return x


def calls_of(csm, rng, kind, dtype):
    """Every output on rows of every length: (what it is, a function, the same in the dtype of the computation)."""
    for classes in CLASSES:
        x = logits_of(rng, kind, dtype, classes)
        for axis in (-1, 0) if classes <= 1000 else (-1,):
            laid_out = x if axis else np.ascontiguousarray(x.T)
            computed = laid_out.astype(np.float32) if x.dtype.itemsize == 2 else laid_out
            seed = rng.integers(2**32)
            given, wide = (
                outputs(csm, a, axis, temperatures(kind), np.random.default_rng(seed)) for a in (laid_out, computed)
            )
            for name in given:
                yield (name, classes, axis), given[name], wide[name]


@pytest.mark.parametrize("kind", [*KINDS, "hot", "cold"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_kernel_computes_with_subnormal_numbers(csm, control_word, dtype, kind):
    """Of 16 bits, results count as subnormal if they are so in float32, in which they are computed."""
    csm.set_num_threads(1)
    csm._csoftmax.keep_float_flags(True)
    word, raised, counted = ctypes.CDLL(control_word), [], 0
    try:
        for what, function, wide in calls_of(csm, np.random.default_rng(5), kind, dtype):
            flags, results = flags_of(word, function)
            if not any(has_subnormal(a) for a in (*results, *flags_of(word, wide)[1])):
                counted += 1
                if flags:
                    raised.append((*what, "operand" * bool(flags & 2), "result" * bool(flags & 16)))
    finally:
        csm._csoftmax.keep_float_flags(False)
    assert counted > 20
    assert raised == []
