"""logsumexp with weights `b`, against sums of 2500 bits: signs, sizes, special values, layouts."""

from functools import cache

import ml_dtypes
import mpmath
import numpy as np
import pytest
import reference
from maps import TOLERANCE, every_axis, logits, rows_of
from surface import array

import csoftmax

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
EPS = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}
LENGTHS = (1, 2, 3, 10, 40, 130)
ROWS = 6
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def _normal(rng, shape, most):
    return 3 * rng.standard_normal(shape), rng.standard_normal(shape)


def _zero(rng, shape, most):
    """Where b is 0, a is anything; the first row has no other factor."""
    a, b = _normal(rng, shape, most)
    b[:, ::2] = b[0] = 0
    a[:, ::2] = rng.choice([np.nan, np.inf, -np.inf, most, 3.0], a[:, ::2].shape)
    return a, b


def _special(rng, shape, most):
    a = rng.choice([0.0, 1.0, -np.inf, np.inf, np.nan], shape, p=[0.4, 0.4, 0.1, 0.05, 0.05])
    return a, rng.choice([0, 1, -1, np.inf, -np.inf, np.nan], shape, p=[0.3, 0.3, 0.3, 0.04, 0.03, 0.03])


def _one_special(rng, shape, most):
    a, b = _normal(rng, shape, most)
    (a if rng.random() < 0.5 else b)[:, -1] = rng.choice([np.inf, -np.inf, np.nan], shape[0])
    return a, b


def _binades(rng, shape, most):
    """The largest a need not carry the largest term: b makes up for as much as a can differ by, or nearly."""
    low, high = -0.95 * np.log(most), 0.95 * np.log(most)
    b = np.exp(rng.uniform(low, high, shape))
    return -np.log(b) + rng.standard_normal(shape), b * rng.choice([-1, 1], shape)


def _apart(rng, shape, most):
    """Where b is not tiny a is so far below the others that its exponential beside theirs is 0."""
    a, b = _normal(rng, shape, most)
    a[:, ::2] -= 1.7 * np.log(most)
    b[:, 1::2] *= most**-0.95
    return a, b


KINDS = {
    "normal": _normal,
    "wide": lambda rng, shape, most: (90 * rng.standard_normal(shape), rng.standard_normal(shape)),
    "offset": lambda rng, shape, most: (rng.standard_normal(shape) + 3000, rng.standard_normal(shape)),
    "huge a": lambda rng, shape, most: (min(most / 10, 1e30) * rng.uniform(-1, 1, shape), rng.standard_normal(shape)),
    "ties": lambda rng, shape, most: (rng.integers(-2, 2, shape) * 1.0, rng.choice([-1.0, 1.0], shape)),
    "masked": lambda rng, shape, most: (rng.choice([-np.inf, 1.0], shape), rng.standard_normal(shape)),
    "tiny b": lambda rng, shape, most: (rng.standard_normal(shape), 10 / most * rng.uniform(-9, 9, shape)),
    "huge b": lambda rng, shape, most: (rng.standard_normal(shape), most * rng.uniform(-0.9, 0.9, shape)),
    "binades": _binades,
    "apart": _apart,
    "zero b": _zero,
    "special": _special,
    "one special": _one_special,
}


@cache
def exact(a, b):
    """log |s|, the sign of s, and the sum of |b| e^a over |s|, of a row."""
    with mpmath.workprec(2500), np.errstate(all="ignore"):
        terms = [(x, w) for x, w in zip(a, b, strict=True) if w != 0]
        infinite = sum(
            w * np.exp(x) if not np.isfinite(x) else w for x, w in terms if not np.isfinite(w) or not x < np.inf
        )
        if infinite != 0:
            return abs(infinite), np.sign(infinite), 1.0
        values = [mpmath.mpf(w) * mpmath.exp(mpmath.mpf(x)) for x, w in terms if x > -np.inf]
        s, size = mpmath.fsum(values), mpmath.fsum(values, absolute=True)
        if s == 0:
            return -np.inf, 0, np.inf if size else 1.0
        return mpmath.log(abs(s)), int(mpmath.sign(s)), float(size / abs(s))


