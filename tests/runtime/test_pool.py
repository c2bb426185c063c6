"""The pool of workers, by itself: compiled alone, with Python functions for work.

A worker is kept from work, or in it, by an event; every wait for one is a failure after a minute.
"""

import ctypes
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import processes
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX threads")

MINUTE = 60
PIECE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
PART = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)


DEFAULT, FLUSH_TO_ZERO = 0x1F80, 0x9F80


class Pool:
    """csm_parallel_for and csm_gather; what their work raises is raised by them."""

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.library.csm_meet.argtypes = [ctypes.c_void_p]

    def share(self, threads, pieces, work):
        self._call(self.library.csm_parallel_for, PIECE, work, threads, ctypes.c_ssize_t(pieces))

    def gather(self, threads, work):
        self._call(self.library.csm_gather, PART, work, threads)

    def meet(self, place):
        self.library.csm_meet(place)

    def _call(self, function, kind, work, *arguments):
        raised = []

        def run(_, *numbers):
            try:
                work(*numbers)
            except BaseException as error:
                raised.append(error)

        function(*arguments, kind(run), None)
        if raised:
            raise raised[0]


@pytest.fixture
def pool(tmp_path):
    """A pool without workers yet."""
    modes = [processes.MODES] if processes.sets_modes() else []
    return Pool(processes.c_library(tmp_path, processes.CORE / "pool.c", *modes))


def wait_for(event):
    assert event.wait(MINUTE), "in vain"


class Busy:
    """A call of `threads` threads, each of which is held in its first piece while the `with` block runs."""

    def __init__(self, pool, threads):
        self.pool, self.threads = pool, threads
        self.end, self.all_here = threading.Event(), threading.Barrier(threads + 1)
        self.caller = threading.Thread(target=pool.share, args=(threads, threads, self.hold))

    def hold(self, piece, me):
        self.all_here.wait(MINUTE)
        wait_for(self.end)

    def __enter__(self):
        self.caller.start()
        self.all_here.wait(MINUTE)

    def __exit__(self, *exception):
        self.end.set()
        self.caller.join(MINUTE)
        assert not self.caller.is_alive()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pieces", [0, 1, 4, 1000])
def test_each_piece_is_done_once(pool, threads, pieces):
    done = []
    for _ in range(5):
        done.clear()
        pool.share(threads, pieces, lambda piece, me: done.append((piece, me)))
        assert sorted(piece for piece, _ in done) == list(range(pieces))
        assert {me for _, me in done} <= set(range(threads))
        own = [piece for piece, me in done if me == 0]
        assert own == list(range(len(own)))  # from the first on; workers take them from the last


def test_all_threads_work_at_once(pool):
    """Six pieces, none of which ends before all have begun; numbers are not given twice."""
    all_here, numbers = threading.Barrier(6), []

    def work(piece, me):
        numbers.append(me)
        all_here.wait(MINUTE)

    for _ in range(20):
        numbers.clear()
        time.sleep(0.01)  # they sleep
        pool.share(6, 6, work)
        assert sorted(numbers) == list(range(6))


def test_no_more_join_than_are_asked_for(pool):
    with Busy(pool, 6):
        pass
    who = set()
    pool.share(2, 50, lambda piece, me: time.sleep(0.001) or who.add(me))
    assert who <= {0, 1}


def test_nobody_waits_for_busy_workers(pool):
    """The caller does all pieces, and returns, while the only worker is held elsewhere."""
    with Busy(pool, 2):
        who = Counter()
        pool.share(2, 10, lambda piece, me: who.update([me]))
        assert who == {0: 10}
        sizes = []
        pool.gather(2, lambda place, me, size: sizes.append(size))
        assert sizes == [1]


def test_a_caller_waits_for_who_has_joined(pool):
    """Until the worker's piece is done, though its own are."""
    begun, end, done = threading.Event(), threading.Event(), []

    def work(piece, me):
        if me:
            begun.set()
            wait_for(end)
        else:
            wait_for(begun)
        done.append(me)

    caller = threading.Thread(target=pool.share, args=(2, 5, work))
    caller.start()
    wait_for(begun)
    caller.join(0.1)
    assert caller.is_alive()
    end.set()
    caller.join(MINUTE)
    assert not caller.is_alive()
    assert sorted(done) == [0, 0, 0, 0, 1]


def test_late_workers_join_what_is_left(pool):
    """A worker that is free again takes pieces of a call that began without it."""
    joined = threading.Event()

    def work(piece, me):
        if me:
            joined.set()
        else:
            busy.end.set()
            wait_for(joined)

    busy = Busy(pool, 2)
    with busy:
        pool.share(2, 2, work)
    assert joined.is_set()


def test_many_callers(pool):
    """Eight Python threads call at once: more than there are workers."""

    def call(_):
        done = []
        pool.share(3, 20, lambda piece, me: done.append(piece))
        return sorted(done) == list(range(20))

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(call, range(200)))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_who_gathers_meets(pool, threads):
    """Each writes what the others read after a meeting, a hundred times."""
    meetings = 100

    def work(place, me, size):
        assert size <= threads
        for turn in range(meetings):
            board[me] = turn
            pool.meet(place)
            assert board[:size] == [turn] * size
            pool.meet(place)
        numbers.append(me)

    for _ in range(10):
        board, numbers = [None] * threads, []
        pool.gather(threads, work)
        assert sorted(numbers) == list(range(len(numbers)))
        assert numbers


@pytest.mark.skipif(not processes.sets_modes(), reason="sets the modes of x86-64")
def test_workers_compute_in_the_default_modes(pool):
    """Whatever those of the thread are that started them."""
    found, both_here = {}, threading.Barrier(2)

    def work(piece, me):
        both_here.wait(MINUTE)
        found[me] = pool.library.modes()

    pool.library.set_modes(FLUSH_TO_ZERO)
    try:
        pool.share(2, 2, work)
    finally:
        pool.library.set_modes(DEFAULT)
    assert found == {0: FLUSH_TO_ZERO, 1: DEFAULT}
