"""kl_divergence and the gradient of softmax_entropy where formulas as they are written fail: near equality, at -inf
logits, under a mask, in place, over rows that are not read.
"""

import limits
import numpy as np
import pytest
import reference

DTYPES = ["float32", "float64"]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def logits(rows, n, dtype="float64", seed=0):
    return np.random.default_rng([rows, n, seed]).normal(scale=2.0, size=(rows, n)).astype(dtype)


def by_rows(f, a, b):
    return np.array([f(u, v) for u, v in zip(a.tolist(), b.tolist(), strict=True)])


def close(actual, expected, dtype):
    np.testing.assert_allclose(actual, expected, rtol=20 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


@pytest.mark.skipif(limits.EXTENDED_BITS < 64, reason="needs a long double wider than double")
@every_dtype
@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 1024.0])
def test_divergence_near_equality(csm, dtype, distance, offset):
    """A difference of two entropies would leave noise."""
    a = logits(1, 1000, dtype)
    b = (a + distance * logits(1, 1000, dtype, seed=1)).astype(dtype)
    a = a + dtype_of(dtype, offset)
    d, error = limits.two_sum(a.astype(np.longdouble), -b.astype(np.longdouble))
    p = np.exp(a.astype(np.longdouble) - a.max())
    p /= p.sum()
    d = (d - d[0, 0]) + (error - error[0, 0])
    t = (p * d).sum() - d
    exact = np.log1p((p * limits.phi(t)).sum())
    np.testing.assert_allclose(csm.kl_divergence(a, b), float(exact), rtol=4 * np.finfo(dtype).eps)


def dtype_of(dtype, value):
    return np.dtype(dtype).type(value)


def test_divergence_of_logits_a_ten_thousandth_apart(csm):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1, 1000)).astype(np.float32)
    b = (a + 1e-4 * rng.standard_normal(a.shape)).astype(np.float32)
    assert 4e-9 < csm.kl_divergence(a, b) < 6e-9


@every_dtype
def test_divergence_of_equal_logits(csm, dtype):
    a = (np.round(64 * logits(5, 40)) / 64).astype(dtype)
    for offset in (0, 1024, -4096):
        loss, gradient = csm.kl_divergence(a, a + dtype_of(dtype, offset), return_grad=True)
        assert loss == 0
        np.testing.assert_array_equal(gradient, 0)


@every_dtype
def test_divergence_with_classes_at_minus_infinity(csm, dtype):
    a, b = logits(4, 6, dtype), logits(4, 6, dtype, seed=1)
    a[0, 1] = b[1, 2] = a[2, 3] = b[2, 3] = -np.inf
    loss, gradient = csm.kl_divergence(a, b, reduction="none", return_grad=True)
    assert loss[1] == np.inf
    close(loss, by_rows(reference.kl_divergence, a, b), dtype)
    close(gradient, by_rows(reference.kl_gradient, a, b), dtype)
    assert gradient[2, 3] == 0
    entropy, gradient = csm.softmax_entropy(a, return_grad=True)
    close(entropy, [reference.entropy(u) for u in a.tolist()], dtype)
    close(gradient, [reference.entropy_gradient(u) for u in a.tolist()], dtype)
    assert gradient[0, 1] == gradient[2, 3] == 0


@every_dtype
@pytest.mark.parametrize("which", ["p", "q"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, "all -inf"])
def test_divergences_without_a_softmax(csm, dtype, which, bad):
    a, b = logits(3, 5, dtype), logits(3, 5, dtype, seed=1)
    spoilt = a if which == "p" else b
    spoilt[1, slice(None) if bad == "all -inf" else 2] = -np.inf if bad == "all -inf" else bad
    loss, gradient = csm.kl_divergence(a, b, reduction="none", return_grad=True)
    np.testing.assert_array_equal(np.isnan(loss), [False, True, False])
    np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, True, False])
    assert not np.isnan(gradient[[0, 2]]).any()
    if which == "p":
        entropy, gradient = csm.softmax_entropy(a, return_grad=True)
        np.testing.assert_array_equal(np.isnan(entropy), [False, True, False])
        np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, True, False])


@every_dtype
@pytest.mark.parametrize("axis", [-1, 0])
def test_divergences_under_a_mask(csm, dtype, axis):
    """What stands under the mask is not used; a row without classes has no divergence and no entropy."""
    a, b = logits(6, 7, dtype), logits(6, 7, dtype, seed=1)
    mask = np.random.default_rng(2).random(a.shape) < 0.6
    mask[2], mask[3] = False, True
    a[~mask], b[~mask] = np.nan, np.inf
    kept = [[v[m].tolist() for v, m in zip(x, mask, strict=True)] for x in (a, b)]
    expected = [reference.kl_divergence(u, v) if u else 0.0 for u, v in zip(*kept, strict=True)]
    slopes = np.zeros(a.shape)
    for i, (u, v) in enumerate(zip(*kept, strict=True)):
        slopes[i, mask[i]] = reference.kl_gradient(u, v) if u else 0
    transposed = (lambda x: np.ascontiguousarray(x.T)) if axis == 0 else (lambda x: x)
    for reduction in ("none", "sum"):
        loss, gradient = csm.kl_divergence(
            transposed(a), transposed(b), axis, where=transposed(mask), reduction=reduction, return_grad=True
        )
        close(loss, expected if reduction == "none" else sum(expected), dtype)
        close(transposed(gradient), slopes, dtype)
    entropy, gradient = csm.softmax_entropy(transposed(a), axis, where=transposed(mask), return_grad=True)
    close(entropy, [reference.entropy(u) for u in kept[0]], dtype)
    slopes = np.zeros(a.shape)
    for i, u in enumerate(kept[0]):
        slopes[i, mask[i]] = reference.entropy_gradient(u) if u else 0
    close(transposed(gradient), slopes, dtype)


