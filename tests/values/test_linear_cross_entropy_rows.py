"""linear_cross_entropy: what is given per row. Labels of any dtype, ignored rows, weights, what the mean divides by.

cross_entropy of logits that exist whole has the say: values, exceptions and messages must be those it has.
"""

import math

import numpy as np
import pytest
from linear import CLASSES, KINDS, ROWS, RTOL, all_near, dtype_of, every_kind, every_reduction, formula, problem

LABELS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">i4", ">u8", "f2", "f4", "f8", ">f4", "bfloat16"]
TO_IGNORE = [255, -100, -1, 3, 2**63, 2**64 - 1, 2**70, None]


def stored(value, dtype):
    """A number as an array of one number of this dtype, None if it has no such number."""
    if dtype.kind in "iu":
        whole = math.isfinite(value) and value == int(value)
        fits = whole and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
        return np.array([int(value)], dtype) if fits else None
    with np.errstate(all="ignore"):
        one = np.array([value], np.float64).astype(dtype)
    return one if np.array_equal(one.astype(np.float64), [float(value)], equal_nan=True) else None


def outcome(call):
    """What a call returns, or the type and the message of what it raises."""
    try:
        return call()
    except (IndexError, ValueError) as error:
        return type(error), str(error)


def agree(csm, x, w, target, rtol=RTOL["float64"], **options):
    """linear_cross_entropy does what cross_entropy of the logits does."""
    whole = outcome(lambda: csm.cross_entropy(x @ w.T, target, return_grad=True, **options))
    ours = outcome(lambda: csm.linear_cross_entropy(x, w, target, return_grad=True, chunk_size=4, **options))
    if isinstance(whole[0], type):
        assert ours == whole
        return
    loss, g = whole
    all_near((ours[0], ours[1][:2]), (loss, (g @ w, g.T @ x)), rtol)


# Labels


def with_labels(kind, labels):
    """Arguments x, w and target; a pair has the labels in its first slot."""
    given = problem(kind)
    target = labels
    if kind == "pair":
        index = np.repeat(labels[:, None], 2, axis=1)
        index[:, 1] = 0
        target = index, given["target"][1][:, :2]
    return given["x"], given["w"], target


@pytest.mark.parametrize("kind", ["labels", "pair"])
@pytest.mark.parametrize("ignore_index", TO_IGNORE)
@pytest.mark.parametrize("dtype", LABELS)
def test_labels_of_any_dtype(csm, dtype, ignore_index, kind):
    labels = problem()["target"].astype(dtype_of(dtype))
    agree(csm, *with_labels(kind, labels), ignore_index=ignore_index)
    mark = None if ignore_index is None else stored(ignore_index, labels.dtype)
    if mark is not None:
        labels[[0, 4, 5, 12]] = mark
        agree(csm, *with_labels(kind, labels), ignore_index=ignore_index)


