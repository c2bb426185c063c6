"""The public surface: names, signatures, dtypes, kinds of input, and what every bad input gets.

A bad input raises the promised exception, the message says which argument, and `out` keeps every byte.
The tables below are crossed with every function and dtype.
"""

import copy
import inspect
import pickle
import re
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import csoftmax

DTYPES = ["f4", "f8"]
SENTINEL = 7.25

SIGNATURES = {
    "softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "log_softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "logsumexp": (
        "(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None)"
    ),
    "selective_log_softmax": "(x, index, axis=-1, *, temperature=1.0, dtype=None, out=None)",
    "softmax_entropy": (
        "(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, dtype=None, out=None)"
    ),
    "softmax_jacobian": "(p, axis=-1, *, temperature=1.0, out=None)",
    "softmax_vjp": "(p, g, axis=-1, *, temperature=1.0, out=None)",
    "softmax_jvp": "(p, t, axis=-1, *, temperature=1.0, out=None)",
    "log_softmax_vjp": "(p, g, axis=-1, *, temperature=1.0, out=None)",
    "log_softmax_jvp": "(p, t, axis=-1, *, temperature=1.0, out=None)",
    "cross_entropy": (
        "(logits, target, axis=-1, *, weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, "
        "reduction='mean', normalizer=None, return_grad=False, out=None)"
    ),
}
APART = {
    "softmax_grad_hess": "(raw, y, *, sample_weight=None, hessian='diagonal', eps=1e-16, out=None)",
    "linear_cross_entropy": (
        "(x, w, target, bias=None, *, weight=None, sample_weight=None, ignore_index=-100, "
        "label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, "
        "reduction='mean', normalizer=None, return_grad=False, chunk_size=None, out=None, accumulate=False)"
    ),
}
"""Those without an axis and with several outputs: the tables are not crossed with them."""

CONTROL = ["set_num_threads", "get_num_threads", "show_config"]
MAPS = ["softmax", "log_softmax", "logsumexp", "softmax_entropy"]
TYPED = [*MAPS, "selective_log_softmax"]
PRODUCTS = ["softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp"]
SCALED = [name for name in SIGNATURES if name != "logsumexp"]
ONE_AXIS = ["softmax_jacobian", *PRODUCTS, "cross_entropy", "selective_log_softmax"]
PER_ROW = ["logsumexp", "softmax_entropy", "selective_log_softmax"]

