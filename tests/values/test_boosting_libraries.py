"""The training of XGBoost and LightGBM, reproduced with softmax_grad_hess and with SoftmaxObjective.

Their trees sum float32 gradients in float64, so the same trees come out.
"""

import pickle

import numpy as np
import pytest

from csoftmax.boosting import SoftmaxObjective

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
    options = {
        "num_class": K,
        "max_depth": 4,
        "eta": 0.3,
        "nthread": 1,
        "base_score": 0.0,
        "disable_default_eval_metric": True,
    }
    builtin = xgb.train({**options, "objective": "multi:softprob"}, data, ROUNDS)

    def train(csm, rule):
        def objective(predictions, given):
            assert predictions.shape == (N, K) and predictions.dtype == np.float32
            return csm.softmax_grad_hess(predictions, given.get_label(), sample_weight=given.get_weight(), hessian=rule)

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


LIGHTGBM = {
    "num_class": K,
    "num_leaves": 8,
    "learning_rate": 0.3,
    "num_threads": 1,
    "verbosity": -1,
    "boost_from_average": False,
    "deterministic": True,
}


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
            return csm.softmax_grad_hess(
                predictions, data.get_label(), sample_weight=data.get_weight(), hessian=rule, out=out
            )

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
    np.testing.assert_allclose(
        ours.predict(features, raw_score=True), builtin.predict(features, raw_score=True), rtol=1e-5, atol=1e-6
    )


# SoftmaxObjective


def rule_of(xgb):
    """That of the built-in objective: "residual" came after 3.2."""
    return "upper" if tuple(map(int, xgb.__version__.split(".")[:2])) <= (3, 2) else "residual"


XGBOOST = {"num_class": K, "max_depth": 4, "eta": 0.3, "nthread": 1, "base_score": 0.0}
PLAIN_XGBOOST = {"max_depth": 4, "learning_rate": 0.3, "n_jobs": 1, "base_score": 0.0, "n_estimators": ROUNDS}
PLAIN_LIGHTGBM = {k: v for k, v in LIGHTGBM.items() if k not in ("num_class", "num_threads")}
PLAIN_LIGHTGBM |= {"n_estimators": ROUNDS, "n_jobs": 1}

OLD_NAME = pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
"""LightGBM before 4.7 knows no other."""


@pytest.mark.parametrize("weighted", [False, True])
def test_objective_and_loss_of_xgboost_train(weighted):
    """Without weights, get_weight() is empty."""
    xgb = pytest.importorskip("xgboost")
    features, y, s = table()
    data = xgb.DMatrix(features, y, weight=s if weighted else None)
    assert data.get_weight().size == (N if weighted else 0)
    objective, ours, theirs = SoftmaxObjective(rule_of(xgb)), {}, {}
    booster = xgb.train(
        XGBOOST | {"disable_default_eval_metric": True},
        data,
        ROUNDS,
        obj=objective,
        custom_metric=objective.loss,
        evals=[(data, "train")],
        evals_result=ours,
        verbose_eval=False,
    )
    builtin = xgb.train(
        XGBOOST | {"objective": "multi:softprob", "eval_metric": "mlogloss"},
        data,
        ROUNDS,
        evals=[(data, "train")],
        evals_result=theirs,
        verbose_eval=False,
    )
    margins = [b.predict(data, output_margin=True) for b in (booster, builtin)]
    np.testing.assert_allclose(*margins, atol=1e-5)
    np.testing.assert_allclose(ours["train"]["loss"], theirs["train"]["mlogloss"], rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_objective_and_loss_of_xgboost_classifier(weighted):
    xgb = pytest.importorskip("xgboost")
    features, y, s = table()
    objective = SoftmaxObjective(rule_of(xgb))
    fit = {"sample_weight": s if weighted else None, "eval_set": [(features, y)], "verbose": False}
    ours = xgb.XGBClassifier(objective=objective, eval_metric=objective.loss, **PLAIN_XGBOOST).fit(features, y, **fit)
    builtin = xgb.XGBClassifier(eval_metric="mlogloss", **PLAIN_XGBOOST).fit(features, y, **fit)
    margins = [model.predict(features, output_margin=True) for model in (ours, builtin)]
    np.testing.assert_allclose(*margins, atol=1e-5)
    losses = [m.evals_result()["validation_0"][name] for m, name in ((ours, "loss"), (builtin, "mlogloss"))]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_objective_and_loss_of_lightgbm_train(weighted):
    lgb = pytest.importorskip("lightgbm")
    features, y, s = table()
    objective = SoftmaxObjective("friedman")

    def train(chosen, metric):
        data, log = lgb.Dataset(features, y, weight=s if weighted else None, params={"verbosity": -1}), {}
        booster = lgb.train(
            {**LIGHTGBM, "objective": chosen},
            data,
            ROUNDS,
            valid_sets=[data],
            feval=metric,
            callbacks=[lgb.record_evaluation(log)],
        )
        return booster, booster.predict(features, raw_score=True), log["training"]

    booster, scores, log = train(objective, objective.loss)
    builtin, expected, expected_log = train("multiclass", None)
    assert trees(booster) == trees(builtin)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log["loss"], expected_log["multi_logloss"], rtol=1e-6)


