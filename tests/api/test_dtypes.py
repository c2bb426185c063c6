"""The dtype of a result: what is given, what is asked for, and what 16-bit types give."""

from functools import partial

import ml_dtypes
import numpy as np
import pytest
from maps import DTYPES, MAPS, SENTINEL, SUMS, TOLERANCE, logits
from surface import LOSSES, PER_ROW, PRODUCTS, TYPED, arguments, array, every_function

import csoftmax

# dtype=


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("of", [*DTYPES, "int8", "bool"])
@pytest.mark.parametrize("name", [*MAPS, *SUMS])
def test_result_is_rounded_once(csm, name, of, to):
    """Computed as if the input were cast when that is wider, rounded once when it is narrower."""
    x = (logits(6, 9) > 0) if of == "bool" else logits(6, 9, dtype=of)
    wide = np.float64 if x.dtype.kind in "ib" else np.float32 if np.dtype(of).itemsize == 2 else of
    given = to if np.dtype(to).itemsize > np.dtype(wide).itemsize else wide
    expected = getattr(csm, name)(x.astype(given), axis=-1).astype(to)
    result = getattr(csm, name)(x, axis=-1, dtype=to)
    assert result.dtype == to
    np.testing.assert_allclose(result.astype(np.float64), expected.astype(np.float64), rtol=TOLERANCE[to] / 64)
    out = np.full(result.shape, SENTINEL, np.float64)
    getattr(csm, name)(x, axis=-1, dtype=to, out=out)
    np.testing.assert_allclose(out, expected.astype(np.float64), rtol=TOLERANCE[to])


def typed(name):
    """A function of `dtype=`, with the labels that it takes for six rows."""
    function = getattr(csoftmax, name)
    return partial(function, index=np.arange(6)) if name == "selective_log_softmax" else function


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("source", ["f4", "f8", "i4", "u1", "?", ">f4"])
def test_dtype_of_the_result(name, source):
    x = (array("f8", (6, 7)) * 9).astype(source)
    function = typed(name)
    exact = np.float64(function(x.astype("f8"), axis=-1))
    for spelled in (np.float64, "float64", float, np.dtype("f8"), ">f8"):
        result = function(x, axis=-1, dtype=spelled)
        assert result.dtype.str == np.dtype("f8").str
        np.testing.assert_allclose(result, exact, rtol=1e-15)
    for spelled in (np.float32, "f4"):
        result = function(x, axis=-1, dtype=spelled)
        assert result.dtype == np.float32
        half_ulp = np.spacing(np.abs(exact).astype("f4")).astype("f8") / 2
        ulps = 1.01 if source not in ("f4", ">f4") else 8.0
        assert (np.abs(result - exact) <= ulps * half_ulp).all()


@pytest.mark.parametrize("name", TYPED)
def test_dtype_and_out(name):
    function, x = typed(name), array("f4", (6, 7))
    shape = function(x, axis=-1).shape
    for dtype in ("f4", "f8"):
        for out_dtype in ("f4", "f8"):
            out = np.empty(shape, out_dtype)
            assert function(x, axis=-1, dtype=dtype, out=out) is out
            np.testing.assert_allclose(out, function(x, axis=-1, dtype=dtype), rtol=1e-6)
    wide = np.empty(shape, "f8")
    function(x, axis=-1, out=wide, dtype="f8")
    np.testing.assert_array_equal(wide, function(x, axis=-1, dtype="f8"))


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_promote_as_numpy_does(name):
    codes = ["?", "i1", "u1", "i2", "u2", "i4", "i8", "u8", "f2", "f4", "f8"]
    for first in codes:
        for second in codes:
            common = np.result_type(np.dtype(first), np.dtype(second))
            expected = common if common.kind == "f" else np.dtype("f8")
            result = getattr(csoftmax, name)(np.ones(3, first), np.ones(3, second))
            assert result.dtype == expected, (first, second)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "<f8", "i4", "u1", "?"])
