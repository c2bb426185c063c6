"""What every bad input gets.

It raises the promised exception, the message says which argument, and `out` keeps every byte. The tables below are
crossed with every function and dtype.
"""

import inspect
import re

import numpy as np
import pytest
from surface import (
    LOSSES,
    MAPS,
    ONE_AXIS,
    PER_ROW,
    PRODUCTS,
    SCALED,
    SENTINEL,
    SIGNATURES,
    TYPED,
    arguments,
    array,
    every_dtype,
    names,
    read_only,
    refused,
    table,
)

import csoftmax

# Bad arrays

BAD_ARRAYS = {
    "complex64": lambda a: a.astype("c8"),
    "complex128": lambda a: a.astype("c16"),
    "longdouble": lambda a: a.astype(np.longdouble),
    "clongdouble": lambda a: a.astype(np.clongdouble),
    "object": lambda a: a.astype(object),
    "string": lambda a: a.astype("U20"),
    "bytes": lambda a: a.astype("S20"),
    "structured": lambda a: np.zeros(a.shape, [("value", a.dtype)]),
    "void": lambda a: np.zeros(a.shape, "V8"),
    "datetime": lambda a: np.zeros(a.shape, "M8[s]"),
    "timedelta": lambda a: np.zeros(a.shape, "m8[s]"),
    "none": lambda a: None,
    "dict": lambda a: {},
    "text": lambda a: "logits",
    "list of text": lambda a: [["a"] * 4] * 3,
    "complex number": lambda a: 1j,
}


@table(SIGNATURES, BAD_ARRAYS)
@every_dtype
def test_first_array_of_a_bad_kind(name, case, dtype):
    first = next(iter(arguments(name, dtype)))
    refused(name, dtype, TypeError, rf"\b{first}\b", **{first: BAD_ARRAYS[case](array(dtype))})


@table([*PRODUCTS, "kl_divergence"], BAD_ARRAYS)
@every_dtype
def test_second_array_of_a_bad_kind(name, case, dtype):
    second = list(inspect.signature(getattr(csoftmax, name)).parameters)[1]
    refused(name, dtype, TypeError, rf"\b{second}\b", **{second: BAD_ARRAYS[case](array(dtype))})


@pytest.mark.parametrize("case", BAD_ARRAYS)
@every_dtype
def test_probabilities_of_a_bad_kind(case, dtype):
    """What has no axes is no target of a matrix, whatever its kind: there ValueError is as good."""
    target = BAD_ARRAYS[case](array(dtype))
    error = TypeError if np.shape(target) else (TypeError, ValueError)
    refused("cross_entropy", dtype, error, r"\btarget\b", target=target)


LABELS = {case: BAD_ARRAYS[case](np.zeros(3)) for case in BAD_ARRAYS if case != "longdouble"}


@pytest.mark.parametrize("case", [case for case, labels in LABELS.items() if np.shape(labels) == (3,)])
@every_dtype
def test_labels_of_a_bad_kind(case, dtype):
    refused("cross_entropy", dtype, TypeError, r"\btarget\b", target=LABELS[case])


@table(SIGNATURES, ["some masked", "none masked", "constant"])
@every_dtype
def test_masked_arrays(name, case, dtype):
    masked = {
        "some masked": np.ma.masked_array(array(dtype), mask=np.eye(3, 4)),
        "none masked": np.ma.masked_array(array(dtype)),
        "constant": np.ma.masked,
    }[case]
    arrays = ("x", "a", "p", "g", "t", "logits", "p_logits", "q_logits", "target", "index")
    for argument in [key for key in arguments(name, dtype) if key in arrays]:
        hint = r"where=~\w+\.mask" if name in TYPED and argument != "index" else "mask"
        refused(name, dtype, TypeError, hint, rf"\b{argument}\b", **{argument: masked})


# Bad shapes


@table(
    [*PRODUCTS, "kl_divergence"],
    [(3, 5), (4, 3), (1, 4), (3, 1), (4,), (3,), (), (3, 4, 1), (1, 3, 4), (12,), (0, 4)],
)
@every_dtype
def test_products_take_equal_shapes(name, case, dtype):
    first, second = list(inspect.signature(getattr(csoftmax, name)).parameters)[:2]
    refused(name, dtype, ValueError, *names((3, 4), case), **{second: array(dtype, case)})
    refused(name, dtype, ValueError, *names((3, 4), case), **{first: array(dtype, case)})