@OLD_NAME
@pytest.mark.parametrize("class_weight", [None, {0: 0.5, 2: 4.0}])
def test_objective_and_loss_of_lightgbm_classifier(class_weight):
    """Class weights are factors of the sample weights, here such that no product is rounded."""
    lgb = pytest.importorskip("lightgbm")
    features, y, s = table()
    objective = SoftmaxObjective("friedman", class_weight=class_weight)
    fit = {"sample_weight": s, "eval_set": [(features, y)], "eval_sample_weight": [s]}
    ours = lgb.LGBMClassifier(objective=objective, **PLAIN_LIGHTGBM)
    ours.fit(features, y, eval_metric=SoftmaxObjective().loss, **fit)
    builtin = lgb.LGBMClassifier(class_weight=class_weight, **PLAIN_LIGHTGBM).fit(features, y, **fit)
    assert trees(ours.booster_) == trees(builtin.booster_)
    scores = [model.predict(features, raw_score=True) for model in (ours, builtin)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)
    if class_weight is None:
        losses = [m.evals_result_["training"][name] for m, name in ((ours, "loss"), (builtin, "multi_logloss"))]
        np.testing.assert_allclose(*losses, rtol=1e-6)


def test_soft_labels_of_xgboost():
    """A label per class, which makes num_class superfluous; one-hot ones give the trees of the labels."""
    xgb = pytest.importorskip("xgboost")
    features, y, s = table()
    options = {k: v for k, v in XGBOOST.items() if k != "num_class"} | {"disable_default_eval_metric": True}
    objective = SoftmaxObjective("upper")
    hard, one_hot = xgb.DMatrix(features, y, weight=s), xgb.DMatrix(features, np.eye(K)[y], weight=s)
    expected = xgb.train({**options, "num_class": K}, hard, ROUNDS, obj=objective).predict(hard, output_margin=True)
    ours = xgb.train(options, one_hot, ROUNDS, obj=objective).predict(one_hot, output_margin=True)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_soft_labels_of_lightgbm():
    """By a closure, for a Dataset takes one label per row."""
    lgb = pytest.importorskip("lightgbm")
    features, y, s = table()
    objective, one_hot = SoftmaxObjective("friedman"), np.eye(K)[y]

    def train(chosen):
        data = lgb.Dataset(features, y, weight=s, params={"verbosity": -1})
        return lgb.train({**LIGHTGBM, "objective": chosen}, data, ROUNDS)

    ours = train(lambda scores, data: objective(one_hot, scores, data.get_weight()))
    assert trees(ours) == trees(train(objective))


def digits():
    """(features, labels) to learn, (features, labels) to test."""
    datasets = pytest.importorskip("sklearn.datasets")
    features, y = datasets.load_digits(return_X_y=True)
    return (features[::2], y[::2]), (features[1::2], y[1::2])