every_function = pytest.mark.parametrize("name", SIGNATURES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def array(dtype, shape=(3, 4)):
    return np.random.default_rng(0).random(shape).astype(dtype)


def arguments(name, dtype):
    """Valid arguments of a function, by name; `out` and what it takes come with them."""
    first, *others = inspect.signature(getattr(csoftmax, name)).parameters
    shape = (3,) if name in PER_ROW else (3, 4, 4) if name == "softmax_jacobian" else (3, 4)
    valid = {first: array(dtype), "axis": -1, "out": np.full(shape, SENTINEL, dtype)}
    if name in PRODUCTS:
        valid[others[0]] = array(dtype)
    if name == "cross_entropy":
        valid |= {"target": np.array([0, 3, 1]), "return_grad": True}
    if name == "selective_log_softmax":
        valid["index"] = np.array([0, 3, 1])
    return valid


def refused(name, dtype, error, /, *words, **changes):
    """The call raises `error` with every one of `words` in its message, and no array changes."""
    given = arguments(name, dtype) | changes
    arrays = {key: a for key, a in given.items() if isinstance(a, np.ndarray) and not a.dtype.hasobject}
    before = {key: np.asarray(a).tobytes() for key, a in arrays.items()}
    with pytest.raises(error) as caught:
        getattr(csoftmax, name)(**given)
    message = str(caught.value)
    for word in words:
        assert re.search(word, message), (word, message)
    for key, a in arrays.items():
        assert np.asarray(a).tobytes() == before[key], key
    return message


def names(*shapes):
    """Patterns for shapes in a message, with or without blanks."""
    return [re.escape(str(shape)).replace(r"\ ", " ?") for shape in shapes]


def table(functions, cases):
    """Parameters (name, case) for every function and case, with readable ids."""
    return pytest.mark.parametrize(
        ("name", "case"),
        [pytest.param(name, case, id=f"{name}-{case}") for name in functions for case in cases],
    )


# Names and signatures


def test_public_names():
    expected = {*SIGNATURES, *APART, *CONTROL}
    assert set(csoftmax.__all__) - {"__version__"} == expected
    assert len(csoftmax.__all__) == len(set(csoftmax.__all__))
    assert {name for name in dir(csoftmax) if not name.startswith("_")} == expected


@pytest.mark.parametrize("name", [*SIGNATURES, *APART])
def test_signatures(name):
    """As it is written, and as the door in front of it takes a call."""
    for follow_wrapped in (True, False):
        signature = inspect.signature(getattr(csoftmax, name), follow_wrapped=follow_wrapped)
        bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        assert str(inspect.Signature(bare)) == (SIGNATURES | APART)[name]


def test_control_signatures():
    assert list(inspect.signature(csoftmax.set_num_threads).parameters) == ["n"]
    assert list(inspect.signature(csoftmax.get_num_threads).parameters) == []
    assert list(inspect.signature(csoftmax.show_config).parameters) == ["mode"]
    assert inspect.signature(csoftmax.show_config).parameters["mode"].default == "stdout"


@pytest.mark.parametrize("name", [*SIGNATURES, *APART, *CONTROL])
def test_functions_pickle_and_copy(name):
    function = getattr(csoftmax, name)
    assert function.__name__ == name and function.__doc__
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.deepcopy(function) is function and copy.copy(function) is function


@every_function
def test_calls_python_itself_refuses(name):
    function, first = getattr(csoftmax, name), array("f8")
    with pytest.raises(TypeError):
        function()
    with pytest.raises(TypeError):
        function(first, no_such_option=1)
    with pytest.raises(TypeError):
        function(*[first] * 20)


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


@table(PRODUCTS, BAD_ARRAYS)
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
    for argument in [
        key for key in arguments(name, dtype) if key in ("x", "a", "p", "g", "t", "logits", "target", "index")
    ]:
        hint = r"where=~\w+\.mask" if name in TYPED and argument != "index" else "mask"
        refused(name, dtype, TypeError, hint, rf"\b{argument}\b", **{argument: masked})


# Bad shapes


@table(PRODUCTS, [(3, 5), (4, 3), (1, 4), (3, 1), (4,), (3,), (), (3, 4, 1), (1, 3, 4), (12,), (0, 4)])
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


def read_only(a):
    a.flags.writeable = False
    return a


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
    refused("cross_entropy", dtype, ValueError, "out", "return_grad", return_grad=False)
    refused("cross_entropy", dtype, ValueError, "out", "return_grad", return_grad=False, target=array(dtype))


# Options of the maps and derivatives

ONE_CLASS = {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": 1.5, "softmax_entropy": 0.0}
NO_CLASS = {"softmax": 0.0, "log_softmax": -np.inf, "logsumexp": -np.inf, "softmax_entropy": 0.0}


@pytest.mark.parametrize("name", MAPS)
@every_dtype
def test_where_hides_what_stands_under_it(name, dtype):
    """One class of the first row takes part, none of the second, all of the third."""
    function, x = getattr(csoftmax, name), np.full((3, 4), np.nan, dtype)
    mask = np.zeros((3, 4), bool)
    mask[0, 2] = mask[2] = True
    x[0, 2], x[2] = 1.5, array(dtype, 4)
    result = function(x, -1, where=mask)
    rows = result if result.ndim == 1 else result[:, 2]
    assert rows.dtype == dtype
    assert rows[0] == ONE_CLASS[name] and rows[1] == NO_CLASS[name]
    np.testing.assert_array_equal(result[2], function(x[2], -1))
    if result.ndim == 2:
        np.testing.assert_array_equal(result[0, [0, 1, 3]], NO_CLASS[name])
        np.testing.assert_array_equal(result[1], NO_CLASS[name])


@pytest.mark.parametrize("name", MAPS)
def test_where_broadcasts(name):
    function, x = getattr(csoftmax, name), array("f8")
    for mask in ([True, False, True, True], np.array([[True], [False], [True]]), True, False, np.ones(4, bool)):
        np.testing.assert_array_equal(
            function(x, 1, where=mask), function(x, 1, where=np.array(np.broadcast_to(mask, (3, 4))))
        )
    np.testing.assert_array_equal(function(x, 1, where=True), function(x, 1))


@table(MAPS, ["i8", "f8", "u1", "O"])
def test_where_must_be_bool(name, case):
    refused(name, "f8", TypeError, "where", where=np.ones((3, 4), case))


@table(MAPS, [(3,), (4, 3), (2, 3, 4), (3, 4, 1), (0,)])
def test_where_must_broadcast(name, case):
    refused(name, "f8", ValueError, "where", *names(case, (3, 4)), where=np.ones(case, bool))


@pytest.mark.parametrize("name", MAPS)
def test_where_may_not_be_masked(name):
    refused(name, "f8", TypeError, "where", where=np.ma.masked_array(np.ones((3, 4), bool)))


@pytest.mark.parametrize("name", SCALED)
@every_dtype
def test_temperatures_of_rows(name, dtype):
    """Each row is as the same call with its temperature alone."""
    given = arguments(name, dtype)
    del given["out"]
    if name == "cross_entropy":
        given |= {"reduction": "none"}
    for t in (np.array([0.5, 1.0, 3.0]), np.array([0.5, 1.0, 3.0], "f4"), [0.5, 1.0, 3.0], np.array([2], ">i2")):
        together = getattr(csoftmax, name)(**given, temperature=t)
        for row in range(3):
            one = {k: v[row] if isinstance(v, np.ndarray) else v for k, v in given.items()}
            alone = getattr(csoftmax, name)(**one, temperature=float(np.broadcast_to(t, 3)[row]))
            parts = zip(together, alone, strict=True) if name == "cross_entropy" else [(together, alone)]
            for result, expected in parts:
                np.testing.assert_allclose(result[row], expected, rtol=4 * np.finfo(dtype).eps)


@table(SCALED, [0.0, -1.0, np.nan, np.inf])
@every_dtype
def test_temperatures_must_be_positive_and_finite(name, case, dtype):
    refused(name, dtype, ValueError, r"temperature\[1\]", str(case), temperature=np.array([1.0, case, case]))


@table(SCALED, [(4,), (3, 1), (0,), (2,), (1, 3)])
def test_temperatures_must_broadcast_to_the_rows(name, case):
    refused(name, "f8", ValueError, "temperature", *names(case, (3,)), temperature=np.ones(case))


@table(SCALED, [["1.0"] * 3, np.ones(3, complex), np.ones(3, object)])
def test_temperatures_of_a_bad_kind(name, case):
    refused(name, "f8", TypeError, "temperature", temperature=case)


def test_logsumexp_with_factors_and_signs():
    a, b = array("f8") * 9, array("f8") - 0.5
    plain, s = np.exp(a), (b * np.exp(a)).sum(axis=1)
    log, sign = csoftmax.logsumexp(a, 1, b, return_sign=True)
    np.testing.assert_allclose(log, np.log(np.abs(s)), atol=1e-14)
    np.testing.assert_array_equal(sign, np.sign(s))
    np.testing.assert_array_equal(csoftmax.logsumexp(a, 1, b), np.where(sign > 0, log, np.nan))
    np.testing.assert_allclose(csoftmax.logsumexp(a, 0, 2.0), np.log(2 * plain.sum(axis=0)), rtol=1e-15)
    np.testing.assert_allclose(csoftmax.logsumexp(a, None, b[0], keepdims=True, return_sign=True)[0],
                               [[np.log(np.abs((b[0] * plain).sum()))]], atol=1e-14)
    np.testing.assert_allclose(csoftmax.logsumexp(a, 1, np.abs(b), where=b > 0),
                               np.log((np.where(b > 0, b, 0) * plain).sum(axis=1)), rtol=1e-14)


@pytest.mark.parametrize(
    ("a", "b", "log", "sign"),
    [
        ([1.0, 1.0], [1.0, -1.0], -np.inf, 0.0),
        ([np.inf, 1.0], [0.0, -1.0], 1.0, -1.0),
        ([np.inf, 800.0], [-1.0, 1.0], np.inf, -1.0),
        ([np.inf, np.inf], [-1.0, 1.0], np.nan, np.nan),
        ([np.nan, 0.0], [0.0, 1.0], 0.0, 1.0),
        ([1.0, 2.0], [np.nan, 1.0], np.nan, np.nan),
        ([0.0, 0.0], [np.inf, 1.0], np.inf, 1.0),
        ([-np.inf, -np.inf], [-1.0, 1.0], -np.inf, 0.0),
        ([5.0, 5.0], [0.0, 0.0], -np.inf, 0.0),
        ([0.0, -800.0], [1e-300, 1e300], -800 + np.log(1e300), 1.0),
        ([0.0, 0.0], [1e308, 1e308], np.log(1e308) + np.log(2), 1.0),
        ([], [], -np.inf, 0.0),
    ],
)
def test_logsumexp_with_factors_at_the_limits(a, b, log, sign):
    result = csoftmax.logsumexp(np.array(a), b=np.array(b), return_sign=True)
    np.testing.assert_allclose(result, (log, sign), rtol=1e-15)
    assert all(type(value) is np.float64 for value in result)


@pytest.mark.parametrize(
    ("a", "sign"), [([], 0.0), ([-np.inf], 0.0), ([np.inf, 1.0], 1.0), ([np.nan], np.nan), ([-3.0, 2.0], 1.0)]
)
@every_dtype
def test_sign_of_a_sum_without_factors(a, sign, dtype):
    a = np.array(a, dtype)
    log, found = csoftmax.logsumexp(a, return_sign=True)
    np.testing.assert_array_equal(log, csoftmax.logsumexp(a))
    np.testing.assert_array_equal(found, sign)
    assert type(log) is type(found) is np.dtype(dtype).type


def test_dtype_of_logsumexp_with_factors():
    a, b = array("f4"), array("f8")
    for factors, dtype in [(b, "f8"), (b.astype("f4"), "f4"), (2.0, "f4"), (3, "f4"), (np.float64(2), "f8")]:
        assert csoftmax.logsumexp(a, 1, factors).dtype == dtype
    assert csoftmax.logsumexp(a, 1, b, dtype="f4").dtype == np.float32
    out = np.empty(3, "f4")
    assert csoftmax.logsumexp(a, 1, b, out=out, return_sign=True)[0] is out
    refused("logsumexp", "f8", ValueError, *names((3, 4), (5,)), b=np.ones(5))
    for bad in ("ab", 1j, np.ones((3, 4), object)):
        refused("logsumexp", "f8", TypeError, r"\bb\b", b=bad)


def test_selective_log_softmax_of_several_classes():
    x = array("f8", (3, 4, 2))
    index = np.random.default_rng(1).integers(4, size=(3, 2, 5))
    expected = np.take_along_axis(np.moveaxis(csoftmax.log_softmax(x, 1), 1, -1), index, -1)
    np.testing.assert_allclose(csoftmax.selective_log_softmax(x, index, 1), expected, rtol=1e-14)
    first = csoftmax.selective_log_softmax(x, index[..., 0], axis=1)
    np.testing.assert_array_equal(first, csoftmax.selective_log_softmax(x, index, 1)[..., 0])
    assert csoftmax.selective_log_softmax(x, index[..., :0], 1).shape == (3, 2, 0)


def test_bad_indices():
    name = "selective_log_softmax"
    for bad, error in [([0, 4, 1], IndexError), ([0, -1, 9], IndexError), ([0, 0.5, 1], ValueError)]:
        refused(name, "f8", error, r"index\[1\]", str(bad[1]), index=np.array(bad))
    pairs = np.array([[0, 1], [2, 7], [9, 0]])
    refused(name, "f8", IndexError, r"index\[1, 1\] = 7", index=pairs, out=np.zeros((3, 2)))
    for shape in [(2,), (4, 2), (3, 1, 1), (1, 3, 1)]:
        refused(name, "f8", ValueError, "index", *names(shape, (3, 4)), index=np.zeros(shape, int))
    refused(name, "f8", TypeError, "index", index=np.zeros(3, bool))


# Other options of the loss


@pytest.mark.parametrize(
    "reduction", ["avg", "", "Mean", "batchmean", " sum", "none ", None, 1, True, b"mean", [], {}]
)
@every_dtype
def test_unknown_reduction(reduction, dtype):
    error = ValueError if isinstance(reduction, str) else (ValueError, TypeError)
    refused("cross_entropy", dtype, error, "reduction", reduction=reduction)


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
    refused("cross_entropy", "f8", ValueError, "normalizer", reduction, reduction=reduction, normalizer=3.0)


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


# Gradient and Hessian


def test_hessians_by_name():
    raw, y = array("f8") * 5, np.array([0, 3, 1])
    p, t = csoftmax.softmax(raw), np.eye(4)[y]
    exact = p * (1 - p)
    expected = {"diagonal": exact, "upper": 2 * exact, "friedman": 4 / 3 * exact, "residual": abs(p - t)}
    for hessian, h in expected.items():
        for target in (y, t, y.astype("u1"), y.astype("f8")):
            grad, hess = csoftmax.softmax_grad_hess(raw, target, hessian=hessian)
            np.testing.assert_allclose(grad, p - t, rtol=1e-12)
            np.testing.assert_allclose(hess, h, rtol=1e-12)
        weight = np.array([2.0, 0.0, 0.5])
        grad, hess = csoftmax.softmax_grad_hess(raw, y, sample_weight=weight, hessian=hessian, eps=0.01)
        np.testing.assert_allclose(grad, (p - t) * weight[:, None], rtol=1e-12)
        np.testing.assert_allclose(hess, np.maximum(h * weight[:, None], 0.01), rtol=1e-12)
    assert (csoftmax.softmax_grad_hess(raw, y, sample_weight=weight, eps=0)[1][1] == 0).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_outputs_of_gradient_and_hessian(order):
    raw, y = np.array(array("f8"), order=order), np.array([0, 3, 1])
    expected = csoftmax.softmax_grad_hess(raw, y)
    for result in expected:
        assert result.dtype == np.float64 and result.flags[f"{order}_CONTIGUOUS"]
    for out_order in ("C", "F"):
        out = np.empty((3, 4), "f4", out_order), np.empty((3, 4), "f4", out_order)
        result = csoftmax.softmax_grad_hess(raw, y, out=out)
        for got, given, exact in zip(result, out, expected, strict=True):
            assert got is given
            np.testing.assert_array_equal(got, exact.astype("f4"))
    for place in (0, 1):
        x = raw.copy(order)
        out = [np.empty((3, 4)), np.empty((3, 4))]
        out[place] = x
        csoftmax.softmax_grad_hess(x, y, out=tuple(out))
        np.testing.assert_array_equal(out, expected)


BAD_GRAD_HESS = [
    ({"raw": np.ones(4)}, ValueError, "raw"),
    ({"raw": np.ones((3, 4, 1))}, ValueError, "raw"),
    ({"raw": np.ones((3, 4), complex)}, TypeError, "raw"),
    ({"raw": np.ones((3, 0))}, IndexError, "no classes"),
    ({"y": np.zeros(4, int)}, ValueError, "y has shape"),
    ({"y": np.zeros((3, 5))}, ValueError, "y has shape"),
    ({"y": np.array([0, 4, 1])}, IndexError, r"y\[1\] = 4"),
    ({"y": np.array([0, 0.5, 1])}, ValueError, r"y\[1\] = 0.5"),
    ({"y": np.array([True, False, True])}, TypeError, r"\by\b"),
    ({"hessian": "exact"}, ValueError, "hessian"),
    ({"hessian": None}, ValueError, "hessian"),
    ({"raw": np.ones((3, 1)), "y": np.zeros(3, int), "hessian": "friedman"}, ValueError, "friedman"),
    ({"eps": -1.0}, ValueError, "eps"),
    ({"eps": np.nan}, ValueError, "eps"),
    ({"eps": "0"}, TypeError, "eps"),
    ({"sample_weight": np.ones(4)}, ValueError, "sample_weight"),
    ({"out": np.zeros((3, 4))}, TypeError, "out"),
    ({"out": (np.zeros((3, 4)),)}, TypeError, "out"),
    ({"out": (np.zeros((3, 4)), np.zeros((4, 3)))}, ValueError, r"out\[1\]"),
    ({"out": (np.zeros((3, 4), int), np.zeros((3, 4)))}, TypeError, r"out\[0\]"),
    ({"out": (np.zeros((3, 4)), read_only(np.zeros((3, 4))))}, ValueError, r"out\[1\]"),
    ({"out": (np.zeros((3, 4)),) * 2}, ValueError, "memory"),
]


@pytest.mark.parametrize(("changes", "error", "word"), BAD_GRAD_HESS)
def test_bad_arguments_of_gradient_and_hessian(changes, error, word):
    given = {"raw": array("f8"), "y": np.array([0, 3, 1]), "out": (np.zeros((3, 4)), np.zeros((3, 4)))}
    if "raw" in changes:
        given["out"] = None
    given |= changes
    with pytest.raises(error, match=word):
        csoftmax.softmax_grad_hess(**given)
    if given["out"] is not None:
        assert not any(map(np.any, given["out"]))


# dtype=


@table(TYPED, ["i4", "u1", "?", "c8", "c16", "O", "U3", "M8[s]", "g", "V8", "no such dtype", 5, [1, 2]])
def test_bad_dtype(name, case):
    refused(name, "f8", TypeError, dtype=case)


def typed(name):
    """A function of `dtype=`, with the labels that it takes for six rows."""
    function = getattr(csoftmax, name)
    return partial(function, index=np.arange(6)) if name == "selective_log_softmax" else function


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("source", ["f4", "f8", "i4", "u1", "?", ">f4"])
def test_dtype_of_the_result(name, source):
    x = (array("f8", (6, 7)) * 9).astype(source)
    function = typed(name)
    exact = np.float64(function(x.astype("f8"), axis=-1))
    for spelled in (np.float64, "float64", float, np.dtype("f8"), ">f8"):
        result = function(x, axis=-1, dtype=spelled)
        assert result.dtype.str == np.dtype("f8").str
        np.testing.assert_allclose(result, exact, rtol=1e-15)
    for spelled in (np.float32, "f4"):
        result = function(x, axis=-1, dtype=spelled)
        assert result.dtype == np.float32
        half_ulp = np.spacing(np.abs(exact).astype("f4")).astype("f8") / 2
        ulps = 1.01 if source not in ("f4", ">f4") else 8.0
        assert (np.abs(result - exact) <= ulps * half_ulp).all()


@pytest.mark.parametrize("name", TYPED)
def test_dtype_and_out(name):
    function, x = typed(name), array("f4", (6, 7))
    shape = function(x, axis=-1).shape
    for dtype in ("f4", "f8"):
        for out_dtype in ("f4", "f8"):
            out = np.empty(shape, out_dtype)
            assert function(x, axis=-1, dtype=dtype, out=out) is out
            np.testing.assert_allclose(out, function(x, axis=-1, dtype=dtype), rtol=1e-6)
    wide = np.empty(shape, "f8")
    function(x, axis=-1, out=wide, dtype="f8")
    np.testing.assert_array_equal(wide, function(x, axis=-1, dtype="f8"))
    with pytest.raises(TypeError, match="out"):
        function(x, axis=-1, dtype="f8", out=np.zeros(shape, "i8"))


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_promote_as_numpy_does(name):
    codes = ["?", "i1", "u1", "i2", "u2", "i4", "i8", "u8", "f2", "f4", "f8"]
    for first in codes:
        for second in codes:
            common = np.result_type(np.dtype(first), np.dtype(second))
            expected = common if common.kind == "f" else np.dtype("f8")
            result = getattr(csoftmax, name)(np.ones(3, first), np.ones(3, second))
            assert result.dtype == expected, (first, second)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "<f8", "i4", "u1", "?"])
