"""Threads: as many as allowed, the same bits from any number of them, nothing else disturbed.

Also what a long call owes its process: it lets other Python threads run, stops for a signal, takes more than
2^31 elements, and neither heeds nor changes the floating-point modes of its thread.
"""

import ctypes
import mmap
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import cases
import numpy as np
import processes
import pytest

import csoftmax

CONFIG = csoftmax.show_config(mode="dicts")
needs_threads = pytest.mark.skipif(CONFIG["threading"] == "none", reason="built without threads")

ENOUGH_FOR_8 = 8 * 75_000
"""Elements that are worth 8 threads."""


def batch_of(rows, n, dtype):
    rng = np.random.default_rng(n)
    x, soft, g = (rng.standard_normal((rows, n)).astype(dtype) for _ in range(3))
    p = rng.random((rows, n))
    p = (p / p.sum(axis=1, keepdims=True)).astype(dtype)
    labels = np.where(rng.random(rows) < 0.1, -100, rng.integers(n, size=rows))
    return cases.Batch(x, labels, soft, p, g, 1.0, ("normal",) * rows)


def with_gaps(batch):
    """The same numbers in every other element of memory."""
    gapped = {name: np.repeat(getattr(batch, name), 2, axis=1)[:, ::2] for name in ("x", "soft", "p", "g")}
    return replace(batch, **gapped)


@cache
def layouts(square, dtype):
    """Batches of every layout, each worth 8 threads (a few long rows: as many as there are rows).

    For the Jacobian they are `square`, the elements of its result being what counts.
    """
    batch = batch_of(300, 47, dtype) if square else batch_of(6007, 101, dtype)
    assert batch.x.size * (47 if square else 1) > ENOUGH_FOR_8
    return {
        "rows": batch,
        "columns": batch.columns,
        "gaps": with_gaps(batch),
        "long rows": batch_of(1, 901, dtype) if square else batch_of(3, 220_007, dtype),
    }


def jobs(dtype):
    """(what it is, call, batch) of every variant and layout."""
    return [
        (f"{variant}, {dtype}, {layout}", call, batch)
        for variant, call in cases.VARIANTS.items()
        for layout, batch in layouts(variant == "softmax_jacobian", dtype).items()
    ]


def bits(outputs):
    return {name: np.asarray(a).tobytes() for name, a in outputs.items()}


# How many


def check_thread_counts():
    assert csoftmax.get_num_threads() == 8
    for n, granted in [(3, 3), (1, 1), (8, 8), (9, 8), (np.int8(5), 5), (2**31 - 1, 8)]:
        csoftmax.set_num_threads(n)
        assert csoftmax.get_num_threads() == csoftmax.show_config(mode="dicts")["threads"] == granted


@needs_threads
def test_thread_counts():
    processes.run_function(check_thread_counts, cpus=8)


def test_numbers_of_threads_that_are_refused():
    threads = csoftmax.get_num_threads()
    for n in (0, -1, -(2**31), 2**31, 2**64, 2**64 + 1, 10**400, 10**5000):
        with pytest.raises(ValueError, match=r"n must be at least 1 and below 2\*\*31") as caught:
            csoftmax.set_num_threads(n)
        assert len(str(caught.value)) < 200
    for n in (1.0, 1.5, "1", None, [1], np.float64(2)):
        with pytest.raises(TypeError):
            csoftmax.set_num_threads(n)
    assert csoftmax.get_num_threads() == threads
    csoftmax.set_num_threads(1)
    assert csoftmax.get_num_threads() == 1
    csoftmax.set_num_threads(threads)


def check_small_calls_start_no_thread():
    before = processes.threads_of_process()
    calls = [((1499, 92), "f4", 0), ((749, 92), "f8", 0), ((750, 92), "f8", 1), ((30_000, 2), "f4", 3)]
    for shape, dtype, started in [*calls, ((6000, 92), "f4", 7)]:
        csoftmax.softmax(np.zeros(shape, dtype))
        assert processes.threads_of_process() == before + started


@needs_threads
@pytest.mark.skipif(not processes.counts_threads(), reason="needs /proc")
def test_small_calls_start_no_thread():
    processes.run_function(check_small_calls_start_no_thread, cpus=8)


# The same bits