@pytest.mark.parametrize("options", [{}, {"focal_gamma": 1.0}, {"label_smoothing": 0.05}])
def test_digits_by_xgboost(options):
    xgb = pytest.importorskip("xgboost")
    train, test = digits()
    objective = SoftmaxObjective(rule_of(xgb), **options)
    settings = {"n_estimators": 25, "n_jobs": 1, "max_depth": 4, "base_score": 0.0}
    model = pickle.loads(pickle.dumps(xgb.XGBClassifier(objective=objective, **settings).fit(*train)))
    assert model.score(*test) > 0.93
    if not options:
        assert model.score(*test) == xgb.XGBClassifier(**settings).fit(*train).score(*test)


@pytest.mark.parametrize("options", [{}, {"focal_gamma": 1.0}, {"label_smoothing": 0.05}])
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_digits_by_lightgbm(options):
    lgb, base = pytest.importorskip("lightgbm"), pytest.importorskip("sklearn.base")
    train, (features, y) = digits()
    objective = SoftmaxObjective("friedman", **options)
    model = lgb.LGBMClassifier(objective=objective, n_estimators=25, n_jobs=1, verbosity=-1)
    model = pickle.loads(pickle.dumps(base.clone(model).fit(*train)))
    assert (model.predict(features, raw_score=True).argmax(axis=1) == y).mean() > 0.93


@pytest.mark.parametrize("library, name", [("xgboost", "XGBClassifier"), ("lightgbm", "LGBMClassifier")])
def test_two_classes_give_the_message(library, name):
    features, y, _ = table()
    model = getattr(pytest.importorskip(library), name)(objective=SoftmaxObjective())
    with pytest.raises(ValueError, match=r"two classes with one score each .* logistic objective"):
        model.fit(features, y > 1)


# Groups: one of the rows of each is chosen, by the sum of two features


def choices(count=150, size=5):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(count, size, 4))
    chosen = (2 * features[..., 0] + features[..., 1] + rng.gumbel(scale=0.3, size=(count, size))).argmax(axis=1)
    y = np.arange(size) == chosen[:, None]
    return features.reshape(-1, 4), y.ravel().astype(int), np.full(count, size)


def hits(scores, y, size=5):
    """How often the row of the largest score is the one that was chosen."""
    return (scores.reshape(-1, size).argmax(axis=1) == y.reshape(-1, size).argmax(axis=1)).mean()


@pytest.mark.parametrize("groups", ["sizes", "data"])
def test_choices_by_xgboost(groups):
    xgb = pytest.importorskip("xgboost")
    features, y, sizes = choices()
    data, log = xgb.DMatrix(features, y, group=sizes), {}
    objective = SoftmaxObjective("upper", groups="data" if groups == "data" else sizes)
    options = {"eta": 0.3, "max_depth": 3, "nthread": 1, "base_score": 0.0, "disable_default_eval_metric": True}
    booster = xgb.train(
        options,
        data,
        30,
        obj=objective,
        custom_metric=objective.loss,
        evals=[(data, "train")],
        evals_result=log,
        verbose_eval=False,
    )
    assert hits(booster.predict(data, output_margin=True), y) > 0.9
    assert log["train"]["loss"][-1] < 0.5 * log["train"]["loss"][0] < 0.5 * np.log(5)


@OLD_NAME
def test_choices_by_lightgbm():
    lgb = pytest.importorskip("lightgbm")
    features, y, sizes = choices()
    objective = SoftmaxObjective("friedman", groups="data")
    ranker = lgb.LGBMRanker(objective=objective, n_estimators=30, num_leaves=8, n_jobs=1, verbosity=-1)
    ranker.fit(features, y, group=sizes, eval_set=[(features, y)], eval_group=[sizes], eval_metric=objective.loss)
    scores, log = ranker.booster_.predict(features, raw_score=True), ranker.evals_result_["training"]["loss"]
    assert hits(scores, y) > 0.9
    assert log[-1] < 0.6 * np.log(5)
    data = lgb.Dataset(features, y, group=sizes, params={"verbosity": -1})
    settings = {"objective": objective, "num_leaves": 8, "num_threads": 1, "verbosity": -1}
    np.testing.assert_allclose(lgb.train(settings, data, 30).predict(features, raw_score=True), scores, rtol=1e-6)
