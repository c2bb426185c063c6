"""softmax_expectation: its definition and gradient, masks, dtypes, layouts, and values that are not finite."""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
from differences import differences
from differences import near as near_differences
from losses import near, poisoned

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8"]
COMPUTED = {"float16": "float16", "bfloat16": "bfloat16", "float32": "float32"}


def arrays(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=shape), rng.normal(scale=2, size=shape)


def by_reference(x, values, temperature=1.0):
    rows = [(a.tolist(), v.tolist()) for a, v in zip(x, np.broadcast_to(values, x.shape), strict=True)]
    return (
        [reference.expectation(a, v, temperature) for a, v in rows],
        [reference.expectation_gradient(a, v, temperature) for a, v in rows],
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 40, 70, 130])
@pytest.mark.parametrize("rows", [1, 5, 40, 200])
def test_definition_of_expectation(csm, rows, n, temperature):
    """In rows and columns, of an array and of a vector of values, in place and apart."""
    x, values = arrays(rows, n)
    for given in (values, values[0]):
        expected = by_reference(x, given, temperature)
        for axis, logits in ((-1, x), (0, np.ascontiguousarray(x.T))):
            v = given.T if axis == 0 and given.ndim == 2 else given
            mean, gradient = csm.softmax_expectation(logits, v, axis, temperature=temperature, return_grad=True)
            near(mean, expected[0], scale=4)
            near(gradient if axis else gradient.T, expected[1], scale=8)
            np.testing.assert_array_equal(csm.softmax_expectation(logits, v, axis, temperature=temperature), mean)
            each = csm.softmax_expectation(logits, v, axis, temperature=np.full(rows, temperature))
            near(each, expected[0], scale=4)
            own = logits.copy()
            _, same = csm.softmax_expectation(own, v, axis, temperature=temperature, return_grad=True, out=own)
            assert same is own
            np.testing.assert_array_equal(own, gradient)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_differences_of_expectation(csm, n, temperature):
    x, values = (a[0] for a in arrays(1, n))
    gradient = csm.softmax_expectation(x, values, temperature=temperature, return_grad=True)[1]
    mean = lambda v: csm.softmax_expectation(v, values, temperature=temperature)  # noqa: E731
    near_differences(gradient, differences(mean, x))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts_of_expectation(csm, dtype, axis):
    x, values = (a.astype(dtype) for a in arrays(4, 6, 5))
    wide = csm.softmax_expectation(x.astype(float), values.astype(float), axis, return_grad=True)
    kind = COMPUTED.get(dtype, "float64")
    for logits in (x, np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2], x.astype(x.dtype.newbyteorder())):
        for v in (values, np.asfortranarray(values)):
            mean, gradient = csm.softmax_expectation(logits, v, axis, return_grad=True)
            assert mean.dtype == kind and gradient.dtype == kind and gradient.shape == x.shape
            near(mean, wide[0], kind, scale=4)
            near(gradient, wide[1], kind, scale=8)
    out = np.empty(wide[0].shape, np.float32)
    assert csm.softmax_expectation(x, values, axis, out=out) is out
    near(out, wide[0], kind if kind in ("float16", "bfloat16") else "float32", scale=4)