def check_same_bits(dtype):
    for name, call, batch in jobs(dtype):
        csoftmax.set_num_threads(1)
        expected = bits(call(csoftmax, batch))
        for n in (2, 3, 5, 8):
            csoftmax.set_num_threads(n)
            assert csoftmax.get_num_threads() == n
            assert bits(call(csoftmax, batch)) == expected, f"{name}, {n} threads"


def check_same_bits_of_short_runs():
    """Rows that follow each other by twenties: wherever a thread's share ends, few rows are left of some run."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2001, 21, 10)).astype(np.float32)
    g = (x * 10.0 ** rng.integers(-20, 20, x.shape)).astype(np.float32)
    g[..., 5], g[..., 7] = -g[..., 3], -g[..., 1]
    p = csoftmax.softmax(x)[:, :20]
    found = set()
    for n in range(1, 9):
        csoftmax.set_num_threads(n)
        found.add(csoftmax.log_softmax_vjp(p, g[:, :20]).tobytes())
    assert len(found) == 1


@needs_threads
def test_same_bits_of_short_runs(isa):
    processes.run_function(check_same_bits_of_short_runs, cpus=8, CSOFTMAX_ISA=isa)


@needs_threads
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_same_bits_from_any_number_of_threads(isa, dtype):
    processes.run_function(check_same_bits, dtype, cpus=8, CSOFTMAX_ISA=isa)


def test_concurrent_calls():
    """Eight Python threads call at once, while a ninth changes how many threads each may use."""
    work = jobs("float32")
    expected = [bits(call(csoftmax, batch)) for _, call, batch in work]
    threads, done = csoftmax.get_num_threads(), threading.Event()

    def flip():
        while not done.wait(0.0001):
            csoftmax.set_num_threads(1)
            csoftmax.set_num_threads(threads)

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda job: bits(job[1](csoftmax, job[2])), work))
    finally:
        done.set()
        flipping.join()
        csoftmax.set_num_threads(threads)
    wrong = [job[0] for job, a, b in zip(work, results, expected, strict=True) if a != b]
    assert not wrong


# The interpreter lock


@contextmanager
def held_interpreter():
    """No Python thread gives way to another of its own accord: only calls that let go of the lock do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def waiting_thread(action):
    """A thread that runs `action` once, as soon as the caller's lets it; yields what tells it to start."""
    gate = threading.Lock()
    gate.acquire()

    def wait_and_act():
        gate.acquire()
        action()

    with held_interpreter():
        thread = threading.Thread(target=wait_and_act)
        thread.start()
        yield gate.release
        thread.join()


def other_threads_run_during(call):
    """Whether another Python thread runs before a call has been made a thousand times."""
    progress = []
    with waiting_thread(lambda: progress.append(True)) as start:
        start()
        assert not progress
        for _ in range(1000):
            call()
            if progress:
                break
        return bool(progress)


needs_a_lock = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="no interpreter lock that a call could release"
)


@needs_a_lock
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_other_python_threads_run_meanwhile(variant):
    batch = batch_of(100, 47, "float64") if variant == "softmax_jacobian" else batch_of(3000, 101, "float64")
    assert other_threads_run_during(lambda: cases.VARIANTS[variant](csoftmax, batch))


@needs_a_lock
def test_python_threads_run_while_many_labels_are_read():
    """The logits are few, their labels are many."""
    x, index = np.zeros((1, 10)), np.zeros((1, 20_000), np.uint8)
    assert other_threads_run_during(lambda: csoftmax.selective_log_softmax(x, index))
    assert other_threads_run_during(lambda: csoftmax.cross_entropy(x, (index, index)))


# Signals

SLICES = 3
ROWS, CLASSES = SLICES * 2**24 // 1000, 1000
"""Signals are looked for after every 2^24 elements of a thread."""

LABELS = np.zeros(ROWS, int)
LONG_ROWS = np.broadcast_to(np.linspace(0, 1, 3_000_000, dtype=np.float32), (50, 3_000_000))

SLOT_ROWS = SLICES * 2**24 // (8 * 64)
FEW = np.broadcast_to(np.arange(1, 4, dtype=np.float32), (SLOT_ROWS, 3))
SLOTS = np.broadcast_to(np.uint8(1), (SLOT_ROWS, 64))
"""A label counts as eight numbers."""