@pytest.mark.parametrize(
    "shape", [(4,), (2,), (0,), (), (3, 1), (1, 4), (3, 5), (2, 4), (4, 3), (3, 4, 1), (1, 3, 4)]
)
@pytest.mark.parametrize("label_dtype", ["i8", "f8"])
@every_dtype
def test_target_shapes(shape, label_dtype, dtype):
    target = np.zeros(shape, label_dtype)
    message = refused("cross_entropy", dtype, ValueError, *names(shape), target=target)
    assert any(re.search(pattern, message) for pattern in names((3, 4), (3,)))


def test_labels_of_more_rows_than_the_logits():
    for rows, labels in [((1,), (5,)), ((2, 1), (2, 3)), ((1, 3), (2, 3))]:
        with pytest.raises(ValueError, match=names(labels)[0]):
            csoftmax.cross_entropy(array("f8", (*rows, 4)), np.zeros(labels, int))


# Bad axes


@table(SIGNATURES, [2, -3, 7, -100, 10**6])
def test_axis_out_of_bounds(name, case):
    refused(name, "f8", np.exceptions.AxisError, "axis", str(case), axis=case)


@table(MAPS, [(0, 2), (-3, 1), (5,), (0, 1, 2)])
def test_axis_out_of_bounds_in_a_tuple(name, case):
    refused(name, "f8", np.exceptions.AxisError, "axis", axis=case)


@table(MAPS, [(0, 0), (1, -1), (0, 1, 0), (-2, 0)])
def test_axis_twice(name, case):
    refused(name, "f8", ValueError, "axis", axis=case)


@table(SIGNATURES, [1.5, 1.0, "0", "last", b"0", [0], {}, (0, 1.0), (None,), ("0",), 1j])
def test_axis_of_a_bad_kind(name, case):
    refused(name, "f8", TypeError, "axis", axis=case)


@table(ONE_AXIS, [None, (0,), (0, 1), (-1,), ()])
@every_dtype
def test_one_axis_only(name, case, dtype):
    refused(name, dtype, TypeError, "axis", axis=case)


@table(SIGNATURES, [1, -2])
def test_axis_of_a_zero_dimensional_array(name, case):
    first, *others = inspect.signature(getattr(csoftmax, name)).parameters
    given = {first: np.float64(1.0)}
    if name not in MAPS and name != "softmax_jacobian":
        given[others[0]] = 0 if others[0] in ("target", "index") else np.float64(1.0)
    with pytest.raises(np.exceptions.AxisError):
        getattr(csoftmax, name)(**given, axis=case)


# Bad temperatures


@table(SCALED, [0, 0.0, -0.0, -1.0, -1, np.nan, np.inf, -np.inf, np.float32(0.0), np.float64(-3.0)])
@every_dtype
def test_temperature_must_be_positive_and_finite(name, case, dtype):
    refused(name, dtype, ValueError, "temperature", temperature=case)


@table(SCALED, ["1.0", b"1", None, 1j, {}])
def test_temperature_of_a_bad_kind(name, case):
    refused(name, "f8", TypeError, "temperature", temperature=case)


# Bad outputs

BAD_OUTS = {
    "longer": (lambda s, d: np.full((*s[:-1], s[-1] + 1), SENTINEL, d), ValueError),
    "shorter": (lambda s, d: np.full((*s[:-1], s[-1] - 1), SENTINEL, d), ValueError),
    "one side more": (lambda s, d: np.full((*s, 1), SENTINEL, d), ValueError),
    "leading side": (lambda s, d: np.full((1, *s), SENTINEL, d), ValueError),
    "to broadcast": (lambda s, d: np.full((1, *s[1:]), SENTINEL, d), ValueError),
    "zero-dimensional": (lambda s, d: np.full((), SENTINEL, d), ValueError),
    "empty": (lambda s, d: np.full((0, *s[1:]), SENTINEL, d), ValueError),
    "flat": (lambda s, d: np.full(int(np.prod(s)) * 2, SENTINEL, d), ValueError),
    "int64": (lambda s, d: np.full(s, 7), TypeError),
    "int8": (lambda s, d: np.full(s, 7, "i1"), TypeError),
    "uint32": (lambda s, d: np.full(s, 7, "u4"), TypeError),
    "bool": (lambda s, d: np.full(s, True), TypeError),
    "structured": (lambda s, d: np.zeros(s, [("value", d)]), TypeError),
    "datetime": (lambda s, d: np.zeros(s, "M8[s]"), TypeError),
    "list": (lambda s, d: np.zeros(s, d).tolist(), TypeError),
    "number": (lambda s, d: 1.0, TypeError),
    "text": (lambda s, d: "out", TypeError),
    "read-only": (lambda s, d: read_only(np.full(s, SENTINEL, d)), ValueError),
    "read-only view": (lambda s, d: np.broadcast_to(np.full(s, SENTINEL, d), s), ValueError),
    "bytes": (lambda s, d: np.frombuffer(bytes(np.full(s, SENTINEL, d)), d).reshape(s), ValueError),
    "stride 0, last": (lambda s, d: overlapping(s, d, 0), ValueError),
    "stride 0, all": (lambda s, d: overlapping(s, d, *[0] * len(s)), ValueError),
    "overlapping": (
        lambda s, d: overlapping(s, d, *[1] * len(s)) if len(s) > 1 else overlapping(s, d, 0),
        ValueError,
    ),
    "half overlapping": (lambda s, d: half_overlapping(s, d), ValueError),
}


