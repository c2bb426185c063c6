"""softmax_grad_hess: four rules for the second derivatives, and where their results go."""

from typing import NamedTuple

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
from differences import gradient_by_differences, near

RULES = ["diagonal", "upper", "friedman", "residual"]
SENTINEL = 7.25
EPS = 1e-16

every_rule = pytest.mark.parametrize("rule", RULES)
every_order = pytest.mark.parametrize("order", ["C", "F"])


def scores(n, k, dtype=np.float64, order="C", seed=0):
    return np.asarray(np.random.default_rng([n, k, seed]).normal(scale=3.0, size=(n, k)).astype(dtype), order=order)


def labels(n, k):
    return np.random.default_rng([n, k]).integers(0, k, n)


def soft(n, k):
    return np.random.default_rng([n, k]).dirichlet(np.ones(k), n)


def weights(n):
    return np.random.default_rng(n).uniform(0.25, 2, n)


def by_definition(raw, y, sample_weight=None, **options):
    """(gradient, Hessian) row by row in pure Python."""
    s = np.ones(len(raw)) if sample_weight is None else np.broadcast_to(sample_weight, len(raw))
    rows = zip(np.asarray(raw, np.float64).tolist(), y.tolist(), s.tolist(), strict=True)
    pairs = [reference.grad_hess(x, t, w, **options) for x, t, w in rows]
    return tuple(np.reshape([pair[i] for pair in pairs], raw.shape) for i in (0, 1))


def same(actual, expected, tolerance=1e-14):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("k", [2, 3, 10, 33, 100])
@every_rule
def test_hessian_rules(csm, rule, k, kind, weighted):
    for n in (1, 5, 40):
        y = labels(n, k) if kind == "labels" else soft(n, k)
        s = weights(n) if weighted else None
        for order in "CF":
            raw = scores(n, k, order=order)
            found = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian=rule)
            same(found, by_definition(raw, y, s, hessian=rule))
            assert all(a.dtype == raw.dtype and a.strides == np.empty_like(raw).strides for a in found)


def test_hessian_of_one_class(csm):
    for rule in ("diagonal", "upper", "residual"):
        gradient, hessian = csm.softmax_grad_hess(np.ones((3, 1)), [0, 0, 0], hessian=rule)
        np.testing.assert_array_equal(gradient, 0)
        np.testing.assert_array_equal(hessian, EPS)


def test_diagonal_hessian_by_differences(csm):
    """The derivative of each gradient entry by its own score, and of the loss."""
    raw, y = scores(4, 5), labels(4, 5)
    gradient, hessian = csm.softmax_grad_hess(raw, y)
    near(gradient, gradient_by_differences(lambda v: csm.cross_entropy(v, y, reduction="sum"), raw))
    for place in np.ndindex(raw.shape):
        measured = gradient_by_differences(lambda v, place=place: csm.softmax_grad_hess(v, y)[0][place], raw)
        near(hessian[place], measured[place])


@every_rule
def test_gradient_is_that_of_the_loss(csm, rule):
    raw, s = scores(30, 7), weights(30)
    for y in (labels(30, 7), soft(30, 7)):
        gradient, _ = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian=rule)
        _, expected = csm.cross_entropy(raw, y, sample_weight=s, reduction="sum", return_grad=True)
        np.testing.assert_allclose(gradient, expected, rtol=1e-14, atol=1e-15)


def test_hessian_of_probabilities_of_any_sum(csm):
    raw, y = scores(20, 4), 3 * soft(20, 4)
    for rule in RULES[:3]:
        same(csm.softmax_grad_hess(raw, y, hessian=rule), by_definition(raw, y, hessian=rule))


@every_rule
def test_hessian_of_one_hot_targets(csm, rule):
    raw, y = scores(25, 6), labels(25, 6)
    expected = csm.softmax_grad_hess(raw, y, hessian=rule)
    for one_hot in (np.eye(6)[y], np.eye(6, dtype=np.int64)[y], np.asfortranarray(np.eye(6)[y])):
        same(csm.softmax_grad_hess(raw, one_hot, hessian=rule), expected)


