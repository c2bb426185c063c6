"""A single short row has kernels of its own, which give what the row gives among others."""

import numpy as np
import pytest

WIDTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 128, 129, 255, 256, 257)
TOLERANCE = {"f4": 5e-7, "f8": 9e-16}  # 4 ULP

OPTIONS = {
    "plain": {},
    "z_loss": {"z_loss": 0.25},
    "sample_weight": {"sample_weight": [3.5]},
    "smoothed": {"label_smoothing": 0.1},
    "warm": {"temperature": 2.0},
}


def two_rows(n, dtype):
    return (np.random.default_rng(n).standard_normal((2, n)) * 3).astype(dtype)


def beside(options):
    """The options of two rows, the second of which weighs 1."""
    return {k: [*v, 1.0] if k == "sample_weight" else v for k, v in options.items()}


def same(alone, among, dtype, n):
    for a, b in zip(alone, among, strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / n)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", WIDTHS)
def test_maps_of_a_single_row(csm, dtype, n):
    x = two_rows(n, dtype)
    for name in ("softmax", "log_softmax", "softmax_entropy"):
        f = getattr(csm, name)
        same([f(x[:1])], [f(x)], dtype, n)
    same([csm.logsumexp(x[:1], axis=1)], [csm.logsumexp(x, axis=1)], dtype, n)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", WIDTHS)
def test_losses_of_a_single_row(csm, dtype, n, option):
    x, q = two_rows(n, dtype), csm.softmax(two_rows(n + 1000, dtype)[:, :n])
    options = {"reduction": "none", "return_grad": True, **OPTIONS[option]}
    for target in (np.array([n // 2, 0]), q):
        alone = csm.cross_entropy(x[:1], target[:1], **options)
        same(alone, csm.cross_entropy(x, target, **beside(options)), dtype, n)


@pytest.mark.parametrize("weight", [None, [3.5]])
@pytest.mark.parametrize("rule", ["diagonal", "upper", "friedman", "residual"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", WIDTHS[1:])
def test_hessians_of_a_single_row(csm, dtype, n, rule, weight):
    x, q = two_rows(n, dtype), csm.softmax(two_rows(n + 1000, dtype)[:, :n])
    for target in (np.array([n // 2, 0]), q):
        alone = csm.softmax_grad_hess(x[:1], target[:1], hessian=rule, sample_weight=weight)
        among = csm.softmax_grad_hess(x, target, hessian=rule, sample_weight=weight and [*weight, 1.0])
        same(alone, among, dtype, n)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", WIDTHS)
def test_a_single_row_that_is_ignored(csm, dtype, n):
    loss, grad = csm.cross_entropy(two_rows(n, dtype)[:1], [-100], reduction="sum", return_grad=True)
    assert loss == 0 and not grad.any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", WIDTHS)
def test_a_single_row_and_nothing_beside_it_is_written(csm, dtype, n):
    """Neither before the row nor behind it, wherever it begins."""
    for start in (1, 2, 5):
        arena = np.full(n + 40, 7, dtype)
        row = arena[start : start + n][None]
        row[...] = two_rows(n, dtype)[:1]
        among = csm.softmax(np.vstack([row, row]))
        assert csm.softmax(row, out=row) is row
        same([row], [among], dtype, n)
        assert (arena[:start] == 7).all() and (arena[start + n :] == 7).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_values_in_a_single_row(csm, dtype, bad):
    for n in (3, 8, 20, 200):
        x = two_rows(n, dtype)
        x[:, n - 1] = bad
        with np.errstate(all="raise"):
            same([csm.softmax(x[:1])], [csm.softmax(x)], dtype, n)
            same([csm.log_softmax(x[:1])], [csm.log_softmax(x)], dtype, n)
            same([csm.logsumexp(x[:1], axis=1)], [csm.logsumexp(x, axis=1)], dtype, n)
            same(*([csm.cross_entropy(x[:k], [0] * k, reduction="none")] for k in (1, 2)), dtype, n)