def test_the_loss_has_the_dtype_of_the_logits(dtype):
    x = np.ones((3, 4), dtype)
    expected = {"f4": "f4", ">f4": "f4"}.get(dtype, "f8")
    for target in (
        [0, 1, 2],
        np.array([0.0, 1.0, 2.0]),
        np.ones((3, 4), "f8"),
        np.ones((3, 4), "f4"),
        np.ones((3, 4), int),
    ):
        for reduction in ("none", "sum", "mean"):
            for temperature in (1.0, 2, np.float64(2.0), np.float32(2.0)):
                loss, gradient = csoftmax.cross_entropy(
                    x, target, reduction=reduction, temperature=temperature, return_grad=True
                )
                assert loss.dtype == gradient.dtype == np.dtype(expected)
                assert isinstance(loss, np.ndarray if reduction == "none" else np.floating)


@pytest.mark.parametrize("temperature", [2, np.float64(2.0), np.float32(2.0), np.int8(2), 2.0, True + 1])
def test_a_scalar_temperature_does_not_promote(temperature):
    x = array("f4")
    for name in ("softmax", "log_softmax", "softmax_jacobian"):
        result = getattr(csoftmax, name)(x, temperature=temperature)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, getattr(csoftmax, name)(x, temperature=2.0))


# 16-bit types

HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
every_half = pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)


@every_function
@every_half
def test_halves_are_rounded_once(name, half):
    """The float32 result of the same numbers, rounded; a loss stays float32."""
    given = arguments(name, "f4")
    del given["out"]
    first = next(iter(given))
    given = {k: v.astype(half).astype("f4") if getattr(v, "dtype", "") == "f4" else v for k, v in given.items()}
    halved = {k: v.astype(half) if getattr(v, "dtype", "") == "f4" else v for k, v in given.items()}
    wide, result = getattr(csoftmax, name)(**given), getattr(csoftmax, name)(**halved)
    if name == "cross_entropy":
        assert result[0] == wide[0] and type(result[0]) is np.float32
        wide, result = wide[1], result[1]
    assert result.dtype == half
    np.testing.assert_array_equal(result, wide.astype(half))
    out = np.zeros(wide.shape, half)
    getattr(csoftmax, name)(**given, out=out)
    np.testing.assert_array_equal(out, result)
    if name not in PER_ROW and name != "softmax_jacobian":
        getattr(csoftmax, name)(**halved, out=halved[first])
        np.testing.assert_array_equal(halved[first], result)


@pytest.mark.parametrize("name", TYPED)
@every_half
def test_halves_as_dtype(name, half):
    x = array("f8", (6, 7)) * 9
    exact = typed(name)(x, axis=-1)
    np.testing.assert_array_equal(typed(name)(x, axis=-1, dtype=half), exact.astype(half))
    assert typed(name)(x.astype(half), axis=-1, dtype="f4").dtype == np.float32


