"""logsumexp with factors `b`, against sums of 2500 bits: signs, sizes, special values, layouts."""

from functools import cache

import ml_dtypes
import mpmath
import numpy as np
import pytest

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
        infinite = sum(w * np.exp(x) if not np.isfinite(x) else w for x, w in terms
                       if not np.isfinite(w) or not x < np.inf)
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
def test_sums_with_factors(csm, kind, dtype):
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


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [((), (4,)), ((5,), (3, 1)), ((3, 1), (5,)), ((5,), (3, 5)), ((3, 5), (3, 1)), ((2, 1, 5), (3, 1))],
)
@pytest.mark.parametrize("axis", [0, -1, None])
def test_factors_broadcast(csm, of_a, of_b, axis):
    rng = np.random.default_rng(2)
    a, b = np.asarray(rng.standard_normal(of_a)), np.asarray(rng.standard_normal(of_b))
    full = [np.ascontiguousarray(v) for v in np.broadcast_arrays(a, b)]
    found = csm.logsumexp(a, axis, b, return_sign=True)
    for value, expected in zip(found, csm.logsumexp(full[0], axis, full[1], return_sign=True), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert np.shape(csm.logsumexp(a, axis, b, True)) == full[0].sum(axis=axis, keepdims=True).shape


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (2, 1), None, ()], ids=str)
def test_axes_and_orders(csm, axis):
    """Any order of memory, byte order and dtype gives what the plain arrays give."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 6, 5))
    log, sign = csm.logsumexp(a, axis, b, return_sign=True)
    s = (b * np.exp(a)).sum(axis=axis)
    np.testing.assert_allclose(np.exp(log) * sign, s, rtol=1e-12)
    others = [
        (np.asfortranarray(a), b), (a, np.asfortranarray(b)), (np.asfortranarray(a), np.asfortranarray(b)),
        (a.astype(">f8"), b), (a, b.astype(">f8")), (np.repeat(a, 2, 1)[:, ::2], b[::-1].copy()[::-1]),
    ]
    for x, w in others:
        for value, expected in zip(csm.logsumexp(x, axis, w, return_sign=True), (log, sign), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    out = np.empty(np.shape(log), ">f4")
    assert csm.logsumexp(a, axis, b, return_sign=True, out=out)[0] is out
    np.testing.assert_array_equal(out, log.astype(np.float32))


@pytest.mark.parametrize(("of_a", "of_b", "result"), [
    ("f4", "f8", "f8"), ("f8", "f4", "f8"), ("i1", "f4", "f4"), ("i8", "f4", "f8"), ("f2", "f4", "f4"),
    ("?", "i8", "f8"), ("f2", "?", "f2"), ("f2", "f2", "f2"), (">f4", ">f4", "f4"),
])
def test_common_dtypes(csm, of_a, of_b, result):
    a, b = np.arange(12).reshape(3, 4).astype(of_a), np.arange(1, 13).reshape(3, 4).astype(of_b)
    log, sign = csm.logsumexp(a, 1, b, return_sign=True)
    assert log.dtype == sign.dtype == result
    expected = csm.logsumexp(a.astype("f8"), 1, b.astype("f8"))
    np.testing.assert_allclose(log, expected, rtol=2 * np.finfo(result).eps)
    for dtype in ("f2", "f4", "f8"):
        assert csm.logsumexp(a, 1, b, dtype=dtype).dtype == dtype


@pytest.mark.parametrize("factor", [0, -1, -1e39, -1e-60, False, True, np.nan, np.inf, -np.inf], ids=str)
@every_dtype
def test_a_number_as_factor(csm, factor, dtype):
    """Of Python: it has no dtype, and may be no number of that of a."""
    a = np.array([[1.0, 2.0, -np.inf], [-np.inf] * 3, [0.5, -3.0, 0.0]], DTYPES[dtype])
    a[:2, 2] = 0 if not np.isfinite(factor) else a[:2, 2]
    log, sign = csm.logsumexp(a, -1, factor, return_sign=True)
    assert log.dtype == sign.dtype == DTYPES[dtype]
    wide = a.astype(np.float64)
    check(wide, np.full(a.shape, float(factor)), log.astype(np.float64), sign.astype(np.float64), dtype)


def test_a_row_depends_on_itself_alone(csm):
    """The bits of a row are the same among others, of threads and of rows that take the slow way."""
    rng = np.random.default_rng(4)
    for n in (10, 100, 1000):
        a, b = rng.standard_normal((300, n)), rng.standard_normal((300, n))
        b[7::9] *= 1e300
        a[5::9], b[5::9, ::2] = np.nan, 0
        whole = csm.logsumexp(a, -1, b, return_sign=True)
        same(csm.logsumexp(a[::-1].copy(), -1, b[::-1].copy(), return_sign=True), [v[::-1] for v in whole])
        same(csm.logsumexp(a, -1, b, where=np.ones(n, bool), return_sign=True), whole)


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_that_threads_share(csm, rows):
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((rows, 400_000)).astype(np.float32) for _ in range(2))
    b[-1, 3] = 3e38
    found, before = [], csm.get_num_threads()
    for threads in (1, 2):
        csm.set_num_threads(threads)
        found.append(csm.logsumexp(a, -1, b, return_sign=True))
    csm.set_num_threads(before)
    same(*found)
    s = (b * np.exp(a.astype(np.float64))).sum(axis=1)
    np.testing.assert_allclose(found[0][0], np.log(abs(s)), rtol=1e-5)
    np.testing.assert_array_equal(found[0][1], np.sign(s))


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0)])
def test_nothing(csm, shape):
    a = np.zeros(shape, np.float32)
    log, sign = csm.logsumexp(a, 1, a, return_sign=True)
    np.testing.assert_array_equal(log, np.full(shape[0], -np.inf))
    np.testing.assert_array_equal(sign, np.zeros(shape[0]))
    log, sign = csm.logsumexp(np.ones((3, 4)), 1, np.ones(4), where=np.zeros(4, bool), return_sign=True)
    np.testing.assert_array_equal(log, np.full(3, -np.inf))
    np.testing.assert_array_equal(sign, np.zeros(3))


@every_dtype
def test_masks(csm, dtype):
    """What the mask leaves out is not used: neither a logit nor a factor."""
    rng, kept = np.random.default_rng(6), DTYPES[dtype]
    for n in (5, 70, 300):
        a, b = (rng.standard_normal((40, n)).astype(kept) for _ in range(2))
        where = rng.random((40, n)) < 0.6
        where[3] = False
        expected = csm.logsumexp(a, 1, np.where(where, b, kept(0)), return_sign=True)
        a[~where], b[~where] = np.nan, np.inf
        same(csm.logsumexp(a, 1, b, where=where, return_sign=True), expected)
        turned = csm.logsumexp(a.T.copy(), 0, b.T.copy(), where=where.T.copy(), return_sign=True)
        for value, by_rows in zip(turned, expected, strict=True):
            atol = 1e-12 if dtype == "float64" else 1e-4
            np.testing.assert_allclose(value.astype("f8"), by_rows.astype("f8"), rtol=2 * EPS[dtype], atol=atol)
