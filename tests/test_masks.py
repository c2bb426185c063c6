"""What tells the maps which classes take part and how they are computed: `where=`, arrays as temperature, `dtype=`,
`b=` and `return_sign=` of logsumexp.
"""

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
    for v, w, t in zip(values.reshape(-1, values.shape[-1]).tolist(),
                       takes_part.reshape(-1, values.shape[-1]).tolist(), temperatures, strict=True):
        kept = [a for a, part in zip(v, w, strict=True) if part]
        if name in MAPS:
            row_function = getattr(reference, name)
            results.append(reference.selected(lambda k, f=row_function, t=t: f(k, t), v, w, FILL[name]))
        elif name == "logsumexp":
            results.append(reference.logsumexp(kept))
        else:
            results.append(reference.entropy(kept, t))
    return np.reshape(results, values.shape if name in MAPS else rows)


# where=


@pytest.mark.parametrize("order", ["C", "F"])
@every_dtype
@every_axis
@every_function
def test_where(csm, name, axis, dtype, order):
    x, where = logits(3, 5, 4, dtype=dtype), mask(3, 5, 4)
    where[0, 0], where[:, 1], where[:, :, 2] = False, False, False
    expected = by_definition(name, x, where, axis)
    x = np.asarray(poisoned(x, where), order=order)
    given = x.tobytes()
    result = getattr(csm, name)(x, axis=axis, where=where)
    assert result.dtype == dtype
    assert x.tobytes() == given
    same(rows_of(result, axis)[0] if name in MAPS else result, expected, dtype)


@every_function
@pytest.mark.parametrize(
    "shape", [(), (4,), (1,), (5, 1), (5, 4), (3, 1, 1), (3, 1, 4), (1, 5, 1), (3, 5, 4)], ids=str
)
def test_where_broadcasts(csm, name, shape):
    x = logits(3, 5, 4)
    for where in (mask(*shape), np.ones(shape, bool), np.zeros(shape, bool)):
        full = np.broadcast_to(where, x.shape).copy()
        for axis in (0, 1, -1):
            result = getattr(csm, name)(x, axis=axis, where=where)
            np.testing.assert_array_equal(result, getattr(csm, name)(x, axis=axis, where=full))
            same(rows_of(result, axis)[0] if name in MAPS else result, by_definition(name, x, full, axis))


@every_function
def test_where_of_python_bools(csm, name):
    x = logits(2, 3)
    function = getattr(csm, name)
    where = np.array([[True, False, True]])
    np.testing.assert_array_equal(function(x, axis=1, where=[True, False, True]), function(x, axis=1, where=where))
    np.testing.assert_array_equal(function(x, axis=1, where=True), function(x, axis=1))
    np.testing.assert_array_equal(function(x, axis=1, where=None), function(x, axis=1))


@every_dtype
@every_function
def test_everything_takes_part(csm, name, dtype):
    """A mask that leaves nothing out changes no special value either."""
    x = np.array([[1, 2, 3], [np.nan, 1, 2], [np.inf, 1, 2], [-np.inf] * 3, [-np.inf, 0, 1]], dtype)
    for axis in (0, 1):
        plain = getattr(csm, name)(x, axis=axis).astype(np.float64)
        masked = getattr(csm, name)(x, axis=axis, where=np.ones((5, 3), bool)).astype(np.float64)
        np.testing.assert_array_equal(masked, plain)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@every_axis
@every_function
def test_nothing_leaks(csm, name, axis, hidden):
    """What stands under the mask has no influence, to the last bit; rows with nothing else are neutral."""
    x, where = logits(3, 5, 4, dtype=np.float32), mask(3, 5, 4)
    where[1] = False
    function = getattr(csm, name)
    expected = function(np.where(where, x, np.float32(0)), axis=axis, where=where)
    np.testing.assert_array_equal(function(np.where(where, x, np.float32(hidden)), axis=axis, where=where), expected)


