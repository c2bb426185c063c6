"""How a cell is timed: calls and the machine's limits in turns. What the machine is, and what it can do.

The limits are the loops of limits.c, compiled here and called through ctypes.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import timeit
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cells
import numpy as np

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fno-tree-loop-distribute-patterns", "-shared", "-fPIC", "-pthread"]
L1_BYTES = 8192  # per stream and thread: three streams stay in 32 KB
LIBRARIES = ["csoftmax", "numpy", "torch", "jax", "jaxlib", "onnxruntime", "numba", "scipy", "scikit-learn"]
LIBRARIES += ["ml_dtypes", "threadpoolctl"]

TURN = 2e-4  # seconds under one timer: calls are repeated to fill it
MOST_CALLS = 100_000
FEWEST, MOST = 5, 201  # rounds
SLOW = 6  # times the fastest: such a library sits out after the fewest rounds
SETTLED = 0.004  # relative error of every median still being improved


@functools.cache
def library(real):
    """The loops for float32 or float64, compiled unless that was done before."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the machine's limits are timed in C: a C compiler (cc) is needed")
    flags = FLAGS + (["-DREAL_IS_DOUBLE"] if real == "float64" else [])
    source = HERE / "limits.c"
    made_of = source.read_text(), compiler, *flags, cpu_model()
    key = hashlib.sha1("\n".join(made_of).encode()).hexdigest()[:12]
    target = BUILD / f"limits-{real}-{key}.so"
    if not target.exists():
        BUILD.mkdir(exist_ok=True)
        subprocess.run([compiler, *flags, str(source), "-o", f"{target}.new"], check=True)
        os.replace(f"{target}.new", target)
    lib = ctypes.CDLL(str(target))
    lib.limits_name.restype = ctypes.c_char_p
    lib.limits_time.restype = ctypes.c_double
    lib.limits_time.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_long, ctypes.c_int, ctypes.c_long] + [
        ctypes.c_void_p
    ] * 4
    return lib


@functools.cache
def loops(real):
    """{name of a loop: its number}."""
    lib, names = library(real), {}
    while name := lib.limits_name(len(names)):
        names[name.decode()] = len(names)
    return names


STREAMS = {"fill": "c", "read": "a", "max": "a", "join": "abc", "dot": "ab", "fork": "acd", "update": "c"}