@pytest.mark.parametrize("label_dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64", ">i4"])
def test_hessian_of_any_kind_of_labels(csm, label_dtype):
    raw, y = scores(25, 6), labels(25, 6)
    for found, expected in zip(
        csm.softmax_grad_hess(raw, y.astype(label_dtype)), csm.softmax_grad_hess(raw, y), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    same(csm.softmax_grad_hess(raw.tolist(), y.tolist()), csm.softmax_grad_hess(raw, y))


@every_rule
def test_hessian_floor(csm, rule):
    """`eps` bounds the Hessian from below after the weight; 0 leaves it alone."""
    raw, y = np.array([[800.0, 0.0, -800.0], [0.0, 0.0, 0.0]]), np.array([0, 1])
    for eps in (EPS, 1e-3, 0.4):
        for s in (None, np.array([1.0, 0.0]), np.array([-2.0, 1e-3])):
            _, hessian = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian=rule, eps=eps)
            assert hessian.min() == eps
            same([hessian], [by_definition(raw, y, s, hessian=rule, eps=eps)[1]])
        _, of_two = csm.softmax_grad_hess(raw, y, hessian=rule, eps=eps)
        _, of_one = csm.softmax_grad_hess(raw[:1], y[:1], hessian=rule, eps=eps)
        np.testing.assert_array_equal(of_one, of_two[:1])
    gradient, hessian = csm.softmax_grad_hess(raw, y, sample_weight=[0.0, 0.0], hessian=rule, eps=0)
    np.testing.assert_array_equal(hessian, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_hessian_of_confident_rows(csm):
    """1 - p is not taken from p: the target's Hessian has all its digits where p rounds to 1."""
    raw = np.array([[40.0, 0.0], [80.0, 0.0], [17.0, 0.0]])
    for dtype, tolerance in ((np.float32, 4 * 2.0**-23), (np.float64, 4 * 2.0**-52)):
        gradient, hessian = csm.softmax_grad_hess(raw.astype(dtype), [0, 0, 0], eps=0)
        rest = np.exp(-raw[:, 0]) / (1 + np.exp(-raw[:, 0]))
        np.testing.assert_allclose(gradient[:, 0], -rest, rtol=tolerance)
        np.testing.assert_allclose(hessian[:, 0], rest / (1 + np.exp(-raw[:, 0])), rtol=tolerance)
        np.testing.assert_allclose(hessian[:, 1], hessian[:, 0], rtol=tolerance)


# Where the results go


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("out_order", ["C", "F"])
@every_order
@every_rule
def test_grad_hess_into_out(csm, rule, order, out_order, dtype, out_dtype):
    """Any order into any order; float64 scores into float32 results, as LightGBM wants them."""
    for n, k in ((40, 3), (33, 17)):
        raw, y, s = scores(n, k, dtype, order), labels(n, k), weights(n)
        given = raw.copy()
        out = tuple(np.full((n, k), SENTINEL, out_dtype, order=out_order) for _ in range(2))
        found = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian=rule, out=out)
        assert found[0] is out[0] and found[1] is out[1]
        tolerance = 1e-14 if dtype == out_dtype == np.float64 else 1e-6
        same(out, by_definition(raw, y, s, hessian=rule), tolerance)
        np.testing.assert_array_equal(raw, given)


class Pair(NamedTuple):
    grad: np.ndarray
    hess: np.ndarray


@pytest.mark.parametrize("make", [tuple, list, lambda arrays: Pair(*arrays)], ids=["tuple", "list", "named tuple"])
def test_grad_hess_takes_any_pair_as_out(csm, make):
    raw, y = scores(20, 5), labels(20, 5)
    out = make([np.full((20, 5), SENTINEL) for _ in range(2)])
    found = csm.softmax_grad_hess(raw, y, out=out)
    assert found[0] is out[0] and found[1] is out[1]
    same(found, csm.softmax_grad_hess(raw, y))


def test_grad_hess_with_gaps_and_in_place(csm):
    raw, y = scores(20, 5), labels(20, 5)
    expected = csm.softmax_grad_hess(raw, y)
    apart = np.full((2, 40, 10), SENTINEL)
    csm.softmax_grad_hess(raw, y, out=(apart[0, ::2, ::2], apart[1, ::-2, ::-2]))
    same((apart[0, ::2, ::2], apart[1, ::-2, ::-2]), expected)
    np.testing.assert_array_equal(apart[:, :, 1::2][0], SENTINEL)
    for order in "CF":
        for place in (0, 1):
            in_place, other = np.array(raw, order=order), np.empty((20, 5), order=order)
            out = (in_place, other) if place == 0 else (other, in_place)
            assert csm.softmax_grad_hess(in_place, y, out=out)[place] is in_place
            same(out, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_rule
def test_grad_hess_of_half_precision(csm, rule, dtype):
    raw, y = scores(30, 5, dtype), labels(30, 5)
    found = csm.softmax_grad_hess(raw, y, hessian=rule)
    for result, wide in zip(found, csm.softmax_grad_hess(raw.astype(np.float32), y, hessian=rule), strict=True):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, wide.astype(dtype))
    same(found, by_definition(raw.astype(np.float64), y, hessian=rule), 2.0**-10 if dtype == "float16" else 2.0**-7)


def test_grad_hess_of_nothing(csm):
    for shape in ((0, 3), (0, 0)):
        found = csm.softmax_grad_hess(np.empty(shape, np.float32), np.empty(0, int))
        assert [a.shape for a in found] == [shape, shape] and found[0].dtype == np.float32
