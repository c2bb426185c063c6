"""The public functions as tables: their signatures, valid arguments of each, and a check that a call is refused."""

import inspect
import re

import numpy as np
import pytest

import csoftmax

DTYPES = ["f4", "f8"]
SENTINEL = 7.25

SIGNATURES = {
    "softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "log_softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "logsumexp": ("(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None)"),
    "selective_log_softmax": (
        "(x, index, axis=-1, *, temperature=1.0, softcap=None, where=None, ignore_index=None, dtype=None, out=None)"
    ),
    "softmax_entropy": (
        "(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, return_grad=False, dtype=None, out=None)"
    ),
    "softmax_expectation": "(x, values, axis=-1, *, temperature=1.0, where=None, return_grad=False, out=None)",
    "softmax_jacobian": "(p, axis=-1, *, temperature=1.0, out=None)",
    "softmax_vjp": "(p, g, axis=-1, *, temperature=1.0, out=None)",
    "softmax_jvp": "(p, t, axis=-1, *, temperature=1.0, out=None)",
    "log_softmax_vjp": "(p, g, axis=-1, *, temperature=1.0, out=None)",
    "log_softmax_jvp": "(p, t, axis=-1, *, temperature=1.0, out=None)",
    "cross_entropy": (
        "(logits, target, axis=-1, *, weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, focal_gamma=0.0, z_loss=0.0, softcap=None, temperature=1.0, where=None, "
        "reduction='mean', normalizer=None, return_grad=False, out=None)"
    ),
    "kl_divergence": (
        "(p_logits, q_logits, axis=-1, *, temperature=1.0, where=None, sample_weight=None, reduction='mean', "
        "normalizer=None, return_grad=False, out=None)"
    ),
}
APART = {
    "softmax_grad_hess": "(raw, y, *, sample_weight=None, hessian='diagonal', eps=1e-16, out=None)",
    "linear_cross_entropy": (
        "(x, w, target, bias=None, *, weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, focal_gamma=0.0, z_loss=0.0, softcap=None, temperature=1.0, where=None, "
        "reduction='mean', normalizer=None, return_grad=False, chunk_size=None, out=None, accumulate=False)"
    ),
    "top_k_log_softmax": "(x, k, axis=-1, *, temperature=1.0, where=None)",
    "segment_softmax": "(x, offsets, *, temperature=1.0, out=None)",
    "segment_log_softmax": "(x, offsets, *, temperature=1.0, out=None)",
    "segment_logsumexp": "(x, offsets, *, temperature=1.0, out=None)",
    "segment_softmax_vjp": "(p, g, offsets, *, out=None)",
    "segment_cross_entropy": (
        "(x, target, offsets, *, sample_weight=None, reduction='mean', return_grad=False, out=None)"
    ),
}
"""Those without an axis and with several outputs: the tables are not crossed with them."""

SEGMENTS = [name for name in APART if name.startswith("segment_")]

CONTROL = ["set_num_threads", "get_num_threads", "show_config"]
MAPS = ["softmax", "log_softmax", "logsumexp", "softmax_entropy"]
TYPED = [*MAPS, "selective_log_softmax"]
PRODUCTS = ["softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp"]
SCALED = [name for name in SIGNATURES if name != "logsumexp"]
ONE_AXIS = [
    "softmax_jacobian",
    *PRODUCTS,
    "cross_entropy",
    "kl_divergence",
    "selective_log_softmax",
    "softmax_expectation",
]
LOSSES = ["cross_entropy", "kl_divergence"]
PER_ROW = ["logsumexp", "softmax_entropy", "selective_log_softmax", "softmax_expectation"]

