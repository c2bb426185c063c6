"""threadpoolctl lists csoftmax and limits its threads, from whichever is imported first."""

import doctest
import sys

import numpy as np
import processes
import pytest

import csoftmax

pytest.importorskip("threadpoolctl")


def check_limits():
    from threadpoolctl import threadpool_info, threadpool_limits

    import csoftmax.threadpoolctl

    (entry,) = [entry for entry in threadpool_info() if entry["user_api"] == "csoftmax"]
    assert entry["internal_api"] == "csoftmax"
    assert entry["prefix"] == "_csoftmax"
    assert entry["filepath"] == csoftmax._csoftmax.__file__
    assert entry["version"] == csoftmax.__version__
    assert entry["num_threads"] == csoftmax.get_num_threads() == 4
    for limit, threads in [(1, 1), (3, 3), (9, 4), ({"csoftmax": 2}, 2), (None, 4)]:
        with threadpool_limits(limit):
            assert csoftmax.get_num_threads() == threads
        assert csoftmax.get_num_threads() == 4
    with threadpool_limits(1, user_api="blas"):
        assert csoftmax.get_num_threads() == 4


needs_threads = pytest.mark.skipif(
    csoftmax.show_config(mode="dicts")["threading"] == "none", reason="built without threads"
)


@needs_threads
def test_threadpool_limits():
    processes.run_function(check_limits, cpus=4)


def check_one_thread():
    from threadpoolctl import threadpool_limits

    import csoftmax.threadpoolctl

    x = np.random.default_rng(0).normal(size=(6007, 101)).astype(np.float32)
    with threadpool_limits(1):
        before = processes.threads_of_process()
        alone = csoftmax.softmax(x)
        assert processes.threads_of_process() == before
    np.testing.assert_array_equal(csoftmax.softmax(x), alone)
    assert processes.threads_of_process() == before + 3


@needs_threads
@pytest.mark.skipif(not processes.counts_threads(), reason="needs /proc")
def test_threadpool_limits_start_no_worker():
    processes.run_function(check_one_thread, cpus=4)


LISTED = "print([entry['user_api'] for entry in threadpoolctl.threadpool_info()].count('csoftmax'))"
ORDERS = {
    "import threadpoolctl, csoftmax": "1",
    "import csoftmax, threadpoolctl": "0",
    "import csoftmax, threadpoolctl, csoftmax.threadpoolctl": "1",
    "import csoftmax.threadpoolctl, threadpoolctl": "1",
    "import sys, types; sys.modules['threadpoolctl'] = types.ModuleType('old')\n"
    "import csoftmax; del sys.modules['threadpoolctl']; import threadpoolctl": "0",
}


@pytest.mark.parametrize("imports", ORDERS)
def test_csoftmax_is_registered_once(imports):
    done = processes.run_python("-c", f"{imports}\n{LISTED}")
    assert done.stdout.strip() == ORDERS[imports], done.stderr


def test_csoftmax_does_not_import_it():
    done = processes.run_python("-c", "import csoftmax, sys; sys.exit('threadpoolctl' in sys.modules)")
    assert done.returncode == 0, done.stderr


def check_example():
    import csoftmax.threadpoolctl

    threads = csoftmax.get_num_threads()
    assert doctest.testmod(sys.modules["csoftmax.threadpoolctl"]) == (0, 3)
    assert csoftmax.get_num_threads() == threads


@needs_threads
def test_the_example():
    processes.run_function(check_example)
