"""One call on ten numbers, allocation of the result included, beside np.exp of the same vector."""

import statistics
import timeit

import blas  # noqa: F401
import numpy as np

ROUNDS, CALLS = 31, 2000
YARDSTICK = "np.exp(x)"
TYPED = {"csoftmax": "softmax(x)", "SciPy": "softmax(x)", "PyTorch": "softmax(tensor, -1)"}


def measure(peers):
    """[{"dtype", "shape", "what", "ns"}], np.exp first."""
    found = []
    for dtype in ("float32", "float64"):
        for shape in ((10,), (1, 10)):
            x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
            timers = {YARDSTICK: timeit.Timer("exp(x)", globals={"exp": np.exp, "x": x})}
            for peer in peers:
                if peer.name in TYPED:
                    names = {"softmax": peer.module.softmax, "x": x}
                    if peer.name == "PyTorch":
                        names["tensor"] = peer.module.from_numpy(x)
                    timers[f"{peer.name}: softmax"] = timeit.Timer(TYPED[peer.name], globals=names)
            times = {what: [] for what in timers}
            for _ in range(ROUNDS):
                for what, timer in timers.items():
                    times[what].append(timer.timeit(CALLS) / CALLS)
            for what, values in times.items():
                ns = 1e9 * statistics.median(values)
                found.append({"dtype": dtype, "shape": shape, "what": what, "ns": ns})
    return found
