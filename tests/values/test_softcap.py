"""Soft capping of logits at any size of the cap."""

import numpy as np
import pytest
from mpmath import mp, mpf

CAPS = [1e-3, 0.5, 2.0, 30.0, 1e3, 1e4, 1e6, 1e8, 1e10, 1e18, 1e30]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def exact(x, label, cap):
    """(loss, gradient) of one row."""
    with mp.workprec(200):
        x = [mpf(float(v)) for v in x]
        tanh = [mp.tanh(v / cap) for v in x]
        e = [mp.exp(cap * t) for t in tanh]
        p = [v / sum(e) for v in e]
        slope = [mp.sech(v / cap) ** 2 for v in x]
        gradient = [(q - (i == label)) * s for i, (q, s) in enumerate(zip(p, slope, strict=True))]
        return float(-mp.log(p[label])), [float(g) for g in gradient]


@pytest.mark.parametrize("cap", CAPS)
def test_loss_and_gradient(csm, dtype, cap):
    for row in ([0.125, -0.5, 1.75], [3.0, -2.0, 1e-3], [1e-20, 25.0, 24.5], [-400.0, -401.0, -399.5]):
        x = np.array([row], dtype)
        for label in range(3):
            loss, gradient = csm.cross_entropy(x, np.array([label]), softcap=cap, reduction="none", return_grad=True)
            expected, of_logits = exact(x[0], label, cap)
            largest = min(cap, abs(x).max())
            eps = np.finfo(dtype).eps
            assert abs(loss[0] - expected) <= eps * (4 * expected + 2 * largest)
            np.testing.assert_allclose(
                gradient[0], of_logits, rtol=4 * eps * (2 + largest), atol=8 * np.finfo(dtype).smallest_subnormal
            )


def test_a_large_cap_leaves_logits_as_they_are(csm, dtype):
    x = np.random.default_rng(1).standard_normal((100, 30)).astype(dtype)
    labels = np.arange(100) % 30
    plain, of_plain = csm.cross_entropy(x, labels, return_grad=True)
    for cap in (1e10, 1e18, 1e30):
        loss, gradient = csm.cross_entropy(x, labels, softcap=cap, return_grad=True)
        assert loss == plain
        np.testing.assert_array_equal(gradient, of_plain)


@pytest.mark.parametrize("classes", [3, 17, 100, 5000])
def test_a_logit_of_minus_infinity_stays_out(csm, dtype, classes):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20, classes)).astype(dtype)
    x[:, -1] = -np.inf
    labels = rng.integers(0, classes - 1, 20)
    loss, gradient = csm.cross_entropy(x, labels, softcap=2.0, return_grad=True)
    expected, without = csm.cross_entropy(np.ascontiguousarray(x[:, :-1]), labels, softcap=2.0, return_grad=True)
    np.testing.assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient[:, :-1], without, rtol=16 * np.finfo(dtype).eps)
    assert (gradient[:, -1] == 0).all()
    assert csm.cross_entropy(x[:1], np.array([classes - 1]), softcap=2.0) == np.inf


def test_the_case_of_three_logits(csm):
    loss = csm.cross_entropy(np.array([[1.0, 0.0, -np.inf]]), np.array([0]), softcap=2.0)
    assert loss == pytest.approx(0.334209, abs=1e-6)


def test_nan_stays_in_its_row(csm, dtype):
    x = np.array([[0.0, np.nan, 1.0], [0.0, 1.0, 2.0]], dtype)
    loss, gradient = csm.cross_entropy(x, np.array([0, 1]), softcap=5.0, reduction="none", return_grad=True)
    assert np.isnan(loss[0]) and np.isfinite(loss[1])
    assert np.isnan(gradient[0]).all() and np.isfinite(gradient[1]).all()
