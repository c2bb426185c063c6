"""The training of XGBoost and LightGBM, reproduced with softmax_grad_hess.

Their trees sum float32 gradients in float64, so the same trees come out.
"""

import numpy as np
import pytest

RULES = ["diagonal", "upper", "friedman", "residual"]
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
