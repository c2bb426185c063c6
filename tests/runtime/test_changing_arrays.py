"""Arrays that change while a call looks at them, and subclasses whose attributes say what is not so.

Another thread may assign x.shape at any time, and so may the `__array__` of another argument. A call then has the right
result or is refused; it never reads or writes outside its arrays.
"""

import contextlib
import sys
import threading
import time
import warnings

import numpy as np
import processes
import pytest
from surface import MAPS, SCALED, SIGNATURES, arguments

import csoftmax

SHAPES = [(12,), (4, 3), (2, 6), (1, 12), (3, 2, 2), (3,), (1, 3), (3, 1), (48,), (12, 4)]
FUNCTIONS = [*SIGNATURES, "softmax_grad_hess"]


def others(name):
    """Arguments beside the first array that may come as any array-like, by name."""
    found = {key: a for key, a in arguments(name, "f8").items() if key in ("g", "t", "target", "index", "y")}
    if name in SCALED:
        found["temperature"] = np.array([0.5, 1.0, 2.0] if name not in ("logsumexp",) else 1.0)
    if name in MAPS:
        found["where"] = np.array([[True, True, False, True]] * 3)
    if name in ("cross_entropy", "softmax_grad_hess"):
        found["sample_weight"] = np.array([0.5, 1.0, 2.0])
    if name == "cross_entropy":
        found["weight"] = np.arange(1.0, 5.0)
    return found


class Reshaping:
    """An array-like that assigns to the shape of another array when it is asked for its numbers."""

    def __init__(self, values, victim, shape):
        self.values, self.victim, self.shape = values, victim, shape

    def __array__(self, dtype=None, copy=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.victim.shape = self.shape
        return self.values


def results(name, given):
    found = getattr(csoftmax, name)(**given)
    return [np.array(a).ravel() for a in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_shape_that_changes_within_a_call(name):
    calls = 0
    for option, values in others(name).items():
        expected = results(name, arguments(name, "f8") | {option: values, "out": None})
        for which in ("first", "out", "no out"):
            for shape in SHAPES:
                given = arguments(name, "f8")
                first = next(iter(given))
                given["out"] = None if which == "no out" else given["out"]
                victim = given["out"] if which == "out" else given[first]
                victim = victim[0] if isinstance(victim, tuple) else victim
                if victim.size != np.prod(shape):
                    continue
                given[option] = Reshaping(values, victim, shape)
                calls += 1
                try:
                    found = results(name, given)
                except ValueError:
                    continue
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(a, b)
    assert calls or name == "softmax_jacobian"


def call_while_a_thread_assigns_shapes(seconds):
    """Every function in turn, with the arguments that are looked at in Python, while x.shape changes."""
    rows, classes = 1000, 100
    x, mask = np.zeros((rows, classes)), np.ones((rows, classes), bool)
    out, fortran = np.zeros_like(x), np.zeros((rows, classes), order="F")
    stop = time.monotonic() + seconds

    def assign():
        warnings.simplefilter("ignore")
        while time.monotonic() < stop:
            for a in (x, out, mask):
                a.shape = (rows * classes,)
                a.shape = (rows, classes)

    thread = threading.Thread(target=assign)
    sys.setswitchinterval(1e-5)
    thread.start()
    calls = [
        lambda: csoftmax.softmax(x, where=mask),
        lambda: csoftmax.softmax(x, dtype="f4"),
        lambda: csoftmax.log_softmax(x, where=[True] * classes, out=out),
        lambda: csoftmax.logsumexp(x, 1, where=mask),
        lambda: csoftmax.softmax_entropy(x, axis=(1,), out=out[:, 0]),
        lambda: csoftmax.softmax_vjp(x, fortran, out=out),
        lambda: csoftmax.softmax_jacobian(x, temperature=[1.0] * rows, out=np.empty((rows, classes, classes), "f4")),
        lambda: csoftmax.selective_log_softmax(x, [0] * rows, dtype="f4"),
        lambda: csoftmax.cross_entropy(x, [0] * rows, return_grad=True, out=out),
        lambda: csoftmax.cross_entropy(x, fortran, sample_weight=2.0, return_grad=True),
        lambda: csoftmax.softmax_grad_hess(x, [0] * rows, out=(out, fortran)),
    ]
    while time.monotonic() < stop:
        for call in calls:
            with contextlib.suppress(ValueError, TypeError, IndexError):
                call()
    thread.join()


def test_shapes_that_another_thread_assigns():
    processes.run_function(call_while_a_thread_assigns_shapes, 2.0)


# Subclasses


class Lying(np.ndarray):
    """A subclass whose attributes are those of another array, and whose methods fail."""

    shape = property(lambda self: (2, 2))
    ndim = property(lambda self: 2)
    size = property(lambda self: 4)
    strides = property(lambda self: (800, 8))
    dtype = property(lambda self: np.dtype("f8"))
    itemsize = property(lambda self: 8)
    flags = property(lambda self: np.ones(1).flags)
    T = property(lambda self: np.zeros((100, 100)))
    __array_interface__ = property(lambda self: np.zeros(1).__array_interface__)

    def transpose(self, *axes):
        return np.zeros((100, 100))

    def reshape(self, *shape):
        return np.zeros((100, 100))

    squeeze = ravel = astype = view = copy = reshape
    __array_ufunc__ = None

    def __array_function__(self, *arguments):
        raise AssertionError("NumPy's functions are not to be asked")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_attributes_of_a_subclass_are_not_asked(name):
    expected = results(name, arguments(name, "f8") | {"out": None})
    for argument, a in arguments(name, "f8").items():
        given = arguments(name, "f8")
        arrays = a if isinstance(a, tuple) else (a,)
        if not all(isinstance(one, np.ndarray) for one in arrays):
            continue
        lying = tuple(np.ndarray.view(one, Lying) for one in arrays)
        given[argument] = lying if isinstance(a, tuple) else lying[0]
        found = getattr(csoftmax, name)(**given)
        found = found if isinstance(found, tuple) else (found,)
        for one, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.ravel(np.asarray(one)), b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_subclass_over_read_only_memory(name):
    """Whatever its flags say, nothing is written."""
    given = arguments(name, "f8")
    outs = given["out"] if isinstance(given["out"], tuple) else (given["out"],)
    memory = [bytes(out.nbytes) for out in outs]
    lying = [np.ndarray(out.shape, out.dtype, m).view(Lying) for out, m in zip(outs, memory, strict=True)]
    given["out"] = tuple(lying) if isinstance(given["out"], tuple) else lying[0]
    with pytest.raises(ValueError, match="read-only"):
        getattr(csoftmax, name)(**given)
    assert not any(any(m) for m in memory)
