"""top_k_log_softmax: the classes of the largest logits, in order, and their log-probabilities."""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
from losses import near

KINDS = {
    "normal": lambda rng, shape: rng.normal(scale=3, size=shape),
    "ties": lambda rng, shape: rng.integers(-2, 3, shape).astype(float),
    "equal": lambda rng, shape: np.zeros(shape),
    "rising": lambda rng, shape: np.sort(rng.normal(size=shape), axis=-1),
    "falling": lambda rng, shape: -np.sort(rng.normal(size=shape), axis=-1),
}


def in_order(x, k):
    return np.argsort(-x.astype(float), axis=-1, kind="stable")[..., :k]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 3, 10, 64, 100, 700, 5000])
def test_order_of_top_k(csm, n, dtype, kind):
    """Falling, ties by the smaller class; the log-probabilities have the bits of selective_log_softmax."""
    x = KINDS[kind](np.random.default_rng(n), (11, n)).astype(dtype)
    for k in sorted({1, min(2, n), min(5, n), min(20, n), min(n, 700)}):
        log_p, index = csm.top_k_log_softmax(x, k)
        assert log_p.shape == index.shape == (11, k) and index.dtype == np.intp and log_p.dtype == dtype
        np.testing.assert_array_equal(index, in_order(x, k))
        near(log_p, csm.selective_log_softmax(x, index), dtype)
        assert (np.diff(log_p.astype(float), axis=-1) <= 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_axes_and_layouts_of_top_k(csm, axis, dtype):
    x = np.random.default_rng(2).normal(scale=9, size=(4, 6, 5)).astype(dtype)
    last = np.moveaxis(x, axis, -1)
    temperature = np.random.default_rng(3).uniform(0.5, 2, last.shape[:-1])
    for given in (x, np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2], x.astype(x.dtype.newbyteorder())):
        log_p, index = csm.top_k_log_softmax(given, 3, axis, temperature=temperature)
        np.testing.assert_array_equal(index, in_order(last, 3))
        expected = csm.selective_log_softmax(x, index, axis, temperature=temperature)
        near(log_p, expected, dtype if dtype != "int8" else "float64")


def test_reference_of_top_k(csm):
    x = np.random.default_rng(4).normal(size=(6, 9))
    log_p, index = csm.top_k_log_softmax(x, 4, temperature=0.5)
    for i, row in enumerate(x.tolist()):
        assert index[i].tolist() == reference.top_k(row, 4)
        near(log_p[i], reference.selective_log_softmax(row, index[i].tolist(), 0.5))


@pytest.mark.parametrize("n", [4, 40, 400])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_of_top_k(csm, dtype, n):
    """A row without a softmax is NaN; NaN counts as -inf in the order."""
    inf, nan = np.inf, np.nan
    x = np.full((5, n), -inf, dtype)
    x[:, -4:] = [[1, nan, 3, -inf], [inf, 0, 1, 2], [-inf] * 4, [1, 2, 3, 4], [0, 3, -inf, 3]]
    log_p, index = csm.top_k_log_softmax(x, 3)
    assert index.tolist() == [reference.top_k(row, 3) for row in x.tolist()]
    assert np.isnan(log_p[:3]).all()
    near(log_p[3:], np.take_along_axis(csm.log_softmax(x[3:]), index[3:], -1), dtype)


def test_where_of_top_k(csm):
    """Of fewer classes than k the last are -inf; a row without classes is -inf alone."""
    x = np.array([[1.0, np.nan, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0], [1.0, 2.0, 3.0, -np.inf]])
    where = np.array([[True, False, True, False], [False] * 4, [True, False, True, True]])
    log_p, index = csm.top_k_log_softmax(x, 4, where=where)
    expected = csm.log_softmax(x, where=where)
    np.testing.assert_array_equal(index, [[2, 0, 1, 3], [0, 1, 2, 3], [2, 0, 1, 3]])
    near(log_p, np.take_along_axis(expected, index, -1))
    columns = csm.top_k_log_softmax(x.T.copy(), 4, 0, where=where.T)
    np.testing.assert_array_equal(columns[1], index)


def test_shapes_of_top_k(csm):
    assert csm.top_k_log_softmax([0.0, 1.0], 1)[1].tolist() == [1]
    assert csm.top_k_log_softmax(3.0, 1)[0].tolist() == [0]
    assert csm.top_k_log_softmax(np.zeros((0, 3)), 2)[0].shape == (0, 2)
    assert csm.top_k_log_softmax(np.zeros((2, 0, 3)), 2)[1].shape == (2, 0, 2)
    with pytest.raises(ValueError, match="k must be from 1 to the number of classes, 0"):
        csm.top_k_log_softmax(np.zeros((2, 0)), 1)


def test_threads_of_top_k(csm):
    """The same bits from any number of them."""
    x = np.random.default_rng(5).normal(size=(400, 3000)).astype("f4")
    threads, results = csm.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            csm.set_num_threads(count)
            csm._csoftmax.assume_cpus(count)
            results.append(csm.top_k_log_softmax(x, 20))
    finally:
        csm._csoftmax.assume_cpus(0)
        csm.set_num_threads(threads)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