LONG_CALLS = {
    "softmax": ((ROWS, CLASSES), lambda x, out: csoftmax.softmax(x, out=out)),
    "log_softmax": ((ROWS, CLASSES), lambda x, out: csoftmax.log_softmax(x, out=out)),
    "logsumexp": ((ROWS,), lambda x, out: csoftmax.logsumexp(x, -1, out=out)),
    "softmax_jacobian": (
        (SLICES * 2**24 // CLASSES**2, CLASSES, CLASSES),
        lambda x, out: csoftmax.softmax_jacobian(x[: len(out)], out=out),
    ),
    "softmax_vjp": ((ROWS, CLASSES), lambda x, out: csoftmax.softmax_vjp(x, x, out=out)),
    "log_softmax_vjp": ((ROWS, CLASSES), lambda x, out: csoftmax.log_softmax_vjp(x, x, out=out)),
    "log_softmax_jvp": ((ROWS, CLASSES), lambda x, out: csoftmax.log_softmax_jvp(x, x, out=out)),
    "cross_entropy, index": (
        (ROWS, CLASSES),
        lambda x, out: csoftmax.cross_entropy(x, LABELS[: len(x)], return_grad=True, out=out),
    ),
    "cross_entropy, soft": (
        (ROWS, CLASSES),
        lambda x, out: csoftmax.cross_entropy(x, x, return_grad=True, out=out),
    ),
    "logsumexp of long rows": ((50,), lambda x, out: csoftmax.logsumexp(LONG_ROWS, -1, out=out)),
    "many labels a row": ((SLOT_ROWS, 64), lambda x, out: csoftmax.selective_log_softmax(FEW, SLOTS, out=out)),
}


def check_interrupts():
    """A signal that comes in the middle of a call stops it there: its first row is written, its last is not."""
    csoftmax.set_num_threads(1)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    row = np.arange(1, CLASSES + 1, dtype=np.float32) / CLASSES
    x = np.broadcast_to(row, (ROWS, CLASSES))
    for name, (shape, call) in LONG_CALLS.items():
        for attempt in range(100):
            out = np.zeros(shape, np.float32)
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.001 * (1 + attempt % 20))
                call(x, out)
                time.sleep(10)  # the signal was late
            if out[0].any() and not out[-1].any():
                break
        else:
            raise AssertionError(f"{name} is never interrupted")
    np.testing.assert_array_equal(csoftmax.softmax(np.zeros(2)), 0.5)


def test_interrupts():
    processes.run_function(check_interrupts)


class Alarm(Exception):
    """What the signal handler of the next test raises."""


def check_alarm():
    """A signal while all threads work: what its handler raises comes out of the call."""

    def strike(number, frame):
        raise Alarm

    signal.signal(signal.SIGALRM, strike)
    x = np.broadcast_to(np.arange(2**14, dtype=np.float32), (2**21, 2**14))
    out = np.zeros(len(x), np.float32)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(Alarm):
        csoftmax.logsumexp(x, axis=-1, out=out)
    assert out[0] and not out[-1]


def test_alarm():
    processes.run_function(check_alarm)


# More than 2^31 elements

MANY, MORE = 2**20, 2**11 + 1


def huge(test):
    """Seconds with vectors, half a minute without."""
    return pytest.mark.slow(test) if CONFIG["isa"] == "scalar" else test


@huge
def test_a_row_repeated_past_2_to_the_31():
    row = np.zeros(MANY, np.float32)
    row[-1] = 20
    x = np.broadcast_to(row, (MORE, MANY))
    np.testing.assert_array_equal(csoftmax.logsumexp(x, axis=-1), csoftmax.logsumexp(row))