def overlapping(shape, dtype, *last_strides):
    """A writable view whose last axes have the given strides, in items."""
    base = np.full(shape, SENTINEL, dtype)
    strides = (*base.strides[: -len(last_strides)], *(base.itemsize * s for s in last_strides))
    return np.lib.stride_tricks.as_strided(base, shape, strides)


def half_overlapping(shape, dtype):
    """A writable view in which every element shares half of its bytes with the next."""
    base = np.full(shape, SENTINEL, dtype)
    return np.lib.stride_tricks.as_strided(base, shape, (*base.strides[:-1], base.itemsize // 2))


@table(SIGNATURES, BAD_OUTS)
@every_dtype
def test_bad_outputs(name, case, dtype):
    make, error = BAD_OUTS[case]
    shape = arguments(name, dtype)["out"].shape
    out = make(shape, dtype)
    words = ["out"]
    if isinstance(out, np.ndarray) and out.shape != shape:
        words += names(shape, out.shape)
    refused(name, dtype, error, *words, out=out)


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name not in PER_ROW])
@pytest.mark.parametrize("integer", ["i8", "u1", "?"])
def test_integers_cannot_be_computed_in_place(name, integer):
    first = next(iter(arguments(name, "f8")))
    x = np.ones((3, 4), integer)
    refused(
        name,
        "f8",
        TypeError,
        "out",
        **{first: x, "out": np.ones(arguments(name, "f8")["out"].shape, integer)},
    )
    if name != "softmax_jacobian":
        refused(name, "f8", TypeError, "out", **{first: x, "out": x})


@every_dtype
def test_out_without_return_grad(dtype):
    refused("kl_divergence", dtype, ValueError, "out", "return_grad", return_grad=False)
    refused("cross_entropy", dtype, ValueError, "out", "return_grad", return_grad=False)
    refused("cross_entropy", dtype, ValueError, "out", "return_grad", return_grad=False, target=array(dtype))


# Bad options of the loss


@pytest.mark.parametrize(
    "reduction", ["avg", "", "Mean", "batchmean", " sum", "none ", None, 1, True, b"mean", [], {}]
)
@every_dtype
def test_unknown_reduction(reduction, dtype):
    error = ValueError if isinstance(reduction, str) else (ValueError, TypeError)
    for name in LOSSES:
        refused(name, dtype, error, "reduction", reduction=reduction)


@pytest.mark.parametrize("value", ["-100", 0.5, np.nan, [0], 1j, {}, np.zeros(3, int)])
@every_dtype
def test_bad_ignore_index(value, dtype):
    refused("cross_entropy", dtype, (TypeError, ValueError), "ignore_index", ignore_index=value)


def test_defaults_may_be_given():
    x, labels = array("f8"), [0, 1, 2]
    options = {"weight": None, "sample_weight": None, "label_smoothing": 0, "z_loss": 0, "softcap": None}
    assert csoftmax.cross_entropy(x, labels, **options, normalizer=None) == csoftmax.cross_entropy(x, labels)
    assert csoftmax.logsumexp(x, None, None, False, False, where=None) == csoftmax.logsumexp(x)
    np.testing.assert_array_equal(csoftmax.softmax(x, where=None, dtype=None, out=None), csoftmax.softmax(x))