every_function = pytest.mark.parametrize("name", SIGNATURES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def array(dtype, shape=(3, 4)):
    return np.random.default_rng(0).random(shape).astype(dtype)


def filled(dtype, *shapes):
    return tuple(np.full(shape, SENTINEL, dtype) for shape in shapes)


def arguments(name, dtype):
    """Valid arguments of a function, by name; `out` and what it takes come with them."""
    if name == "softmax_grad_hess":
        return {"raw": array(dtype), "y": np.array([0, 3, 1]), "out": filled(dtype, (3, 4), (3, 4))}
    if name == "linear_cross_entropy":
        given = {"x": array(dtype, (3, 2)), "w": array(dtype, (4, 2)), "target": np.array([0, 3, 1])}
        return given | {"bias": array(dtype, 4), "return_grad": True, "out": filled(dtype, (3, 2), (4, 2), 4)}
    if name == "top_k_log_softmax":
        return {"x": array(dtype), "k": 2}
    if name in SEGMENTS:
        return segments(name, dtype)
    first, *others = inspect.signature(getattr(csoftmax, name)).parameters
    shape = (3,) if name in PER_ROW else (3, 4, 4) if name == "softmax_jacobian" else (3, 4)
    valid = {first: array(dtype), "axis": -1, "out": np.full(shape, SENTINEL, dtype)}
    if name in PRODUCTS:
        valid[others[0]] = array(dtype)
    if name == "cross_entropy":
        valid |= {"target": np.array([0, 3, 1]), "return_grad": True}
    if name == "kl_divergence":
        valid |= {"q_logits": array(dtype)[::-1].copy(), "return_grad": True}
    if name == "selective_log_softmax":
        valid["index"] = np.array([0, 3, 1])
    if name == "softmax_expectation":
        valid["values"] = array(dtype, 4)
    return valid


def segments(name, dtype):
    """Valid arguments of a function of two rows of 3 and 4 classes, one after another."""
    given = {"p" if name == "segment_softmax_vjp" else "x": array(dtype, 7)}
    if name == "segment_softmax_vjp":
        given["g"] = array(dtype, 7)
    if name == "segment_cross_entropy":
        given |= {"target": np.array([2, 3]), "return_grad": True}
    shape = (2,) if name == "segment_logsumexp" else (7,)
    return given | {"offsets": np.array([0, 3, 7]), "out": np.full(shape, SENTINEL, dtype)}


def arrays_in(value):
    """The arrays of an argument, those in tuples among them, but for arrays of objects."""
    if isinstance(value, tuple | dict):
        return [a for one in (value.values() if isinstance(value, dict) else value) for a in arrays_in(one)]
    return [value] if isinstance(value, np.ndarray) and not value.dtype.hasobject else []


def refused(name, dtype, error, /, *words, **changes):
    """The call raises `error` with every one of `words` in its message, and no array changes.

    If `changes` say nothing of the output, it is tried apart, in the place of the first array, and not given.
    """
    given = arguments(name, dtype) | changes
    calls = [given]
    if "out" in given and not changes.keys() & {"out", "return_grad"}:
        calls.append(given | {"out": None})
        first = next(iter(given))
        if first not in changes and getattr(given["out"], "shape", None) == given[first].shape:
            calls.append(given | {"out": given[first]})
    for call in calls:
        before = [np.asarray(a).tobytes() for a in arrays_in(call)]
        with pytest.raises(error) as caught:
            getattr(csoftmax, name)(**call)
        message = str(caught.value)
        for word in words:
            assert re.search(word, message), (word, message)
        assert [np.asarray(a).tobytes() for a in arrays_in(call)] == before
    return message


def names(*shapes):
    """Patterns for shapes in a message, with or without blanks."""
    return [re.escape(str(shape)).replace(r"\ ", " ?") for shape in shapes]


def table(functions, cases):
    """Parameters (name, case) for every function and case, with readable ids."""
    return pytest.mark.parametrize(
        ("name", "case"),
        [pytest.param(name, case, id=f"{name}-{case}") for name in functions for case in cases],
    )


def read_only(a):
    a.flags.writeable = False
    return a