@every_dtype
@every_function
def test_nothing_takes_part(csm, name, dtype):
    for x in (logits(4, 6, dtype=dtype), np.full((4, 6), np.nan, dtype), np.full((4, 6), np.inf, dtype)):
        for axis in (0, 1, None):
            result = getattr(csm, name)(x, axis=axis, where=np.zeros((4, 6), bool))
            assert result.dtype == dtype
            np.testing.assert_array_equal(np.asarray(result, np.float64), FILL.get(name, EMPTY.get(name)))


@every_function
def test_rows_that_are_minus_infinity_where_they_take_part(csm, name):
    """They are what they are without a mask: only a row where nothing takes part is neutral."""
    x, where = np.array([[-np.inf, -np.inf, 1.0]]), np.array([True, True, False])
    result = getattr(csm, name)(x, axis=-1, where=where)
    if name in MAPS:
        np.testing.assert_array_equal(result, [[np.nan, np.nan, FILL[name]]])
    else:
        np.testing.assert_array_equal(result, getattr(csm, name)(x[:, :2], axis=-1))


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33, 100, 1000])
@every_dtype
@every_function
def test_where_is_the_compressed_row(csm, name, dtype, n):
    x, where = logits(6, n, dtype=dtype), mask(6, n)
    result = getattr(csm, name)(poisoned(x, where), axis=1, where=where)
    for row, v, w in zip(result, x, where, strict=True):
        if w.any():
            same(row[w] if name in MAPS else row, getattr(csm, name)(v[w], axis=-1), dtype)
        if name in MAPS:
            np.testing.assert_array_equal(row[~w].astype(np.float64), FILL[name])


@every_axis
@every_map
def test_where_into_out(csm, name, axis):
    function = getattr(csm, name)
    for dtype in ("float32", "float64", "float16"):
        x, where = poisoned(logits(3, 5, 4, dtype=dtype), mask(3, 5, 4)), mask(3, 5, 4)
        expected = function(x, axis, where=where)
        for order in "CF":
            out = np.full((3, 5, 4), SENTINEL, dtype, order=order)
            assert function(x, axis, where=where, out=out) is out
            same(out, expected, dtype)
        gapped = np.full((3, 10, 8), SENTINEL, dtype)
        function(x, axis, where=where, out=gapped[:, ::2, ::2])
        same(gapped[:, ::2, ::2], expected, dtype)
        np.testing.assert_array_equal(gapped[:, 1::2], SENTINEL)
        for in_place in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2], x[::-1, :, ::-1].copy()):
            given = in_place.copy()
            assert function(in_place, axis, where=where, out=in_place) is in_place
            same(in_place, function(given, axis, where=where), dtype)


@every_function
def test_layouts_of_where(csm, name):
    x, where = logits(6, 8), mask(6, 8)
    expected = getattr(csm, name)(x, axis=-1, where=where)
    gapped = np.zeros((12, 16), bool)
    gapped[::2, ::-2] = where
    frozen = where.copy()
    frozen.setflags(write=False)
    for given in (np.asfortranarray(where), gapped[::2, ::-2], where[::-1].copy()[::-1], frozen):
        np.testing.assert_array_equal(getattr(csm, name)(x, axis=-1, where=given), expected)
    for given in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f8"), x[::-1].copy()[::-1]):
        same(getattr(csm, name)(given, axis=-1, where=where), expected)


@every_map
def test_mask_in_the_memory_of_the_result(csm, name):
    """`out` over the mask itself: the mask is read before it is lost."""
    x, buffer = logits(4, 8), np.zeros((4, 8))
    where = buffer.view(bool)[:, ::8]
    where[...] = mask(4, 8)
    expected = getattr(csm, name)(x, where=where.copy())
    getattr(csm, name)(x, where=where, out=buffer)
    np.testing.assert_array_equal(buffer, expected)


