"""csoftmax from Cython: another package cimports its typed loops; Python calls those on memoryviews."""

import importlib.util
import shutil
import sysconfig

import numpy as np
import processes
import pytest
from surface import read_only

import csoftmax
from csoftmax import _csoftmax

DTYPES = ["f4", "f8"]
SHAPES = [(1, 1), (1, 7), (5, 2), (40, 33), (2001, 100)]
"""The last is worth two threads."""

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)

BUILD = """
from Cython.Build import cythonize
from setuptools import Extension, setup

extension = Extension("client", ["client.pyx"], extra_compile_args=["-O0"])
setup(ext_modules=cythonize([extension]), script_args=["-q", "build_ext", "--inplace"])
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The package of client/, built against csoftmax as it is installed."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    processes.c_compiler()
    folder = tmp_path_factory.mktemp("client")
    shutil.copy(processes.SUPPORT / "client" / "client.pyx", folder)
    done = processes.run_python("-c", BUILD, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    built = folder / ("client" + sysconfig.get_config_var("EXT_SUFFIX"))
    spec = importlib.util.spec_from_file_location("client", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logits(shape, dtype):
    return np.random.default_rng(shape).normal(scale=3, size=shape).astype(dtype)


def labels_for(shape):
    return np.random.default_rng(shape).integers(0, shape[1], shape[0], dtype=np.intp)


def assert_same(actual, expected):
    assert np.asarray(actual).dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


# From another Cython package


@every_shape
@every_dtype
def test_client_softmax(client, dtype, shape):
    x = logits(shape, dtype)
    expected, y = csoftmax.softmax(x), np.empty_like(x)
    assert client.softmax(x, y) == 0
    assert_same(y, expected)
    assert client.softmax(x, x) == 0
    assert_same(x, expected)


@every_shape
@every_dtype
def test_client_jacobian(client, dtype, shape):
    p = csoftmax.softmax(logits(shape, dtype)[:50])
    jac = np.empty((*p.shape, p.shape[1]), dtype)
    assert client.jacobian(p, jac) == 0
    assert_same(jac, csoftmax.softmax_jacobian(p))


@every_shape
@every_dtype
@pytest.mark.parametrize("mean", [False, True])
def test_client_loss_gradient(client, dtype, shape, mean):
    x, labels = logits(shape, dtype), labels_for(shape)
    expected = csoftmax.cross_entropy(x, labels, reduction="none")
    _, gradient = csoftmax.cross_entropy(x, labels, reduction="mean" if mean else "sum", return_grad=True)
    for grad in (np.empty_like(x), x):
        losses = np.empty(shape[0], dtype)
        assert client.loss_gradient(x, labels, losses, grad, mean) == 0
        assert_same(losses, expected)
        assert_same(grad, gradient)


@every_dtype
@pytest.mark.parametrize("label", [4, -1, -100, 2**40])
def test_client_bad_label(client, dtype, label):
    bad_label = 3
    x, losses, grad = logits((3, 4), dtype), np.full(3, 7, dtype), np.full((3, 4), 7, dtype)
    assert client.loss_gradient(x, np.array([0, 1, label]), losses, grad, False) == bad_label
    np.testing.assert_array_equal(losses, 7)
    np.testing.assert_array_equal(grad, 7)


def test_client_without_rows(client):
    assert client.softmax_of_no_rows() == 0


def test_client_without_arrays(client):
    assert client.one_softmax(0.0, np.log(3.0)) == pytest.approx((0.25, 0.75), rel=1e-15)


# From Python, on what has a buffer


@every_shape
@every_dtype
def test_softmax_inplace(dtype, shape):
    x = logits(shape, dtype)
    expected = csoftmax.softmax(x)
    assert _csoftmax.softmax_inplace(x) is None
    assert_same(x, expected)


@every_shape
@every_dtype
def test_jacobian_fill(dtype, shape):
    p = csoftmax.softmax(logits(shape, dtype)[:50])
    p.flags.writeable = False
    jac = np.empty((*p.shape, p.shape[1]), dtype)
    assert _csoftmax.jacobian_fill(p, jac) is None
    assert_same(jac, csoftmax.softmax_jacobian(p))


@every_shape
@every_dtype
@pytest.mark.parametrize("options", [{}, {"mean": True}], ids=str)
def test_loss_gradient(dtype, shape, options):
    x, labels, losses = logits(shape, dtype), labels_for(shape), np.empty(shape[0], dtype)
    labels.flags.writeable = False
    expected = csoftmax.cross_entropy(x, labels, reduction="none")
    reduction = "mean" if options else "sum"
    _, gradient = csoftmax.cross_entropy(x, labels, reduction=reduction, return_grad=True)
    assert _csoftmax.loss_gradient(x, labels, losses, **options) is None
    assert_same(losses, expected)
    assert_same(x, gradient)


@every_dtype
def test_rows_may_be_misaligned(dtype):
    memory = np.zeros(1 + 12 * np.dtype(dtype).itemsize, np.uint8)
    x = memory[1:].view(dtype).reshape(3, 4)
    x[...] = logits((3, 4), dtype)
    expected = csoftmax.softmax(x)
    _csoftmax.softmax_inplace(x)
    assert_same(x, expected)


@every_dtype
def test_nothing_to_compute(dtype):
    for shape in [(0, 0), (0, 5), (5, 0)]:
        _csoftmax.softmax_inplace(np.empty(shape, dtype))
        _csoftmax.jacobian_fill(np.empty(shape, dtype), np.empty((*shape, shape[1]), dtype))
    for shape in [(0, 0), (0, 5)]:
        _csoftmax.loss_gradient(np.empty(shape, dtype), np.empty(0, np.intp), np.empty(0, dtype))
    with pytest.raises(IndexError, match="no classes"):
        _csoftmax.loss_gradient(np.empty((5, 0), dtype), np.zeros(5, np.intp), np.empty(5, dtype))


@every_dtype
@pytest.mark.parametrize("label", [4, -1, -100, 2**40])
def test_bad_label(dtype, label):
    x, losses = logits((3, 4), dtype), np.full(3, 7, dtype)
    before = x.copy()
    with pytest.raises(IndexError, match=r"label.*\[0, 4\)"):
        _csoftmax.loss_gradient(x, np.array([0, 1, label]), losses)
    np.testing.assert_array_equal(losses, 7)
    np.testing.assert_array_equal(x, before)


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


ROWS, SQUARES = np.ones((3, 4)), np.ones((3, 4, 4))
LABELS, LOSSES = np.zeros(3, np.intp), np.ones(3)

REFUSED = {
    "one dimension": (_csoftmax.softmax_inplace, (ROWS[0],), "signature|dimensions"),
    "three dimensions": (_csoftmax.softmax_inplace, (SQUARES,), "signature|dimensions"),
    "integers": (_csoftmax.softmax_inplace, (ROWS.astype(int),), "signature|dtype"),
    "halves": (_csoftmax.softmax_inplace, (ROWS.astype(np.float16),), "signature|dtype"),
    "complex numbers": (_csoftmax.softmax_inplace, (ROWS.astype(complex),), "signature|dtype"),
    "a list": (_csoftmax.softmax_inplace, ([[1.0]],), "signature|buffer|bytes-like"),
    "None": (_csoftmax.softmax_inplace, (None,), "None|signature"),
    "other byte order": (_csoftmax.softmax_inplace, (swapped(ROWS),), "signature|dtype|endian"),
    "columns": (_csoftmax.softmax_inplace, (ROWS.T,), "contiguous"),
    "gaps": (_csoftmax.softmax_inplace, (ROWS[:, ::2],), "contiguous"),
    "read-only logits": (_csoftmax.softmax_inplace, (read_only(ROWS.copy()),), "read-only"),
    "read-only Jacobian": (_csoftmax.jacobian_fill, (ROWS, read_only(SQUARES.copy())), "read-only"),
    "Jacobians for other rows": (_csoftmax.jacobian_fill, (ROWS, SQUARES[:2]), r"\(2, 4, 4\).*\(3, 4\)"),
    "Jacobians of other classes": (_csoftmax.jacobian_fill, (ROWS, np.ones((3, 5, 4))), r"\(3, 5, 4\).*\(3, 4\)"),
    "Jacobians not square": (_csoftmax.jacobian_fill, (ROWS, np.ones((3, 4, 5))), r"\(3, 4, 5\).*\(3, 4\)"),
    "Jacobians of another dtype": (_csoftmax.jacobian_fill, (ROWS, SQUARES.astype("f4")), "dtype"),
    "too few labels": (_csoftmax.loss_gradient, (ROWS, LABELS[:2], LOSSES), r"\(3, 4\).* 2 and 3"),
    "too many labels": (_csoftmax.loss_gradient, (ROWS, np.zeros(4, np.intp), LOSSES), r"\(3, 4\).* 4 and 3"),
    "too few losses": (_csoftmax.loss_gradient, (ROWS, LABELS, LOSSES[:2]), r"\(3, 4\).* 3 and 2"),
    "narrow labels": (_csoftmax.loss_gradient, (ROWS, LABELS.astype("i2"), LOSSES), "dtype"),
    "floating labels": (_csoftmax.loss_gradient, (ROWS, LABELS.astype("f8"), LOSSES), "dtype"),
    "losses of another dtype": (_csoftmax.loss_gradient, (ROWS, LABELS, LOSSES.astype("f4")), "dtype"),
    "read-only losses": (_csoftmax.loss_gradient, (ROWS, LABELS, read_only(LOSSES.copy())), "read-only"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_typed_loops_refuse(what):
    function, arguments, message = REFUSED[what]
    before = [np.copy(a) for a in arguments]
    with pytest.raises((TypeError, ValueError), match=message):
        function(*arguments)
    for a, kept in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, kept)
