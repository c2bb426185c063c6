"""Times expectations, the largest log-probabilities and rows of various lengths beside what is written today.

    python bench/families.py [--threads 1]

float32. Each time is the median of several rounds in which all ways take turns; in brackets it is a multiple of that of
csoftmax. PyTorch is timed if it is installed, SciPy likewise.
"""

import argparse
import statistics
import timeit

import numpy as np

import csoftmax

try:
    import torch
except ImportError:
    torch = None
try:
    import scipy.special
except ImportError:
    scipy = None

ROUNDS, SECONDS = 7, 0.02
RNG = np.random.default_rng(0)


def expectation(shape, axis):
    """(cell, {who: function}) of an expectation of one value for each class."""
    x = RNG.standard_normal(shape, np.float32)
    values = np.linspace(0, 1, shape[axis], dtype=np.float32)
    along = values if axis == -1 else values[:, None]

    def formula():
        e = np.exp(x - x.max(axis, keepdims=True))
        return (e * along).sum(axis) / e.sum(axis)

    ways = {"csoftmax": lambda: csoftmax.softmax_expectation(x, values, axis), "NumPy": formula}
    if torch:
        t, v = torch.from_numpy(x), torch.from_numpy(values)
        ways["PyTorch"] = lambda: torch.matmul(torch.softmax(t, axis).movedim(axis, -1), v)
    if scipy:
        ways["SciPy"] = lambda: (scipy.special.softmax(x, axis) * along).sum(axis)
    return f"softmax_expectation {shape}, axis {axis}", ways


def top_k(shape, k):
    x = RNG.standard_normal(shape, np.float32)

    def formula():
        most = x.max(-1, keepdims=True)
        log_p = x - most - np.log(np.exp(x - most).sum(-1, keepdims=True))
        index = np.argpartition(log_p, -k, axis=-1)[:, -k:]
        order = np.take_along_axis(log_p, index, -1).argsort(-1)[:, ::-1]
        index = np.take_along_axis(index, order, -1)
        return np.take_along_axis(log_p, index, -1), index

    ways = {"csoftmax": lambda: csoftmax.top_k_log_softmax(x, k), "NumPy": formula}
    if torch:
        t = torch.from_numpy(x)
        ways["PyTorch"] = lambda: torch.topk(torch.log_softmax(t, -1), k)
    return f"top_k_log_softmax {shape}, k = {k}", ways


def segments(rows, least, most):
    """The softmax of rows of lengths from `least` to `most`."""
    lengths = RNG.integers(least, most + 1, rows)
    offsets = np.concatenate([[0], lengths.cumsum()])
    x = RNG.standard_normal(offsets[-1], np.float32)
    which = np.repeat(np.arange(rows), lengths)

    def formula():
        e = np.exp(x - np.repeat(np.maximum.reduceat(x, offsets[:-1]), lengths))
        return e / np.repeat(np.add.reduceat(e, offsets[:-1]), lengths)

    ways = {"csoftmax": lambda: csoftmax.segment_softmax(x, offsets), "NumPy reduceat": formula}
    if torch:
        t, at = torch.from_numpy(x), torch.from_numpy(which)

        def scatter():
            top = torch.full((rows,), -torch.inf).scatter_reduce_(0, at, t, "amax")
            e = torch.exp(t - top[at])
            return e / torch.zeros(rows).scatter_add_(0, at, e)[at]

        ways["PyTorch scatter"] = scatter
    return f"segment_softmax, {rows} rows of {least} to {most}", ways


CELLS = [
    lambda: expectation((256, 256, 64), -1),
    lambda: expectation((1, 4, 16, 8400), 2),
    lambda: expectation((1024, 51), -1),
    lambda: top_k((64, 32000), 5),
    lambda: top_k((512, 128256), 20),
    lambda: top_k((10000, 10), 3),
    lambda: segments(100_000, 3, 20),
    lambda: segments(2000, 100, 1000),
    lambda: segments(64, 32000, 32000),
]


def medians(ways):
    """Seconds of a call of each of several functions."""
    calls, times = {}, {who: [] for who in ways}
    for who, function in ways.items():
        function()
        calls[who] = max(1, int(SECONDS / timeit.timeit(function, number=1)))
    for _ in range(ROUNDS):
        for who, function in ways.items():
            times[who].append(timeit.timeit(function, number=calls[who]) / calls[who])
    return {who: statistics.median(t) for who, t in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    csoftmax.set_num_threads(threads)
    if torch:
        torch.set_num_threads(threads)
    for make in CELLS:
        cell, ways = make()
        found = medians(ways)
        own = found["csoftmax"]
        others = "   ".join(f"{who} {t * 1e6:.0f} us ({t / own:.2f})" for who, t in found.items() if who != "csoftmax")
        print(f"{cell}: csoftmax {own * 1e6:.1f} us   {others}", flush=True)


if __name__ == "__main__":
    main()
