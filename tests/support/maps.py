"""The maps and sums of logits by their definitions in pure Python, under a mask and with a temperature per row."""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference

DTYPES = ["float16", "bfloat16", "float32", "float64"]
TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 1e-6, "float64": 1e-14}
SENTINEL = 7.25
FILL = {"softmax": 0.0, "log_softmax": -np.inf}
MAPS = list(FILL)
SUMS = ["logsumexp", "softmax_entropy"]
EMPTY = {"logsumexp": -np.inf, "softmax_entropy": 0.0}
"""The result of a row without classes."""

every_map = pytest.mark.parametrize("name", MAPS)
every_function = pytest.mark.parametrize("name", MAPS + SUMS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_axis = pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2), (2, 1), None], ids=str)


def logits(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(scale=3.0, size=shape).astype(dtype)


def mask(*shape, seed=1):
    return np.random.default_rng(seed).random(shape) < 0.6


def poisoned(x, where):
    """NaN where no class takes part."""
    return np.where(where, x, np.array(np.nan, x.dtype)).astype(x.dtype)


def rows_of(a, axis):
    """`a` with the classes of an axis argument last and flat, and the shape of the rows."""
    axes = range(a.ndim) if axis is None else np.atleast_1d(axis) % a.ndim
    others = [i for i in range(a.ndim) if i not in axes]
    shape = [a.shape[i] for i in others]
    return a.transpose(*others, *sorted(axes)).reshape(*shape, -1), tuple(shape)


def same(actual, expected, dtype="float64"):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def by_definition(name, x, where, axis, temperature=1.0):
    """A function row by row in pure Python, the classes that take part compressed into a shorter row.

    The result of a map comes with the classes last and flat, as `rows_of` gives them.
    """
    values, rows = rows_of(np.asarray(x, np.float64), axis)
    takes_part, _ = rows_of(np.broadcast_to(where, x.shape), axis)
    temperatures = np.broadcast_to(temperature, rows).ravel().tolist()
    results = []
    for v, w, t in zip(
        values.reshape(-1, values.shape[-1]).tolist(),
        takes_part.reshape(-1, values.shape[-1]).tolist(),
        temperatures,
        strict=True,
    ):
        kept = [a for a, part in zip(v, w, strict=True) if part]
        if name in MAPS:
            row_function = getattr(reference, name)
            results.append(reference.selected(lambda k, f=row_function, t=t: f(k, t), v, w, FILL[name]))
        elif name == "logsumexp":
            results.append(reference.logsumexp(kept))
        else:
            results.append(reference.entropy(kept, t))
    return np.reshape(results, values.shape if name in MAPS else rows)
