"""`focal_gamma`: the loss of a class index times (1 - p)^gamma, and its gradient, at every margin."""

import ml_dtypes
import numpy as np
import pytest
import reference

GAMMAS = [1e-3, 0.5, 1, 2, 50]
TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 1e-6, "float64": 1e-13}
SENTINEL = 7.25
OPTIONS = {
    "none": lambda n, rows: {},
    "weight": lambda n, rows: {"weight": np.linspace(0.25, 2.0, n)},
    "sample_weight": lambda n, rows: {"sample_weight": np.linspace(-1.0, 2.0, rows)},
    "softcap": lambda n, rows: {"softcap": 6.0},
    "temperature": lambda n, rows: {"temperature": 1.5},
    "temperatures": lambda n, rows: {"temperature": np.linspace(0.5, 3.0, rows)},
}
OPTIONS["all"] = lambda n, rows: {k: v for name in OPTIONS if name != "all" for k, v in OPTIONS[name](n, rows).items()}

every_gamma = pytest.mark.parametrize("gamma", GAMMAS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def by_reference(x, labels, gamma, **options):
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return reference.cross_entropy(
        x.astype(float).tolist(), np.asarray(labels).tolist(), focal_gamma=gamma, **plain
    )


def near(actual, expected, gamma, dtype="float64", least=0.0):
    """An error of 1 - p counts gamma times; one of 800 rounded, as the reference has it, is 1e-13."""
    inner = TOLERANCE["float64" if dtype == "float64" else "float32"]
    tolerance = max(TOLERANCE[dtype], (1 + gamma) * inner)
    np.testing.assert_allclose(np.asarray(actual, float), np.asarray(expected, float), tolerance, least)


def least_of(dtype):
    return 8 * float(ml_dtypes.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", OPTIONS)
@every_gamma
def test_by_the_reference(csm, name, gamma, reduction):
    rng = np.random.default_rng(0)
    for n, rows in ((1, 3), (2, 40), (3, 7), (10, 70), (100, 4)):
        x, labels = rng.normal(scale=2.0, size=(rows, n)), rng.integers(0, n, rows)
        labels[1], labels[::2] = -100, np.where(labels[::2] >= 0, x[::2].argmax(axis=1), -100)
        options = OPTIONS[name](n, rows) | {"reduction": reduction}
        loss, gradient = by_reference(x, labels, gamma, **options)
        for axis in (-1, 0):
            given = x if axis else np.ascontiguousarray(x.T)
            found, slopes = csm.cross_entropy(given, labels, axis, focal_gamma=gamma, return_grad=True, **options)
            least = 1e-13 if reduction != "none" or "softcap" in options else 1e-300
            near(found, loss, gamma, least=least)
            near(slopes if axis else slopes.T, gradient, gamma, least=least)
            np.testing.assert_array_equal(
                csm.cross_entropy(given, labels, axis, focal_gamma=gamma, **options), found
            )


@every_dtype
@every_gamma
def test_any_margin(csm, gamma, dtype):
    """Target first and last, by margins of either sign: finite, exact, and 0 only where that is the nearest number."""
    margins = np.array([0, 1e-3, 1, 5, 10, 17, 20, 40, 60, 80, 90, 103, 200, 400, 700, 800, 1e4], dtype)
    for n in (2, 17, 33, 150):
        x = np.zeros((2 * len(margins), n), dtype)
        x[: len(margins), 0], x[len(margins) :, 0] = margins, -margins
        x[:, 1:] -= np.linspace(0, 1, n - 1).astype(dtype)
        loss, gradient = by_reference(x, [0] * len(x), gamma, reduction="none")
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
    loss, gradient = by_reference(x, [0] * 40, gamma, sample_weight=s, reduction="none")
    options = {"sample_weight": s, "reduction": "none", "return_grad": True}
    found, slopes = csm.cross_entropy(x, [0] * 40, focal_gamma=gamma, **options)
    near(found, loss, gamma, "float32", 1e-44)
    near(slopes, gradient, gamma, "float32", 1e-44)


@every_dtype
def test_without_is_without(csm, dtype):
    x = np.random.default_rng(0).normal(size=(9, 12)).astype(dtype)
    expected = csm.cross_entropy(x, [3] * 9, return_grad=True)
    found = csm.cross_entropy(x, [3] * 9, focal_gamma=0, return_grad=True)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@every_gamma
def test_special_rows(csm, gamma):
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


def test_in_place_and_one_row(csm):
    rng = np.random.default_rng(2)
    for n in (3, 50, 500, 5000):
        x = 5 * rng.normal(size=n)
        loss, gradient = by_reference(x[None], [1], 1.5)
        for given in (x.copy(), np.repeat(x, 2)[::2]):
            found, slopes = csm.cross_entropy(given, 1, focal_gamma=1.5, return_grad=True, out=given)
            assert slopes is given
            near(found, loss, 1.5)
            near(slopes, gradient[0], 1.5)


def test_a_row_of_several_threads(csm):
    n = 3_000_000
    x = np.random.default_rng(3).normal(size=n).astype(np.float32)
    x[7] = 40
    results = []
    for threads in (1, 2):
        csm.set_num_threads(threads)
        results.append(csm.cross_entropy(x, 7, focal_gamma=2, return_grad=True))
    assert results[0][0] == results[1][0] > 0
    np.testing.assert_array_equal(results[0][1], results[1][1])
    alone = csm.cross_entropy(x.astype(float), 7, focal_gamma=2, return_grad=True)
    np.testing.assert_allclose(results[0][0], alone[0], 1e-5)
    np.testing.assert_allclose(results[0][1], alone[1], 1e-5, 1e-45)


def test_with_where(csm):
    x, where = np.random.default_rng(4).normal(size=(3, 5)), np.array([True, False, True, True, False])
    loss, gradient = csm.cross_entropy(x, [0, 1, 2], where=where, focal_gamma=2, reduction="none", return_grad=True)
    alone, slopes = csm.cross_entropy(x[[0, 2]][:, where], [0, 1], focal_gamma=2, reduction="none", return_grad=True)
    near(loss[[0, 2]], alone, 2)
    assert loss[1] == np.inf and np.isfinite(gradient).all() and (gradient[:, ~where] == 0).all()
    near(gradient[[0, 2]][:, where], slopes, 2)


def test_linear(csm):
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


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"focal_gamma": -0.5}, ValueError, "focal_gamma.*-0.5"),
    ({"focal_gamma": np.nan}, ValueError, "focal_gamma.*nan"),
    ({"focal_gamma": np.inf}, ValueError, "focal_gamma.*inf"),
    ({"focal_gamma": 10**400}, ValueError, "focal_gamma"),
    ({"focal_gamma": "2"}, TypeError, "focal_gamma"),
    ({"focal_gamma": [2.0]}, TypeError, "focal_gamma"),
    ({"focal_gamma": None}, TypeError, "focal_gamma"),
    ({"label_smoothing": 0.1}, ValueError, "focal_gamma.*label_smoothing"),
    ({"z_loss": 0.1}, ValueError, "focal_gamma.*z_loss"),
    ({"target": np.zeros((2, 4))}, ValueError, "focal_gamma.*probabilities"),
    ({"target": (np.zeros((2, 1), int), np.ones((2, 1)))}, ValueError, "focal_gamma.*probabilities"),
], ids=str)
def test_refuses(csm, options, error, words):
    given = {"target": [0, 1], "focal_gamma": 2.0, "return_grad": True} | options
    out, dx = np.full((2, 4), SENTINEL), np.full((2, 3), SENTINEL)
    with pytest.raises(error, match=words):
        csm.cross_entropy(np.zeros((2, 4)), **given, out=out)
    with pytest.raises(error, match=words):
        csm.linear_cross_entropy(np.zeros((2, 3)), np.zeros((4, 3)), **given, out=(dx, None, None))
    assert (out == SENTINEL).all() and (dx == SENTINEL).all()