BAD_OPTIONS = [
    ("label_smoothing", -0.1, ValueError), ("label_smoothing", 1.1, ValueError),
    ("label_smoothing", np.nan, ValueError), ("label_smoothing", "0.1", TypeError),
    ("label_smoothing", np.zeros(3), TypeError), ("label_smoothing", None, TypeError),
    ("z_loss", np.inf, ValueError), ("z_loss", np.nan, ValueError), ("z_loss", 1j, TypeError),
    ("softcap", 0.0, ValueError), ("softcap", -30, ValueError), ("softcap", np.inf, ValueError),
    ("softcap", np.nan, ValueError), ("softcap", "30", TypeError),
    ("normalizer", 0, ValueError), ("normalizer", np.nan, ValueError), ("normalizer", np.inf, ValueError),
    ("normalizer", [3.0], TypeError),
    ("weight", np.ones(3), ValueError), ("weight", np.ones((1, 4)), ValueError), ("weight", 1.0, ValueError),
    ("weight", np.ones(4, complex), TypeError), ("weight", ["a"] * 4, TypeError),
    ("sample_weight", np.ones(4), ValueError), ("sample_weight", np.ones((3, 1)), ValueError),
    ("sample_weight", np.ones(3, object), TypeError), ("sample_weight", np.ma.masked_array(np.ones(3)), TypeError),
]


@pytest.mark.parametrize(("option", "value", "error"), BAD_OPTIONS)
@every_dtype
def test_bad_options(option, value, error, dtype):
    shapes = names(np.shape(value)) if option in ("weight", "sample_weight") and error is ValueError else []
    refused("cross_entropy", dtype, error, option, *shapes, **{option: value})


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_normalizer_is_for_the_mean(reduction):
    for name in LOSSES:
        refused(name, "f8", ValueError, "normalizer", reduction, reduction=reduction, normalizer=3.0)


def pair(index, prob=None):
    index = np.array(index)
    return index, np.ones(index.shape) if prob is None else prob


@pytest.mark.parametrize(
    ("target", "error", "word"),
    [
        ((), ValueError, "tuple of 0"),
        ((0, 1, 2), ValueError, "tuple of 3"),
        (pair([0, 1, 2]), ValueError, r"\(3,\)"),
        (pair([[0], [1]]), ValueError, r"\(2, 1\)"),
        (pair([[0], [1], [2]], np.ones((3, 2))), ValueError, r"\(3, 2\)"),
        (pair([[0, 1], [2, 7], [9, 0]]), IndexError, r"target\[0\]\[1, 1\] = 7"),
        (pair([[0, 1], [-1, 7], [9, 0]]), IndexError, r"target\[0\]\[1, 0\] = -1"),
        (pair([[0.0], [1.5], [2.0]]), ValueError, r"target\[0\]\[1, 0\] = 1.5"),
        (pair([[True], [False], [True]]), TypeError, r"target\[0\]"),
        (pair([[0], [1], [2]], np.ones((3, 1), complex)), TypeError, r"target\[1\]"),
    ],
)
@every_dtype
def test_bad_pairs(target, error, word, dtype):
    refused("cross_entropy", dtype, error, word, target=target)


@pytest.mark.parametrize("ignore_index", [-1, 0, 2, 100])
def test_ignore_index_has_no_meaning_for_probabilities(ignore_index):
    refused("cross_entropy", "f8", ValueError, "ignore_index", target=array("f8"), ignore_index=ignore_index)


# What the message says to do


class csr_array:
    """What scipy.sparse has, as far as csoftmax looks at it."""

    ndim, shape = 2, (3, 4)


csr_array.__module__ = "scipy.sparse._csr"

ADVICE = {
    "labels in a column": ("cross_entropy", {"target": np.zeros((3, 1), int)}, ValueError, r"target\.ravel\(\)"),
    "weights in a column": ("cross_entropy", {"sample_weight": np.ones((3, 1))}, ValueError,
                            r"sample_weight\.ravel\(\)"),
    "class weights in a column": ("cross_entropy", {"weight": np.ones((4, 1))}, ValueError, r"weight\.ravel\(\)"),
    "labels as a tuple": ("cross_entropy", {"target": (0, 1, 2)}, ValueError, r"np\.asarray\(target\)"),
    "two labels as a tuple": ("cross_entropy", {"target": (0, 1)}, ValueError, r"np\.asarray\(target\)"),
    "labels as objects": ("cross_entropy", {"target": np.array([0, 1, 2], object)}, TypeError,
                          r"target\.astype\(int\)"),
    "objects as probabilities": ("cross_entropy", {"target": array("f8").astype(object)}, TypeError,
                                 r"target\.astype\(float\)"),
    "objects as weights": ("cross_entropy", {"weight": np.ones(4, object)}, TypeError, r"weight\.astype\(float\)"),
    "objects as sample weights": ("cross_entropy", {"sample_weight": np.ones(3, object)}, TypeError,
                                  r"sample_weight\.astype\(float\)"),
    "sparse probabilities": ("cross_entropy", {"target": csr_array()}, TypeError, r"target\.toarray\(\)"),
    "an index of objects": ("selective_log_softmax", {"index": np.array([0, 1, 2], object)}, TypeError,
                            r"index\.astype\(int\)"),
    "an index in two columns too few": ("selective_log_softmax", {"index": np.zeros((2, 1), int)}, ValueError, "index"),
    "a mask of objects": ("softmax", {"where": np.ones((3, 4), object)}, TypeError, r"where\.astype\(bool\)"),
    "a sparse mask": ("softmax", {"where": csr_array()}, TypeError, r"where\.toarray\(\)"),
}


