"""The public surface: names, signatures, kinds of input, and the control of threads."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
from surface import (
    APART,
    CONTROL,
    LOSSES,
    MAPS,
    PRODUCTS,
    SENTINEL,
    SIGNATURES,
    arguments,
    array,
    every_dtype,
    every_function,
    table,
)

import csoftmax

# Names and signatures


def test_public_names():
    expected = {*SIGNATURES, *APART, *CONTROL}
    assert set(csoftmax.__all__) - {"__version__"} == expected
    assert len(csoftmax.__all__) == len(set(csoftmax.__all__))
    modules = {name for name, value in vars(csoftmax).items() if inspect.ismodule(value)}
    assert {name for name in dir(csoftmax) if not name.startswith("_")} - modules == expected


@pytest.mark.parametrize("name", csoftmax.__all__)
def test_functions_are_of_the_public_module(name):
    assert getattr(csoftmax, name).__module__ == "csoftmax"


@pytest.mark.parametrize("name", [*SIGNATURES, *APART])
def test_signatures(name):
    """As it is written, and as what is called has it."""
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
    if name in LOSSES:
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
    assert (result[1] if name in LOSSES else result) is given["out"]
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
        np.testing.assert_array_equal(csoftmax.softmax_jacobian(x, axis=axis), csoftmax.softmax_jacobian(x, 0))


def test_defaults_may_be_given():
    x, labels = array("f8"), [0, 1, 2]
    options = {"weight": None, "sample_weight": None, "label_smoothing": 0, "z_loss": 0, "softcap": None}
    assert csoftmax.cross_entropy(x, labels, **options, normalizer=None) == csoftmax.cross_entropy(x, labels)
    assert csoftmax.logsumexp(x, None, None, False, False, where=None) == csoftmax.logsumexp(x)
    np.testing.assert_array_equal(csoftmax.softmax(x, where=None, dtype=None, out=None), csoftmax.softmax(x))


# Control


def test_version():
    assert re.fullmatch(r"\d+\.\d+.*", csoftmax.__version__)


def test_show_config(capsys):
    config = csoftmax.show_config(mode="dicts")
    assert list(config) == ["version", "isa", "isas", "built", "threading", "threads", "compiler", "numpy"]
    assert config["version"] == csoftmax.__version__ and config["numpy"] == np.__version__
    assert config["isa"] in config["isas"] and set(config["isas"]) <= set(config["built"])
    assert "scalar" in config["isas"] and config["threading"] in ("pthreads", "windows", "none")
    assert config["threads"] == csoftmax.get_num_threads()
    assert config["compiler"].startswith(("gcc ", "clang "))
    assert capsys.readouterr().out == ""
    assert csoftmax.show_config() is None
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    expected = config | {key: ", ".join(config[key]) for key in ("isas", "built")}
    assert {key.strip(): value for key, value in printed.items()} == {k: str(v) for k, v in expected.items()}
    for mode in ("yaml", "", None):
        with pytest.raises((ValueError, TypeError), match="mode"):
            csoftmax.show_config(mode=mode)