@pytest.mark.parametrize(("where", "error", "words"), [
    (np.ones(3, bool), ValueError, r"where.*\(3,\).*\(2, 4\)"),
    (np.ones((4, 2), bool), ValueError, r"where.*\(4, 2\).*\(2, 4\)"),
    (np.ones((1, 2, 4), bool), ValueError, r"where.*\(1, 2, 4\).*\(2, 4\)"),
    (np.ones((2, 4)), TypeError, "where.*float64"),
    (np.ones((2, 4), int), TypeError, "where.*int"),
    ("yes", TypeError, "where"),
    (np.ma.masked_array(np.ones((2, 4), bool), np.eye(2, 4)), TypeError, "where.*mask"),
], ids=str)
@every_function
def test_bad_masks(csm, name, where, error, words):
    x, in_place = logits(2, 4), logits(2, 4)
    out = np.full((2, 4) if name in MAPS else 2, SENTINEL)
    with pytest.raises(error, match=words):
        getattr(csm, name)(x, axis=1, where=where, out=out)
    np.testing.assert_array_equal(out, SENTINEL)
    if name in MAPS:
        with pytest.raises(error, match=words):
            getattr(csm, name)(in_place, where=where, out=in_place)
        np.testing.assert_array_equal(in_place, x)


@every_function
def test_masked_arrays_are_refused(csm, name):
    x = np.ma.masked_array(logits(2, 3), [[0, 1, 0], [0, 0, 0]])
    with pytest.raises(TypeError, match=r"where=~a\.mask"):
        getattr(csm, name)(x)
    assert np.isfinite(getattr(csm, name)(x.data, axis=-1, where=~x.mask)[1]).all()


# Arrays as temperature


@pytest.mark.parametrize("order", ["C", "F"])
@every_dtype
@every_axis
@pytest.mark.parametrize("name", [*MAPS, "softmax_entropy"])
def test_temperature_per_row(csm, name, axis, dtype, order):
    x = np.asarray(logits(3, 5, 4, dtype=dtype), order=order)
    rows = rows_of(x, axis)[1]
    t = np.random.default_rng(2).uniform(0.3, 3, rows)
    result = getattr(csm, name)(x, axis, temperature=t)
    assert result.dtype == dtype
    expected = by_definition(name, x, True, axis, t)
    same(rows_of(result, axis)[0] if name in MAPS else result, expected, dtype)
    where = mask(3, 5, 4)
    result = getattr(csm, name)(poisoned(x, where), axis, temperature=t, where=where)
    same(rows_of(result, axis)[0] if name in MAPS else result, by_definition(name, x, where, axis, t), dtype)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (3, 4)], ids=str)
