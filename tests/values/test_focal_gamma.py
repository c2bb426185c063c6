"""`focal_gamma`: the loss of a class index times (1 - p)^gamma, and its gradient, at every margin."""

import ml_dtypes
import numpy as np
import pytest
from losses import by_reference, options_of

GAMMAS = [1e-3, 0.5, 1, 2, 50]
TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 1e-6, "float64": 1e-13}
OPTIONS = ("weight", "sample_weight", "softcap", "temperature")
"""Those that focal_gamma goes with."""

every_gamma = pytest.mark.parametrize("gamma", GAMMAS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def near(actual, expected, gamma, dtype="float64", least=0.0):
    """An error of 1 - p counts gamma times; one of 800 rounded, as the reference has it, is 1e-13."""
    inner = TOLERANCE["float64" if dtype == "float64" else "float32"]
    tolerance = max(TOLERANCE[dtype], (1 + gamma) * inner)
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), tolerance, least)


def least_of(dtype):
    return 8 * float(ml_dtypes.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", ["none", *OPTIONS, "one temperature", "all"])
@every_gamma
def test_focal_losses(csm, name, gamma, reduction):
    rng = np.random.default_rng(0)
    for n, rows in ((1, 3), (2, 40), (3, 7), (10, 70), (100, 4)):
        x, labels = rng.normal(scale=2.0, size=(rows, n)), rng.integers(0, n, rows)
        labels[1], labels[::2] = -100, np.where(labels[::2] >= 0, x[::2].argmax(axis=1), -100)
        options = {"temperature": 1.5} if name == "one temperature" else options_of(name, x.shape, OPTIONS)
        options["reduction"] = reduction
        loss, gradient = by_reference(x, labels, focal_gamma=gamma, **options)
        for axis in (-1, 0):
            given = x if axis else np.ascontiguousarray(x.T)
            found, slopes = csm.cross_entropy(given, labels, axis, focal_gamma=gamma, return_grad=True, **options)
            least = 1e-13 if reduction != "none" or "softcap" in options else 1e-300
            near(found, loss, gamma, least=least)
            near(slopes if axis else slopes.T, gradient, gamma, least=least)
            np.testing.assert_array_equal(csm.cross_entropy(given, labels, axis, focal_gamma=gamma, **options), found)


@every_dtype
@every_gamma
def test_focal_loss_of_any_margin(csm, gamma, dtype):
    """Target first and last, by margins of either sign: finite, exact, and 0 only where that is the nearest number."""
    margins = np.array([0, 1e-3, 1, 5, 10, 17, 20, 40, 60, 80, 90, 103, 200, 400, 700, 800, 1e4], dtype)
    for n in (2, 17, 33, 150):
        x = np.zeros((2 * len(margins), n), dtype)
        x[: len(margins), 0], x[len(margins) :, 0] = margins, -margins
        x[:, 1:] -= np.linspace(0, 1, n - 1).astype(dtype)
        loss, gradient = by_reference(x, [0] * len(x), focal_gamma=gamma, reduction="none")
        found, slopes = csm.cross_entropy(x, [0] * len(x), focal_gamma=gamma, reduction="none", return_grad=True)
        of_loss = "float64" if dtype == "float64" else "float32"
        near(found, loss, gamma, of_loss, least_of(of_loss))
        near(slopes, gradient, gamma, dtype, least_of(dtype))


@every_gamma
def test_large_weights_on_small_gradients(csm, gamma):
    """float32: what is small by the focus and large by the weight has all its digits."""
    x = np.zeros((40, 9), np.float32)
    x[:, 0] = np.linspace(0, 60, 40)
    s = np.exp(np.minimum(gamma * x[:, 0], 60)).astype(np.float64)
    loss, gradient = by_reference(x, [0] * 40, focal_gamma=gamma, sample_weight=s, reduction="none")
    options = {"sample_weight": s, "reduction": "none", "return_grad": True}
    found, slopes = csm.cross_entropy(x, [0] * 40, focal_gamma=gamma, **options)
    near(found, loss, gamma, "float32", 1e-44)
    near(slopes, gradient, gamma, "float32", 1e-44)


@every_dtype
def test_focal_gamma_of_0(csm, dtype):
    x = np.random.default_rng(0).normal(size=(9, 12)).astype(dtype)
    expected = csm.cross_entropy(x, [3] * 9, return_grad=True)
    found = csm.cross_entropy(x, [3] * 9, focal_gamma=0, return_grad=True)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@every_gamma
def test_focal_loss_of_special_rows(csm, gamma):
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, 0, 0], [0, -inf, -inf], [nan, 0, 0], [inf, 0, 0], [-inf] * 3, [nan] * 3, [0, nan, 0.0]])
    labels = [0, 0, 0, 0, 0, -100, 1]
    for rows in (x, np.tile(x, (20, 1))):
        y = np.tile(labels, len(rows) // 7)
        loss, gradient = csm.cross_entropy(rows, y, focal_gamma=gamma, reduction="none", return_grad=True)
        for i in range(0, len(rows), 7):
            np.testing.assert_array_equal(loss[i : i + 7], [inf, 0, nan, nan, nan, 0, nan])
            np.testing.assert_array_equal(gradient[i], [-1, 0.5, 0.5])
            np.testing.assert_array_equal(gradient[[i + 1, i + 5]], 0)
            assert np.isnan(gradient[[i + 2, i + 3, i + 4, i + 6]]).all()
    assert csm.cross_entropy(np.array([5.0]), 0, focal_gamma=gamma, return_grad=True) == (0, 0)


def test_focal_loss_in_place_and_of_one_row(csm):
    rng = np.random.default_rng(2)
    for n in (3, 50, 500, 5000):
        x = 5 * rng.normal(size=n)
        loss, gradient = by_reference(x[None], [1], focal_gamma=1.5)
        for given in (x.copy(), np.repeat(x, 2)[::2]):
            found, slopes = csm.cross_entropy(given, 1, focal_gamma=1.5, return_grad=True, out=given)
            assert slopes is given
            near(found, loss, 1.5)
            near(slopes, gradient[0], 1.5)


def test_focal_loss_under_a_mask(csm):
    x, where = np.random.default_rng(4).normal(size=(3, 5)), np.array([True, False, True, True, False])
    loss, gradient = csm.cross_entropy(x, [0, 1, 2], where=where, focal_gamma=2, reduction="none", return_grad=True)
    alone, slopes = csm.cross_entropy(x[[0, 2]][:, where], [0, 1], focal_gamma=2, reduction="none", return_grad=True)
    near(loss[[0, 2]], alone, 2)
    assert loss[1] == np.inf and np.isfinite(gradient).all() and (gradient[:, ~where] == 0).all()
    near(gradient[[0, 2]][:, where], slopes, 2)


def test_linear_cross_entropy_with_focal_gamma(csm):
    rng = np.random.default_rng(5)
    x, w, labels = rng.normal(size=(9, 4)), rng.normal(size=(6, 4)), rng.integers(0, 6, 9)
    labels[4] = -100
    for options in ({}, {"weight": np.arange(6.0)}, {"reduction": "sum", "temperature": 2.0}):
        loss, g = csm.cross_entropy(x @ w.T, labels, focal_gamma=0.5, return_grad=True, **options)
        for chunk_size in (None, 2):
            found, (dx, dw, _) = csm.linear_cross_entropy(
                x, w, labels, focal_gamma=0.5, return_grad=True, chunk_size=chunk_size, **options
            )
            np.testing.assert_allclose(found, loss, 1e-13)
            np.testing.assert_allclose(dx, g @ w, 1e-12, 1e-14)
            np.testing.assert_allclose(dw, g.T @ x, 1e-12, 1e-14)
