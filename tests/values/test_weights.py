"""Weights of classes and samples at the ends of their range: far from 1, infinite, 0, negative."""

import numpy as np
import pytest

FAR = [1e-300, 1e-50, 1e-30, 1.0, 1e30, 1e39, 1e300]
"""Weights that a normalizer of their size brings back, though most of them are no float32."""

X = np.array([[0.5, -1.0, 2.0], [1.0, 1.5, -0.5]])
TARGETS = {
    "labels": np.array([0, 2]),
    "probabilities": np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]),
    "pairs": (np.array([[0, 1], [2, 1]]), np.array([[0.75, 0.25], [0.5, 0.5]])),
}
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.2},
    "z": {"z_loss": 0.01},
    "temperature": {"temperature": 2.0},
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def as_dtype(target, dtype):
    is_probability = isinstance(target, np.ndarray) and target.dtype.kind == "f"
    return target.astype(dtype) if is_probability else target


@pytest.mark.parametrize("size", FAR)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("option", OPTIONS)
def test_sample_weights_and_a_normalizer_of_their_size(csm, dtype, target, option, size):
    x, t, options = X.astype(dtype), as_dtype(TARGETS[target], dtype), OPTIONS[option]
    weight = np.array([1.0, 3.0])
    expected = csm.cross_entropy(x, t, sample_weight=weight, normalizer=4.0, return_grad=True, **options)
    found = csm.cross_entropy(x, t, sample_weight=size * weight, normalizer=4 * size, return_grad=True, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("size", [s for s in FAR if 1e-60 < s < 1e60])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_class_weights_and_a_normalizer_of_their_size(csm, dtype, target, reduction, size):
    """Without "mean" sample weights bring them back."""
    x, t = X.astype(dtype), as_dtype(TARGETS[target], dtype)
    weight = np.array([1.0, 3.0, 0.5])

    def loss(by):
        options = {"normalizer": 4 * by} if reduction == "mean" else {"sample_weight": np.full(2, 0.25 / by)}
        return csm.cross_entropy(
            x, t, weight=by * weight, label_smoothing=0.2, reduction=reduction, return_grad=True, **options
        )

    for a, b in zip(loss(size), loss(1.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=16 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


def test_the_case_of_two_rows(csm):
    x = np.zeros((2, 3), np.float32)
    for size in (1e-50, 1e39):
        loss, gradient = csm.cross_entropy(
            x, np.array([0, 1]), sample_weight=[size, 3 * size], normalizer=4 * size, return_grad=True
        )
        assert loss == np.float32(np.log(3))
        np.testing.assert_allclose(gradient, [[-1 / 6, 1 / 12, 1 / 12], [1 / 4, -1 / 2, 1 / 4]], rtol=1e-6)


@pytest.mark.parametrize(
    "target",
    [
        np.array([0, 1]),
        np.eye(3)[[0, 1]],
        (np.array([[0, 2], [1, 2]]), np.array([[1.0, 0.0], [1.0, 0.0]])),
    ],
)
def test_an_infinite_weight_counts_only_where_its_class_does(csm, dtype, target):
    x, t = np.zeros((2, 3), dtype), as_dtype(target, dtype)
    loss, gradient = csm.cross_entropy(x, t, weight=[1.0, 1.0, np.inf], return_grad=True)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    assert np.isfinite(gradient).all()
    everywhere = csm.cross_entropy(x, t, weight=[1.0, 1.0, np.inf], label_smoothing=0.1)
    assert everywhere == np.inf or np.isnan(everywhere)


ROWS = 40


@pytest.mark.parametrize("classes", [3, 10, 100, 1000])
@pytest.mark.parametrize("kind", ["labels", "probabilities", "pairs"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_rows_of_weight_0_are_not_read(csm, dtype, kind, classes, axis):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((ROWS, classes)).astype(dtype)
    weight = rng.uniform(0.5, 2, ROWS)
    skipped = rng.random(ROWS) < 0.4
    weight[skipped] = 0
    targets = {
        "labels": rng.integers(0, classes, ROWS),
        "probabilities": csm.softmax(rng.standard_normal((ROWS, classes)).astype(dtype)),
        "pairs": (rng.integers(0, classes, (ROWS, 2)), rng.uniform(size=(ROWS, 2))),
    }
    t = targets[kind]

    def loss(x, t):
        if axis == 0:
            x, t = np.ascontiguousarray(x.T), np.ascontiguousarray(t.T) if kind == "probabilities" else t
        loss, gradient = csm.cross_entropy(x, t, axis, sample_weight=weight, return_grad=True)
        return loss, gradient if axis else gradient.T

    expected, of_all = loss(x, t)
    spoiled = np.where(skipped[:, None], np.nan, x)
    found, gradient = loss(spoiled, np.where(skipped[:, None], np.nan, t) if kind == "probabilities" else t)
    assert found == expected
    np.testing.assert_array_equal(gradient, of_all)
    assert (gradient[skipped] == 0).all()
    losses = csm.cross_entropy(spoiled, t, sample_weight=weight, reduction="none") if axis else np.zeros(ROWS)
    assert (losses[skipped] == 0).all()


@pytest.mark.parametrize("classes", [3, 10, 100, 1000])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("rule", ["diagonal", "residual"])
def test_samples_of_weight_0_have_no_gradient_and_the_least_hessian(csm, dtype, classes, dense, rule):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((ROWS, classes)).astype(dtype)
    y = rng.integers(0, classes, ROWS)
    y = np.eye(classes, dtype=dtype)[y] if dense else y
    weight = np.where(np.arange(ROWS) % 3 == 0, 0, 1.5)
    expected = csm.softmax_grad_hess(x, y, sample_weight=weight, hessian=rule, eps=1e-3)
    spoiled = np.where(weight[:, None] == 0, np.inf, x)
    found = csm.softmax_grad_hess(spoiled, y, sample_weight=weight, hessian=rule, eps=1e-3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (found[0][::3] == 0).all()
    assert (found[1][::3] == np.dtype(dtype).type(1e-3)).all()


@pytest.mark.parametrize("y", [np.array([0]), np.array([[1.0, 0.0, 0.0]])])
def test_a_residual_hessian_has_the_sign_of_its_weight(csm, dtype, y):
    y = as_dtype(y, dtype)
    _, hess = csm.softmax_grad_hess(np.zeros((1, 3), dtype), y, sample_weight=np.array([-1.0]), hessian="residual")
    np.testing.assert_array_equal(hess, np.full((1, 3), 1e-16, dtype))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("eps", [1e-300, 1e-50, 1e-16])
@pytest.mark.parametrize("rule", ["diagonal", "upper", "friedman", "residual"])
def test_a_hessian_is_above_0_as_stored(csm, name, eps, rule):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = getattr(np, name, None) or ml_dtypes.bfloat16
    for raw in ([[20, 0, 0]], [[300, 0, 0]]):
        _, hess = csm.softmax_grad_hess(np.array(raw, kind), np.array([0]), hessian=rule, eps=eps)
        assert (hess > 0).all()
