"""The dtype of a result: what is given, what is asked for, and how 16-bit types take part."""

from functools import partial

import ml_dtypes
import numpy as np
import pytest
from surface import LOSSES, PER_ROW, PRODUCTS, SIGNATURES, TYPED, arguments, array, every_function, refused, table

import csoftmax

# dtype=


@table(TYPED, ["i4", "u1", "?", "c8", "c16", "O", "U3", "M8[s]", "g", "V8", "no such dtype", 5, [1, 2]])
def test_bad_dtype(name, case):
    refused(name, "f8", TypeError, dtype=case)


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
    with pytest.raises(TypeError, match="out"):
        function(x, axis=-1, dtype="f8", out=np.zeros(shape, "i8"))


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


@pytest.mark.parametrize("temperature", [2, np.float64(2.0), np.float32(2.0), np.int8(2), 2.0, True + 1])
def test_a_scalar_temperature_does_not_promote(temperature):
    x = array("f4")
    for name in ("softmax", "log_softmax", "softmax_jacobian"):
        result = getattr(csoftmax, name)(x, temperature=temperature)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, getattr(csoftmax, name)(x, temperature=2.0))


# 16-bit types

HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
every_half = pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)


@every_function
@every_half
def test_halves_are_rounded_once(name, half):
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
def test_halves_as_dtype(name, half):
    x = array("f8", (6, 7)) * 9
    exact = typed(name)(x, axis=-1)
    np.testing.assert_array_equal(typed(name)(x, axis=-1, dtype=half), exact.astype(half))
    assert typed(name)(x.astype(half), axis=-1, dtype="f4").dtype == np.float32


@every_half
def test_halves_as_gradient_and_hessian(half):
    raw, y = array("f4").astype(half), np.array([0, 3, 1])
    wide = csoftmax.softmax_grad_hess(raw.astype("f4"), y)
    for result, expected in zip(csoftmax.softmax_grad_hess(raw, y), wide, strict=True):
        assert result.dtype == half
        np.testing.assert_array_equal(result, expected.astype(half))


@every_half
def test_halves_as_labels_weights_and_targets(half):
    x, labels = array("f8"), np.array([0, 3, 1])
    expected = csoftmax.cross_entropy(x, labels)
    assert csoftmax.cross_entropy(x, labels.astype(half)) == expected
    options = {"weight": np.ones(4, half), "sample_weight": np.ones(3, half), "temperature": np.ones(3, half)}
    np.testing.assert_allclose(csoftmax.cross_entropy(x, labels, **options), expected, rtol=1e-15)
    np.testing.assert_allclose(csoftmax.cross_entropy(x, np.eye(4)[labels].astype(half)), expected, rtol=1e-15)


@pytest.mark.parametrize("name", PRODUCTS)
def test_halves_promote_as_numpy_does(name):
    function, bfloat16 = getattr(csoftmax, name), ml_dtypes.bfloat16
    for other in (bfloat16, "f4", "f8", "i1", "u1", "?"):
        result = function(np.ones(3, bfloat16), np.ones(3, other))
        assert result.dtype == np.result_type(bfloat16, other)
    for other in (np.float16, "i4"):
        refused(name, "f8", TypeError, "bfloat16", p=np.ones((3, 4), bfloat16),
                **{list(SIGNATURES[name].split(", "))[1]: np.ones((3, 4), other)})