def test_temperature_broadcasts_to_the_rows(csm, shape):
    x, g = logits(3, 5, 4), logits(3, 5, 4, seed=3)
    t = np.random.default_rng(4).uniform(0.5, 2, shape)
    full = np.broadcast_to(t, (3, 4))
    p = csm.softmax(x, 1)
    calls = [(name, (x,)) for name in (*MAPS, "softmax_entropy")]
    calls += [(name, (p, g)) for name in ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp")]
    calls += [("softmax_jacobian", (p,)), ("selective_log_softmax", (x, np.ones((3, 4), int)))]
    for name, arrays in calls:
        result = getattr(csm, name)(*arrays, axis=1, temperature=t)
        for row in np.ndindex(3, 4):
            alone = getattr(csm, name)(*(a[row[0], ..., row[1]] for a in arrays), temperature=full[row])
            mapped = name in MAPS or (len(arrays) == 2 and name != "selective_log_softmax")
            same(result[row[0], :, row[1]] if mapped else result[row], alone)


@pytest.mark.parametrize("given", [[0.5, 1, 2], np.array([1, 2, 4], np.int32), np.array([0.5, 1, 2], ">f4"),
                                   np.array([0.5, 9, 1, 9, 2, 9])[::2]], ids=str)
def test_kinds_of_temperatures(csm, given):
    x = logits(3, 5)
    for name in (*MAPS, "softmax_entropy"):
        same(getattr(csm, name)(x, temperature=given), by_definition(name, x, True, -1, np.float64(given)))


@pytest.mark.parametrize(("temperature", "error", "words"), [
    ([1, 1], ValueError, r"temperature.*\(2,\).*\(3,\)"),
    (np.ones((3, 5)), ValueError, r"temperature.*\(3, 5\).*\(3,\)"),
    (np.ones((3, 1)), ValueError, r"temperature.*\(3, 1\).*\(3,\)"),
    ([1, 0, 1], ValueError, r"temperature.*1.*0"),
    ([1, 1, -2.5], ValueError, r"temperature.*2.*-2\.5"),
    ([np.nan, 1, 1], ValueError, "temperature.*0.*nan"),
    ([1, np.inf, 1], ValueError, "temperature.*1.*inf"),
    ([1j, 1, 1], TypeError, "temperature"),
    (["a", "b", "c"], TypeError, "temperature"),
], ids=str)
def test_bad_temperatures(csm, temperature, error, words):
    x = logits(3, 5)
    p, g = csm.softmax(x), logits(3, 5, seed=3)
    calls = [(name, (x,), (3, 5)) for name in MAPS]
    calls += [("softmax_entropy", (x,), (3,)), ("selective_log_softmax", (x, [0, 1, 2]), (3,))]
    calls += [(name, (p, g), (3, 5)) for name in ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp")]
    calls += [("softmax_jacobian", (p,), (3, 5, 5))]
    for name, arrays, shape in calls:
        out = np.full(shape, SENTINEL)
        with pytest.raises(error, match=words):
            getattr(csm, name)(*arrays, temperature=temperature, out=out)
        np.testing.assert_array_equal(out, SENTINEL)


# dtype=


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("of", [*DTYPES, "int8", "bool"])
@every_function
def test_dtype(csm, name, of, to):
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


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex128", "longdouble", "S4", "object"])
@every_function
def test_bad_dtypes(csm, name, dtype):
    with pytest.raises(TypeError, match="dtype"):
        getattr(csm, name)(logits(2, 3), dtype=dtype)


# b= and return_sign= of logsumexp


@pytest.mark.parametrize("dtype", DTYPES)
@every_axis
def test_factors(csm, axis, dtype):
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


def test_factors_of_zero_and_infinity(csm):
    assert csm.logsumexp([np.inf, 1.0], b=[0, 1]) == 1.0
    assert csm.logsumexp([np.nan, 1.0], b=[0, 1]) == 1.0
    assert csm.logsumexp([1.0, 1.0], b=[1, -1]) == -np.inf
    assert csm.logsumexp([1.0, 1.0], b=[1, -1], return_sign=True) == (-np.inf, 0)
    assert csm.logsumexp([1.0, 2.0], b=0) == -np.inf
    assert np.isnan(csm.logsumexp([1.0, 2.0], b=-1))
    same(csm.logsumexp([1.0, 2.0], b=2), np.log(2) + csm.logsumexp([1.0, 2.0]))
    same(csm.logsumexp([1000.0, 1000.0], b=[1e-300, 1e-300]), 1000 + np.log(2e-300))


def test_sign_without_factors(csm):
    log, sign = csm.logsumexp(logits(3, 4), axis=1, return_sign=True)
    np.testing.assert_array_equal(sign, 1)
    np.testing.assert_array_equal(log, csm.logsumexp(logits(3, 4), axis=1))
    assert csm.logsumexp(np.array([-np.inf]), return_sign=True)[0] == -np.inf


def test_factors_broadcast_and_mask(csm):
    a, b = logits(3, 4), np.array([1.0, -2, 0.5, 3])
    full, where = np.broadcast_to(b, a.shape).copy(), mask(3, 4)
    for given in (b, full):
        same(csm.logsumexp(a, 1, given, return_sign=True), csm.logsumexp(a, 1, full, return_sign=True))
    tiled = csm.logsumexp(np.tile(a[0], (3, 1)), 1, full, return_sign=True)
    same(csm.logsumexp(a[0], -1, full, return_sign=True), tiled)
    masked = csm.logsumexp(poisoned(a, where), 1, full, return_sign=True, where=where)
    same(masked, csm.logsumexp(a, 1, np.where(where, full, 0), return_sign=True))
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(3,\)"):
        csm.logsumexp(a, b=np.ones(3))
    with pytest.raises(TypeError, match="b "):
        csm.logsumexp(a, b=np.ones(4, complex))
