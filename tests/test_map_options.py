"""Options of the maps and derivatives: `where`, a temperature per row, factors and signs, chosen classes."""

import numpy as np
import pytest
from surface import LOSSES, MAPS, SCALED, arguments, array, every_dtype, names, refused, table

import csoftmax

ONE_CLASS = {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": 1.5, "softmax_entropy": 0.0}
NO_CLASS = {"softmax": 0.0, "log_softmax": -np.inf, "logsumexp": -np.inf, "softmax_entropy": 0.0}


@pytest.mark.parametrize("name", MAPS)
@every_dtype
def test_where_hides_what_stands_under_it(name, dtype):
    """One class of the first row takes part, none of the second, all of the third."""
    function, x = getattr(csoftmax, name), np.full((3, 4), np.nan, dtype)
    mask = np.zeros((3, 4), bool)
    mask[0, 2] = mask[2] = True
    x[0, 2], x[2] = 1.5, array(dtype, 4)
    result = function(x, -1, where=mask)
    rows = result if result.ndim == 1 else result[:, 2]
    assert rows.dtype == dtype
    assert rows[0] == ONE_CLASS[name] and rows[1] == NO_CLASS[name]
    np.testing.assert_array_equal(result[2], function(x[2], -1))
    if result.ndim == 2:
        np.testing.assert_array_equal(result[0, [0, 1, 3]], NO_CLASS[name])
        np.testing.assert_array_equal(result[1], NO_CLASS[name])


@pytest.mark.parametrize("name", MAPS)
def test_where_broadcasts(name):
    function, x = getattr(csoftmax, name), array("f8")
    for mask in ([True, False, True, True], np.array([[True], [False], [True]]), True, False, np.ones(4, bool)):
        np.testing.assert_array_equal(
            function(x, 1, where=mask), function(x, 1, where=np.array(np.broadcast_to(mask, (3, 4))))
        )
    np.testing.assert_array_equal(function(x, 1, where=True), function(x, 1))


@table(MAPS, ["i8", "f8", "u1", "O"])
def test_where_must_be_bool(name, case):
    refused(name, "f8", TypeError, "where", where=np.ones((3, 4), case))


@table(MAPS, [(3,), (4, 3), (2, 3, 4), (3, 4, 1), (0,)])
def test_where_must_broadcast(name, case):
    refused(name, "f8", ValueError, "where", *names(case, (3, 4)), where=np.ones(case, bool))


@pytest.mark.parametrize("name", MAPS)
def test_where_may_not_be_masked(name):
    refused(name, "f8", TypeError, "where", where=np.ma.masked_array(np.ones((3, 4), bool)))


@pytest.mark.parametrize("name", SCALED)
@every_dtype
def test_temperatures_of_rows(name, dtype):
    """Each row is as the same call with its temperature alone."""
    given = arguments(name, dtype)
    del given["out"]
    if name in LOSSES:
        given |= {"reduction": "none"}
    for t in (np.array([0.5, 1.0, 3.0]), np.array([0.5, 1.0, 3.0], "f4"), [0.5, 1.0, 3.0], np.array([2], ">i2")):
        together = getattr(csoftmax, name)(**given, temperature=t)
        for row in range(3):
            one = {k: v[row] if isinstance(v, np.ndarray) else v for k, v in given.items()}
            alone = getattr(csoftmax, name)(**one, temperature=float(np.broadcast_to(t, 3)[row]))
            parts = zip(together, alone, strict=True) if name in LOSSES else [(together, alone)]
            for result, expected in parts:
                np.testing.assert_allclose(result[row], expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("two", [2, np.float64(2), np.float32(2), np.int8(2), np.array(2)], ids=repr)
def test_kinds_of_a_temperature(name, two):
    given = arguments(name, "f4")
    del given["out"]
    found, expected = (getattr(csoftmax, name)(**given, temperature=t) for t in (two, 2.0))
    parts = zip(found, expected, strict=True) if name in LOSSES else [(found, expected)]
    for a, b in parts:
        np.testing.assert_array_equal(a, b, strict=True)


@table(SCALED, [0.0, -1.0, np.nan, np.inf])
@every_dtype
def test_temperatures_must_be_positive_and_finite(name, case, dtype):
    refused(name, dtype, ValueError, r"temperature\[1\]", str(case), temperature=np.array([1.0, case, case]))


@table(SCALED, [(4,), (3, 1), (0,), (2,), (1, 3)])
def test_temperatures_must_broadcast_to_the_rows(name, case):
    refused(name, "f8", ValueError, "temperature", *names(case, (3,)), temperature=np.ones(case))


@table(SCALED, [["1.0"] * 3, np.ones(3, complex), np.ones(3, object)])
def test_temperatures_of_a_bad_kind(name, case):
    refused(name, "f8", TypeError, "temperature", temperature=case)


def test_logsumexp_with_factors_and_signs():
    a, b = array("f8") * 9, array("f8") - 0.5
    plain, s = np.exp(a), (b * np.exp(a)).sum(axis=1)
    log, sign = csoftmax.logsumexp(a, 1, b, return_sign=True)
    np.testing.assert_allclose(log, np.log(np.abs(s)), atol=1e-14)
    np.testing.assert_array_equal(sign, np.sign(s))
    np.testing.assert_array_equal(csoftmax.logsumexp(a, 1, b), np.where(sign > 0, log, np.nan))
    np.testing.assert_allclose(csoftmax.logsumexp(a, 0, 2.0), np.log(2 * plain.sum(axis=0)), rtol=1e-15)
    np.testing.assert_allclose(csoftmax.logsumexp(a, None, b[0], keepdims=True, return_sign=True)[0],
                               [[np.log(np.abs((b[0] * plain).sum()))]], atol=1e-14)
    np.testing.assert_allclose(csoftmax.logsumexp(a, 1, np.abs(b), where=b > 0),
                               np.log((np.where(b > 0, b, 0) * plain).sum(axis=1)), rtol=1e-14)


@pytest.mark.parametrize(
    ("a", "b", "log", "sign"),
    [
        ([1.0, 1.0], [1.0, -1.0], -np.inf, 0.0),
        ([np.inf, 1.0], [0.0, -1.0], 1.0, -1.0),
        ([np.inf, 800.0], [-1.0, 1.0], np.inf, -1.0),
        ([np.inf, np.inf], [-1.0, 1.0], np.nan, np.nan),
        ([np.nan, 0.0], [0.0, 1.0], 0.0, 1.0),
        ([1.0, 2.0], [np.nan, 1.0], np.nan, np.nan),
        ([0.0, 0.0], [np.inf, 1.0], np.inf, 1.0),
        ([-np.inf, -np.inf], [-1.0, 1.0], -np.inf, 0.0),
        ([5.0, 5.0], [0.0, 0.0], -np.inf, 0.0),
        ([0.0, -800.0], [1e-300, 1e300], -800 + np.log(1e300), 1.0),
        ([0.0, 0.0], [1e308, 1e308], np.log(1e308) + np.log(2), 1.0),
        ([], [], -np.inf, 0.0),
    ],
)
def test_logsumexp_with_factors_at_the_limits(a, b, log, sign):
    result = csoftmax.logsumexp(np.array(a), b=np.array(b), return_sign=True)
    np.testing.assert_allclose(result, (log, sign), rtol=1e-15)
    assert all(type(value) is np.float64 for value in result)


@pytest.mark.parametrize(
    ("a", "sign"), [([], 0.0), ([-np.inf], 0.0), ([np.inf, 1.0], 1.0), ([np.nan], np.nan), ([-3.0, 2.0], 1.0)]
)
@every_dtype
def test_sign_of_a_sum_without_factors(a, sign, dtype):
    a = np.array(a, dtype)
    log, found = csoftmax.logsumexp(a, return_sign=True)
    np.testing.assert_array_equal(log, csoftmax.logsumexp(a))
    np.testing.assert_array_equal(found, sign)
    assert type(log) is type(found) is np.dtype(dtype).type


def test_dtype_of_logsumexp_with_factors():
    a, b = array("f4"), array("f8")
    for factors, dtype in [(b, "f8"), (b.astype("f4"), "f4"), (2.0, "f4"), (3, "f4"), (np.float64(2), "f8")]:
        assert csoftmax.logsumexp(a, 1, factors).dtype == dtype
    assert csoftmax.logsumexp(a, 1, b, dtype="f4").dtype == np.float32
    out = np.empty(3, "f4")
    assert csoftmax.logsumexp(a, 1, b, out=out, return_sign=True)[0] is out
    refused("logsumexp", "f8", ValueError, *names((3, 4), (5,)), b=np.ones(5))
    for bad in ("ab", 1j, np.ones((3, 4), object)):
        refused("logsumexp", "f8", TypeError, r"\bb\b", b=bad)


def test_selective_log_softmax_of_several_classes():
    x = array("f8", (3, 4, 2))
    index = np.random.default_rng(1).integers(4, size=(3, 2, 5))
    expected = np.take_along_axis(np.moveaxis(csoftmax.log_softmax(x, 1), 1, -1), index, -1)
    np.testing.assert_allclose(csoftmax.selective_log_softmax(x, index, 1), expected, rtol=1e-14)
    first = csoftmax.selective_log_softmax(x, index[..., 0], axis=1)
    np.testing.assert_array_equal(first, csoftmax.selective_log_softmax(x, index, 1)[..., 0])
    assert csoftmax.selective_log_softmax(x, index[..., :0], 1).shape == (3, 2, 0)


def test_bad_indices():
    name = "selective_log_softmax"
    for bad, error in [([0, 4, 1], IndexError), ([0, -1, 9], IndexError), ([0, 0.5, 1], ValueError)]:
        refused(name, "f8", error, r"index\[1\]", str(bad[1]), index=np.array(bad))
    pairs = np.array([[0, 1], [2, 7], [9, 0]])
    refused(name, "f8", IndexError, r"index\[1, 1\] = 7", index=pairs, out=np.zeros((3, 2)))
    for shape in [(2,), (4, 2), (3, 1, 1), (1, 3, 1)]:
        refused(name, "f8", ValueError, "index", *names(shape, (3, 4)), index=np.zeros(shape, int))
    refused(name, "f8", TypeError, "index", index=np.zeros(3, bool))