@every_half
def test_halves_as_gradient_and_hessian(half):
    raw, y = array("f4").astype(half), np.array([0, 3, 1])
    wide = csoftmax.softmax_grad_hess(raw.astype("f4"), y)
    for result, expected in zip(csoftmax.softmax_grad_hess(raw, y), wide, strict=True):
        assert result.dtype == half
        np.testing.assert_array_equal(result, expected.astype(half))


@every_half
def test_halves_as_labels_weights_and_targets(half):
    x, labels = array("f8"), np.array([0, 3, 1])
    expected = csoftmax.cross_entropy(x, labels)
    assert csoftmax.cross_entropy(x, labels.astype(half)) == expected
    options = {"weight": np.ones(4, half), "sample_weight": np.ones(3, half), "temperature": np.ones(3, half)}
    np.testing.assert_allclose(csoftmax.cross_entropy(x, labels, **options), expected, rtol=1e-15)
    np.testing.assert_allclose(csoftmax.cross_entropy(x, np.eye(4)[labels].astype(half)), expected, rtol=1e-15)


@pytest.mark.parametrize("name", PRODUCTS)
def test_halves_promote_as_numpy_does(name):
    function, bfloat16 = getattr(csoftmax, name), ml_dtypes.bfloat16
    for other in (bfloat16, "f4", "f8", "i1", "u1", "?"):
        result = function(np.ones(3, bfloat16), np.ones(3, other))
        assert result.dtype == np.result_type(bfloat16, other)
    for other in (np.float16, "i4"):
        refused(name, "f8", TypeError, "bfloat16", p=np.ones((3, 4), bfloat16),
                **{list(SIGNATURES[name].split(", "))[1]: np.ones((3, 4), other)})