def test_the_loss_has_the_dtype_of_the_logits(dtype):
    x = np.ones((3, 4), dtype)
    expected = {"f4": "f4", ">f4": "f4"}.get(dtype, "f8")
    for target in (
        [0, 1, 2],
        np.array([0.0, 1.0, 2.0]),
        np.ones((3, 4), "f8"),
        np.ones((3, 4), "f4"),
        np.ones((3, 4), int),
    ):
        for reduction in ("none", "sum", "mean"):
            for temperature in (1.0, 2, np.float64(2.0), np.float32(2.0)):
                loss, gradient = csoftmax.cross_entropy(
                    x, target, reduction=reduction, temperature=temperature, return_grad=True
                )
                assert loss.dtype == gradient.dtype == np.dtype(expected)
                assert isinstance(loss, np.ndarray if reduction == "none" else np.floating)


# 16-bit types

HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
every_half = pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)


@every_function
@every_half
def test_half_precision_is_rounded_once(name, half):
    """The float32 result of the same numbers, rounded; a loss stays float32."""
    given = arguments(name, "f4")
    del given["out"]
    first = next(iter(given))
    given = {k: v.astype(half).astype("f4") if getattr(v, "dtype", "") == "f4" else v for k, v in given.items()}
    halved = {k: v.astype(half) if getattr(v, "dtype", "") == "f4" else v for k, v in given.items()}
    wide, result = getattr(csoftmax, name)(**given), getattr(csoftmax, name)(**halved)
    if name in LOSSES:
        assert result[0] == wide[0] and type(result[0]) is np.float32
        wide, result = wide[1], result[1]
    assert result.dtype == half
    np.testing.assert_array_equal(result, wide.astype(half))
    out = np.zeros(wide.shape, half)
    getattr(csoftmax, name)(**given, out=out)
    np.testing.assert_array_equal(out, result)
    if name not in PER_ROW and name != "softmax_jacobian":
        getattr(csoftmax, name)(**halved, out=halved[first])
        np.testing.assert_array_equal(halved[first], result)


@pytest.mark.parametrize("name", TYPED)
@every_half
def test_half_precision_as_dtype(name, half):
    x = array("f8", (6, 7)) * 9
    exact = typed(name)(x, axis=-1)
    np.testing.assert_array_equal(typed(name)(x, axis=-1, dtype=half), exact.astype(half))
    assert typed(name)(x.astype(half), axis=-1, dtype="f4").dtype == np.float32


@every_half
def test_half_precision_labels_weights_and_targets(half):
    x, labels = array("f8"), np.array([0, 3, 1])
    expected = csoftmax.cross_entropy(x, labels)
    assert csoftmax.cross_entropy(x, labels.astype(half)) == expected
    options = {"weight": np.ones(4, half), "sample_weight": np.ones(3, half), "temperature": np.ones(3, half)}
    np.testing.assert_allclose(csoftmax.cross_entropy(x, labels, **options), expected, rtol=1e-15)
    np.testing.assert_allclose(csoftmax.cross_entropy(x, np.eye(4)[labels].astype(half)), expected, rtol=1e-15)


@pytest.mark.parametrize("name", PRODUCTS)
def test_half_precision_promotes_as_numpy_does(name):
    function, bfloat16 = getattr(csoftmax, name), ml_dtypes.bfloat16
    for other in (bfloat16, "f4", "f8", "i1", "u1", "?"):
        result = function(np.ones(3, bfloat16), np.ones(3, other))
        assert result.dtype == np.result_type(bfloat16, other)


# Complex outputs


def test_results_that_overflow_a_complex_out():
    """In silence: warnings are errors here."""
    x = np.array([[-1e300, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    calls = [
        lambda out: csoftmax.log_softmax(x, out=out),
        lambda out: csoftmax.softmax_vjp(np.abs(x), x, out=out),
        lambda out: csoftmax.cross_entropy(x, [0, 0, 0], sample_weight=1e300, return_grad=True, out=out),
        lambda out: csoftmax.logsumexp(x, 1, keepdims=True, out=out[:, :1]),
        lambda out: csoftmax.logsumexp(x, 1, 1e300, True, out=out[:, :1]),
        lambda out: csoftmax.logsumexp(x, 1, np.full(2, -1e300), True, out=out[:, :1]),
        lambda out: csoftmax.softmax_grad_hess(x, [0, 0, 0], sample_weight=1e300, out=(out, np.empty(x.shape, "c8"))),
    ]
    for call in calls:
        call(np.empty(x.shape, "c8"))
