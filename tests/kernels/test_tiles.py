"""Rows and columns computed by tiles: a row has the same bits whatever rows are in its tile.

Kernels take rows by four vectors, by one, or what is left.
"""

import numpy as np
import pytest

ROWS = 150
FEWER = (16, 17, 31, 33, 63, 64, 65, 100, 129)
"""At least as many as the widest vector has lanes: below, rows of few classes are computed another way."""
CLASSES = (2, 3, 4, 5, 10, 17, 48)


def cut(results, rows, axis):
    """The results of the first rows alone. `results` lie along `axis`, or have one number per row."""
    return [np.asarray(a)[:rows] if a.ndim == 1 or axis else np.asarray(a)[:, :rows] for a in results]


def every_result(csm, arrays, axis):
    x, p, labels, weight = arrays
    options = {"axis": axis, "reduction": "none", "return_grad": True}
    yield csm.softmax(x, axis=axis)
    yield csm.softmax(x, axis=axis, temperature=0.7)
    yield csm.log_softmax(x, axis=axis)
    yield csm.logsumexp(x, axis=axis)
    yield csm.softmax_entropy(x, axis=axis)
    yield csm.softmax_vjp(p, x, axis=axis)
    yield csm.log_softmax_vjp(p, x, axis=axis)
    yield from csm.cross_entropy(x, labels, **options)
    yield from csm.cross_entropy(x, labels, **options, z_loss=1e-3, temperature=2)
    yield from csm.cross_entropy(x, p, **options)
    yield from csm.cross_entropy(x, p, **options, label_smoothing=0.1, weight=weight)
    if axis:
        yield from csm.softmax_grad_hess(x, labels % x.shape[axis])
        yield csm.softmax_jacobian(p)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", CLASSES)
def test_a_row_has_the_same_bits_among_any_others(csm, classes, dtype, axis):
    rng = np.random.default_rng(classes)
    x, p = 3 * rng.standard_normal((ROWS, classes)), rng.dirichlet(np.ones(classes), ROWS)
    labels = rng.integers(0, classes, ROWS)
    labels[7::11] = -100
    weight = rng.uniform(0.5, 2, classes)
    if not axis:
        x, p = x.T, p.T

    def given(rows):
        some = [np.ascontiguousarray(a[:rows] if axis else a[:, :rows], dtype) for a in (x, p)]
        return *some, labels[:rows], weight

    whole = list(every_result(csm, given(ROWS), axis))
    for rows in FEWER:
        alone = list(every_result(csm, given(rows), axis))
        for a, b in zip(cut(whole, rows, axis), alone, strict=True):
            np.testing.assert_array_equal(a, b)


def every_result_at(csm, arrays, axis, temperature, squares=True):
    x, p, labels = arrays
    options = {"axis": axis, "temperature": temperature}
    for function in (csm.softmax, csm.log_softmax, csm.softmax_entropy):
        yield function(x, **options)
    for function in (csm.softmax_vjp, csm.log_softmax_vjp, csm.log_softmax_jvp):
        yield function(p, x, **options)
    yield from csm.cross_entropy(x, labels, **options, reduction="none", return_grad=True)
    yield from csm.cross_entropy(x, labels, **options, reduction="none", return_grad=True, label_smoothing=0.1)
    if axis and squares:
        yield csm.softmax_jacobian(p, **options)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", (*CLASSES, 100, 300))
def test_a_row_has_the_same_bits_among_other_temperatures(csm, classes, dtype, axis):
    """A row with a temperature of its own is as where all rows have that one."""
    rng = np.random.default_rng(classes)
    x, p = 3 * rng.standard_normal((ROWS, classes)), rng.dirichlet(np.ones(classes), ROWS)
    x, p = (np.ascontiguousarray(a if axis else a.T, dtype) for a in (x, p))
    labels, values = rng.integers(0, classes, ROWS), np.array([1e-3, 0.3, 2.5, 1e30])
    which = rng.integers(0, len(values), ROWS)
    mixed = list(every_result_at(csm, (x, p, labels), axis, values[which]))
    for i, value in enumerate(values):
        alike = every_result_at(csm, (x, p, labels), axis, float(value))
        for a, b in zip(mixed, alike, strict=True):
            mine = (..., which == i) if a.ndim == 1 or not axis else which == i
            np.testing.assert_array_equal(a[mine], b[mine])


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_rows_with_temperatures_of_their_own(csm, dtype, rows):
    """One row that threads share, where there are several, and two rows that each are a tile of their own."""
    x = 3 * np.random.default_rng(rows).standard_normal((rows, 300_001)).astype(dtype)
    labels, values = np.arange(rows), np.array([0.3, 2.5])[:rows]
    mixed = list(every_result_at(csm, (x, csm.softmax(x), labels), 1, values, squares=False))
    for row, value in enumerate(values):
        alone = (x[row : row + 1], csm.softmax(x[row : row + 1]), labels[row : row + 1])
        for a, b in zip(mixed, every_result_at(csm, alone, 1, float(value), squares=False), strict=True):
            np.testing.assert_array_equal(a[row : row + 1], b)