# Kinds of input


class Frame:
    """As a data frame does: an array on request, and nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Tagged(np.ndarray):
    """A subclass that would show up in results that kept it."""


KINDS = {
    "list": lambda a: a.tolist(),
    "list of arrays": list,
    "list of tuples": lambda a: [tuple(row) if np.ndim(row) else row for row in a],
    "frame": Frame,
    "subclass": lambda a: a.view(Tagged),
    "memoryview": memoryview,
}


@table(SIGNATURES, KINDS)
def test_kinds_of_input(name, case):
    valid = arguments(name, "f8")
    del valid["out"]
    converted = {key: KINDS[case](a) if isinstance(a, np.ndarray) else a for key, a in valid.items()}
    expected = getattr(csoftmax, name)(**valid)
    result = getattr(csoftmax, name)(**converted)
    if name == "cross_entropy":
        assert result[0] == expected[0]
        result, expected = result[1], expected[1]
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, expected)


def test_matrices_are_plain_arrays():
    m, a = np.array([[1.0, 2.0], [0.5, 3.0]]).view(np.matrix), np.array([[1.0, 2.0], [0.5, 3.0]])
    assert type(csoftmax.softmax(m)) is np.ndarray
    assert csoftmax.logsumexp(m, axis=0).shape == (2,)
    assert csoftmax.softmax_jacobian(m).shape == (2, 2, 2)
    np.testing.assert_array_equal(csoftmax.cross_entropy(m, [0, 1], reduction="none").shape, (2,))
    np.testing.assert_array_equal(csoftmax.softmax(m), csoftmax.softmax(a))


def test_out_may_be_a_subclass():
    out = np.empty((3, 4)).view(Tagged)
    assert csoftmax.softmax(array("f8"), out=out) is out
    np.testing.assert_array_equal(np.asarray(out), csoftmax.softmax(array("f8")))


@pytest.mark.parametrize(
    "scalar", [2, 2.0, True, np.float32(2), np.float64(2), np.int8(2), np.array(2.0), np.array(2, "f4")]
)
def test_scalars_in_scalars_out(scalar):
    expected = np.float32 if getattr(scalar, "dtype", None) == np.float32 else np.float64
    for name in [*MAPS, *PRODUCTS]:
        given = [scalar, scalar] if name in PRODUCTS else [scalar]
        assert type(getattr(csoftmax, name)(*given)) is expected
    assert csoftmax.softmax(scalar) == 1 and csoftmax.log_softmax(scalar) == 0
    assert csoftmax.logsumexp(scalar) == scalar


@every_dtype
def test_reductions_to_nothing_are_scalars(dtype):
    kind, x = np.dtype(dtype).type, array(dtype)
    assert type(csoftmax.logsumexp(x)) is kind
    assert type(csoftmax.logsumexp(x[0], axis=0)) is kind
    assert type(csoftmax.logsumexp(x, axis=(0, 1))) is kind
    assert csoftmax.logsumexp(x, keepdims=True).shape == (1, 1)
    assert type(csoftmax.cross_entropy(x, [0, 1, 2])) is kind
    assert type(csoftmax.cross_entropy(x, [0, 1, 2], reduction="sum")) is kind
    for reduction in ("none", "sum", "mean"):
        assert type(csoftmax.cross_entropy(x[0], 1, reduction=reduction)) is kind


@every_dtype
def test_zero_dimensional_outputs(dtype):
    out = np.empty((), dtype)
    assert csoftmax.logsumexp(array(dtype), out=out) is out
    assert out == csoftmax.logsumexp(array(dtype))
    assert csoftmax.softmax(3.0, out=out) is out and out == 1.0


@every_function
def test_out_is_returned(name):
    given = arguments(name, "f8")
    result = getattr(csoftmax, name)(**given)
    assert (result[1] if name == "cross_entropy" else result) is given["out"]
    assert (given["out"] != SENTINEL).all()


def test_flags_take_any_truth_value():
    x = array("f8")
    assert csoftmax.logsumexp(x, axis=0, keepdims=np.True_).shape == (1, 4)
    assert csoftmax.logsumexp(x, axis=0, keepdims=0).shape == (4,)
    assert len(csoftmax.cross_entropy(x, [0, 1, 2], return_grad=1)) == 2


def test_axis_of_any_integer_type():
    x = array("f8")
    for axis in (0, np.int8(0), np.uint64(0), np.array(0), -2):
        np.testing.assert_array_equal(csoftmax.softmax(x, axis=axis), csoftmax.softmax(x, 0))
        np.testing.assert_array_equal(
            csoftmax.softmax_jacobian(x, axis=axis), csoftmax.softmax_jacobian(x, 0)
        )


# Control


def test_version():
    assert re.fullmatch(r"\d+\.\d+.*", csoftmax.__version__)


def test_show_config(capsys):
    config = csoftmax.show_config(mode="dicts")
    assert set(config) == {"version", "isa", "isas", "built", "openmp", "threads", "compiler", "numpy"}
    assert config["version"] == csoftmax.__version__ and config["numpy"] == np.__version__
    assert config["isa"] in config["isas"] and set(config["isas"]) <= set(config["built"])
    assert "scalar" in config["isas"] and isinstance(config["openmp"], bool)
    assert config["threads"] == csoftmax.get_num_threads()
    assert capsys.readouterr().out == ""
    assert csoftmax.show_config() is None
    printed = capsys.readouterr().out
    assert config["version"] in printed and config["isa"] in printed
    for mode in ("yaml", "", None):
        with pytest.raises((ValueError, TypeError), match="mode"):
            csoftmax.show_config(mode=mode)


def test_threads():
    before = csoftmax.get_num_threads()
    try:
        csoftmax.set_num_threads(1)
        assert csoftmax.get_num_threads() == 1
        for bad, error in [
            (0, ValueError),
            (-1, ValueError),
            ("2", TypeError),
            (1.5, TypeError),
            (None, TypeError),
        ]:
            with pytest.raises(error):
                csoftmax.set_num_threads(bad)
            assert csoftmax.get_num_threads() == 1
    finally:
        csoftmax.set_num_threads(before)
