"""softmax_grad_hess: four rules for the second derivatives, and the training of XGBoost and LightGBM reproduced."""

import re

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
from test_gradients import gradient_by_differences, near

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
def test_rules(csm, rule, k, kind, weighted):
    for n in (1, 5, 40):
        y = labels(n, k) if kind == "labels" else soft(n, k)
        s = weights(n) if weighted else None
        for order in "CF":
            raw = scores(n, k, order=order)
            found = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian=rule)
            same(found, by_definition(raw, y, s, hessian=rule))
            assert all(a.dtype == raw.dtype and a.strides == np.empty_like(raw).strides for a in found)


def test_one_class(csm):
    for rule in ("diagonal", "upper", "residual"):
        gradient, hessian = csm.softmax_grad_hess(np.ones((3, 1)), [0, 0, 0], hessian=rule)
        np.testing.assert_array_equal(gradient, 0)
        np.testing.assert_array_equal(hessian, EPS)


def test_diagonal_by_differences(csm):
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


def test_probabilities_of_any_sum(csm):
    raw, y = scores(20, 4), 3 * soft(20, 4)
    for rule in RULES[:3]:
        same(csm.softmax_grad_hess(raw, y, hessian=rule), by_definition(raw, y, hessian=rule))


@every_rule
def test_one_hot_is_the_label(csm, rule):
    raw, y = scores(25, 6), labels(25, 6)
    expected = csm.softmax_grad_hess(raw, y, hessian=rule)
    for one_hot in (np.eye(6)[y], np.eye(6, dtype=np.int64)[y], np.asfortranarray(np.eye(6)[y])):
        same(csm.softmax_grad_hess(raw, one_hot, hessian=rule), expected)


@pytest.mark.parametrize("label_dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64", ">i4"])
def test_kinds_of_labels(csm, label_dtype):
    raw, y = scores(25, 6), labels(25, 6)
    for found, expected in zip(csm.softmax_grad_hess(raw, y.astype(label_dtype)), csm.softmax_grad_hess(raw, y),
                               strict=True):
        np.testing.assert_array_equal(found, expected)
    same(csm.softmax_grad_hess(raw.tolist(), y.tolist()), csm.softmax_grad_hess(raw, y))


@every_rule
def test_floor(csm, rule):
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


def test_confident_rows(csm):
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
def test_out(csm, rule, order, out_order, dtype, out_dtype):
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


def test_out_with_gaps_and_in_place(csm):
    raw, y = scores(20, 5), labels(20, 5)
    expected = csm.softmax_grad_hess(raw, y)
    apart = np.full((2, 40, 10), SENTINEL)
    csm.softmax_grad_hess(raw, y, out=(apart[0, ::2, ::2], apart[1, ::-2, ::-2]))
    same((apart[0, ::2, ::2], apart[1, ::-2, ::-2]), expected)
    np.testing.assert_array_equal(apart[:, :, 1::2][0], SENTINEL)
    for order in "CF":
        in_place, hessian = np.array(raw, order=order), np.empty((20, 5), order=order)
        assert csm.softmax_grad_hess(in_place, y, out=(in_place, hessian))[0] is in_place
        same((in_place, hessian), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_rule
def test_halves(csm, rule, dtype):
    raw, y = scores(30, 5, dtype), labels(30, 5)
    found = csm.softmax_grad_hess(raw, y, hessian=rule)
    assert found[0].dtype == found[1].dtype == dtype
    same(found, by_definition(raw.astype(np.float64), y, hessian=rule), 2.0**-10 if dtype == "float16" else 2.0**-7)


def test_empty(csm):
    for shape in ((0, 3), (0, 0)):
        found = csm.softmax_grad_hess(np.empty(shape, np.float32), np.empty(0, int))
        assert [a.shape for a in found] == [shape, shape] and found[0].dtype == np.float32


# What is refused

RAW, Y = scores(4, 3), np.array([0, 2, 1, 0])


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"raw": RAW[0]}, ValueError, r"raw.*\(3,\)"),
    ({"raw": RAW[None]}, ValueError, r"raw.*\(1, 4, 3\)"),
    ({"raw": RAW.astype(complex)}, TypeError, "raw.*complex"),
    ({"raw": np.ma.masked_array(RAW, RAW > 0)}, TypeError, "raw.*mask"),
    ({"raw": RAW[:, :0]}, IndexError, "class"),
    ({"y": np.array([0, 1, 3, 0])}, IndexError, r"\b2\b.*\b3\b|\b3\b.*\b2\b"),
    ({"y": np.array([0, -100, 0, 0])}, IndexError, "-100"),
    ({"y": np.array([0, 0.5, 0, 0])}, ValueError, r"0\.5"),
    ({"y": np.ones(4, bool)}, TypeError, "y.*bool"),
    ({"y": Y[:3]}, ValueError, r"y.*\(3,\).*\(4,"),
    ({"y": np.ones((4, 4))}, ValueError, r"y.*\(4, 4\).*\(4, 3\)"),
    ({"y": np.ones((3, 4))}, ValueError, r"y.*\(3, 4\).*\(4, 3\)"),
    ({"y": np.ma.masked_array(Y, Y == 0)}, TypeError, "y.*mask"),
    ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight.*\(3,\).*\(4,\)"),
    ({"sample_weight": np.ones((4, 3))}, ValueError, r"sample_weight.*\(4, 3\).*\(4,\)"),
    ({"sample_weight": "a"}, TypeError, "sample_weight"),
    *(({"hessian": v}, ValueError, "hessian.*" + re.escape(repr(v))) for v in ("exact", "", None, 2, "Upper")),
    *(({"eps": v}, ValueError, f"eps.*{v}") for v in (-1e-9, np.nan, np.inf)),
    ({"eps": "a"}, TypeError, "eps"),
], ids=str)
def test_bad_input(csm, arguments, error, words):
    arguments = {"raw": RAW, "y": Y} | arguments
    out = tuple(np.full(np.shape(arguments["raw"]), SENTINEL) for _ in range(2))
    for destination in (None, out):
        with pytest.raises(error, match=words):
            csm.softmax_grad_hess(out=destination, **arguments)
    for a in out:
        np.testing.assert_array_equal(a, SENTINEL)


