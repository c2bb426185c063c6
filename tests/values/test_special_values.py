"""NaN, infinities, masks, empty arrays, extreme temperatures, dtypes: values as promised, never a warning.

Every test here runs with all floating-point errors raised and all warnings turned into errors.
"""

import mpmath
import numpy as np
import pytest
import reference

NAN, INF = np.nan, np.inf
DTYPES = [np.float32, np.float64]
SIDES = [1, 2, 3, 5, 8, 16, 17, 31, 64, 100, 257]
EXTREME_TEMPERATURES = [2.3e-308, 1e-300, 1e-40, 1e-5, 1e5, 1e40, 1e300, float(np.finfo(np.float64).max)]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_side = pytest.mark.parametrize("n", SIDES)
every_temperature = pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])


@pytest.fixture(autouse=True)
def strict_floating_point():
    with np.errstate(all="raise"):
        yield


def same(actual, expected, scale=0.0):
    """Equal within 8 ULP (float32) or 5e-14 (float64), of the result or of `scale` where terms cancel.

    NaN and infinities in their places. `expected` comes in float64 from the reference, which rounds
    (x - max)/T: at the 200 that this reaches here, that is what is allowed in float64.
    """
    with np.errstate(over="ignore", under="ignore"):
        expected = np.asarray(expected, np.float64).astype(actual.dtype)
        tolerance = max(8 * float(np.finfo(actual.dtype).eps), 5e-14)
        atol = tolerance * scale + 2 * float(np.finfo(actual.dtype).smallest_subnormal)
        np.testing.assert_allclose(np.float64(actual), np.float64(expected), rtol=tolerance, atol=atol)


def by_row(f, x, *arguments, **options):
    """A row function of the reference over the rows of a matrix."""
    return [f(row, *arguments, **options) for row in np.float64(x).tolist()]


def batch(n, dtype, rows=7, scale=4.0):
    return np.random.default_rng(n).normal(scale=scale, size=(rows, n)).astype(dtype)


# Maps: one special value among ordinary ones


