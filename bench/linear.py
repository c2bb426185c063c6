"""linear_cross_entropy beside its three matrix products made whole and the loss in place: time and memory.

    python bench/linear.py [--quick]

Exits with 1 where it takes more than 1.15 times as long, or too much memory. Memory is counted beyond the results.
"""

import argparse
import sys
import time
import tracemalloc
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent / "compare"))
import timing

# isort: split
import numpy as np

import csoftmax

SHAPES = [
    (4096, 128, 1000),
    (2048, 64, 5000),
    (96, 768, 50257),
    (1024, 256, 32000),
    (512, 1024, 50257),
    (4096, 512, 32000),
]  # rows, features, classes
QUICK = 3  # of them
MOST = 1.15  # times what the products and the loss take
SECONDS, FEWEST, MOST_ROUNDS = 8, 7, 101  # of rounds per line
MB = 2**20
HEADINGS = ["rows, features, classes", "dtype", "threads", "ours, ms", "whole, ms", "ratio", "products", "MB", "most"]


class Problem:
    """Arrays of one shape and dtype, and the two ways to their loss and gradients."""

    def __init__(self, shape, dtype):
        rows, features, classes = shape
        rng = np.random.default_rng(1)
        self.x = rng.standard_normal((rows, features), np.float32).astype(dtype)
        self.w = (0.02 * rng.standard_normal((classes, features), np.float32)).astype(dtype)
        self.labels = rng.integers(0, classes, rows)
        self.logits = np.empty((rows, classes), dtype)
        self.out = np.empty_like(self.x), np.empty_like(self.w), None
        self.allowed = max(64 * MB, self.logits.nbytes // 8)

    def ours(self):
        csoftmax.linear_cross_entropy(self.x, self.w, self.labels, return_grad=True, out=self.out)

    def whole(self):
        """Seconds of the loss among them."""
        dx, dw, _ = self.out
        np.matmul(self.x, self.w.T, out=self.logits)
        began = time.perf_counter()
        csoftmax.cross_entropy(self.logits, self.labels, return_grad=True, out=self.logits)
        loss = time.perf_counter() - began
        np.matmul(self.logits, self.w, out=dx)
        np.matmul(self.logits.T, self.x, out=dw)
        return loss

    def times(self):
        """Seconds of ours, of the whole and of the products in it: the least of rounds in which each has its turn."""
        ours, whole, products, spent = [], [], [], 0.0
        self.ours(), self.whole()
        while len(ours) < FEWEST or (spent < SECONDS and len(ours) < MOST_ROUNDS):
            began = time.perf_counter()
            self.ours()
            between = time.perf_counter()
            loss = self.whole()
            ended = time.perf_counter()
            ours.append(between - began)
            whole.append(ended - between)
            products.append(ended - between - loss)
            spent += ended - began
        return min(ours), min(whole), min(products)

    def memory(self):
        """Bytes that NumPy and Python have at most during a call, beyond those before it."""
        tracemalloc.start()
        try:
            self.ours()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def line(problem, shape, dtype, threads):
    """The cells of a line of the table, and whether it keeps the limits."""
    csoftmax.set_num_threads(threads)
    with threadpool_limits(threads):
        ours, whole, products = problem.times()
        memory = problem.memory()
    fine = ours <= MOST * whole, memory <= problem.allowed
    cells = [
        str(shape),
        dtype,
        str(threads),
        f"{1e3 * ours:.1f}",
        f"{1e3 * whole:.1f}",
        mark(f"{ours / whole:.2f}", fine[0]),
        f"{products / ours:.0%}",
        mark(f"{memory / MB:.1f}", fine[1]),
        f"{problem.allowed / MB:.1f}",
    ]
    return cells, all(fine)


def mark(text, fine):
    return text if fine else f"[red]{text} ![/red]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small shapes only")
    shapes = SHAPES[:QUICK] if parser.parse_args().quick else SHAPES
    cores, console = len(timing.usable_cpus()), Console(width=110, highlight=False)
    table = Table(*(Column(heading, justify="right", no_wrap=True) for heading in HEADINGS))
    lines = [(s, d, n) for s in shapes for d in ("float32", "float64") for n in sorted({1, min(2, cores)})]
    missed, problem, made = 0, None, None
    try:
        for shape, dtype, threads in track(lines, console=console, transient=True):
            if made != (shape, dtype):
                problem = None  # gives its memory back before the next one takes its own
                problem, made = Problem(shape, dtype), (shape, dtype)
            cells, fine = line(problem, shape, dtype, threads)
            table.add_row(*cells)
            missed += not fine
    except KeyboardInterrupt:
        lines = lines[: table.row_count]  # what was done is reported
    console.print(f"{timing.cpu_model()}, {cores} cores; NumPy {np.__version__}, {timing.blas()}")
    console.print(table)
    console.print(f"{missed} of {len(lines)} lines miss a limit (!)")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
