"""csoftmax.special: SciPy's own tests pass on it, and its results are SciPy's but where a docstring says otherwise."""

import itertools
import re
import warnings

import numpy as np
import pytest
from processes import run_python

from csoftmax import special

mpmath = pytest.importorskip("mpmath")

HERE_OR_WIDER = "efdgFDG"
SHAPES = [((), None), ((5,), 0), ((3, 4), None), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), (0, 2)), ((2, 3, 4), 1)]


def numbers(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * 4
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.normal(size=shape) * 4
    return np.asarray(x).astype(dtype)


def tolerance(dtype):
    """SciPy's angles have the digits of float64."""
    return 20 * max(float(np.finfo(dtype).eps), 2.0**-53)


def test_tests_of_scipy_pass(tmp_path):
    pytest.importorskip("scipy.special.tests", reason="no tests of SciPy")
    done = run_python(
        "-m",
        "pytest",
        "-q",
        "-p",
        "scipy_tests",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "--pyargs",
        "scipy.special.tests.test_logsumexp",
        timeout=300,
        cwd=tmp_path,
        SCIPY_ARRAY_API=None,
        PYTEST_ADDOPTS=None,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 200
    assert re.search(r"'log_softmax': [1-9].*'logsumexp': [1-9]\d\d.*'softmax': [1-9]", done.stdout)


def test_scipy_is_not_imported():
    done = run_python(
        "-c",
        "import sys; from csoftmax import special\n"
        "special.softmax([1j, 2]); print({'scipy', 'xgboost', 'lightgbm'} & set(sys.modules))",
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("dtype", HERE_OR_WIDER)
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_agrees_with_scipy(shape, axis, dtype):
    scipy_special = pytest.importorskip("scipy.special")
    x = numbers(shape, dtype)
    for name in ("softmax", "log_softmax"):
        ours, expected = (getattr(module, name)(x, axis) for module in (special, scipy_special))
        assert (type(ours), ours.dtype, ours.shape) == (type(expected), expected.dtype, expected.shape)
        np.testing.assert_allclose(ours, expected, tolerance(dtype), tolerance(dtype))
    b = numbers(shape, dtype, 1)
    for factors, keepdims, return_sign in itertools.product((None, b, -1.5), (False, True), (False, True)):
        ours, expected = (
            module.logsumexp(x, axis, factors, keepdims, return_sign) for module in (special, scipy_special)
        )
        pairs = zip(ours, expected, strict=True) if return_sign else [(ours, expected)]
        for one, other in pairs:
            assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
            np.testing.assert_allclose(one, other, 10 * tolerance(dtype), 10 * tolerance(dtype))


@pytest.mark.parametrize("a, b", list(itertools.product("?bHilefdgFDG", repeat=2)))
def test_dtype_of_two_arrays_is_that_of_scipy(a, b):
    scipy_special = pytest.importorskip("scipy.special")
    x, y = np.ones(3, a), np.ones(3, b)
    expected = scipy_special.logsumexp(x, b=y)
    assert special.logsumexp(x, b=y).dtype == expected.dtype
    np.testing.assert_allclose(special.logsumexp(x, b=y), expected, rtol=tolerance(np.float16))


@pytest.mark.parametrize(
    "a, b",
    [
        (2.0, np.ones(3, "f")),
        (2, np.ones(3, "f")),
        (np.ones(3, "f"), 2.0),
        (2.0, 3),
        (np.ones(3, "f"), 2j),
        (2j, np.ones(3, "f")),
        ([1, 2], np.float32(2)),
    ],
)
def test_numbers_of_python_leave_the_dtype(a, b):
    scipy_special = pytest.importorskip("scipy.special")
    ours, expected = special.logsumexp(a, b=b), scipy_special.logsumexp(a, b=b)
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(ours, expected, 1e-6)


def exactly(a, b):
    """sum(b * exp(a)) by mpmath."""
    return mpmath.fsum(mpmath.mpmathify(w) * mpmath.exp(mpmath.mpmathify(v)) for v, w in zip(a, b, strict=True))


def as_mpmath(v):
    """A longdouble as a sum of float64 numbers, which is what mpmath reads."""
    if np.iscomplexobj(v):
        return mpmath.mpc(as_mpmath(v.real), as_mpmath(v.imag))
    high = np.float64(v)
    return mpmath.mpf(float(high)) + mpmath.mpf(float(np.float64(v - high)))


NEAR_ZERO = [[0.0, -40.0], [0.0, -80.0, -41.0], [1e-3, -50.0]]


@pytest.mark.parametrize("row", [*NEAR_ZERO, [300.0, 310.0, -3.0], [-1e5, -1e5 + 1]])
@pytest.mark.parametrize("dtype", "gDG")
def test_formulas_keep_their_digits(row, dtype):
    """The small part of a sum is not lost: that would leave log_softmax and logsumexp 0."""
    x = np.array(row, dtype)
    if x.dtype.kind == "c":
        x = x + np.array([0.25j, -1j, 3j][: len(row)])
    with mpmath.workdps(60):
        values = [as_mpmath(v) for v in x]
        log = mpmath.log(mpmath.fsum(map(mpmath.exp, values)))
        p = [mpmath.exp(v - log) for v in values]
        eps = 4 * float(np.finfo(dtype).eps)
        ours = special.logsumexp(x)
        assert abs(as_mpmath(ours.real) - log.real) <= eps * abs(log.real)
        for one, q in zip(special.log_softmax(x), p, strict=True):
            expected = mpmath.log(q)
            assert abs(as_mpmath(one.real) - expected.real) <= 4 * eps * max(abs(expected.real), 1e-40)
        for one, q in zip(special.softmax(x), p, strict=True):
            assert abs(as_mpmath(one) - q) <= 100 * eps * abs(q)


@pytest.mark.parametrize(
    "a, b",
    [
        ([-900.0, 900.0], [1e300, 1e-300]),
        ([900.0, -900.0], [1e-300, 1e300]),
        ([700.0, -700.0], [1e-304, 1e304]),
        ([1000.0, 1000.0], [1.0, -1.0]),
        ([0.5, 2.0], [-1j, 1 + 1j]),
    ],
)
def test_factors_of_any_size(a, b):
    a, b = np.array(a, complex), np.array(b, complex)
    log, sign = special.logsumexp(a, b=b, return_sign=True)
    assert log.dtype == np.float64 and sign.dtype == np.complex128
    with mpmath.workdps(1000):
        s = exactly(a.tolist(), b.tolist())
        if s == 0:
            assert log == -np.inf and sign == 0
            return
        expected = complex(s / abs(s))
        np.testing.assert_allclose(log, float(mpmath.log(abs(s))), rtol=1e-14, atol=2e-16 * abs(a).max())
    np.testing.assert_allclose(sign, expected, rtol=1e-14, atol=1e-15)
    full = special.logsumexp(a, b=b)
    assert full.real == log
    np.testing.assert_allclose(full.imag, np.angle(sign), atol=1e-15)


def test_a_sum_that_is_negative():
    for dtype in "dg":
        a, b = np.array([0, 1], dtype), np.array([1, -1], dtype)
        assert np.isnan(special.logsumexp(a, b=b))
        log, sign = special.logsumexp(a, b=b, return_sign=True)
        assert sign == -1
        np.testing.assert_allclose(log, np.log(np.expm1(a[1])), rtol=1e-15)


def test_the_angle_of_a_negative_sum_is_pi():
    a = np.array([complex(0, np.pi), complex(0, -np.pi)])
    for one in (a[:1], a[1:]):
        assert -np.pi < special.logsumexp(one).imag <= np.pi
    assert special.logsumexp(np.array([0j]), b=np.array([complex(-1, -0.0)])).imag == np.pi


@pytest.mark.parametrize("dtype", HERE_OR_WIDER)
def test_nothing_warns(dtype):
    inf, nan = np.inf, np.nan
    rows = [[inf, 1], [inf, inf], [-inf, -inf], [nan, 0], [inf, -inf], [1e4, -1e4], [-inf, 3]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.array(rows, dtype)
        p, log_p = special.softmax(x, 1), special.log_softmax(x, 1)
        log, sign = special.logsumexp(x, 1, return_sign=True)
        special.logsumexp(x, 1, b=np.array([0, -1], dtype))
        special.softmax(np.array([], dtype))
    lost = [True, True, True, True, True, False, False]
    np.testing.assert_array_equal(np.isnan(p).all(axis=1), lost)
    np.testing.assert_array_equal(np.isnan(log_p).all(axis=1), lost)
    np.testing.assert_array_equal(log.real[[0, 1, 2, 4]], [inf, inf, -inf, inf])
    np.testing.assert_array_equal(sign.real[[0, 2, 3]], [1, 0, nan])
    assert log[6].real == 3


@pytest.mark.parametrize("dtype", ["d", "g", "D"])
def test_sums_of_nothing(dtype):
    for shape, axis, result in [((0,), None, ()), ((2, 0), 1, (2,)), ((0, 2), 1, (0,)), ((2, 0), None, ())]:
        x = np.zeros(shape, dtype)
        log, sign = special.logsumexp(x, axis, return_sign=True)
        assert np.shape(log) == np.shape(sign) == result
        assert np.all(np.isneginf(np.real(log))) and np.all(sign == 0)
        assert special.softmax(x, axis).shape == special.log_softmax(x, axis).shape == shape
    assert np.all(special.logsumexp(np.array([[np.inf, -np.inf]], dtype), 1, b=np.array([0, 1], dtype)) == -np.inf)


def test_special_makes_integers_float64():
    for code in "?bBhHiIlL":
        assert special.softmax(np.ones(3, code)).dtype == np.float64
        assert special.log_softmax(np.ones(3, code)).dtype == np.float64
    np.testing.assert_allclose(special.softmax(np.array([0, 255], np.uint8)), special.softmax([0.0, 255.0]), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["f", "D"])
def test_what_special_refuses(dtype):
    x = np.ones((2, 3), dtype)
    masked = np.ma.masked_array(x, mask=x == 2)
    for name in special.__all__:
        function = getattr(special, name)
        with pytest.raises(TypeError, match="is a masked array"):
            function(masked)
        with pytest.raises(TypeError, match=r"is a list that holds objects: pass [ax]\.astype"):
            function([1, None])
        with pytest.raises(TypeError, match=r"has dtype object.*pass [ax]\.astype"):
            function(np.array([1, None]))
        with pytest.raises(np.exceptions.AxisError):
            function(x, 2)
        with pytest.raises(TypeError):
            function(x, [0])
    with pytest.raises(TypeError, match="b is a masked array"):
        special.logsumexp(x, b=masked)
    with pytest.raises(ValueError, match=r"do not broadcast|could not be broadcast|shape mismatch"):
        special.logsumexp(x, b=np.ones(4))


def test_scipy_sparse_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"pass x\.toarray\(\)"):
        special.softmax(sparse.csr_array(np.eye(3)))