@every_dtype
@pytest.mark.parametrize("n", [1, 3, 40, 100, 5000])
@pytest.mark.parametrize("order", ["C", "F", "strided", "mixed dtypes"])
def test_divergences_of_any_layout(csm, dtype, n, order):
    """Every order of the arrays, and the gradient over either of them."""
    a, b = logits(70, n, dtype), logits(70, n, dtype, seed=1)
    loss, gradient = csm.kl_divergence(a, b, return_grad=True)
    entropy, slopes = csm.softmax_entropy(a, return_grad=True)
    make = {
        "C": np.copy,
        "F": np.asfortranarray,
        "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        "mixed dtypes": np.copy,
    }[order]
    u, v = make(a), make(b)
    if order == "mixed dtypes":
        v = v.astype(np.float32)
        loss, gradient = csm.kl_divergence(a, v.astype(dtype), return_grad=True)
    for k in range(3):
        x, y = u.copy("K"), v.copy("K")
        out = (None, x, y)[k]
        if out is not None and out.dtype != a.dtype:
            continue
        found, g = csm.kl_divergence(x, y, return_grad=True, out=out)
        assert out is None or g is out
        close(found, loss, dtype)
        close(g, gradient, dtype)
    x = make(a)
    found, g = csm.softmax_entropy(x, return_grad=True, out=x)
    assert g is x
    close(found, entropy, dtype)
    close(g, slopes, dtype)


def test_a_row_of_weight_zero_is_not_read(csm):
    a, b = logits(3, 5), logits(3, 5, seed=1)
    a[1], b[1] = np.nan, np.inf
    loss, gradient = csm.kl_divergence(a, b, sample_weight=[1, 0, 2], return_grad=True)
    rows = by_rows(reference.kl_divergence, a[[0, 2]], b[[0, 2]])
    close(loss, (rows[0] + 2 * rows[1]) / 3, "float64")
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.isfinite(gradient).all()


def test_reductions_of_divergences(csm):
    a, b = logits(4, 5), logits(4, 5, seed=1)
    rows = csm.kl_divergence(a, b, reduction="none")
    close(csm.kl_divergence(a, b), rows.mean(), "float64")
    close(csm.kl_divergence(a, b, normalizer=8.0), rows.sum() / 8, "float64")
    assert np.isnan(csm.kl_divergence(a[:0], b[:0]))
    assert csm.kl_divergence(a[:0], b[:0], normalizer=0) == 0
    np.testing.assert_array_equal(csm.kl_divergence(a[:, :0], b[:, :0], reduction="none"), 0)


@pytest.mark.parametrize("temperature", [0.3, 20.0, "each"])
def test_divergences_at_a_temperature(csm, temperature):
    a, b = logits(4, 50), logits(4, 50, seed=1)
    each = np.linspace(0.5, 3.0, 4) if temperature == "each" else np.full(4, temperature)
    given = each if temperature == "each" else temperature
    loss, gradient = csm.kl_divergence(a, b, temperature=given, reduction="none", return_grad=True)
    entropy, slopes = csm.softmax_entropy(a, temperature=given, return_grad=True)
    for i, t in enumerate(each.tolist()):
        u, v = a[i].tolist(), b[i].tolist()
        close(loss[i], reference.kl_divergence(u, v, t), "float64")
        close(gradient[i], reference.kl_gradient(u, v, t), "float64")
        close(entropy[i], reference.entropy(u, t), "float64")
        close(slopes[i], reference.entropy_gradient(u, t), "float64")


def test_divergence_of_logits_far_apart(csm):
    """Where e^t overflows: one-hot at different places, a mask of the dtype's least number."""
    a, b = np.array([[1000.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 2000.0]])
    for dtype in DTYPES:
        close(csm.kl_divergence(a.astype(dtype), b.astype(dtype)), 2000.0, dtype)
    a = np.array([[0.0, np.finfo(np.float32).min, 1.0]], np.float32)
    b = np.array([[1.0, 0.5, np.finfo(np.float32).min]], np.float32)
    close(csm.kl_divergence(a, a), 0.0, "float32")
    expected = np.finfo(np.float32).max * np.float32(np.e / (1 + np.e))
    np.testing.assert_allclose(csm.kl_divergence(a, b), expected, rtol=1e-6)


def test_entropy_over_several_axes(csm):
    x = logits(6, 10).reshape(2, 3, 10)
    entropy, gradient = csm.softmax_entropy(x, (0, 2), keepdims=True, return_grad=True)
    assert entropy.shape == (1, 3, 1) and gradient.shape == x.shape
    turned = x.transpose(1, 0, 2).reshape(3, 20)
    close(entropy.ravel(), [reference.entropy(u) for u in turned.tolist()], "float64")
    expected = np.array([reference.entropy_gradient(u) for u in turned.tolist()])
    close(gradient, expected.reshape(3, 2, 10).transpose(1, 0, 2), "float64")
    whole, slopes = csm.softmax_entropy(x, None, return_grad=True, dtype=np.float32)
    assert whole.dtype == slopes.dtype == np.float32 and slopes.shape == x.shape


def test_entropy_gives_out_to_the_gradient(csm):
    x = logits(3, 4)
    out = np.empty_like(x)
    entropy, gradient = csm.softmax_entropy(x, return_grad=True, out=out)
    assert gradient is out and entropy.shape == (3,)
