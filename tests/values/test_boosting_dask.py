"""SoftmaxObjective on workers: xgboost.dask and lightgbm.dask send it to two processes, each with half of the rows."""

import numpy as np
import pytest

from csoftmax.boosting import SoftmaxObjective

pytestmark = pytest.mark.filterwarnings("ignore")

K, ROUNDS = 3, 5


@pytest.fixture(scope="module")
def client():
    """Of a cluster of two worker processes of one thread."""
    distributed = pytest.importorskip("distributed", reason="needs dask and distributed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def table(size=None):
    """(features, labels), the labels of groups if these have a size; as arrays and as dask arrays of two chunks."""
    dask_array = pytest.importorskip("dask.array")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 5))
    scores = features[:, :K] + rng.gumbel(scale=0.3, size=(600, K))
    y = scores.argmax(axis=1)
    if size is not None:
        best = scores[:, 0].reshape(-1, size).argmax(axis=1)
        y = (np.arange(size) == best[:, None]).ravel().astype(int)
    return features, y, dask_array.from_array(features, (300, 5)), dask_array.from_array(y, 300)


def test_xgboost_on_two_workers(client):
    xgb = pytest.importorskip("xgboost")
    from xgboost import dask as xgb_dask

    features, y, x_parts, y_parts = table()
    options = {
        "num_class": K,
        "max_depth": 3,
        "eta": 0.3,
        "base_score": 0.0,
        "tree_method": "hist",
        "nthread": 1,
        "disable_default_eval_metric": True,
    }
    objective = SoftmaxObjective("upper")
    data = xgb_dask.DaskDMatrix(client, x_parts, y_parts)
    done = xgb_dask.train(
        client, options, data, ROUNDS, obj=objective, custom_metric=objective.loss, evals=[(data, "train")]
    )
    here = xgb.DMatrix(features, y)
    alone = xgb.train(options, here, ROUNDS, obj=objective)
    margins = done["booster"].predict(here, output_margin=True)
    losses = [objective.loss(y, m) for m in (margins, alone.predict(here, output_margin=True))]
    np.testing.assert_allclose(*losses, rtol=0.02)  # the histograms' bins differ a little
    np.testing.assert_allclose(done["history"]["train"]["loss"][-1], losses[0], rtol=1e-5)


def test_lightgbm_on_two_workers(client):
    lgb = pytest.importorskip("lightgbm")
    features, y, x_parts, y_parts = table()
    options = {"n_estimators": ROUNDS, "num_leaves": 8, "learning_rate": 0.3, "verbosity": -1, "n_jobs": 1}
    objective = SoftmaxObjective("friedman")
    model = lgb.DaskLGBMClassifier(client=client, objective=objective, **options).fit(x_parts, y_parts)
    scores = model.booster_.predict(features, raw_score=True)
    alone = lgb.LGBMClassifier(objective=objective, **options).fit(features, y)
    losses = [objective.loss(y, s) for s in (scores, alone.predict(features, raw_score=True))]
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_lightgbm_groups_on_two_workers(client):
    """Each worker reads the sizes of its own groups from its own data."""
    lgb, size = pytest.importorskip("lightgbm"), 5
    features, y, x_parts, y_parts = table(size)
    sizes = pytest.importorskip("dask.array").from_array(np.full(120, size), 60)
    objective = SoftmaxObjective("friedman", groups="data")
    options = {"n_estimators": 20, "num_leaves": 8, "verbosity": -1, "n_jobs": 1}
    ranker = lgb.DaskLGBMRanker(client=client, objective=objective, **options)
    ranker.fit(x_parts, y_parts, group=sizes)
    scores = ranker.booster_.predict(features, raw_score=True)
    hits = scores.reshape(-1, size).argmax(axis=1) == y.reshape(-1, size).argmax(axis=1)
    assert hits.mean() > 0.8