BAD = [CLASSES, -1, -3, 255, 2**31, 10**12, 2**63, 2**64 - 100, 2**64 - 1, 1.5, -0.5, 1e300, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("ignore_index", [-100, 255, 2**63, None])
@pytest.mark.parametrize("dtype", LABELS)
def test_bad_labels_are_what_cross_entropy_says(csm, dtype, ignore_index):
    fine = problem()["target"].astype(dtype_of(dtype))
    for value in BAD:
        bad = stored(value, fine.dtype)
        if bad is None:
            continue
        for kind in ("labels", "pair"):
            labels = fine.copy()
            labels[[6, 9]] = bad
            agree(csm, *with_labels(kind, labels), ignore_index=ignore_index)
            mark = None if ignore_index is None else stored(ignore_index, fine.dtype)
            if mark is not None:
                labels[[1, 7]] = mark  # an ignored row before the bad one, and one after it
                agree(csm, *with_labels(kind, labels), ignore_index=ignore_index)


@pytest.mark.parametrize("rows", [(), (2, 3)])
def test_a_bad_label_is_named_by_its_place(csm, rows):
    labels = np.zeros(rows)
    labels[rows and (1, 2)] = np.inf
    agree(csm, np.ones((*rows, 2)), np.ones((3, 2)), labels)


# Rows that are not read


@pytest.mark.parametrize("ignored", [[0], [12], [3, 4, 5], [0, 2, 4, 6, 8, 10, 12], range(1, 13)])
@pytest.mark.parametrize("kind", ["labels", "pair"])
def test_ignored_rows_are_not_read(csm, kind, ignored):
    given = problem(kind, ignored=ignored)
    given["x"][list(ignored)] = np.nan
    for chunk_size in (1, 3, 5, ROWS):
        result = csm.linear_cross_entropy(**given, return_grad=True, reduction="none", chunk_size=chunk_size)
        all_near(result, formula(**given, reduction="none"))
        assert not result[0][list(ignored)].any()
        assert not result[1][0][list(ignored)].any()


def test_linear_cross_entropy_where_nothing_counts(csm):
    given = problem(ignored=range(ROWS))
    loss, gradients = csm.linear_cross_entropy(**given, return_grad=True)
    assert np.isnan(loss)
    assert not any(g.any() for g in gradients)
    assert csm.linear_cross_entropy(**given, normalizer=2.0) == 0


def test_weights_that_add_up_to_nothing(csm):
    """As with no rows: the mean is nan and the gradient zero."""
    given, weight = problem(), np.ones(CLASSES)
    weight[given["target"]] = 0
    loss, gradients = csm.linear_cross_entropy(**given, weight=weight, return_grad=True)
    assert np.isnan(loss)
    assert not any(g.any() for g in gradients)


def test_ignore_index_of_choice(csm):
    given = problem()
    chosen = given["target"][0]
    expected = given | {"target": np.where(given["target"] == chosen, -100, given["target"])}
    all_near(csm.linear_cross_entropy(**given, ignore_index=chosen, return_grad=True), formula(**expected))
    given["target"][3] = -100
    with pytest.raises(IndexError, match=r"target\[3\] = -100"):
        csm.linear_cross_entropy(**given, ignore_index=None)


@every_kind
@every_reduction
def test_rows_of_no_weight_are_not_read(csm, kind, reduction):
    """Their gradient is 0 and NaN does not leave them, but the mean counts them."""
    given, weights = problem(kind, ignored=[2]), np.linspace(-1, 2, ROWS)
    weights[[0, 3, 4, 12]] = 0, -0.0, 0, 0
    expected = formula(**given, sample_weight=weights, reduction=reduction)
    given["x"][weights == 0] = np.nan
    if kind == "probabilities":
        given["target"][weights == 0] = np.nan
    for chunk_size in (1, 3, ROWS):
        out = given["x"].copy(), None, None
        result = csm.linear_cross_entropy(
            **given, sample_weight=weights, reduction=reduction, return_grad=True, chunk_size=chunk_size, out=out
        )
        all_near(result, expected)
        assert not result[1][0][weights == 0].any()


@every_kind
def test_no_row_of_any_weight(csm, kind):
    given = problem(kind)
    given["x"][:] = np.nan
    loss, gradients = csm.linear_cross_entropy(**given, sample_weight=np.zeros(ROWS), return_grad=True)
    assert loss == 0
    assert not any(g.any() for g in gradients)


# What the mean divides by


@pytest.mark.parametrize("normalizer", [0, 0.0, -0.0, np.float32(0)])
@pytest.mark.parametrize("rows", [0, ROWS])
@pytest.mark.parametrize("kind", KINDS)
def test_a_normalizer_of_0(csm, kind, rows, normalizer):
    """The loss of nothing is 0; a row that counts, of whatever weight, cannot be divided."""
    given = problem(kind, rows=rows, ignored=range(rows))
    out = tuple(np.ones_like(given[name]) for name in ("x", "w", "bias"))
    if rows and kind == "probabilities":
        with pytest.raises(ValueError, match="normalizer"):
            csm.linear_cross_entropy(**given, normalizer=normalizer, return_grad=True, out=out)
        return
    if kind == "pair":
        given["target"] = np.full((rows, 3), -100), given["target"][1]
    loss, gradients = csm.linear_cross_entropy(**given, normalizer=normalizer, return_grad=True, out=out)
    assert loss == 0
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize("sample_weight", [None, 0.0])
@every_kind
def test_a_normalizer_of_0_divides_no_row(csm, kind, sample_weight):
    given = problem(kind, ignored=range(1, ROWS))
    out = tuple(np.ones_like(given[name]) for name in ("x", "w", "bias"))
    with pytest.raises(ValueError, match="normalizer"):
        csm.linear_cross_entropy(**given, normalizer=0.0, sample_weight=sample_weight, return_grad=True, out=out)
    assert all((a == 1).all() for a in out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e39, 1e300])
@every_kind
def test_weights_far_from_1_by_a_normalizer_of_their_size(csm, kind, scale, dtype):
    given, weights = problem(kind, dtype=dtype, ignored=[3]), np.arange(1.0, ROWS + 1)
    result = csm.linear_cross_entropy(
        **given, sample_weight=scale * weights, normalizer=4 * scale, return_grad=True, chunk_size=5
    )
    all_near(result, formula(**given, sample_weight=weights, normalizer=4), RTOL[dtype])


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e-30), ("float32", 1e30), ("float64", 1e-50)])
@pytest.mark.parametrize("divided_by", ["the weights", "a normalizer"])
def test_class_weights_far_from_1(csm, dtype, scale, divided_by):
    given, weight = problem(dtype=dtype, ignored=[3]), np.arange(1.0, CLASSES + 1)
    normalizer = 4 if divided_by == "a normalizer" else None
    result = csm.linear_cross_entropy(
        **given, weight=scale * weight, normalizer=normalizer and normalizer * scale, return_grad=True, chunk_size=5
    )
    all_near(result, formula(**given, weight=weight, normalizer=normalizer), RTOL[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "weight", [(np.inf, -np.inf, 1), (1e308, 1e308, 1), (np.inf, 1, 1), (np.nan, 1, 1), (-np.inf, 1, np.nan)]
)
def test_weights_that_have_no_finite_sum(csm, weight, dtype):
    """The mean is nan, in silence: warnings are errors here."""
    x, w, labels = np.eye(3, dtype=dtype), np.eye(3, dtype=dtype), np.arange(3)
    loss, _ = csm.linear_cross_entropy(x, w, labels, weight=weight, return_grad=True)
    assert np.isnan(loss)
    assert np.isnan(csm.linear_cross_entropy(x, w, labels, weight=weight, sample_weight=[1, 2, 3.0]))
