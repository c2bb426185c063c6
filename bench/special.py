"""Times csoftmax.special beside scipy.special, float64, on one thread: `python bench/special.py` prints a table.

The least time of many calls counts, those of one function one after another.
"""

import timeit
from functools import partial

import numpy as np
import scipy
import scipy.special

import csoftmax
from csoftmax import special

SHAPES = [((10,), None), ((1024, 1000), 1)]
ROUNDS, TURN = 25, 5e-3  # seconds


def least_time(call):
    """Microseconds of a call, which finds the memory of the one before."""
    timer = timeit.Timer(call)
    count = max(1, int(TURN / timer.timeit(1)))
    return min(timer.repeat(ROUNDS, count)) / count * 1e6


def main():
    csoftmax.set_num_threads(1)
    print(f"csoftmax {csoftmax.__version__} on {csoftmax.show_config('dicts')['isa']}, SciPy {scipy.__version__}\n")
    print("| µs, float64, one thread | csoftmax.special | scipy.special | ratio |\n|---|---|---|---|")
    for shape, axis in SHAPES:
        x = np.random.default_rng(0).standard_normal(shape)
        cases = {name: {} for name in special.__all__} | {"logsumexp, b": {"b": np.random.default_rng(1).random(shape)}}
        for case, options in cases.items():
            name = case.split(",")[0]
            calls = [partial(getattr(module, name), x, axis, **options) for module in (special, scipy.special)]
            here, there = map(least_time, calls)
            print(f"| {case} {shape} | {here:.4g} | {there:.4g} | {there / here:.3g} |")


if __name__ == "__main__":
    main()
