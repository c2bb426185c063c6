"""csoftmax.boosting without the libraries: values, finite differences, groups, forms of a call, refusals."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from differences import gradient_by_differences

import csoftmax
from csoftmax.boosting import SoftmaxObjective

RULES = ["diagonal", "upper", "friedman", "residual"]
N, K = 7, 4
RNG = np.random.default_rng(0)
SCORES, LABELS, WEIGHTS = RNG.normal(size=(N, K)) * 2, np.arange(N) % K, RNG.uniform(0.5, 2, N)
SOFT, FACTORS = RNG.dirichlet(np.ones(K), N) * 1.5, np.array([0.5, 2.0, 1.0, 3.0])

OPTIONS = {
    "plain": ({}, LABELS),
    "soft labels": ({}, SOFT),
    "smoothed": ({"label_smoothing": 0.1}, LABELS),
    "class weights": ({"class_weight": FACTORS}, LABELS),
    "some class weights": ({"class_weight": {1: 2.5}}, LABELS.astype(np.float32)),
    "class weights, smoothed": ({"class_weight": FACTORS, "label_smoothing": 0.3}, LABELS.astype(np.float32)),
    "soft labels, class weights, smoothed": ({"class_weight": FACTORS, "label_smoothing": 0.3}, SOFT),
    "focal": ({"focal_gamma": 2.0}, LABELS),
    "focal below 1, class weights": ({"focal_gamma": 0.5, "class_weight": FACTORS}, LABELS),
}


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("case", OPTIONS)
def test_objective_is_the_gradient_of_its_loss(case, weight):
    options, target = OPTIONS[case]
    objective = SoftmaxObjective(**options)
    total = N if weight is None else weight.sum()
    expected = gradient_by_differences(lambda x: objective.loss(target, x, weight) * total, SCORES)
    np.testing.assert_allclose(objective(target, SCORES, weight)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in OPTIONS if "focal" not in case])
def test_diagonal_hessian_is_that_of_the_loss(case):
    options, target = OPTIONS[case]
    objective = SoftmaxObjective(**options)

    def second(row, j, step=1e-3):
        steps = np.zeros((3, N, K))
        steps[:, row, j] = -step, 0, step
        below, here, above = (objective.loss(target, SCORES + change) * N for change in steps)
        return (below - 2 * here + above) / step**2

    expected = [[second(row, j) for j in range(K)] for row in range(N)]
    np.testing.assert_allclose(objective(target, SCORES)[1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", OPTIONS)
def test_rules_of_the_objective(case, rule):
    """Each is a factor of the diagonal, or the size of the gradient."""
    options, target = OPTIONS[case]
    grad, hess = SoftmaxObjective(hessian=rule, **options)(target, SCORES, WEIGHTS)
    diagonal = SoftmaxObjective(**options)(target, SCORES, WEIGHTS)[1]
    expected = {"diagonal": diagonal, "upper": 2 * diagonal, "friedman": K / (K - 1) * diagonal, "residual": abs(grad)}
    np.testing.assert_allclose(hess, expected[rule], rtol=1e-5)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", OPTIONS)
def test_results_are_float32_in_the_order_of_the_scores(case, dtype, order):
    options, target = OPTIONS[case]
    scores = np.array(SCORES, dtype, order=order)
    before = scores.copy()
    for result in SoftmaxObjective(**options)(target, scores, WEIGHTS):
        assert result.dtype == np.float32 and result.shape == scores.shape
        assert result.flags[f"{order}_CONTIGUOUS"]
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_gradient_is_that_of_cross_entropy(gamma):
    scores = np.array([[110.0, 0, 0], [0, 110, 0], [20, 0, 0], [1, 2, 3], [-np.inf, 0, 1], [1e-3, 0, 0]], np.float32)
    labels = np.array([0, 0, 0, 2, 0, 1])
    expected = csoftmax.cross_entropy(scores, labels, focal_gamma=gamma, reduction="sum", return_grad=True)[1]
    grad, hess = SoftmaxObjective(focal_gamma=gamma)(labels, scores)
    np.testing.assert_allclose(grad, expected, rtol=1e-6, atol=1e-45)
    assert np.isfinite(grad).all() and np.isfinite(hess).all() and (hess > 0).all()


# Groups

SIZES = np.array([3, 1, 0, 5, 2, 3, 2])
ROWS = SIZES.sum()
RELEVANCE, LINE = RNG.integers(0, 3, ROWS).astype(float), RNG.normal(size=ROWS)
PER_GROUP, PER_ROW = RNG.uniform(0.5, 2, SIZES.size), RNG.uniform(0.5, 2, ROWS)


def group_by_group(scores, target, factors, smoothing):
    """Gradient, Hessian diagonal and sum of the losses, each group by the formulas."""
    grad, hess, loss = np.zeros(ROWS), np.zeros(ROWS), 0.0
    for start, size, s in zip(np.cumsum(SIZES) - SIZES, SIZES, factors, strict=True):
        rows = slice(start, start + size)
        p = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        c = (1 - smoothing) * target[rows] + smoothing / max(size, 1)
        grad[rows], hess[rows] = s * (c.sum() * p - c), s * c.sum() * p * (1 - p)
        loss -= s * (c * np.log(p)).sum()
    return grad, hess, loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, PER_GROUP, PER_ROW])
def test_groups_are_as_group_by_group(weight, smoothing):
    objective = SoftmaxObjective(groups=SIZES, label_smoothing=smoothing)
    per_row = RELEVANCE if weight is not PER_ROW else RELEVANCE * PER_ROW
    factors = weight if weight is PER_GROUP else np.ones(SIZES.size)
    grad, hess, loss = group_by_group(LINE, per_row, factors, smoothing)
    ours = objective(RELEVANCE, LINE, weight)
    np.testing.assert_allclose(ours[0], grad, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours[1], np.maximum(hess, 1e-16), rtol=1e-5)
    assert ours[1].dtype == ours[0].dtype == np.float32
    counted = factors[SIZES > 0].sum()
    np.testing.assert_allclose(objective.loss(RELEVANCE, LINE, weight), loss / counted, rtol=1e-12)
    expected = gradient_by_differences(lambda x: objective.loss(RELEVANCE, x, weight) * counted, LINE)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_groups(rule):
    grad, hess = SoftmaxObjective(hessian=rule, groups=SIZES)(RELEVANCE, LINE)
    diagonal = SoftmaxObjective(groups=SIZES)(RELEVANCE, LINE)[1]
    size = np.repeat(SIZES, SIZES)
    expected = {
        "diagonal": diagonal,
        "upper": 2 * diagonal,
        "friedman": size / np.maximum(size - 1, 1) * diagonal,
        "residual": np.maximum(abs(grad), 1e-16),
    }
    np.testing.assert_allclose(hess, expected[rule], rtol=1e-5, atol=2e-16)


def test_a_column_of_scores_stays_one():
    expected = SoftmaxObjective(groups=SIZES)(RELEVANCE, LINE)
    ours = SoftmaxObjective(groups=SIZES)(RELEVANCE, LINE[:, None])
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other[:, None])


def test_no_rows_in_an_objective():
    grad, hess = SoftmaxObjective(label_smoothing=0.1)([], np.zeros((0, K)))
    assert grad.shape == hess.shape == (0, K)
    assert SoftmaxObjective().loss([], np.zeros((0, K))) == 0


def test_no_rows_in_groups():
    grad, hess = SoftmaxObjective(groups=[0, 0])([], np.zeros(0))
    assert grad.shape == hess.shape == (0,)
    assert SoftmaxObjective(groups=[0, 0]).loss([], np.zeros(0)) == 0


# Forms of a call


class Data:
    """As a DMatrix or a Dataset is."""

    def __init__(self, label, weight=None, group=None):
        self.label, self.weight, self.group = label, weight, group

    def get_label(self):
        return self.label

    def get_weight(self):
        return self.weight

    def get_group(self):
        return self.group


class Dataset(Data):
    """As that of LightGBM, which is known by its module."""

    __module__ = "lightgbm.basic"


@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_data_and_arrays_give_the_same(weight):
    objective = SoftmaxObjective(label_smoothing=0.1)
    given = np.zeros(0, np.float32) if weight is None else weight
    expected = objective(LABELS, SCORES, weight)
    for data in (Data(LABELS, given), Dataset(LABELS, weight)):
        np.testing.assert_array_equal(objective(SCORES, data), expected)
    np.testing.assert_array_equal(objective(LABELS, SCORES, sample_weight=given), expected)
    np.testing.assert_array_equal(objective(LABELS, SCORES, given, None), expected)
    value = objective.loss(LABELS, SCORES, weight)
    assert objective.loss(SCORES, Data(LABELS, given)) == ("loss", value)
    assert objective.loss(SCORES, Dataset(LABELS, weight)) == ("loss", value, False)
    assert objective.loss(LABELS, SCORES, weight, None) == ("loss", value, False)


def test_soft_labels_may_be_flat():
    objective = SoftmaxObjective()
    np.testing.assert_array_equal(objective(SCORES, Data(SOFT.ravel(), None)), objective(SOFT, SCORES))


def test_groups_of_the_data():
    expected, objective = SoftmaxObjective(groups=SIZES)(RELEVANCE, LINE), SoftmaxObjective(groups="data")
    np.testing.assert_array_equal(objective(LINE, Data(RELEVANCE, None, SIZES)), expected)
    np.testing.assert_array_equal(objective(RELEVANCE, LINE, None, SIZES), expected)
    assert objective.loss(RELEVANCE, LINE, None, SIZES)[1] == SoftmaxObjective(groups=SIZES).loss(RELEVANCE, LINE)
    for nothing in (None, np.zeros(0, int)):
        with pytest.raises(ValueError, match="groups='data', but the data have none"):
            objective(LINE, Data(RELEVANCE, None, nothing))


@pytest.mark.parametrize("function", [SoftmaxObjective(), SoftmaxObjective().loss])
def test_what_libraries_inspect(function):
    """LightGBM counts the parameters, XGBoost looks for one name and shows another."""
    parameters = inspect.signature(function).parameters
    assert list(parameters) == ["y_true", "y_pred", "sample_weight", "group"]
    assert SoftmaxObjective().loss.__name__ == "loss"


@pytest.mark.parametrize(
    "options",
    [
        {"hessian": "upper"},
        {"class_weight": {2: 3.0}},
        {"class_weight": FACTORS.tolist(), "label_smoothing": 0.2},
    ],
)
def test_objective_pickles_and_copies(options):
    objective = SoftmaxObjective(**options)
    expected = objective(LABELS, SCORES)
    for other in (
        pickle.loads(pickle.dumps(objective)),
        copy.deepcopy(objective),
        pickle.loads(pickle.dumps(objective.loss)).__self__,
    ):
        np.testing.assert_array_equal(other(LABELS, SCORES), expected)
    assert eval(repr(objective), {"SoftmaxObjective": SoftmaxObjective, "array": np.array}).hessian == objective.hessian


# Refusals


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"hessian": "exact"}, ValueError, "hessian must be one of"),
        ({"focal_gamma": -1}, ValueError, "focal_gamma must be finite and not negative"),
        ({"label_smoothing": 2}, ValueError, r"label_smoothing must be in \[0, 1\]"),
        ({"focal_gamma": 1, "label_smoothing": 0.1}, ValueError, "focal_gamma must be 0 with label_smoothing"),
        ({"focal_gamma": 1, "groups": [1]}, ValueError, "focal_gamma has no meaning with groups"),
        ({"class_weight": [1, 2], "groups": [1]}, ValueError, "class_weight has no meaning with groups"),
        ({"class_weight": "balanced"}, ValueError, "class_weight must be factors.*compute_class_weight"),
        ({"class_weight": {"a": 1}}, TypeError, "class_weight must have class indices as keys"),
        ({"groups": "query"}, ValueError, "groups must be sizes or 'data'"),
        ({"groups": [1.5]}, ValueError, "groups must be sizes"),
        ({"groups": [[1]]}, ValueError, "groups must be sizes"),
        ({"groups": [-1, 2]}, ValueError, "groups must be sizes"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SoftmaxObjective(**options)


BAD_LABEL = np.where(np.arange(N) == 3, K, LABELS)


@pytest.mark.parametrize("case", [case for case in OPTIONS if "soft" not in case])
def test_a_bad_label_is_named(case):
    objective = SoftmaxObjective(**OPTIONS[case][0])
    for call in (objective, objective.loss):
        with pytest.raises(IndexError, match=rf"\[3\] = {K}(\.0)? is not a class index"):
            call(BAD_LABEL, SCORES)
        with pytest.raises(ValueError, match="not a whole number"):
            call(LABELS + np.where(np.arange(N) == 3, 0.5, 0), SCORES)
        with pytest.raises((ValueError, IndexError)):
            call(np.full(N, np.nan), SCORES)
        with pytest.raises(ValueError, match="shape"):
            call(LABELS[:-1], SCORES)
        with pytest.raises(TypeError, match="bool"):
            call(LABELS > 1, SCORES)


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"focal_gamma": 1.0}, {"class_weight": [1, 2]}])
def test_two_classes_with_one_score(options, shape):
    objective = SoftmaxObjective(**options)
    for call in (objective, objective.loss):
        with pytest.raises(ValueError, match=r"two classes with one score each .*column_stack"):
            call(LABELS % 2, np.zeros(shape))


@pytest.mark.parametrize(
    "options, arguments, message",
    [
        ({"focal_gamma": 1.0}, (SOFT, SCORES), "focal_gamma .*is for class indices alone"),
        ({"class_weight": [1, 2]}, (LABELS, SCORES), r"class_weight has shape \(2,\), but there are 4 classes"),
        ({"class_weight": {7: 2}}, (LABELS, SCORES), "class_weight has a class 7"),
        ({"class_weight": FACTORS}, (SOFT[:, :3], SCORES), r"y has shape \(7, 3\), but raw of shape \(7, 4\)"),
        ({}, (LABELS, SCORES, WEIGHTS[:3]), "sample_weight has shape"),
        ({"groups": [3, 3]}, (RELEVANCE, LINE), f"groups add up to 6 rows, but there are {ROWS}"),
        ({"groups": SIZES}, (RELEVANCE, LINE, np.ones(3)), "sample_weight has shape"),
        ({"groups": SIZES}, (RELEVANCE[:-1], LINE), "one score and one label per row"),
        ({"groups": SIZES}, (LABELS, SCORES), "one score and one label per row"),
    ],
)
def test_calls_that_are_refused(options, arguments, message):
    objective = SoftmaxObjective(**options)
    for call in (objective, objective.loss):
        with pytest.raises(ValueError, match=message):
            call(*arguments)
