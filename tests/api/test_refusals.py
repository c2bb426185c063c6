"""What every bad input gets: the promised exception, a message that names the argument, and no array is changed.

`TABLE` has a row for each refusal. Every row is tried with float32 and float64, with an output apart, with the output
in the place of the first array where that can be, and without one.
"""

import inspect
import re

import ml_dtypes
import numpy as np
import pytest
from surface import (
    LOSSES,
    MAPS,
    ONE_AXIS,
    PER_ROW,
    PRODUCTS,
    SCALED,
    SEGMENTS,
    SENTINEL,
    SIGNATURES,
    TYPED,
    arguments,
    array,
    every_dtype,
    filled,
    names,
    read_only,
    refused,
    table,
)

import csoftmax

ROWS, CLASSES = 3, 4
SELECTIVE, GRAD_HESS = "selective_log_softmax", "softmax_grad_hess"
PAIRS = [*PRODUCTS, "kl_divergence"]
"""Functions of two arrays of one shape."""
EXPECTATION, TOP_K = "softmax_expectation", "top_k_log_softmax"
WHERE = [*MAPS, SELECTIVE, EXPECTATION, TOP_K, *LOSSES, "linear_cross_entropy"]
SEGMENT_LOSS, SEGMENT_VJP = "segment_cross_entropy", "segment_softmax_vjp"
TEMPERED = [name for name in SEGMENTS if name not in (SEGMENT_LOSS, SEGMENT_VJP)]
SUMS = ["logsumexp", "softmax_entropy"]
NAN, INF = np.nan, np.inf
MEMORY = np.full(13, SENTINEL)
AXIS_ERROR = np.exceptions.AxisError

PAIR = np.zeros((ROWS, 2), int), np.full((ROWS, 2), 0.5)
INDEXED = ["cross_entropy", "linear_cross_entropy"]
TARGETS = (np.array([0, 3, 1]), np.ones((ROWS, CLASSES)), PAIR)
ANY_TARGET = [(name, {"target": t}) for name in INDEXED for t in TARGETS]
LINEAR = INDEXED[1]
SCALARS = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 20.0}
ANY_OPTION = [(name, more) for name in INDEXED for more in ({}, SCALARS)]
FOCAL = [(name, {"focal_gamma": 2.0}) for name in INDEXED]
"""Functions with other arguments that their calls have."""


class csr_array:
    """What scipy.sparse has, as far as csoftmax looks at it."""

    ndim, shape = 2, (ROWS, CLASSES)


csr_array.__module__ = "scipy.sparse._csr"


def bad_arrays(shape):
    a = np.ones(shape)
    return {
        "complex64": a.astype("c8"),
        "complex128": a.astype("c16"),
        "longdouble": a.astype(np.longdouble),
        "clongdouble": a.astype(np.clongdouble),
        "object": a.astype(object),
        "string": a.astype("U20"),
        "bytes": a.astype("S20"),
        "structured": np.zeros(shape, [("value", "f8")]),
        "void": np.zeros(shape, "V8"),
        "datetime": np.zeros(shape, "M8[s]"),
        "timedelta": np.zeros(shape, "m8[s]"),
        "none": None,
        "dict": {},
        "text": "logits",
        "list of text": [["a"] * CLASSES] * ROWS,
        "complex number": 1j,
    }


def with_shape(values, has_shape):
    return {case: a for case, a in values.items() if bool(np.shape(a)) == has_shape}


BAD_ARRAYS = bad_arrays((ROWS, CLASSES))
BAD_LABELS = {case: a for case, a in bad_arrays(ROWS).items() if case != "longdouble" and np.shape(a) == (ROWS,)}
BAD_LABELS |= {"bool": np.zeros(ROWS, bool)[::-1], "list of bool": [True, False, True]}
MASKED = {
    "some masked": np.ma.masked_array(np.ones((ROWS, CLASSES)), mask=np.eye(ROWS, CLASSES)),
    "none masked": np.ma.masked_array(np.ones((ROWS, CLASSES))),
    "constant": np.ma.masked,
}


def arrays_of(shapes, dtype=float):
    return {str(shape): np.ones(shape, dtype) for shape in shapes}


def row_with(place, value, dtype=None):
    """An array of one number a row, 1 but for one of them."""
    a = np.ones(ROWS, dtype)
    a[place] = value
    return a


def index_with(place, value, dtype=np.int64):
    """An index of two slots a row, 0 but for one of them."""
    a = np.zeros((ROWS, 2), dtype)
    a[place] = value
    return a


def zero_dimensional(name):
    """Arguments of a function without axes."""
    first, second, *_ = inspect.signature(getattr(csoftmax, name)).parameters
    given = {first: np.float64(1.0), "out": None}
    if second != "axis":
        given[second] = 0 if second in ("target", "index") else np.float64(1.0)
    return name, given


