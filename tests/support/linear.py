"""Problems for linear_cross_entropy, and its results in float64 from logits that exist whole."""

import ml_dtypes
import numpy as np
import pytest
import vectorised

ROWS, FEATURES, CLASSES = 13, 5, 7
KINDS = ["labels", "probabilities", "pair"]
RTOL = {"float64": 1e-11, "float32": 2e-5, "float16": 2e-3, "bfloat16": 2e-2}

every_kind = pytest.mark.parametrize("kind", KINDS)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def problem(kind="labels", rows=ROWS, dtype="float64", seed=0, ignored=()):
    """Arguments x, w, target, bias; the rows numbered in `ignored` have a label of -100."""
    rng = np.random.default_rng([seed, rows])
    x, w = rng.normal(size=(rows, FEATURES)), rng.normal(size=(CLASSES, FEATURES))
    bias = rng.normal(size=CLASSES)
    if kind == "probabilities":
        target = rng.dirichlet(np.ones(CLASSES), rows)
    else:
        target = rng.integers(0, CLASSES, rows if kind == "labels" else (rows, 3))
        target[list(ignored)] = -100
    if kind == "pair":
        target[::4, 1] = -100
        target = target, rng.uniform(0, 1, (rows, 3))
    x, w, bias = (a.astype(dtype_of(dtype)) for a in (x, w, bias))
    return {"x": x, "w": w, "target": target, "bias": bias}


def formula(x, w, target, bias=None, **options):
    """(loss, (dx, dw, db)) in float64, the logits whole; x has one axis of rows."""
    x, w = np.asarray(x).astype(float), np.asarray(w, float)
    x = np.where(np.isfinite(x), x, 0)
    logits = x @ w.T + (0 if bias is None else np.asarray(bias, float))
    loss, g, *_ = vectorised.cross_entropy(logits, target, **options)
    return loss, (g @ w, g.T @ x, g.sum(axis=0))


def near(actual, expected, rtol=RTOL["float64"]):
    """Close relative to the largest entry: sums cancel."""
    actual, expected = np.asarray(actual).astype(float), np.asarray(expected).astype(float)
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=1e-3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


def all_near(result, expected, rtol=RTOL["float64"]):
    (loss, gradients), (expected_loss, expected_gradients) = result, expected
    near(loss, expected_loss, rtol)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        near(gradient, wanted, rtol)