def check(a, b, log, sign, dtype):
    """Each row; a sum that cancels to less than its own rounding may be anything that small, 0 with any sign."""
    kept, eps = EPS[dtype], EPS["float64" if dtype == "float64" else "float32"]
    for i in range(len(a)):
        expected, expected_sign, size = exact(tuple(a[i].tolist()), tuple(b[i].tolist()))
        what = f"a = {a[i].tolist()}, b = {b[i].tolist()}: {log[i]!r}, {sign[i]!r}"
        if not mpmath.isfinite(expected) and size < np.inf:
            assert np.array_equal([log[i], sign[i]], [expected, expected_sign], equal_nan=True), what
        elif size * eps * 16 < 1:
            assert sign[i] == expected_sign, what
            error = abs(mpmath.mpf(float(log[i])) - expected)
            bound = 2 * eps * max(abs(expected), abs(expected + mpmath.log(size)), size)
            assert error <= bound + (kept > eps) * kept / 2 * abs(expected), what
        elif size < np.inf:
            assert log[i] < expected + mpmath.log(size) + mpmath.log(32 * eps) + kept * abs(expected), what


@every_dtype
@pytest.mark.parametrize("kind", KINDS)
def test_sums_with_weights(csm, kind, dtype):
    rng, kept = np.random.default_rng(1), DTYPES[dtype]
    for n in LENGTHS:
        with np.errstate(all="ignore"):
            a, b = (v.astype(kept) for v in KINDS[kind](rng, (ROWS, n), float(ml_dtypes.finfo(kept).max)))
        wide = a.astype(np.float64), b.astype(np.float64)
        for log, sign in (
            csm.logsumexp(a, -1, b, return_sign=True),
            csm.logsumexp(np.ascontiguousarray(a.T), 0, np.ascontiguousarray(b.T), return_sign=True),
        ):
            assert log.dtype == sign.dtype == kept
            check(*wide, log.astype(np.float64), sign.astype(np.float64), dtype)


@every_dtype
@every_axis
def test_weights_by_the_reference(csm, axis, dtype):
    a, b = logits(3, 5, 4, dtype=dtype), logits(3, 5, 4, dtype=dtype, seed=5)
    b[0, 0] = 0
    values, rows = rows_of(a.astype(np.float64), axis)
    factors, _ = rows_of(b.astype(np.float64), axis)
    values, factors = (v.reshape(-1, v.shape[-1]).tolist() for v in (values, factors))
    pairs = np.array([reference.signed_logsumexp(v, w) for v, w in zip(values, factors, strict=True)])
    size = np.reshape([max(abs(reference.logsumexp(v)), 8) for v in values], rows)
    log, sign = csm.logsumexp(a, axis, b=b, return_sign=True)
    assert log.dtype == sign.dtype == dtype
    expected, found = pairs[:, 0].reshape(rows), np.asarray(log, np.float64)
    assert ((found == expected) | (abs(found - np.maximum(expected, -1e300)) <= 16 * TOLERANCE[dtype] * size)).all()
    np.testing.assert_array_equal(np.asarray(sign, np.float64), pairs[:, 1].reshape(rows))
    kept, _ = csm.logsumexp(a, axis, b, True, True)
    assert kept.shape == np.sum(a.astype(np.float64), axis=axis, keepdims=True).shape
    unsigned = np.asarray(csm.logsumexp(a, axis, b=b), np.float64)
    np.testing.assert_array_equal(np.isnan(unsigned), np.asarray(sign, np.float64) < 0)


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
        ([1000.0, 1000.0], [1e-300, 1e-300], 1000 + np.log(2e-300), 1.0),
        ([], [], -np.inf, 0.0),
    ],
)
def test_weights_at_the_limits(csm, a, b, log, sign):
    result = csm.logsumexp(np.array(a), b=np.array(b), return_sign=True)
    np.testing.assert_allclose(result, (log, sign), rtol=1e-15)
    assert all(type(value) is np.float64 for value in result)
    unsigned = csm.logsumexp(np.array(a), b=np.array(b))
    np.testing.assert_allclose(unsigned, np.nan if sign < 0 else log, rtol=1e-15)