class Loop:
    """One loop of limits.c over streams of a given size; `turn` times it, in seconds per repetition.

    With `in_l1` it passes again and again over a block that fits there, until it has done as many elements.
    Loops over the same size may share their `streams`, a dict that fills as needed.
    """

    def __init__(self, name, stream_bytes, threads, real="float32", in_l1=False, streams=None):
        self.lib, self.number, self.threads = library(real), loops(real)[name], threads
        block = min(stream_bytes, L1_BYTES * threads) if in_l1 else stream_bytes
        self.bytes, self.passes = max(64, block), max(1, round(stream_bytes / block))
        self.share = stream_bytes / (block * self.passes)  # of what is timed, since passes are whole
        self.streams = {} if streams is None else streams
        used = STREAMS.get(name.removesuffix("_nt"), "ac")  # the names of limits.c: a, b read, c, d written
        for k in set(used) - set(self.streams):
            self.streams[k] = cells.aligned((-(-self.bytes // 64) * 64 // np.dtype(real).itemsize,), np.dtype(real))
            self.streams[k][:] = np.resize(np.linspace(-20, 0, 509, dtype=real), self.streams[k].shape)
        self.pointers = [self.streams[k].ctypes.data if k in used else None for k in "abcd"]

    def turn(self, repeats):
        size = self.bytes, self.passes
        taken = self.lib.limits_time(self.number, *size, self.threads, repeats, *self.pointers)
        if taken < 0:
            raise RuntimeError("no threads to time the machine's limits with")
        return taken * self.share


def check_exp():
    """The exp loops are the yardstick: they must compute exp, to a few ULP."""
    for real in ("float32", "float64"):
        for name in loops(real):
            if name.startswith("exp"):
                loop = Loop(name, L1_BYTES, 1, real)
                loop.turn(1)
                exact = np.exp(loop.streams["a"].astype(np.longdouble))
                error = np.max(np.abs(loop.streams["c"] / exact - 1)) / np.finfo(real).eps
                if not error < 4:
                    raise RuntimeError(f"the {name} loop in {real} is off by {error:.1f} ULP")


def abilities(threads):
    """Bandwidth by footprint in GB/s, and the loops in L1 in ns per element."""
    rows = {}
    for size in (16 << 10, 512 << 10, 8 << 20, 128 << 20):
        row = rows[f"{size >> 10} KB"] = {}
        for name in ("copy", "copy_nt", "read", "fill", "fill_nt"):
            moved = 2 * size if name.startswith("copy") else size
            row[name] = moved / best(Loop(name, size, threads)) / 1e9
    in_cache = {}
    for real in ("float32", "float64"):
        row = in_cache[real] = {}
        for name in loops(real).keys() & {"max", "scale", "dot", "exp", "exp_table"}:
            elements = 200_000
            size = elements * np.dtype(real).itemsize
            row[name] = best(Loop(name, size, threads, real, in_l1=True)) / elements * 1e9
    return {"threads": threads, "bandwidth GB/s by stream": rows, "in L1, ns per element": in_cache}


def best(loop, turns=5, seconds=2e-4):
    repeats = max(1, round(seconds / loop.turn(1)))
    return min(loop.turn(repeats) for _ in range(turns))


def cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def caches():
    """{"L1 Data": "48K", ...} of the first core, where the system tells."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / k).read_text().strip() for k in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def usable_cpus():
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count()))


def busy_elsewhere():
    """CPU seconds, up to a constant, that others than this process and its finished children have used."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return total - sum(os.times()[:4])


def blas():
    """What the BLAS of NumPy says it runs, such as "openblas 0.3.31 (SkylakeX)"; None without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    return ", ".join(f"{lib['internal_api']} {lib['version']} ({lib.get('architecture')})" for lib in libraries)


def describe():
    compiler = os.environ.get("CC", "cc")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "avx512": " avx512f " in flags,
        "cores": len(usable_cpus()),
        "caches": caches(),
        "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "compiler": version.splitlines()[0] if version else None,
        "python": sys.version.split()[0],
        "blas": blas(),
        "packages": versions,
    }


# Calls and limits in turns


def calls_per_turn(seconds):
    return min(MOST_CALLS, math.ceil(TURN / max(seconds, 1e-9)))


class Call:
    """A peer's job as a participant: `turn` gives seconds per call."""

    def __init__(self, job):
        self.job = job
        self.timer = timeit.Timer(job.call.strip(), globals=job.names)
        self.before = compile(job.before, "before", "exec") if job.before else None

    def result(self):
        exec(self.job.call, self.job.names)
        return eval(self.job.result, self.job.names)

    def turn(self, calls):
        if self.before is None:
            return self.timer.timeit(calls) / calls
        total = 0.0
        for _ in range(calls):
            exec(self.before, self.job.names)
            total += self.timer.timeit(1)
        return total / calls


class Limit:
    """What the cell's formula must move and compute, timed in loops of C, on one thread and on all."""

    def __init__(self, cell, threads):
        self.cell, self.times = cell, {}
        self.counts = sorted({1, threads})
        real = "float64" if cell.dtype == "float64" else "float32"
        self.moves, self.computes, streams = {}, {}, {}
        for count in self.counts:
            for name in cell.moves:
                self.moves[count, name] = Loop(name, cell.stream_bytes, count, real, streams=streams)
            for name in {v for part in cell.operation.loops for v in variants(part, real)}:
                size = cell.elements * (8 if real == "float64" else 4)
                self.computes[count, name] = Loop(name, size, count, real, in_l1=True)

    def turn(self):
        for key, loop in (self.moves | self.computes).items():
            self.times.setdefault(key, []).append(loop.turn(calls_per_turn(loop.turn(1))))

    def result(self):
        """Seconds a call takes at least, and what sets them."""
        medians = {key: statistics.median(times) for key, times in self.times.items()}
        limits = []
        for count in self.counts:
            moves = {name: medians[n, name] for n, name in self.moves if n == count}
            move = min(moves.values(), default=0.0)
            compute = sum(
                min(medians[count, v] for v in variants(part) if (count, v) in medians)
                for part in self.cell.operation.loops
            )
            limit = {"threads": count, "move": move, "compute": compute, "seconds": max(move, compute)}
            limit["by"] = min(moves, key=moves.get) if move > compute else "+".join(self.cell.operation.loops)
            limits.append(limit)
        return min(limits, key=lambda limit: limit["seconds"])


def variants(loop, real="float32"):
    """The ways limits.c has to run a loop: exp also by table."""
    return [name for name in loops(real) if name in (loop, f"{loop}_table")]


class MatrixProducts:
    """The limit of the linear cross-entropy: its three products by np.matmul, 16-bit ones in float32."""

    def __init__(self, cell, threads, formula):
        """`formula` is the adapter of the NumPy formula."""
        wide = replace(cell, dtype="float64" if cell.dtype == "float64" else "float32")
        job = formula.job(cells.Problem(wide))
        job.call = "matmul(x, w.T, out=y); matmul(y, w, out=dx); matmul(y.T, x, out=dw)"
        self.call, self.times, self.threads = Call(job), [], threads

    def turn(self):
        self.times.append(self.call.turn(1))

    def result(self):
        return {"seconds": statistics.median(self.times), "by": "three matmuls", "threads": self.threads}


def alternate(calls, limit, rest, warm_up, budget):
    """{name: [seconds per call, ...]}: a turn each per round, for `budget` seconds or until medians settle.

    Before each turn, outside of the budget, come `rest` seconds in which the threads of the library before fall
    asleep; then the call is repeated for `warm_up` seconds, at least once: its data come back into the caches, its
    threads wake.
    """
    counts = {name: calls_per_turn(min(call.turn(1), call.turn(1))) for name, call in calls.items()}
    times = {name: [] for name in calls}
    racing, spent = list(calls), 0.0
    for done in range(1, MOST + 1):
        racing.append(racing.pop(0))
        for name in racing:
            time.sleep(rest)
            began = time.perf_counter()
            calls[name].turn(1)
            while time.perf_counter() < began + warm_up:
                calls[name].turn(1)
            times[name].append(calls[name].turn(counts[name]))
            spent += time.perf_counter() - began
        time.sleep(rest)
        began = time.perf_counter()
        limit.turn()
        spent += time.perf_counter() - began
        if done < FEWEST:
            continue
        medians = {name: statistics.median(times[name]) for name in racing}
        racing = [name for name in racing if medians[name] <= SLOW * min(medians.values())]
        settled = done >= 3 * FEWEST and all(error(times[name]) < SETTLED for name in racing)
        if settled or spent > budget:
            break
    return times


def error(values):
    """The relative error of the median, from the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle / math.sqrt(len(values))
