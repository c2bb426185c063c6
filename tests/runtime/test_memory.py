"""Memory: calls give back what they take, and survive allocations that fail."""

import sys

import numpy as np
import processes
import pytest

import csoftmax


def check_memory_of_calls():
    import resource

    x, y = np.zeros((100_000, 80), "float32"), np.zeros(100_000, int)
    options = {"weight": np.ones(80), "sample_weight": np.ones(1), "temperature": np.full(1, 2.0)}

    def peak():
        for _ in range(50):
            csoftmax.cross_entropy(x, y, label_smoothing=0.1, **options)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak()
    assert peak() <= 1.01 * before


def test_memory_is_given_back():
    """A loss that keeps a copy of all that may come with its rows frees all of them."""
    pytest.importorskip("resource")
    processes.run_function(check_memory_of_calls)


def fail_allocations_while_a_label_error_is_worded():
    import _testcapi

    x, labels = np.zeros((3, 4)), np.array([0, 7, 1])
    for first in range(120):
        _testcapi.set_nomemory(first, first + 1)
        try:
            csoftmax.cross_entropy(x, labels)
        except (IndexError, MemoryError):
            pass
        finally:
            _testcapi.remove_mem_hooks()
    for _ in range(1000):  # a heap that is damaged shows here
        csoftmax.softmax([[1.0] * 50] * 20)


def test_allocations_that_fail_while_a_label_error_is_worded():
    pytest.importorskip("_testcapi")
    if sys.implementation.name != "cpython":
        pytest.skip("the hooks are CPython's")
    processes.run_function(fail_allocations_while_a_label_error_is_worded)