def frozen(a):
    a.setflags(write=False)
    return a


@pytest.mark.parametrize(("at_fault", "error", "words"), [
    (np.zeros((4, 4)), ValueError, r"out.*\(4, 4\).*\(4, 3\)"),
    (np.zeros((3, 4)).T[:3], ValueError, r"out.*\(3, 3\).*\(4, 3\)"),
    (np.zeros((4, 3), int), TypeError, "out.*int"),
    (frozen(np.zeros((4, 3))), ValueError, "out.*read-only"),
    (np.broadcast_to(np.zeros(3), (4, 3)), ValueError, "out"),
    ([[0.0] * 3] * 4, TypeError, "out"),
], ids=lambda v: str(v)[:20])
def test_bad_out(csm, at_fault, error, words):
    good = np.full((4, 3), SENTINEL)
    for out in ((good, at_fault), (at_fault, good)):
        with pytest.raises(error, match=words):
            csm.softmax_grad_hess(RAW, Y, out=out)
    for out in (good, (good,), (good, good.copy(), good.copy())):
        with pytest.raises(TypeError, match="out"):
            csm.softmax_grad_hess(RAW, Y, out=out)
    with pytest.raises(ValueError, match="out"):
        csm.softmax_grad_hess(RAW, Y, out=(good, good))
    np.testing.assert_array_equal(good, SENTINEL)


# XGBoost and LightGBM. Their trees sum float32 gradients in float64, so the same trees come out.

N, K, ROUNDS = 500, 4, 6


