"""What the machine is, and what it can do: the loops of limits.c, compiled here and called through ctypes."""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import blas
import numpy as np
from problem import aligned

HERE = Path(__file__).parent
BUILD = HERE / "build"
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fno-tree-loop-distribute-patterns", "-shared", "-fPIC", "-pthread"]
L1_BYTES = 8192  # per stream and thread: three streams stay in 32 KB
LIBRARIES = ["csoftmax", "numpy", "torch", "jax", "jaxlib", "onnxruntime", "numba", "scipy", "scikit-learn"]
LIBRARIES += ["ml_dtypes", "threadpoolctl"]


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
    lib.limits_time.argtypes = (
        [ctypes.c_int, ctypes.c_size_t, ctypes.c_long, ctypes.c_int, ctypes.c_long] + [ctypes.c_void_p] * 4
    )
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
            self.streams[k] = aligned((-(-self.bytes // 64) * 64 // np.dtype(real).itemsize,), np.dtype(real))
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
        "blas": blas.description(),
        "packages": versions,
    }