def sparse():
    """Zeros past 2^31 elements and a last one of 20, of which memory holds only what is written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    memory = mmap.mmap(-1, 4 * MORE * MANY, flags=flags)
    x = np.frombuffer(memory, np.float32).reshape(MORE, MANY)
    x[-1, -1] = 20
    return x


def check_the_last(axis):
    n, rows = (MORE, MANY) if axis == 0 else (MANY, MORE)
    labels = np.zeros(rows, int)
    labels[-1] = n - 1
    loss = csoftmax.cross_entropy(sparse(), labels, axis, reduction="none")
    np.testing.assert_allclose(loss[:-1], np.log(n), rtol=1e-6)
    np.testing.assert_allclose(loss[-1], np.log1p((n - 1) * np.exp(-20)), rtol=1e-6)


@huge
@pytest.mark.parametrize("axis", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_last_of_2_to_the_31(axis):
    try:
        sparse()
    except (OSError, OverflowError) as error:
        pytest.skip(f"no address space for 2^31 elements: {error}")
    processes.run_function(check_the_last, axis)


# Floating-point modes

DEFAULT = 0x1F80
MODES = {
    "flush to zero": DEFAULT | 0x8000,
    "subnormals are zero": DEFAULT | 0x0040,
    "flush both": DEFAULT | 0x8040,
    "round down": DEFAULT | 0x2000,
    "round up": DEFAULT | 0x4000,
    "round toward zero, flush both": DEFAULT | 0x6000 | 0x8040,
    "trap invalid, division by zero, overflow": DEFAULT & ~0x0680,
}

CONVERSIONS = {
    "softmax, narrowed": lambda csm, b: {"softmax": csm.softmax(b.x, b.axis, dtype="float32")},
    "logsumexp, narrowed": lambda csm, b: {"logsumexp": csm.logsumexp(b.x, b.axis, dtype="float32")},
    "softmax of integers": lambda csm, b: {"softmax": csm.softmax(b.labels * (2**57 + 1))},
}


def one_row(**options):
    """The loss and gradient of a single row, which has kernels of its own."""
    return lambda csm, b: dict(enumerate(csm.cross_entropy(b.x[:1], b.labels[:1], return_grad=True, **options)))


ONE_ROW = {
    "one row, T": one_row(temperature=3.0),
    "one row, divided": one_row(temperature=0.7, normalizer=7.0),
    "one row, z-loss": one_row(z_loss=0.1),
    "one row, sparse": lambda csm, b: {"selective": csm.selective_log_softmax(b.x[:1], b.labels[:1] % b.x.shape[1])},
} | {
    f"one row, {rule} Hessian": lambda csm, b, rule=rule: dict(
        enumerate(csm.softmax_grad_hess(b.x[:1], b.labels[:1] % b.x.shape[1], hessian=rule))
    )
    for rule in ("diagonal", "upper", "friedman", "residual")
}
"""Of batches with rows along the last axis."""


def calls_under_modes():
    """(name, call, batch), among them what several threads compute."""
    for dtype in cases.DTYPES:
        for n in (3, 7, 33):
            for name, call in ONE_ROW.items():
                yield f"{name}, of {dtype} and {n} classes", call, cases.batch(dtype, n)
    for dtype in cases.DTYPES:
        large = cases.batch(dtype, 33, rows=700)
        for variant in ("softmax", "loss and gradient, index"):
            yield f"large {variant} of {dtype}", cases.VARIANTS[variant], large
        for batch in (cases.batch(dtype, 7, 0.1), cases.batch(dtype, 33), cases.batch(dtype, 33).columns):
            where = f"{dtype} {batch.x.shape}, T = {batch.temperature}"
            for variant, call in (cases.VARIANTS | CONVERSIONS).items():
                yield f"{variant} of {where}", call, batch


def check_modes(library):
    word, threads = ctypes.CDLL(library), csoftmax.get_num_threads()
    calls = list(calls_under_modes())
    csoftmax.set_num_threads(1)
    expected = [bits(call(csoftmax, batch)) for _, call, batch in calls]
    csoftmax.set_num_threads(threads)
    for mode, modes in MODES.items():
        for (name, call, batch), bits_by_default in zip(calls, expected, strict=True):
            print(name, mode, flush=True)
            word.set_modes(modes)
            try:
                outputs = call(csoftmax, batch)
                kept = word.modes() == modes
            finally:
                word.set_modes(DEFAULT)
            assert bits(outputs) == bits_by_default, f"{name}: {mode}"
            assert kept, f"{name}: {mode}, no longer so"


def test_modes_of_the_process_change_nothing(isa, control_word):
    processes.run_function(check_modes, control_word, cpus=2, CSOFTMAX_ISA=isa)