def test_values_broadcast(csm):
    """A vector is one value for each class whatever the axis; other arrays broadcast to x."""
    x, values = arrays(4, 4, 4)
    for axis in range(3):
        whole = np.moveaxis(np.broadcast_to(values[0, 0], x.shape), -1, axis)
        vector = csm.softmax_expectation(x, values[0, 0], axis)
        np.testing.assert_array_equal(vector, csm.softmax_expectation(x, whole.copy(), axis))
        np.testing.assert_array_equal(
            csm.softmax_expectation(x, values[:, :1], axis),
            csm.softmax_expectation(x, np.broadcast_to(values[:, :1], x.shape).copy(), axis),
        )
    near(csm.softmax_expectation(x, np.arange(4), 0), csm.softmax_expectation(x, np.arange(4.0), 0))
    assert csm.softmax_expectation(x.astype("f4"), np.arange(4)).dtype == np.float32
    assert csm.softmax_expectation(3.0, 2.0) == 2 and csm.softmax_expectation([3.0, 3.0], [2, 4]) == 3


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_where_of_expectation(csm, dtype, axis):
    """Neither logits nor values outside the mask are used."""
    x, values = (a.astype(dtype) for a in arrays(9, 7))
    where = np.random.default_rng(1).random(x.shape) < 0.6
    where[2] = False
    x, values = poisoned(x, where), poisoned(values, where)
    given = [x, values, where] if axis else [np.ascontiguousarray(a.T) for a in (x, values, where)]
    mean, gradient = csm.softmax_expectation(*given[:2], axis, where=given[2], return_grad=True)
    gradient = gradient if axis else gradient.T
    for i in range(len(x)):
        kept = where[i]
        expected = by_reference(x[i : i + 1, kept].astype(float), values[i : i + 1, kept].astype(float))
        near(mean[i], expected[0][0] if kept.any() else 0, dtype, scale=4)
        near(gradient[i, kept], expected[1][0], dtype, scale=8)
        assert (gradient[i, ~kept] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_of_expectation(csm, dtype):
    inf, nan = np.inf, np.nan
    x = np.array([[0, 0, -inf], [nan, 0, 0], [inf, 0, 0], [-inf] * 3, [0, 0, 0], [0, 0, 0]], dtype)
    values = np.array([[1, 3, nan], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, inf, 1], [1, nan, 1]], dtype)
    for n in (3, 30, 300):
        row = np.full((len(x), n), -inf, dtype)
        v = np.full((len(x), n), inf, dtype)
        row[:, :3], v[:, :3] = x, values
        for axis, logits, of in ((-1, row, v), (0, row.T.copy(), v.T.copy())):
            mean, gradient = csm.softmax_expectation(logits, of, axis, return_grad=True)
            gradient = gradient if axis else gradient.T
            np.testing.assert_array_equal(mean[:4], np.array([2, nan, nan, nan], dtype))
            assert not np.isfinite(mean[4]) and np.isnan(mean[5])
            np.testing.assert_array_equal(gradient[0, :3], np.array([-0.5, 0.5, 0], dtype))
            assert (gradient[0, 3:] == 0).all() and np.isnan(gradient[1:4, 0]).all()
    assert csm.softmax_expectation(np.zeros((3, 0), dtype), np.zeros(0)).tolist() == [0, 0, 0]
    assert csm.softmax_expectation(np.zeros((0, 3), dtype), np.zeros(3)).shape == (0,)


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e37), ("float64", 1e300)])
def test_large_and_small_values(csm, dtype, large):
    """No product of an exponential and a value overflows, whatever the scale of either."""
    for size in (large, 1e6 / large, 1.0):
        for temperature in (1.0, 1e-3, 1e3):
            x = np.array([[0, -1, -2, 1.5] * 20], dtype) * np.array(temperature, dtype)
            values = np.array([1, -1, 0.5, 0.25] * 20) * size
            expected = by_reference(x.astype(float), values / size, temperature)
            for v in (values, values[None].astype(dtype)):
                mean, gradient = csm.softmax_expectation(x, v, temperature=temperature, return_grad=True)
                near(mean / size, expected[0], dtype)
                near(gradient / size * temperature, np.array(expected[1]) * temperature, dtype)


def test_next_to_one_hot(csm):
    """The gradient of a class that has nearly all is that of the others: v - E would be 0."""
    gradient = csm.softmax_expectation([60.0, 0.0], [1e3, 1e3 + 1], return_grad=True)[1]
    np.testing.assert_allclose(gradient, [-np.exp(-60), np.exp(-60)], rtol=1e-15)


def test_out_that_overlaps_values(csm):
    x, values = arrays(50, 20)
    expected = csm.softmax_expectation(x, values, return_grad=True)
    mine = values.copy()
    _, gradient = csm.softmax_expectation(x, mine, return_grad=True, out=mine)
    np.testing.assert_array_equal(gradient, expected[1])
    memory = values.copy()
    out = memory.ravel()[:50]
    csm.softmax_expectation(x, memory, out=out)
    np.testing.assert_array_equal(out, expected[0])


def test_threads_of_expectation(csm):
    """The same bits from any number of them."""
    x, values = (a.astype("f4") for a in arrays(3000, 70))
    threads, results = csm.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            csm.set_num_threads(count)
            csm._csoftmax.assume_cpus(count)
            results.append(csm.softmax_expectation(x, values, return_grad=True))
    finally:
        csm._csoftmax.assume_cpus(0)
        csm.set_num_threads(threads)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
