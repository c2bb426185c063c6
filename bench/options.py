"""What options cost: every kind of call that is not plain, ns per element of x, beside the plain one. One thread.

python bench/options.py [float32|float64]
"""

import sys
import timeit

import blas  # noqa: F401
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import csoftmax

SHAPES = {"(10000, 10)": ((10000, 10), -1), "(4096, 128)": ((4096, 128), -1), "(1024, 1000)": ((1024, 1000), -1),
          "(10, 100000), axis 0": ((10, 100000), 0)}
GRADIENT = "cross_entropy(x, {}, axis, return_grad=True, out=y{})"
CALLS = [
    ("softmax", "softmax(x, axis, out=y)"),
    ("  temperature=2", "softmax(x, axis, temperature=2.0, out=y)"),
    ("  temperature per row", "softmax(x, axis, temperature=T, out=y)"),
    ("  where", "softmax(x, axis, where=mask, out=y)"),
    ("  x of the other dtype", "softmax(other, axis, out=y)"),
    ("  classes backwards", "softmax(x[back], axis, out=y)"),
    ("logsumexp", "logsumexp(x, axis)"),
    ("  where", "logsumexp(x, axis, where=mask)"),
    ("  b", "logsumexp(x, axis, b=b)"),
    ("softmax_entropy", "softmax_entropy(x, axis)"),
    ("loss and gradient, labels", GRADIENT.format("label", "")),
    ("  temperature per row", GRADIENT.format("label", ", temperature=T")),
    ("  weight", GRADIENT.format("label", ", weight=weight")),
    ("  sample_weight", GRADIENT.format("label", ", sample_weight=T")),
    ("  label_smoothing", GRADIENT.format("label", ", label_smoothing=0.1")),
    ("  z_loss", GRADIENT.format("label", ", z_loss=1e-4")),
    ("  softcap", GRADIENT.format("label", ", softcap=30.0")),
    ("loss and gradient, probabilities", GRADIENT.format("p", "")),
    ("  label_smoothing", GRADIENT.format("p", ", label_smoothing=0.1")),
    ("  3 labels of each row", GRADIENT.format("(index, prob)", "")),
    ("softmax_vjp", "softmax_vjp(p, x, axis, out=y)"),
    ("  temperature=2", "softmax_vjp(p, x, axis, temperature=2.0, out=y)"),
    ("  temperature per row", "softmax_vjp(p, x, axis, temperature=T, out=y)"),
]
SQUARES = [
    ("softmax_jacobian", "softmax_jacobian(p, out=square)"),
    ("  temperature=2", "softmax_jacobian(p, temperature=2.0, out=square)"),
    ("  temperature per row", "softmax_jacobian(p, temperature=T, out=square)"),
]
"""Of few classes only; ns per element of the result."""


def names(shape, axis, dtype):
    """What the calls name."""
    rng = np.random.default_rng(1)
    classes, rows = shape[axis], shape[1 + axis]
    x = rng.standard_normal(shape).astype(dtype)
    given = {name: getattr(csoftmax, name) for name in csoftmax.__all__}
    return given | {
        "x": x, "y": np.empty_like(x), "axis": axis, "p": csoftmax.softmax(3 * x, axis),
        "mask": rng.random(shape) < 0.8, "b": rng.random(shape).astype(dtype), "T": rng.uniform(0.5, 2, rows),
        "other": x.astype(np.float64 if dtype == np.float32 else np.float32),
        "back": (slice(None), slice(None, None, -1)) if axis else slice(None, None, -1),
        "label": rng.integers(0, classes, rows), "weight": rng.uniform(0.5, 2, classes),
        "index": rng.integers(0, classes, (rows, 3)), "prob": np.full((rows, 3), 1 / 3, dtype),
        "square": np.empty((rows, classes, classes), dtype) if classes <= 10 and axis else None,
    }


def measure(statement, given, elements):
    """ns per element, the best of nine rounds of some milliseconds."""
    timer = timeit.Timer(statement, globals=given)
    calls = max(1, int(2e-3 / timer.timeit(1)))
    return 1e9 * min(timer.repeat(9, calls)) / calls / elements


def main(dtype=np.float32):
    csoftmax.set_num_threads(1)
    rows = [[what] for what, _ in (*CALLS, *SQUARES)]
    table = Table(Column("ns per element", no_wrap=True), *SHAPES, title=f"{np.dtype(dtype)}, one thread")
    for shape, axis in track(SHAPES.values(), transient=True):
        given = names(shape, axis, dtype)
        square = given["square"]
        calls = [(statement, given["x"].size) for _, statement in CALLS]
        calls += [(statement, square.size if square is not None else 0) for _, statement in SQUARES]
        for row, (statement, elements) in zip(rows, calls, strict=True):
            row.append(f"{measure(statement, given, elements):.3g}" if elements else "")
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)


if __name__ == "__main__":
    main(*(np.dtype(name) for name in sys.argv[1:]))