TABLE = [
    # Arrays
    (SIGNATURES, "first", BAD_ARRAYS, TypeError, [r"\b{argument}\b"]),
    (PAIRS, "second", BAD_ARRAYS, TypeError, [r"\b{argument}\b"]),
    ("cross_entropy", "target", with_shape(BAD_ARRAYS, True), TypeError, [r"\btarget\b"]),
    # What has no axes is no target of a matrix, whatever its kind: there ValueError is as good.
    ("cross_entropy", "target", with_shape(BAD_ARRAYS, False), (TypeError, ValueError), [r"\btarget\b"]),
    (INDEXED, "target", BAD_LABELS, TypeError, [r"\btarget\b"]),
    (INDEXED, "target", {"masked": np.ma.masked_array([0, 3, 1], [0, 1, 0])}, TypeError, ["mask", r"\btarget\b"]),
    (TYPED, "first", MASKED, TypeError, [r"where=~\w+\.mask", r"\b{argument}\b"]),
    ([n for n in SIGNATURES if n not in TYPED], "first", MASKED, TypeError, ["mask", r"\b{argument}\b"]),
    ([*PAIRS, "cross_entropy", SELECTIVE], "second", MASKED, TypeError, ["mask", r"\b{argument}\b"]),
    (SIGNATURES, "first", {"object": BAD_ARRAYS["object"]}, TypeError, [r"{argument}\.astype\(float\)"]),
    (SIGNATURES, "first", {"sparse": csr_array()}, TypeError, [r"{argument}\.toarray\(\)"]),
    *(
        (PRODUCTS, "both", {other: [np.ones((ROWS, CLASSES), d) for d in (ml_dtypes.bfloat16, other)]}, TypeError,
         ["bfloat16"])
        for other in ("f2", "i4")
    ),
    # Shapes
    *(
        (PAIRS, place, arrays_of([(3, 5), (4, 3), (1, 4), (3, 1), (4,), (3,), (), (3, 4, 1), (1, 3, 4), (12,), (0, 4)]),
         ValueError, [*names((3, 4)), "{shape}"])
        for place in ("first", "second")
    ),
    *(
        (INDEXED, "target",
         arrays_of([(4,), (2,), (0,), (), (3, 1), (1, 4), (3, 5), (2, 4), (4, 3), (3, 4, 1), (1, 3, 4)], dtype),
         ValueError, ["{shape}", "|".join(names((3, 4), (3,)))])
        for dtype in ("i8", "f8")
    ),
    *(
        ("cross_entropy", None,
         {str(labels): {"logits": np.ones((*rows, 4)), "target": np.zeros(labels, int), "out": None}}, ValueError,
         names(labels))
        for rows, labels in [((1,), (5,)), ((2, 1), (2, 3)), ((1, 3), (2, 3))]
    ),
    # Axes
    (SIGNATURES, "axis", [2, -3, 7, -100, 10**6], AXIS_ERROR, ["axis", "{value}"]),
    (MAPS, "axis", [(0, 2), (-3, 1), (5,), (0, 1, 2)], AXIS_ERROR, ["axis"]),
    (MAPS, "axis", [(0, 0), (1, -1), (0, 1, 0), (-2, 0)], ValueError, ["axis"]),
    (SIGNATURES, "axis", [1.5, 1.0, "0", "last", b"0", [0], {}, (0, 1.0), (None,), ("0",), 1j], TypeError, ["axis"]),
    (ONE_AXIS, "axis", [None, (0,), (0, 1), (-1,), ()], TypeError, ["axis"]),
    (ANY_TARGET[:3], "axis", [None, (1,), 1.0], TypeError, ["axis"]),
    (ANY_TARGET[:3], "axis", [2], AXIS_ERROR, ["2"]),
    ([zero_dimensional(name) for name in SIGNATURES], "axis", [1, -2], AXIS_ERROR, []),
    # Temperatures
    (SCALED, "temperature", [0, 0.0, -0.0, -1.0, -1, -(2**64), NAN, INF, -INF, np.float32(0.0), np.float64(-3.0)],
     ValueError, ["temperature must be positive"]),
    (ANY_TARGET, "temperature", [0, -1.5, NAN, INF], ValueError, ["temperature.*{value}"]),
    (SCALED, "temperature", ["1.0", b"1", None, 1j, {}, "hot"], TypeError, ["temperature"]),
    *(
        ([*SCALED, *ANY_TARGET], "temperature", {f"row {place}, {v}": row_with(slice(place, None), v)}, ValueError,
         [rf"temperature\[{place}\].*{v}"])
        for place, v in [(1, 0.0), (1, -1.0), (1, NAN), (1, INF), (0, NAN), (2, -2.5)]
    ),
    (SCALED, "temperature", arrays_of([(4,), (3, 1), (0,), (2,), (1, 3), (3, 4)]), ValueError,
     ["temperature.*{shape}.*" + names((3,))[0]]),
    (SCALED, "temperature", arrays_of([(3, 1)]), ValueError, [r"temperature\.ravel\(\)"]),
    (SCALED, "temperature", [["1.0"] * 3, [1j, 1, 1], np.ones(3, complex), np.ones(3, object)], TypeError,
     ["temperature"]),
    # where=
    (WHERE, "where", arrays_of([(3, 4)], "f8") | {"text": "yes"}, TypeError, ["where"]),
    (WHERE, "where", arrays_of([(3, 4)], "f8"), TypeError, ["where.*float64"]),
    *((WHERE, "where", arrays_of([(3, 4)], kind), TypeError, ["where"]) for kind in ("i8", "u1", "O")),
    (WHERE, "where", arrays_of([(3,), (4, 3), (2, 3, 4), (3, 4, 1), (0,), (1, 3, 4)], bool), ValueError,
     ["where.*{shape}.*" + names((3, 4))[0]]),
    (WHERE, "where", [np.ma.masked_array(np.ones((3, 4), bool), mask) for mask in (False, np.eye(3, 4))], TypeError,
     ["where.*mask"]),
    ("softmax", "where", arrays_of([(3, 4)], object), TypeError, [r"where\.astype\(bool\)"]),
    ("softmax", "where", {"sparse": csr_array()}, TypeError, [r"where\.toarray\(\)"]),
    # dtype=
    (TYPED, "dtype", ["i4", "u1", "?", "c8", "c16", "O", "U3", "M8[s]", "g", "V8", "no such dtype", 5, [1, 2]],
     TypeError, []),
    (TYPED, "dtype", ["int32", "bool", "complex128", "longdouble", "S4", "object"], TypeError, ["dtype"]),
    # Outputs of the wrong shape, or where there is no gradient
    *(
        (SUMS, None, {f"{keepdims}, {shape}": {"keepdims": keepdims, "out": np.full(shape, SENTINEL)}}, ValueError,
         ["out has shape"])
        for keepdims, shape in ((True, (3,)), (False, (3, 1)), (True, (1, 4)), (False, (4,)))
    ),
    ("softmax_entropy", None, {"of rows": {"return_grad": True, "out": np.full(3, SENTINEL)}}, ValueError,
     ["out has shape"]),
    ([*LOSSES, ANY_TARGET[1]], "return_grad", [False], ValueError, ["out", "return_grad"]),
    # Options of the losses
    (LOSSES, "reduction", ["avg", "", "Mean", "MEAN", "batchmean", " sum", "none "], ValueError, ["reduction"]),
    (LOSSES, "reduction", [None, 1, True, b"mean", [], {}], (ValueError, TypeError), ["reduction"]),
    (ANY_TARGET, "reduction", ["avg", "MEAN", None, 3, ["mean"]], ValueError, ["reduction"]),
    (ANY_TARGET, "ignore_index", [1.5, "a", [1]], TypeError, ["ignore_index"]),
    ("cross_entropy", "ignore_index", ["-100", 0.5, NAN, [0], 1j, {}, np.zeros(3, int)], (TypeError, ValueError),
     ["ignore_index"]),
    ([ANY_TARGET[1], ANY_TARGET[4]], "ignore_index", [-1, 0, 2, 3, 5, 100, 255], ValueError, ["ignore_index.*{value}"]),
    (ANY_TARGET, "weight", arrays_of([(3,), (5,), (3, 4), (1, 4), (4, 1, 1), (0,)]) | {"number": 2.0}, ValueError,
     ["weight has shape {shape}.*" + names((4,))[0]]),
    (ANY_TARGET, "weight", arrays_of([(4, 1)]), ValueError, [r"weight\.ravel\(\)"]),
    *(
        (ANY_TARGET, "weight", arrays_of([(4,)], kind), TypeError, ["weight has dtype"])
        for kind in ("c8", "S3", "M8[s]")
    ),
    (ANY_TARGET, "weight", arrays_of([(4,)], complex), TypeError, ["weight.*complex"]),
    (ANY_TARGET, "weight", arrays_of([(4,)], object), TypeError, [r"weight\.astype\(float\)"]),
    (ANY_TARGET, "weight", [["a"] * 4], TypeError, ["weight"]),
    (ANY_TARGET, "weight", [np.ma.masked_array(np.ones(4), [1, 0, 0, 0])], TypeError, ["weight.*mask"]),
    ([*ANY_TARGET, GRAD_HESS], "sample_weight", arrays_of([(4,), (2,), (3, 4), (3, 1), (3, 1, 1), (0,)]),
     ValueError, ["sample_weight has shape {shape}.*" + names((3,))[0]]),
    (ANY_TARGET, "sample_weight", arrays_of([(3, 1)]), ValueError, [r"sample_weight\.ravel\(\)"]),
    *(
        ([*ANY_TARGET, GRAD_HESS], "sample_weight", arrays_of([(3,)], kind), TypeError, ["sample_weight has dtype"])
        for kind in ("c8", "S3", "M8[s]")
    ),
    (ANY_TARGET, "sample_weight", arrays_of([(3,)], complex), TypeError, ["sample_weight.*complex"]),
    (ANY_TARGET, "sample_weight", arrays_of([(3,)], object), TypeError, [r"sample_weight\.astype\(float\)"]),
    ([*ANY_TARGET, GRAD_HESS], "sample_weight", ["heavy"], TypeError, ["sample_weight"]),
    (ANY_TARGET, "sample_weight", [np.ma.masked_array(np.ones(3), mask) for mask in (False, [1, 0, 0])], TypeError,
     ["sample_weight.*mask"]),
    (ANY_TARGET, "label_smoothing", [-0.1, 1.1, NAN, INF, -1e-300], ValueError, ["label_smoothing.*{value}"]),
    (ANY_TARGET, "label_smoothing", ["0.1", [0.1], 0.1j, None, np.zeros(3)], TypeError, ["label_smoothing"]),
    (ANY_TARGET, "z_loss", [NAN, INF], ValueError, ["z_loss.*{value}"]),
    (ANY_TARGET, "z_loss", ["a", [0.1, 0.2], None, 1j], TypeError, ["z_loss"]),
    ([*ANY_TARGET, SELECTIVE], "softcap", [0, 0.0, -1.5, -30, NAN, INF, -INF], ValueError,
     ["softcap.*{value}"]),
    ([*ANY_TARGET, SELECTIVE], "softcap", ["a", "30", [1.0, 2.0], 1j], TypeError, ["softcap"]),
    (ANY_TARGET, "normalizer", [0, NAN, INF], ValueError, ["normalizer must be finite and not 0.*{value}"]),
    ("kl_divergence", "normalizer", [0, NAN, INF], ValueError, ["normalizer"]),
    ([*ANY_TARGET, "kl_divergence"], "normalizer", ["a", [1.0, 2.0], [3.0]], TypeError, ["normalizer"]),
    *(
        ([*ANY_TARGET, "kl_divergence"], None, {reduction: {"normalizer": 3.0, "reduction": reduction}}, ValueError,
         ["normalizer divides the mean", reduction])
        for reduction in ("sum", "none")
    ),
    ("cross_entropy", None, {f"{option} of 10^5000": {option: 10**5000} for option in ("label_smoothing", "softcap")},
     ValueError, ["label_smoothing|softcap", "bits"]),
    ("cross_entropy", None, {f"{option} of 10^5000": {option: 10**5000} for option in ("z_loss", "normalizer")},
     ValueError, ["z_loss|normalizer", "bits"]),
    (FOCAL, "focal_gamma", [-0.5, NAN, INF], ValueError, ["focal_gamma.*{value}"]),
    (FOCAL, "focal_gamma", {"10^400": 10**400}, ValueError, ["focal_gamma"]),
    (FOCAL, "focal_gamma", ["2", [2.0], None], TypeError, ["focal_gamma"]),
    (FOCAL, "label_smoothing", [0.1], ValueError, ["focal_gamma.*label_smoothing"]),
    (FOCAL, "z_loss", [0.1], ValueError, ["focal_gamma.*z_loss"]),
    (FOCAL, "target", {"probabilities": np.zeros((ROWS, CLASSES)), "pair": PAIR}, ValueError,
     ["focal_gamma.*probabilities"]),
    # Targets: pairs, labels, and what is meant to be one of them
    (ANY_OPTION, "target", {"no": (), "one": (PAIR[0],), "three": (*PAIR, PAIR[1])}, ValueError, ["pair", "tuple of"]),
    (ANY_OPTION, "target", {"numbers": (0, 1, 2)}, ValueError, ["tuple of 3", r"np\.asarray\(target\)"]),
    (ANY_OPTION, "target", {"two numbers": (0, 1)}, ValueError, [r"np\.asarray\(target\)"]),
    (ANY_OPTION, "target", {"short": (PAIR[0], PAIR[1][:, :1])}, ValueError, [r"\(3, 2\).*\(3, 1\)"]),
    (ANY_OPTION, "target", {"few": (PAIR[0][:2], PAIR[1][:2])}, ValueError, [r"\(2, 2\).*\(3,"]),
    (ANY_OPTION, "target", {"one slot": (PAIR[0][:, 0], PAIR[1][:, 0])}, ValueError, [r"\(3,\)"]),
    (ANY_OPTION, "target", {"bool": (PAIR[0].astype(bool), PAIR[1])}, TypeError, [r"target\[0\]", "bool"]),
    (ANY_OPTION, "target", {"complex": (PAIR[0], PAIR[1].astype(complex))}, TypeError, [r"target\[1\]", "complex"]),
    (ANY_OPTION, "target", {"masked labels": (np.ma.masked_array(PAIR[0]), PAIR[1])}, TypeError, ["mask"]),
    (ANY_OPTION, "target", {"masked numbers": (PAIR[0], np.ma.masked_array(PAIR[1]))}, TypeError, ["mask"]),
    *(
        (ANY_OPTION, "target", {f"{value} at {place}": (index_with(place, value, dtype), PAIR[1])}, error,
         [rf"target\[0\]\[{place[0]}, {place[1]}\] = {value}"])
        for place, value, dtype, error in [
            ((2, 1), 5, int, IndexError), ((2, 0), -1, int, IndexError), ((1, 1), 10**12, int, IndexError),
            ((1, 1), 2**64 - 1, np.uint64, IndexError), ((1, 1), 0.5, float, ValueError),
            ((1, 0), 1.5, float, ValueError), ((1, 1), NAN, np.float32, ValueError),
        ]
    ),
    # The first of several is named.
    ("cross_entropy", "target", {"several": (np.array([[0, 1], [2, 7], [9, 0]]), np.ones((3, 2)))}, IndexError,
     [r"target\[0\]\[1, 1\] = 7"]),
    *(
        ([*ANY_OPTION, ("cross_entropy", {"weight": np.ones(4)})], "target", {str(v): row_with(1, v, dtype)}, error,
         [rf"target\[1\] = {v}"])
        for v, dtype, error in [
            (4, int, IndexError), (-1, int, IndexError), (10**12, int, IndexError), (2**64 - 1, np.uint64, IndexError),
            (INF, float, ValueError), (1.5, float, ValueError), (NAN, float, ValueError),
        ]
    ),
    ("cross_entropy", "target", {"column": np.zeros((3, 1), int)}, ValueError, [r"target\.ravel\(\)"]),
    ("cross_entropy", "target", {"objects": np.array([0, 1, 2], object)}, TypeError, [r"target\.astype\(int\)"]),
    ("cross_entropy", "target", arrays_of([(3, 4)], object), TypeError, [r"target\.astype\(float\)"]),
    ("cross_entropy", "target", {"sparse": csr_array()}, TypeError, [r"target\.toarray\(\)"]),
    # Chosen classes
    *(
        (SELECTIVE, "index", {str(index): np.array(index)}, error, [rf"index\[{row}\].*{index[row]}"])
        for index, row, error in [
            ([0, 4, 1], 1, IndexError), ([0, -1, 9], 1, IndexError), ([0, 1, 5], 2, IndexError),
            ([0, -100, 1], 1, IndexError), ([0, 0.5, 1], 1, ValueError), ([0, 1.5, 2], 1, ValueError),
        ]
    ),
    *(
        (SELECTIVE, None, {words: {"index": np.array(index), "out": np.full((3, 2), SENTINEL)}}, IndexError,
         [words])
        for index, words in [
            ([[0, 1], [2, 7], [9, 0]], r"index\[1, 1\] = 7"), ([[0, 1], [2, 3], [3, -1]], r"index\[2, 1\] = -1"),
        ]
    ),
    (SELECTIVE, "index", arrays_of([(2,), (4, 2), (2, 1), (3, 1, 1), (1, 3, 1), (1, 1, 1)], int), ValueError,
     ["index", "{shape}", names((3, 4))[0]]),
    (SELECTIVE, "index", {"bool": np.zeros(3, bool), "list": [True, False, True]}, TypeError, ["index", "bool"]),
    (SELECTIVE, "index", {"masked": np.ma.masked_array([0, 1, 2], [0, 1, 0])}, TypeError, ["index", "mask"]),
    (SELECTIVE, "index", {"text": ["a", "b", "c"]}, TypeError, ["index"]),
    (SELECTIVE, "index", arrays_of([(3,)], object), TypeError, [r"index\.astype\(int\)"]),
    (SELECTIVE, "ignore_index", [1.5], TypeError, ["ignore_index"]),
    (SELECTIVE, None, {"not ignored": {"index": [0, -1, 1], "ignore_index": -2}}, IndexError,
     [r"index\[1\] = -1"]),
    # Weights of logsumexp
    ("logsumexp", "b", arrays_of([(5,), (3,)]), ValueError, [names((3, 4))[0] + ".*{shape}"]),
    ("logsumexp", "b", ["ab", 1j, np.ones((3, 4), object), np.ones(4, complex)], TypeError, [r"\bb\b"]),
    # Gradient and Hessian
    *(
        (GRAD_HESS, None, {case: {"raw": raw, "out": None}}, error, words)
        for case, raw, error, words in [
            ("one axis", np.ones(4), ValueError, [r"raw.*\(4,\)"]),
            ("three axes", np.ones((3, 4, 1)), ValueError, [r"raw.*\(3, 4, 1\)"]),
            ("complex", np.ones((3, 4), complex), TypeError, ["raw.*complex"]),
            ("masked", MASKED["some masked"], TypeError, ["raw.*mask"]),
            ("no classes", np.ones((3, 0)), IndexError, ["no classes"]),
        ]
    ),
    (GRAD_HESS, "y", arrays_of([(4,), (2,)], int), ValueError, ["y has shape {shape}.*" + r"\(3,"]),
    (GRAD_HESS, "y", arrays_of([(3, 5), (4, 4), (3, 3), (4, 3)]), ValueError,
     ["y has shape {shape}.*" + names((3, 4))[0]]),
    *(
        (GRAD_HESS, "y", {str(v): row_with(1, v, dtype)}, error, [rf"y\[1\] = {v}"])
        for v, dtype, error in [(4, int, IndexError), (-100, int, IndexError), (0.5, float, ValueError)]
    ),
    (GRAD_HESS, "y", arrays_of([(3,)], bool), TypeError, [r"\by\b.*bool"]),
    (GRAD_HESS, "y", {"masked": np.ma.masked_array([0, 3, 1], [0, 1, 0])}, TypeError, [r"\by\b.*mask"]),
    (GRAD_HESS, "hessian", ["exact", "", None, 2, "Upper"], ValueError, ["hessian.*{repr}"]),
    (GRAD_HESS, None,
     {"one class": {"raw": np.ones((3, 1)), "y": np.zeros(3, int), "hessian": "friedman", "out": None}}, ValueError,
     ["friedman"]),
    (GRAD_HESS, "eps", [-1.0, -1e-9, NAN, INF], ValueError, ["eps.*{value}"]),
    (GRAD_HESS, "eps", ["0", "a"], TypeError, ["eps"]),
    (GRAD_HESS, "out",
     {"array": np.zeros((3, 4)), "one": filled(float, (3, 4)), "three": filled(float, *[(3, 4)] * 3)}, TypeError,
     ["out"]),
    (GRAD_HESS, "out", {"one array twice": filled(float, (3, 4)) * 2}, ValueError, ["memory"]),
    *(
        (GRAD_HESS, "out", {f"{case}, {place}": (out, *filled(float, (3, 4)))[:: -1 if place else 1]}, error,
         [rf"out\[{place}\].*{words}"])
        for place in (0, 1)
        for case, out, error, words in [
            ("other classes", np.zeros((3, 3)), ValueError, r"\(3, 3\).*\(3, 4\)"),
            ("transposed", np.zeros((3, 4)).T, ValueError, r"\(4, 3\).*\(3, 4\)"),
            ("integers", np.zeros((3, 4), int), TypeError, "int"),
            ("read-only", read_only(np.zeros((3, 4))), ValueError, "read-only"),
            ("broadcast", np.broadcast_to(np.zeros(4), (3, 4)), ValueError, ""),
            ("a list", [[0.0] * 4] * 3, TypeError, ""),
        ]
    ),
    # linear_cross_entropy
    (LINEAR, "x", {"no dimension": np.array(1.0)}, ValueError, [r"\(\)"]),
    (LINEAR, "x", arrays_of([(3, 3)]), ValueError, [r"\(3, 3\).*\(4, 2\)"]),
    (LINEAR, "x", arrays_of([(3, 2)], complex), TypeError, ["x has dtype complex128"]),
    (LINEAR, "x", {"masked": np.ma.ones((3, 2))}, TypeError, ["x is a masked array"]),
    (LINEAR, "w", arrays_of([(4, 2, 1)]), ValueError, ["w has shape {shape}"]),
    (LINEAR, None, {"no classes": {"w": np.zeros((0, 2)), "bias": None, "out": None}}, IndexError, ["classes"]),
    (LINEAR, "w", {"text": np.full((4, 2), "1")}, TypeError, ["w has dtype"]),
    (LINEAR, "bias", arrays_of([(5,), (1, 4)]), ValueError, ["bias.*{shape}.*" + names((4,))[0]]),
    (LINEAR, "chunk_size", [0], ValueError, ["chunk_size"]),
    (LINEAR, "chunk_size", [2.5], TypeError, ["chunk_size"]),
    (LINEAR, "return_grad", [False], ValueError, ["return_grad"]),
    (LINEAR, None, {"to no gradient": {"return_grad": False, "out": None, "accumulate": True}}, ValueError,
     ["accumulate"]),
    (LINEAR, "out", {"an array": np.zeros((3, 2)), "two": (None, None)}, TypeError, ["out"]),
    (LINEAR, None, {"db without a bias": {"bias": None, "out": (None, None, np.zeros(4))}}, ValueError, ["db"]),
    *(
        (LINEAR, "out", {f"{name}, {words}": (None,) * place + (bad,) + (None,) * (2 - place)}, error,
         [f"{name}.*{words}"])
        for place, (name, shape) in enumerate([("dx", (3, 2)), ("dw", (4, 2)), ("db", (4,))])
        for bad, error, words in [
            (read_only(np.zeros(shape)), ValueError, "read-only"), (np.zeros((*shape, 1)), ValueError, "shape"),
            (np.lib.stride_tricks.as_strided(np.zeros(1), shape, [0] * len(shape)), ValueError, "memory"),
            (np.zeros(shape, int), TypeError, "dtype"), ([0.0], TypeError, "list"),
        ]
    ),
    (LINEAR, "out", {"dx and dw": (MEMORY[:6].reshape(3, 2), MEMORY[5:].reshape(4, 2), None)}, ValueError,
     ["dx and dw.*memory"]),
    (LINEAR, "out", {"dw and db": (None, MEMORY[5:].reshape(4, 2), MEMORY[5::2])}, ValueError, ["dw and db.*memory"]),
    # Expectations
    (EXPECTATION, "values", BAD_ARRAYS, TypeError, [r"\bvalues\b"]),
    (EXPECTATION, "values", MASKED, TypeError, ["mask", r"\bvalues\b"]),
    (EXPECTATION, "values", arrays_of([(3,), (1,), (5,), (0,)]), ValueError, ["values has shape {shape}.*4 classes"]),
    (EXPECTATION, "values", arrays_of([(4, 3), (2, 4), (1, 3, 4), (3, 4, 1)]), ValueError,
     ["values has shape {shape}.*" + names((3, 4))[0]]),
    (EXPECTATION, None, {"of rows": {"return_grad": True, "out": np.full(3, SENTINEL)}}, ValueError, ["out has shape"]),
    # The largest log-probabilities
    (TOP_K, "k", [0, -1, 5, 2**70], ValueError, ["k must be from 1 to.* 4"]),
    (TOP_K, "k", [1.0, "2", None, [1]], TypeError, ["k must be an integer"]),
    (TOP_K, "x", BAD_ARRAYS, TypeError, [r"\bx\b"]),
    (TOP_K, "x", MASKED, TypeError, ["mask"]),
    (TOP_K, "axis", [2, -3], AXIS_ERROR, ["axis"]),
    (TOP_K, "axis", [None, (0,)], TypeError, ["axis"]),
    (TOP_K, "temperature", [0, NAN, INF, -1.0, row_with(1, 0.0)], ValueError, ["temperature"]),
    # Rows one after another
    (SEGMENTS, "first", with_shape(BAD_ARRAYS, True), TypeError, [r"\b{argument}\b"]),
    (SEGMENTS, "first", MASKED, TypeError, ["mask", r"\b{argument}\b"]),
    (SEGMENTS, "first", arrays_of([(), (7, 1), (1, 7)]), ValueError, ["{argument} has shape {shape}.*one axis"]),
    (SEGMENT_VJP, "g", arrays_of([(6,), (8,), (0,)]), ValueError, ["{shape}", *names((7,))]),
    (SEGMENT_VJP, "g", arrays_of([(7, 1)]), ValueError, ["g has shape {shape}"]),
    (SEGMENTS, "offsets", {"from 1": [1, 3, 7], "from -1": [-1, 3, 7]}, ValueError, [r"offsets\[0\] = -?1"]),
    (SEGMENTS, "offsets", {"falling": [0, 4, 3, 7], "at last": np.array([0, 4, 3])}, ValueError,
     [r"offsets\[2\] = 3 is less than 4"]),
    (SEGMENTS, "offsets", {"past the end": [0, 8, 9], "beyond": np.array([0, 2**63], np.uint64)}, ValueError,
     [r"offsets\[1\] = \d+ is past the end of an array of 7"]),
    (SEGMENTS, "offsets", {"short": [0, 3, 6], "of nothing": [0]}, ValueError, [r"offsets\[\d\] = \d.*7"]),
    (SEGMENTS, "offsets", [[], [0.0, 7.0], [[0, 7]], 0, "07", [False, True], None], ValueError,
     ["offsets must be integers"]),
    (SEGMENTS, "offsets", {"masked": np.ma.masked_array([0, 3, 7])}, TypeError, ["offsets.*mask"]),
    (TEMPERED, "temperature", [0.0, -1.0, NAN, INF, np.array([1.0, 0.0])], ValueError, ["temperature"]),
    (TEMPERED, "temperature", arrays_of([(3,), (7,), (2, 1)]), ValueError, ["temperature.*{shape}.*" + names((2,))[0]]),
    (SEGMENT_LOSS, "target", {"too far": [3, 0], "both": [3, 9], "uint64": np.array([3, 2], np.uint64)}, IndexError,
     [r"target\[0\] = 3 is not a class index in \[0, 3\)"]),
    (SEGMENT_LOSS, "target", {"second": [2, 4], "and negative": np.array([0, 4])}, IndexError,
     [r"target\[1\] = 4 is not a class index in \[0, 4\)"]),
    (SEGMENT_LOSS, "target", {"negative": [0, -1], "to ignore": [0, -100]}, IndexError, [r"target\[1\] = -1"]),
    (SEGMENT_LOSS, None, {"empty row": {"target": [0, 0, 0], "offsets": [0, 3, 3, 7]}}, IndexError,
     [r"target\[1\] = 0 is not a class index in \[0, 0\)"]),
    (SEGMENT_LOSS, None, {"later negative": {"target": [3, -5], "offsets": [0, 3, 7]}}, IndexError,
     [r"target\[0\] = 3"]),
    (SEGMENT_LOSS, "target", arrays_of([(7,), (3,), (2, 1)], int), ValueError, ["target has shape {shape}"]),
    (SEGMENT_LOSS, "target", arrays_of([(2,), (6,), (7, 1)]), ValueError, ["target has shape {shape}"]),
    (SEGMENT_LOSS, "target", [(0, 1), ([0, 1], [0.5, 0.5])], TypeError, ["target is a tuple"]),
    (SEGMENT_LOSS, "target", {"bool": np.array([True, False]), "complex": np.ones(7, complex)}, TypeError, ["target"]),
    (SEGMENT_LOSS, "reduction", ["avg", None], ValueError, ["reduction"]),
    (SEGMENT_LOSS, "sample_weight", arrays_of([(3,), (7,)]), ValueError, ["sample_weight has shape {shape}"]),
    (SEGMENT_LOSS, "return_grad", [False], ValueError, ["return_grad"]),
]  # fmt: skip