def table():
    """(features, labels, weights) of a problem that boosting can learn."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N, 6))
    y = (features @ rng.normal(size=(6, K)) + rng.gumbel(size=(N, K))).argmax(axis=1)
    return features, y, rng.uniform(0.5, 2, N)


@pytest.fixture(scope="module")
def xgboost_margins():
    """Margins of the built-in objective, and a function that trains with ours."""
    xgb = pytest.importorskip("xgboost")
    features, y, s = table()
    data = xgb.DMatrix(features, y, weight=s)
    options = {"num_class": K, "max_depth": 4, "eta": 0.3, "nthread": 1, "base_score": 0.0,
               "disable_default_eval_metric": True}
    builtin = xgb.train({**options, "objective": "multi:softprob"}, data, ROUNDS)

    def train(csm, rule):
        def objective(predictions, given):
            assert predictions.shape == (N, K) and predictions.dtype == np.float32
            return csm.softmax_grad_hess(
                predictions, given.get_label(), sample_weight=given.get_weight(), hessian=rule
            )

        return xgb.train(options, data, ROUNDS, obj=objective).predict(data, output_margin=True)

    return builtin.predict(data, output_margin=True), train


def test_xgboost(csm, xgboost_margins):
    """One rule reproduces the built-in objective: "upper" up to XGBoost 3.2, "residual" in later versions."""
    expected, train = xgboost_margins
    apart = {rule: abs(train(csm, rule) - expected).max() for rule in RULES}
    best = min(apart, key=apart.get)
    assert apart.pop(best) < 1e-5
    assert min(apart.values()) > 0.01
    version = tuple(map(int, pytest.importorskip("xgboost").__version__.split(".")[:2]))
    assert best == "upper" if version <= (3, 2) else best in ("upper", "residual")


def test_xgboost_sklearn(csm):
    """The objective of the scikit-learn interface: labels first, the weights if there are any."""
    xgb = pytest.importorskip("xgboost")
    features, y, s = table()

    def objective(rule):
        def function(y_true, y_pred, sample_weight=None):
            return csm.softmax_grad_hess(y_pred, y_true, sample_weight=sample_weight, hessian=rule)
        return function

    options = {"n_estimators": ROUNDS, "max_depth": 4, "learning_rate": 0.3, "n_jobs": 1, "base_score": 0.0}
    expected = xgb.XGBClassifier(objective="multi:softprob", **options).fit(features, y, sample_weight=s)
    expected = expected.predict(features, output_margin=True)
    apart = []
    for rule in ("upper", "residual"):
        ours = xgb.XGBClassifier(objective=objective(rule), **options).fit(features, y, sample_weight=s)
        apart.append(abs(ours.predict(features, output_margin=True) - expected).max())
    assert min(apart) < 1e-5 < 0.01 < max(apart)


def trees(booster):
    """What a LightGBM model splits on, without its rounded leaf values."""
    lines = booster.model_to_string().splitlines()
    return [line for line in lines if line.startswith(("split_feature=", "threshold=", "leaf_count="))]


LIGHTGBM = {"num_class": K, "num_leaves": 8, "learning_rate": 0.3, "num_threads": 1, "verbosity": -1,
            "boost_from_average": False, "deterministic": True}


def test_lightgbm(csm):
    """Scores come as float64 in Fortran order; results go back as float32 in the same order."""
    lgb = pytest.importorskip("lightgbm")
    features, y, s = table()

    def train(objective):
        data = lgb.Dataset(features, y, weight=s, params={"verbosity": -1})
        return lgb.train({**LIGHTGBM, "objective": objective}, data, ROUNDS)

    def objective(rule, dtype):
        def function(predictions, data):
            assert predictions.shape == (N, K) and predictions.dtype == np.float64
            out = tuple(np.empty((N, K), dtype, order="F") for _ in range(2))
            return csm.softmax_grad_hess(predictions, data.get_label(), sample_weight=data.get_weight(),
                                         hessian=rule, out=out)
        return function

    builtin = train("multiclass")
    expected = builtin.predict(features, raw_score=True)
    for dtype in (np.float32, np.float64):
        ours = train(objective("friedman", dtype))
        assert trees(ours) == trees(builtin)
        np.testing.assert_allclose(ours.predict(features, raw_score=True), expected, rtol=1e-5, atol=1e-6)
    other = train(objective("diagonal", np.float32))
    assert abs(other.predict(features, raw_score=True) - expected).max() > 0.01


def test_lightgbm_sklearn(csm):
    lgb = pytest.importorskip("lightgbm")
    features, y, s = table()

    def objective(y_true, y_pred, weight):
        return csm.softmax_grad_hess(y_pred, y_true, sample_weight=weight, hessian="friedman")

    options = {k: v for k, v in LIGHTGBM.items() if k not in ("num_class", "num_threads")}
    options |= {"n_estimators": ROUNDS, "n_jobs": 1}
    builtin = lgb.LGBMClassifier(objective="multiclass", **options).fit(features, y, sample_weight=s)
    ours = lgb.LGBMClassifier(objective=objective, **options).fit(features, y, sample_weight=s)
    assert trees(ours.booster_) == trees(builtin.booster_)
    np.testing.assert_allclose(ours.predict(features, raw_score=True), builtin.predict(features, raw_score=True),
                               rtol=1e-5, atol=1e-6)