def test_weights_of_both_signs():
    a, b = array("f8") * 9, array("f8") - 0.5
    plain, s = np.exp(a), (b * np.exp(a)).sum(axis=1)
    log, sign = csoftmax.logsumexp(a, 1, b, return_sign=True)
    np.testing.assert_allclose(log, np.log(np.abs(s)), atol=1e-14)
    np.testing.assert_array_equal(sign, np.sign(s))
    np.testing.assert_array_equal(csoftmax.logsumexp(a, 1, b), np.where(sign > 0, log, np.nan))
    np.testing.assert_allclose(csoftmax.logsumexp(a, 0, 2.0), np.log(2 * plain.sum(axis=0)), rtol=1e-15)
    np.testing.assert_allclose(
        csoftmax.logsumexp(a, None, b[0], keepdims=True, return_sign=True)[0],
        [[np.log(np.abs((b[0] * plain).sum()))]],
        atol=1e-14,
    )
    np.testing.assert_allclose(
        csoftmax.logsumexp(a, 1, np.abs(b), where=b > 0),
        np.log((np.where(b > 0, b, 0) * plain).sum(axis=1)),
        rtol=1e-14,
    )


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [((), (4,)), ((5,), (3, 1)), ((3, 1), (5,)), ((5,), (3, 5)), ((3, 5), (3, 1)), ((2, 1, 5), (3, 1))],
)
@pytest.mark.parametrize("axis", [0, -1, None])
def test_weights_broadcast(csm, of_a, of_b, axis):
    rng = np.random.default_rng(2)
    a, b = np.asarray(rng.standard_normal(of_a)), np.asarray(rng.standard_normal(of_b))
    full = [np.ascontiguousarray(v) for v in np.broadcast_arrays(a, b)]
    found = csm.logsumexp(a, axis, b, return_sign=True)
    for value, expected in zip(found, csm.logsumexp(full[0], axis, full[1], return_sign=True), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert np.shape(csm.logsumexp(a, axis, b, True)) == full[0].sum(axis=axis, keepdims=True).shape


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (2, 1), None, ()], ids=str)
def test_weights_along_any_axis_in_any_order(csm, axis):
    """Any order of memory, byte order and dtype gives what the plain arrays give."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 6, 5))
    log, sign = csm.logsumexp(a, axis, b, return_sign=True)
    s = (b * np.exp(a)).sum(axis=axis)
    np.testing.assert_allclose(np.exp(log) * sign, s, rtol=1e-12)
    others = [
        (np.asfortranarray(a), b),
        (a, np.asfortranarray(b)),
        (np.asfortranarray(a), np.asfortranarray(b)),
        (a.astype(">f8"), b),
        (a, b.astype(">f8")),
        (np.repeat(a, 2, 1)[:, ::2], b[::-1].copy()[::-1]),
    ]
    for x, w in others:
        for value, expected in zip(csm.logsumexp(x, axis, w, return_sign=True), (log, sign), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    out = np.empty(np.shape(log), ">f4")
    assert csm.logsumexp(a, axis, b, return_sign=True, out=out)[0] is out
    np.testing.assert_array_equal(out, log.astype(np.float32))


@pytest.mark.parametrize(
    ("of_a", "of_b", "result"),
    [
        ("f4", "f8", "f8"),
        ("f8", "f4", "f8"),
        ("i1", "f4", "f4"),
        ("i8", "f4", "f8"),
        ("f2", "f4", "f4"),
        ("?", "i8", "f8"),
        ("f2", "?", "f2"),
        ("f2", "f2", "f2"),
        (">f4", ">f4", "f4"),
    ],
)
def test_weights_of_other_dtypes(csm, of_a, of_b, result):
    a, b = np.arange(12).reshape(3, 4).astype(of_a), np.arange(1, 13).reshape(3, 4).astype(of_b)
    log, sign = csm.logsumexp(a, 1, b, return_sign=True)
    assert log.dtype == sign.dtype == result
    expected = csm.logsumexp(a.astype("f8"), 1, b.astype("f8"))
    np.testing.assert_allclose(log, expected, rtol=2 * np.finfo(result).eps)
    for dtype in ("f2", "f4", "f8"):
        assert csm.logsumexp(a, 1, b, dtype=dtype).dtype == dtype


@pytest.mark.parametrize("factor", [0, -1, -1e39, -1e-60, False, True, np.nan, np.inf, -np.inf], ids=str)
@every_dtype
def test_a_number_as_weight(csm, factor, dtype):
    """Of Python: it has no dtype, and may be no number of that of a."""
    a = np.array([[1.0, 2.0, -np.inf], [-np.inf] * 3, [0.5, -3.0, 0.0]], DTYPES[dtype])
    a[:2, 2] = 0 if not np.isfinite(factor) else a[:2, 2]
    log, sign = csm.logsumexp(a, -1, factor, return_sign=True)
    assert log.dtype == sign.dtype == DTYPES[dtype]
    wide = a.astype(np.float64)
    check(wide, np.full(a.shape, float(factor)), log.astype(np.float64), sign.astype(np.float64), dtype)


def test_a_row_depends_on_itself_alone(csm):
    """The bits of a row are the same among others, also where those need the slower algorithm."""
    rng = np.random.default_rng(4)
    for n in (10, 100, 1000):
        a, b = rng.standard_normal((300, n)), rng.standard_normal((300, n))
        b[7::9] *= 1e300
        a[5::9], b[5::9, ::2] = np.nan, 0
        whole = csm.logsumexp(a, -1, b, return_sign=True)
        same(csm.logsumexp(a[::-1].copy(), -1, b[::-1].copy(), return_sign=True), [v[::-1] for v in whole])
        same(csm.logsumexp(a, -1, b, where=np.ones(n, bool), return_sign=True), whole)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0)])
def test_weights_of_nothing(csm, shape):
    a = np.zeros(shape, np.float32)
    log, sign = csm.logsumexp(a, 1, a, return_sign=True)
    np.testing.assert_array_equal(log, np.full(shape[0], -np.inf))
    np.testing.assert_array_equal(sign, np.zeros(shape[0]))
    log, sign = csm.logsumexp(np.ones((3, 4)), 1, np.ones(4), where=np.zeros(4, bool), return_sign=True)
    np.testing.assert_array_equal(log, np.full(3, -np.inf))
    np.testing.assert_array_equal(sign, np.zeros(3))


@every_dtype
def test_weights_under_a_mask(csm, dtype):
    """What the mask leaves out is not used: neither a logit nor a factor."""
    rng, kept = np.random.default_rng(6), DTYPES[dtype]
    for n in (5, 70, 300):
        a, b = (rng.standard_normal((40, n)).astype(kept) for _ in range(2))
        where = rng.random((40, n)) < 0.6
        where[3] = False
        expected = csm.logsumexp(a, 1, np.where(where, b, kept(0)), return_sign=True)
        a[~where], b[~where] = np.nan, np.inf
        same(csm.logsumexp(a, 1, b, where=where, return_sign=True), expected)
        by_columns = csm.logsumexp(a.T.copy(), 0, b.T.copy(), where=where.T.copy(), return_sign=True)
        for value, by_rows in zip(by_columns, expected, strict=True):
            atol = 1e-12 if dtype == "float64" else 1e-4
            np.testing.assert_allclose(value.astype("f8"), by_rows.astype("f8"), rtol=2 * EPS[dtype], atol=atol)


# Dtypes and signs


def test_dtype_of_numbers_and_arrays_as_weights():
    a, b = array("f4"), array("f8")
    for factors, dtype in [(b, "f8"), (b.astype("f4"), "f4"), (2.0, "f4"), (3, "f4"), (np.float64(2), "f8")]:
        assert csoftmax.logsumexp(a, 1, factors).dtype == dtype
    assert csoftmax.logsumexp(a, 1, b, dtype="f4").dtype == np.float32
    out = np.empty(3, "f4")
    assert csoftmax.logsumexp(a, 1, b, out=out, return_sign=True)[0] is out


@pytest.mark.parametrize(
    ("a", "sign"), [([], 0.0), ([-np.inf], 0.0), ([np.inf, 1.0], 1.0), ([np.nan], np.nan), ([-3.0, 2.0], 1.0)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sign_without_weights(csm, a, sign, dtype):
    a = np.array(a, dtype)
    log, found = csm.logsumexp(a, return_sign=True)
    np.testing.assert_array_equal(log, csm.logsumexp(a))
    np.testing.assert_array_equal(found, sign)
    assert type(log) is type(found) is np.dtype(dtype).type
    rows, signs = csm.logsumexp(np.stack([a, a]), axis=1, return_sign=True)
    np.testing.assert_array_equal(rows, [log, log])
    np.testing.assert_array_equal(signs, [sign, sign])
    assert np.isnan(csm.logsumexp(np.array([1.0, 2.0], dtype), b=-1))


OUTS = ["f4", "f8", ">f4", ">f8", "c8", "c16", "f2"]


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("b", [None, 2.0, [1.0, -3.0, 1.0, 1.0]])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2"])
def test_the_sign_has_the_dtype_of_the_result(dtype, b, out):
    a = np.array([[0.0, 1.0, np.nan, 2.0], [1.0, 2.0, 3.0, 4.0], [-np.inf] * 4], dtype)
    log, sign = csoftmax.logsumexp(a, 1, b, return_sign=True)
    given = np.empty(3, out)
    filled, again = csoftmax.logsumexp(a, 1, b, return_sign=True, out=given)
    assert filled is given
    assert again.dtype == sign.dtype == log.dtype and again.dtype.isnative
    np.testing.assert_array_equal(again, sign)


# One number as the weight of every class

NUMBERS = [2.0, 2, 0.5, 1e-3, 1e300, np.float32(0.25), np.float64(3), np.array(0.75), np.float16(2), np.int8(5)]


@pytest.mark.parametrize("b", NUMBERS, ids=repr)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_one_number_is_an_array_of_it(csm, dtype, axis, keepdims, b):
    """Within 3 ULP of the largest of the terms, as the same number in an array, and of its dtype."""
    a = (30 * np.random.default_rng(0).standard_normal((5, 70))).astype(dtype)
    found, sign = csm.logsumexp(a, axis, b, keepdims, return_sign=True)
    kind = np.result_type(a.dtype, np.asarray(b).dtype) if isinstance(b, np.generic | np.ndarray) else a.dtype
    kind = kind if kind.kind == "f" else np.dtype("f8")
    expected = np.asarray(csm.logsumexp(a.astype("f8"), axis, np.full(a.shape, float(b)), keepdims))
    assert found.dtype == sign.dtype == kind and found.shape == sign.shape == expected.shape
    scale = np.maximum(np.abs(a).max(), max(np.log(a.size), abs(np.log(float(b)))))
    assert (np.abs(found - expected) <= 3 * np.spacing(kind.type(scale))).all()
    assert (sign == 1).all()
    out = np.full(expected.shape, 7, "f8")
    assert csm.logsumexp(a, axis, b, keepdims, out=out) is out
    np.testing.assert_array_equal(out, found)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_one_number_of_half_precision(csm, half):
    a = np.arange(12).reshape(3, 4).astype(half)
    found, sign = csm.logsumexp(a, 1, 0.25, return_sign=True)
    expected = (csm.logsumexp(a.astype("f8"), 1) + np.log(0.25)).astype(half)
    assert found.dtype == sign.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("a", "log", "sign"),
    [
        ([], -np.inf, 0.0),
        ([-np.inf], -np.inf, 0.0),
        ([np.inf, 1.0], np.inf, 1.0),
        ([np.nan], np.nan, np.nan),
        ([1000.0, 1000.0], 1000 + np.log(4), 1.0),
    ],
)
def test_one_number_at_the_limits(csm, a, log, sign):
    np.testing.assert_allclose(csm.logsumexp(a, b=2.0, return_sign=True), (log, sign), rtol=2**-51)


def test_one_number_with_a_mask(csm):
    a, where = np.arange(12.0).reshape(3, 4), np.array([[True, False, True, False], [False] * 4, [True] * 4])
    expected = csm.logsumexp(a, 1, np.full(a.shape, 0.5), where=where)
    np.testing.assert_allclose(csm.logsumexp(a, 1, 0.5, where=where), expected, rtol=1e-15)