def changes_for(name, argument, value):
    """The name of an argument by place, and what a case changes."""
    if argument is None:
        return "", value
    parameters = list(inspect.signature(getattr(csoftmax, name)).parameters)
    if argument == "both":
        return "", dict(zip(parameters[:2], value, strict=True))
    argument = {"first": parameters[0], "second": parameters[1]}.get(argument, argument)
    return argument, {argument: value}


def pattern(word, argument, value):
    """A word of the message, with what it says of the argument."""
    word = word.replace("{argument}", argument)
    if "{shape}" in word:
        word = word.replace("{shape}", names(np.shape(value))[0])
    if "{value}" in word:
        word = word.replace("{value}", re.escape(str(value)))
    return word.replace("{repr}", re.escape(repr(value))) if "{repr}" in word else word


def expanded(rows):
    """A parameter (function, changes, error, words) for every function and every case of every row."""
    parameters = []
    for functions, argument, values, error, words in rows:
        cases = values.items() if isinstance(values, dict) else [(repr(value)[:40], value) for value in values]
        for function in [functions] if isinstance(functions, str) else functions:
            name, others = (function, {}) if isinstance(function, str) else function
            for case, value in cases:
                changed, changes = changes_for(name, argument, value)
                patterns = [pattern(word, changed, value) for word in words]
                parameters.append(pytest.param(name, others | changes, error, patterns, id=f"{name}-{changed}-{case}"))
    return parameters


