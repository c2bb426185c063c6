"""Fork: a child of a process that has used threads computes what its parent does, and never hangs.

Every test runs in a process of its own, whose children get 20 seconds before they are killed.
"""

import mmap
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import processes
import pytest

import csoftmax

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

DEADLINE = 20
X = np.random.default_rng(0).standard_normal((6000, 100))
LABELS = np.arange(6000) % 100


def run(check):
    processes.run_function(check, cpus=2)


def results():
    """What several threads compute in the parent, as bytes."""
    loss, gradient = csoftmax.cross_entropy(X, LABELS, return_grad=True)
    return [np.asarray(a).tobytes() for a in (csoftmax.softmax(X, axis=0), loss, gradient)]


def fork(action):
    """Start a child that ends with status 0 if `action()` is true, 1 if not or if it raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if action() else 1
        finally:
            os._exit(status)
    return child


def status_of(child, seconds=DEADLINE):
    """The exit status of a child; None if it has to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def check_fork_after_use():
    threads, expected = csoftmax.get_num_threads(), results()
    for _ in range(3):
        child = fork(lambda: csoftmax.get_num_threads() == 1 and results() == expected)
        assert status_of(child) == 0
        assert csoftmax.get_num_threads() == threads
        assert results() == expected


def test_fork_after_use():
    run(check_fork_after_use)


def check_fork_before_use():
    shared = mmap.mmap(-1, X.nbytes)

    def child():
        shared.write(results()[0])
        return csoftmax.get_num_threads() == 1

    assert status_of(fork(child)) == 0
    assert shared[:] == results()[0]


def test_fork_before_use():
    run(check_fork_before_use)


def check_nested_forks():
    expected = results()

    def grandchild():
        return csoftmax.get_num_threads() == 1 and results() == expected

    def child():
        return results() == expected and status_of(fork(grandchild)) == 0 and results() == expected

    assert status_of(fork(child), 2 * DEADLINE) == 0
    assert results() == expected


def test_nested_forks():
    run(check_nested_forks)


def check_fork_during_use():
    expected, stop = results(), threading.Event()

    def compute():
        while not stop.is_set():
            results()

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        for _ in range(10):
            assert status_of(fork(lambda: results() == expected)) == 0
    finally:
        stop.set()
        busy.join()


def test_fork_during_use():
    """By one Python thread while another computes."""
    run(check_fork_during_use)


def row_sums(rows):
    return csoftmax.softmax(X[rows]).sum(axis=1)


def check_pool():
    results()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map_async(row_sums, [slice(3000), slice(3000, None)]).get(DEADLINE)
    np.testing.assert_allclose(np.concatenate(sums), 1)


def test_multiprocessing_pool():
    run(check_pool)


ROW = np.random.default_rng(1).standard_normal(1000).astype(np.float32)


def check_fork_by_handler():
    """Children of a signal handler, each in the middle of a call, finish it, and may run on every core afterwards."""
    cores, sums = os.sched_getaffinity(0), np.zeros(150_000, np.float32)
    x = np.broadcast_to(ROW, (150_000, 1000))
    expected = csoftmax.logsumexp(ROW)
    children, mine = [], os.getpid()

    def strike(number, frame):
        if len(children) < 20:
            time.sleep(0.01)  # workers fall asleep
            child = os.fork()
            if child:
                children.append(child)
            else:
                signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, strike)
    while len(children) < 20:
        sums[:] = 0
        signal.setitimer(signal.ITIMER_REAL, 0.004)
        csoftmax.logsumexp(x, axis=-1, out=sums)
        signal.setitimer(signal.ITIMER_REAL, 0)
        right = (sums == expected).all()
        if os.getpid() != mine:
            csoftmax.softmax(X)
            os._exit(0 if right and os.sched_getaffinity(0) == cores else 1)
        assert right
    assert [status_of(child) for child in children] == [0] * len(children)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system says not on which cores a thread may run")
def test_fork_by_a_handler_in_a_call():
    run(check_fork_by_handler)