@pytest.mark.parametrize("case", ADVICE)
@every_dtype
def test_messages_say_what_to_do(case, dtype):
    name, changes, error, advice = ADVICE[case]
    refused(name, dtype, error, advice, **changes)


@table(SCALED, ["a column"])
@every_dtype
def test_temperatures_in_a_column(name, case, dtype):
    refused(name, dtype, ValueError, r"temperature\.ravel\(\)", temperature=np.ones((3, 1)))


@table(SIGNATURES, ["object", "sparse"])
@every_dtype
def test_first_arrays_that_need_a_conversion(name, case, dtype):
    first = next(iter(arguments(name, dtype)))
    given = array(dtype).astype(object) if case == "object" else csr_array()
    advice = r"\.astype\(float\)" if case == "object" else r"\.toarray\(\)"
    refused(name, dtype, TypeError, first + advice, **{first: given})


def test_a_list_of_objects_has_no_astype():
    with pytest.raises(TypeError, match=r"x has dtype object.*array of float") as caught:
        csoftmax.softmax([None, 1.0])
    assert "astype" not in str(caught.value)


def test_sparse_matrices_of_scipy():
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_matrix(np.eye(3)), sparse.coo_array(np.eye(3))):
        with pytest.raises(TypeError, match=r"x\.toarray\(\)"):
            csoftmax.softmax(matrix)
        with pytest.raises(TypeError, match=r"target\.toarray\(\)"):
            csoftmax.cross_entropy(np.eye(3), matrix)
        with pytest.raises(TypeError, match=r"y\.toarray\(\)"):
            csoftmax.softmax_grad_hess(np.eye(3), matrix)


def test_scores_of_two_classes():
    raw = np.array([0.5, -1.0])
    with pytest.raises(ValueError, match=r"\(2,\).*column_stack.*logistic"):
        csoftmax.softmax_grad_hess(raw, np.array([0, 1]))
    two = np.column_stack([np.zeros(len(raw)), raw])
    p = 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(csoftmax.softmax_grad_hess(two, np.array([0, 1]))[0][:, 1], p - [0, 1], rtol=1e-15)


# Numbers beyond 64 bits


@table(SCALED, [2**64, 2**70, 2**1000])
def test_temperature_of_many_bits(name, case):
    given = arguments(name, "f8")
    expected = getattr(csoftmax, name)(**given | {"out": None, "temperature": float(case)})
    found = getattr(csoftmax, name)(**given | {"out": None, "temperature": case})
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


HUGE = {"10^400": 10**400, "-10^400": -(10**400), "10^5000": 10**5000, "-2^64": -(2**64)}


@table(SCALED, HUGE)
def test_temperature_beyond_every_float(name, case):
    message = refused(name, "f8", ValueError, "temperature must be positive and finite", "bits", temperature=HUGE[case])
    assert len(message) < 200


@pytest.mark.parametrize("option", ["label_smoothing", "z_loss", "softcap", "normalizer"])
def test_options_beyond_every_float(option):
    refused("cross_entropy", "f8", ValueError, option, "bits", **{option: 10**5000})


def test_options_of_many_bits():
    x, labels = array("f8"), [0, 1, 2]
    for option in ("z_loss", "softcap", "normalizer"):
        found, expected = (csoftmax.cross_entropy(x, labels, **{option: v}) for v in (2**70, 2.0**70))
        assert found == expected


def test_threads_of_many_digits():
    for n in (10**400, 10**5000, 2**31):
        with pytest.raises(ValueError, match=r"at least 1 and below 2\*\*31") as caught:
            csoftmax.set_num_threads(n)
        assert len(str(caught.value)) < 200