@pytest.mark.parametrize(("name", "changes", "error", "words"), expanded(TABLE))
@every_dtype
def test_refused(name, changes, error, words, dtype):
    refused(name, dtype, error, *words, **changes)


# Outputs

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
    "overlapping": (lambda s, d: overlapping(s, d, *([1] * len(s) if len(s) > 1 else [0])), ValueError),
    "half overlapping": (lambda s, d: overlapping(s, d, 0.5), ValueError),
}


def overlapping(shape, dtype, *last_strides):
    """A writable view whose last axes have the given strides, in items."""
    base = np.full(shape, SENTINEL, dtype)
    strides = (*base.strides[: -len(last_strides)], *(int(base.itemsize * s) for s in last_strides))
    return np.lib.stride_tricks.as_strided(base, shape, strides)


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
    x, out = np.ones((3, 4), integer), np.ones(arguments(name, "f8")["out"].shape, integer)
    refused(name, "f8", TypeError, "out", **{first: x, "out": out})
    if name != "softmax_jacobian":
        refused(name, "f8", TypeError, "out", **{first: x, "out": x})


# What is not for the table


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


HUGE = {"10^400": 10**400, "-10^400": -(10**400), "10^5000": 10**5000}


@table(SCALED, HUGE)
def test_temperature_beyond_every_float(name, case):
    message = refused(
        name, "f8", ValueError, "temperature must be a number that a float can hold", "bits", temperature=HUGE[case]
    )
    assert len(message) < 200


def test_options_of_many_bits():
    x, labels = array("f8"), [0, 1, 2]
    for option in ("z_loss", "softcap", "normalizer"):
        found, expected = (csoftmax.cross_entropy(x, labels, **{option: v}) for v in (2**70, 2.0**70))
        assert found == expected