@pytest.mark.parametrize("special", [NAN, INF, -INF])
@every_temperature
@every_side
@every_dtype
def test_special_value_stays_in_its_row(csm, dtype, n, temperature, special):
    for place in {0, n // 2, n - 1}:
        x = batch(n, dtype)
        x[3, place] = special
        sums = by_row(reference.logsumexp, x)
        for axis, view in [(1, x), (0, np.ascontiguousarray(x.T))]:
            for f, row_function in [
                (csm.softmax, reference.softmax),
                (csm.log_softmax, reference.log_softmax),
            ]:
                expected = np.moveaxis(np.array(by_row(row_function, x, temperature)), 1, axis)
                same(f(view, axis=axis, temperature=temperature), expected)
                in_place = view.copy()
                same(f(in_place, axis=axis, temperature=temperature, out=in_place), expected)
            same(csm.logsumexp(view, axis=axis), sums, scale=20.0)


@every_side
@every_dtype
def test_rows_without_a_softmax(csm, dtype, n):
    x = batch(n, dtype, rows=5)
    x[0] = -INF
    x[1] = INF
    x[2] = NAN
    x[4, 0], x[4, -1] = INF, NAN
    for axis, view in [(1, x), (0, x.T.copy())]:
        rows = np.moveaxis(csm.softmax(view, axis=axis), axis, 1)
        logs = np.moveaxis(csm.log_softmax(view, axis=axis), axis, 1)
        bad = [0, 1, 2, 4]
        assert np.isnan(rows[bad]).all() and np.isnan(logs[bad]).all()
        assert np.isfinite(rows[3]).all() and np.isfinite(logs[3]).all()
        same(csm.logsumexp(view, axis=axis)[bad], [-INF, INF, NAN, NAN])


@every_side
@every_dtype
def test_nan_wins_over_infinities(csm, dtype, n):
    x = batch(n + 2, dtype, rows=6)
    for i, values in enumerate([(NAN, INF), (INF, NAN), (NAN, -INF), (-INF, NAN), (INF, -INF), (-INF, INF)]):
        x[i, :2] = x[i, -2:] = values
    assert np.isnan(csm.softmax(x)).all()
    assert np.isnan(csm.log_softmax(x)).all()
    same(csm.logsumexp(x, axis=1), [NAN, NAN, NAN, NAN, INF, INF])


@every_side
@every_dtype
def test_nan_payload_and_sign_do_not_matter(csm, dtype, n):
    x = batch(n, dtype)
    x[2, n // 2] = -NAN
    x.view(f"u{x.itemsize}")[5, n // 2] = np.array(NAN, dtype).view(f"u{x.itemsize}") + 12345
    assert np.isnan(csm.softmax(x)).all(axis=1).tolist() == [False, False, True, False, False, True, False]
    assert np.isnan(csm.logsumexp(x, axis=1)).tolist() == [False, False, True, False, False, True, False]


# Masks and extreme logits


@pytest.mark.parametrize("mask", ["-inf", "finfo.min", "-1e9", "-1e30"])
@every_temperature
@every_side
@every_dtype
def test_masks_of_logits(csm, dtype, n, temperature, mask):
    value = {"-inf": -INF, "finfo.min": np.finfo(dtype).min}.get(mask) or float(mask)
    x = batch(n + 1, dtype, scale=1.0)
    masked = np.random.default_rng(1).random(x.shape) < 0.5
    masked[:, 0] = False
    x[masked] = value
    for axis, view in [(1, x), (0, x.T.copy())]:
        options = {"axis": axis, "temperature": temperature}
        p = np.moveaxis(csm.softmax(view, **options), axis, 1)
        np.testing.assert_array_equal(p[masked], 0.0)
        same(p, by_row(reference.softmax, x, temperature))
        logs = np.moveaxis(csm.log_softmax(view, **options), axis, 1)
        same(logs, by_row(reference.log_softmax, x, temperature))
        same(csm.logsumexp(view, axis=axis), by_row(reference.logsumexp, x), scale=8.0)
        assert not np.isnan(csm.softmax_jacobian(p, temperature=temperature)).any()
        labels = np.zeros(len(x), int)
        loss, gradient = csm.cross_entropy(view, labels, reduction="none", return_grad=True, **options)
        same(loss, by_row(reference.index_loss, x, 0, temperature))
        np.testing.assert_array_equal(np.moveaxis(gradient, axis, 1)[masked], 0.0)


@pytest.mark.parametrize("value", ["min", "max", "-1e9", "1e9", "0"])
@every_side
@every_dtype
def test_constant_rows_are_uniform(csm, dtype, n, value):
    """A row of masks only is a row like any other: softmax is 1/n."""
    constant = {"min": np.finfo(dtype).min, "max": np.finfo(dtype).max}.get(value) or float(value)
    x = np.full((5, n), constant, dtype)
    same(csm.softmax(x), np.full(x.shape, 1.0 / n))
    same(csm.log_softmax(x), np.full(x.shape, -np.log(n)))
    same(csm.logsumexp(x, axis=1), np.full(5, float(x[0, 0]) + np.log(n)))
    same(csm.cross_entropy(x, np.zeros(5, int), reduction="none"), np.full(5, np.log(n)))


def test_more_equal_logits_than_float32_counts(levels):
    """Along the first axis, where they are counted one by one; of two columns as of many, if a vector is one number."""
    logits = np.zeros((2**24 + 2**20, 2), np.float32)
    np.testing.assert_allclose(levels["scalar"].logsumexp(logits, axis=0), np.log(len(logits)), rtol=1e-6)


@every_side
@every_dtype
def test_the_whole_range_in_one_row(csm, dtype, n):
    """finfo.max next to finfo.min: their distance overflows, the result does not."""
    x = np.zeros((3, n + 2), dtype)
    x[:, 0], x[:, -1] = np.finfo(dtype).max, np.finfo(dtype).min
    p, logs = csm.softmax(x), csm.log_softmax(x)
    np.testing.assert_array_equal(p[:, 0], 1.0)
    np.testing.assert_array_equal(p[:, 1:], 0.0)
    np.testing.assert_array_equal(logs[:, 0], 0.0)
    np.testing.assert_array_equal(logs[:, 1:-1], -np.finfo(dtype).max)
    np.testing.assert_array_equal(logs[:, -1], -INF)
    np.testing.assert_array_equal(csm.logsumexp(x, axis=1), np.finfo(dtype).max)


@pytest.mark.parametrize(
    ("dtype", "depths"),
    [
        (np.float32, [87.0, 88.0, 95.0, 100.0, 103.0, 103.97, 104.5]),
        (np.float64, [708.0, 720.0, 744.0, 745.1, 746.5]),
    ],
)
def test_subnormal_results_are_kept(csm, dtype, depths):
    for depth in depths:
        for n in (2, 3, 16, 40):
            x = np.full((4, n), -depth, dtype)
            x[:, 1] = 0.0
            p = csm.softmax(x)
            tail = mpmath.exp(float(x[0, 0]))
            exact = tail / (1 + (n - 1) * tail)
            unit = max(float(np.finfo(dtype).smallest_subnormal), exact * float(np.finfo(dtype).eps))
            assert all(abs(value - exact) <= 3 * unit for value in p[:, 0].tolist())


@every_dtype
def test_subnormal_logits(csm, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([[tiny, -tiny, 0.0, 3 * tiny]] * 5, dtype)
    same(csm.softmax(x), np.full(x.shape, 0.25))
    same(csm.logsumexp(x, axis=1), np.full(5, np.log(4.0)))


@every_dtype
def test_signed_zeros(csm, dtype):
    x = np.array([[0.0, -0.0], [-0.0, -0.0]], dtype)
    np.testing.assert_array_equal(csm.softmax(x), 0.5)
    same(csm.logsumexp(x, axis=1), np.full(2, np.log(2.0)))


# Empty arrays and 0-d


@every_dtype
def test_empty_maps(csm, dtype):
    for shape in [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0), (0, 2, 3)]:
        x = np.empty(shape, dtype)
        for axis in [*range(x.ndim), None, tuple(range(x.ndim))]:
            assert csm.softmax(x, axis=axis).shape == shape
            assert csm.log_softmax(x, axis=axis).shape == shape
            expected = x.sum(axis=axis)
            for keepdims in (False, True):
                sums = csm.logsumexp(x, axis=axis, keepdims=keepdims)
                assert sums.dtype == dtype and sums.shape == x.sum(axis=axis, keepdims=keepdims).shape
            np.testing.assert_array_equal(csm.logsumexp(x, axis=axis), np.full(expected.shape, -INF))
        for axis in range(x.ndim):
            n = shape[axis]
            rows = tuple(np.delete(shape, axis))
            assert csm.softmax_jacobian(x, axis=axis).shape == (*rows, n, n)
            for product in (csm.softmax_vjp, csm.softmax_jvp, csm.log_softmax_vjp, csm.log_softmax_jvp):
                assert product(x, x, axis=axis).shape == shape


@every_dtype
def test_empty_batch(csm, dtype):
    x = np.empty((0, 3), dtype)
    for target in (np.empty(0, int), [], np.empty((0, 3))):
        loss, gradient = csm.cross_entropy(x, target, return_grad=True)
        assert np.isnan(loss) and loss.dtype == dtype and gradient.shape == (0, 3)
        assert csm.cross_entropy(x, target, reduction="sum") == 0.0
        assert csm.cross_entropy(x, target, reduction="none").shape == (0,)


@every_dtype
def test_zero_classes(csm, dtype):
    with pytest.raises(IndexError):
        csm.cross_entropy(np.empty((2, 0), dtype), [0, 0])
    assert csm.cross_entropy(np.empty((0, 0), dtype), [], reduction="none").shape == (0,)


@every_dtype
def test_zero_dimensions_are_one_class(csm, dtype):
    for x in (dtype(3.5), np.array(3.5, dtype)):
        for axis in (0, -1, None, ()):
            assert csm.softmax(x, axis=axis) == 1.0
            assert csm.log_softmax(x, axis=axis) == 0.0
            assert csm.logsumexp(x, axis=axis) == 3.5
        assert csm.softmax(x).dtype == csm.logsumexp(x).dtype == dtype
    assert np.isnan(csm.softmax(dtype(NAN))) and np.isnan(csm.softmax(dtype(INF))) and np.isnan(csm.softmax(-INF))
    assert csm.logsumexp(dtype(INF)) == INF and csm.logsumexp(dtype(-INF)) == -INF
    np.testing.assert_array_equal(csm.softmax_jacobian(dtype(1.0)), [[0.0]])
    assert csm.softmax_vjp(dtype(1.0), dtype(2.0)) == 0.0
    assert csm.log_softmax_vjp(dtype(1.0), dtype(2.0)) == 0.0
    loss, gradient = csm.cross_entropy(dtype(3.5), 0, return_grad=True)
    assert loss == 0.0 and gradient == 0.0


@every_dtype
def test_one_class(csm, dtype):
    x = np.array([[5.0], [-3.0], [1e30]], dtype)
    np.testing.assert_array_equal(csm.softmax(x), 1.0)
    np.testing.assert_array_equal(csm.log_softmax(x), 0.0)
    np.testing.assert_array_equal(csm.logsumexp(x, axis=1), x[:, 0])
    loss, gradient = csm.cross_entropy(x, [0, 0, 0], reduction="none", return_grad=True)
    np.testing.assert_array_equal(loss, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)


# Dtypes


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "intp"])
def test_integers_become_float64(csm, dtype):
    x = np.array([[0, 1, 1], [1, 0, 0]], dtype)
    if dtype != "?":
        x[1, 2] = np.iinfo(dtype).max
    for f in (csm.softmax, csm.log_softmax):
        assert f(x).dtype == np.float64
        same(f(x), f(x.astype(np.float64)))
    same(csm.logsumexp(x), csm.logsumexp(x.astype(np.float64)))
    assert csm.logsumexp(x).dtype == np.float64
    for f in (csm.softmax_vjp, csm.softmax_jvp, csm.log_softmax_vjp, csm.log_softmax_jvp):
        assert f(x, x).dtype == np.float64
    loss, gradient = csm.cross_entropy(x, [1, 0], return_grad=True)
    assert loss.dtype == gradient.dtype == np.float64


# Temperatures


@pytest.mark.parametrize("temperature", EXTREME_TEMPERATURES)
@every_dtype
def test_extreme_temperatures_of_maps(csm, dtype, temperature):
    for n in (1, 2, 3, 10, 40):
        x = batch(n, dtype)
        x[0] = x[0, 0]
        x[1, n // 2] = -INF
        x[2] = np.finfo(dtype).min
        x[3, 0], x[3, -1] = -1e30, 1e30
        for axis, view in [(1, x), (0, x.T.copy())]:
            p = np.moveaxis(csm.softmax(view, axis=axis, temperature=temperature), axis, 1)
            logs = np.moveaxis(csm.log_softmax(view, axis=axis, temperature=temperature), axis, 1)
            same(p, by_row(reference.softmax, x, temperature))
            same(logs, by_row(reference.log_softmax, x, temperature))


@pytest.mark.parametrize("temperature", EXTREME_TEMPERATURES)
@every_dtype
def test_extreme_temperatures_of_derivatives(csm, dtype, temperature):
    """A product that is exactly zero stays zero, however large 1/T; no more is promised where v/T overflows."""
    for n in (2, 3, 10, 40):
        p, v = np.zeros((4, n), dtype), batch(n, dtype, rows=4)
        p[0, 0] = p[1, -1] = 1.0
        p[2:, :2] = 0.5
        v[2, :2] = 3.0
        rows = list(zip(p.tolist(), v.tolist(), strict=True))
        scale = min(float(np.abs(v).sum()) / temperature, 1e300)
        overflows = scale >= float(np.finfo(dtype).max) or scale == 1e300
        same(csm.softmax_jacobian(p, temperature=temperature), by_row(reference.jacobian, p, temperature))
        for f, row_function in [(csm.softmax_vjp, reference.vjp), (csm.softmax_jvp, reference.jvp)]:
            product = f(p, v, temperature=temperature)
            np.testing.assert_array_equal(product[:3], 0.0)
            if not overflows:
                same(product, [row_function(a, b, temperature) for a, b in rows], scale)
        for f, row_function in [
            (csm.log_softmax_vjp, reference.log_vjp),
            (csm.log_softmax_jvp, reference.log_jvp),
        ]:
            if overflows:
                continue
            same(f(p, v, temperature=temperature), [row_function(a, b, temperature) for a, b in rows], scale)


@pytest.mark.parametrize("temperature", EXTREME_TEMPERATURES)
@every_dtype
def test_extreme_temperatures_of_the_loss(csm, dtype, temperature):
    for n in (2, 3, 10, 40):
        x = batch(n, dtype, rows=6)
        x[0] = x[0, 0]
        x[1, 1:] = -INF
        x[2, 0] = 100.0
        labels = np.array([0, 0, 0, n - 1, 1, -100])
        loss, gradient = csm.cross_entropy(x, labels, temperature=temperature, reduction="none", return_grad=True)
        expected = reference.cross_entropy(np.float64(x).tolist(), labels.tolist(), temperature, "none")
        same(loss, expected[0])
        same(gradient, expected[1])


@pytest.mark.parametrize(
    ("dtype", "gaps", "weight", "tolerance"),
    [("float32", (128, 133, 140, 147), 2.0**100, 4 * 2.0**-23), ("float64", (1062, 1080, 1098), 2.0**700, 1e-12)],
)
def test_a_large_weight_brings_up_tiny_probabilities(csm, dtype, gaps, weight, tolerance):
    """They are far below the least number of the dtype; their exponentials must have all digits before the weight."""
    for gap in gaps:
        x = np.array([[0.0, -gap], [0.0, -gap]], dtype)
        expected = np.exp(np.log(weight) - gap)
        _, gradient = csm.cross_entropy(
            x, np.array([0, 0]), sample_weight=np.full(2, weight), reduction="sum", return_grad=True
        )
        g, h = csm.softmax_grad_hess(x, np.array([0, 0]), sample_weight=np.full(2, weight), eps=0)
        for found in (gradient[:, 1], g[:, 1], h[:, 1]):
            np.testing.assert_allclose(found.astype(float), expected, rtol=tolerance)


# Losses


@every_temperature
@every_side
@every_dtype
def test_index_loss_with_special_values(csm, dtype, n, temperature):
    n += 2
    x = batch(n, dtype, rows=8)
    x[1, 0] = NAN
    x[2, 1] = INF
    x[3, 1] = -INF
    x[4, 0] = -INF
    x[5] = -INF
    x[6, 1:] = -INF
    labels = np.zeros(8, int)
    for axis, view in [(1, x), (0, x.T.copy())]:
        options = {"axis": axis, "temperature": temperature, "reduction": "none", "return_grad": True}
        loss, gradient = csm.cross_entropy(view, labels, **options)
        gradient = np.moveaxis(gradient, axis, 1)
        expected = reference.cross_entropy(np.float64(x).tolist(), labels.tolist(), temperature, "none")
        same(loss, expected[0])
        same(gradient, expected[1])
        assert np.isnan(loss[[1, 2, 5]]).all() and np.isnan(gradient[[1, 2, 5]]).all()
        assert loss[4] == INF and gradient[3, 1] == 0.0
        assert loss[6] == 0.0 and (gradient[6] == 0.0).all()


@every_temperature
@every_side
@every_dtype
def test_soft_target_at_minus_infinity(csm, dtype, n, temperature):
    """0 * -inf = 0; a target above 0 there costs inf, one below 0 gives -inf."""
    n += 2
    x, t = batch(n, dtype, rows=5), np.random.default_rng(n).random((5, n)).astype(dtype)
    x[:, 1] = -INF
    t[:, 1] = 0.0
    t[1, 1], t[2, 1], t[3, 1] = 0.25, -0.25, -0.0
    expected = reference.cross_entropy(np.float64(x).tolist(), np.float64(t).tolist(), temperature, "none")
    for axis, logits, target in [(1, x, t), (0, x.T.copy(), t.T.copy())]:
        options = {"axis": axis, "temperature": temperature, "reduction": "none", "return_grad": True}
        loss, gradient = csm.cross_entropy(logits, target, **options)
        gradient = np.moveaxis(gradient, axis, 1)
        same(loss, expected[0])
        same(gradient, expected[1], scale=n / temperature)
        assert np.isfinite(loss[[0, 3, 4]]).all() and loss[1] == INF and loss[2] == -INF
        assert np.isfinite(gradient).all() and (gradient[[0, 3, 4], 1] == 0.0).all()


@every_side
@every_dtype
def test_probability_loss_with_special_values(csm, dtype, n):
    n += 2
    x, t = batch(n, dtype, rows=6), np.random.default_rng(n).random((6, n)).astype(dtype)
    x[1, 0] = NAN
    x[2, 1] = INF
    x[3] = -INF
    t[4, 1] = NAN
    loss, gradient = csm.cross_entropy(x, t, reduction="none", return_grad=True)
    assert np.isnan(loss).tolist() == [False, True, True, True, True, False]
    assert np.isnan(gradient[1:4]).all() and np.isnan(gradient[4]).any() and np.isfinite(gradient[[0, 5]]).all()


@every_side
@every_dtype
def test_ignored_rows_are_never_read(csm, dtype, n):
    x = batch(n, dtype)
    x[2], x[4], x[5] = NAN, INF, -INF
    labels = np.array([0, n - 1, -100, 0, -100, -100, n // 2])
    kept = labels >= 0
    for reduction in ("none", "sum", "mean"):
        for axis, view in [(1, x), (0, x.T.copy())]:
            options = {"axis": axis, "reduction": reduction, "return_grad": True}
            loss, gradient = csm.cross_entropy(view, labels, **options)
            in_place = view.copy()
            loss_too, gradient_too = csm.cross_entropy(in_place, labels, out=in_place, **options)
            assert gradient_too is in_place
            expected = reference.cross_entropy(np.float64(x[kept]).tolist(), labels[kept].tolist(), 1.0, reduction)
            for some_loss, some_gradient in [(loss, gradient), (loss_too, gradient_too)]:
                rows = np.moveaxis(some_gradient, axis, 1)
                np.testing.assert_array_equal(rows[~kept], 0.0)
                same(rows[kept], expected[1])
                if reduction == "none":
                    np.testing.assert_array_equal(some_loss[~kept], 0.0)
                    some_loss = some_loss[kept]
                same(some_loss, expected[0])


@every_dtype
def test_all_zero_probabilities(csm, dtype):
    x = batch(6, dtype)
    loss, gradient = csm.cross_entropy(x, np.zeros_like(x), return_grad=True)
    assert loss == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


# Derivatives


@every_side
@every_dtype
def test_nan_in_a_derivative_stays_in_its_row(csm, dtype, n):
    p, v = csm.softmax(batch(n, dtype)), batch(n, dtype, scale=1.0)
    p[2, n // 2] = NAN
    v[4, n // 2] = NAN
    for axis in (1, 0):
        a, b = (p, v) if axis == 1 else (p.T.copy(), v.T.copy())
        for product in (csm.softmax_vjp, csm.softmax_jvp, csm.log_softmax_vjp, csm.log_softmax_jvp):
            rows = np.moveaxis(product(a, b, axis=axis), axis, 1)
            assert np.isfinite(rows[[0, 1, 3, 5, 6]]).all()
            assert np.isnan(rows[2]).any() and np.isnan(rows[4]).any()
        j = csm.softmax_jacobian(a, axis=axis)
        assert np.isfinite(j[[0, 1, 3, 4, 5, 6]]).all() and np.isnan(j[2]).any()


@every_dtype
def test_one_hot_probabilities_have_no_derivative(csm, dtype):
    """Exactly zero, not the rounding of g - g, and zero times nothing."""
    for n in (2, 3, 10, 40):
        p, v = np.zeros((3, n), dtype), np.full((3, n), 1e30, dtype)
        p[:, 1] = 1.0
        v[0] = 0.1
        v[1, 1] = -7.0
        np.testing.assert_array_equal(csm.softmax_jacobian(p), 0.0)
        np.testing.assert_array_equal(csm.softmax_vjp(p, v), 0.0)
        np.testing.assert_array_equal(csm.softmax_jvp(p, v), 0.0)
