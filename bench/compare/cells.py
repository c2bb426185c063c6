"""The cells of the benchmark, and the numbers of one cell.

A cell is an operation, a dtype, a shape, an axis, in place or not, and a kind of logits. Its problem has the inputs,
the output buffers, and the right answer by a float64 NumPy formula.
"""

import functools
import math
import os
import re
from dataclasses import dataclass

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)  # before NumPy is imported: its OpenBLAS is to choose its kernels by the CPU alone

import numpy as np  # noqa: E402

DTYPES = ("float32", "float64", "float16", "bfloat16")
ITEMSIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}

SHAPES = ((1, 10), (10000, 3), (10000, 10), (4096, 128), (1024, 1000), (64, 32000), (64, 128256), (1, 2**22))
CLASS_FIRST = (10, 100000)
LINEAR_SHAPES = ((4096, 128, 1000), (1024, 256, 32000))  # rows, features, classes

# Logits of these kinds besides the usual ones (3 N(0, 1)): unit normal; flat, 0.02 N(0, 1); peaked, one 20 above and
# every second one 75 below.
KINDS = ("normal", "flat", "peaked")
OF_KINDS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_soft")
KINDS_SHAPES = ((10000, 10), (1024, 1000), (64, 32000))

# A quick run takes these out of place, and one in place.
QUICK_SHAPES = {"float32": ((1, 10), (10000, 10), (1024, 1000), (64, 32000)), "float64": ((1024, 1000),)}
QUICK_JACOBIAN = (10000, 10)
QUICK_IN_PLACE = ("softmax", "float32", (1024, 1000))

MOST_OUTPUT = 1 << 27  # elements; a Jacobian beyond this is not a cell


@dataclass(frozen=True)
class Operation:
    """What a formula must move, in arrays of the output's size, and the loops it must run over them."""

    reads: int
    writes: int
    loops: tuple
    in_place: bool = False


OPERATIONS = {
    "softmax": Operation(1, 1, ("max", "exp", "scale"), in_place=True),
    "log_softmax": Operation(1, 1, ("max", "exp", "scale"), in_place=True),
    "logsumexp": Operation(1, 0, ("max", "exp")),
    "cross_entropy": Operation(1, 1, ("max", "exp", "scale"), in_place=True),
    "cross_entropy_soft": Operation(2, 1, ("max", "exp", "scale"), in_place=True),
    "jacobian": Operation(0, 1, ("scale",)),
    "vjp": Operation(2, 1, ("dot", "scale"), in_place=True),
    "grad_hess": Operation(1, 2, ("max", "exp", "scale", "scale")),
    "linear_cross_entropy": Operation(0, 0, ()),
}

# (arrays read, arrays written, in place) -> the loops of limits.c that move just that; the fastest counts.
MOVES = {
    (1, 1, False): ("copy", "copy_nt"),
    (2, 1, False): ("join", "join_nt"),
    (1, 2, False): ("fork", "fork_nt"),
    (0, 1, False): ("fill", "fill_nt"),
    (1, 0, False): ("read",),
    (1, 1, True): ("update",),
    (2, 1, True): ("update_join",),
}


@dataclass(frozen=True)
class Cell:
    op: str
    dtype: str
    shape: tuple
    axis: int = -1
    in_place: bool = False
    kind: str = ""

    @property
    def name(self):
        shape = "x".join(map(str, self.shape))
        kind = f" {self.kind}" if self.kind else ""
        return f"{self.op} {self.dtype} {shape}" + " axis0" * (self.axis == 0) + " in-place" * self.in_place + kind

    @property
    def classes(self):
        return self.shape[self.axis]

    @property
    def rows(self):
        return self.shape[0] if self.axis == -1 else self.shape[1]

    @property
    def elements(self):
        """What "per element" divides by: the logits, or the entries of the Jacobian."""
        return self.rows * self.classes * (self.classes if self.op == "jacobian" else 1)

    @property
    def stream_bytes(self):
        """The size of one of the arrays that Operation counts."""
        return self.elements * ITEMSIZE[self.dtype]

    @property
    def operation(self):
        return OPERATIONS[self.op]

    @property
    def moves(self):
        return MOVES.get((self.operation.reads, self.operation.writes, self.in_place), ())

    @property
    def footprint(self):
        arrays = self.operation.reads + self.operation.writes - self.in_place
        return arrays * self.stream_bytes

    @property
    def is_quick(self):
        if self.kind:
            return False
        if self.in_place:
            return (self.op, self.dtype, self.shape) == QUICK_IN_PLACE
        if self.op == "jacobian":
            return self.shape == QUICK_JACOBIAN and self.dtype in QUICK_SHAPES
        if self.op == "linear_cross_entropy":
            return self.dtype == "float32" and self.shape == LINEAR_SHAPES[0]
        return self.shape in QUICK_SHAPES.get(self.dtype, ())

    @property
    def tiny(self):
        """The same cell on a handful of numbers, to see whether a library has it at all."""
        shape = {2: (3, 4), 3: (3, 2, 4)}[len(self.shape)]
        return Cell(self.op, self.dtype, shape, self.axis, self.in_place, self.kind)


def every_cell():
    cells = []
    for op, operation in OPERATIONS.items():
        for dtype in DTYPES:
            if op == "linear_cross_entropy":
                cells += [Cell(op, dtype, shape) for shape in LINEAR_SHAPES]
                continue
            grid = [(shape, -1) for shape in SHAPES] + [(CLASS_FIRST, 0)]
            for in_place in (False, True) if operation.in_place else (False,):
                cells += [Cell(op, dtype, shape, axis, in_place) for shape, axis in grid]
    cells += [
        Cell(op, dtype, shape, kind=kind)
        for op in OF_KINDS
        for dtype in DTYPES[:2]
        for shape in KINDS_SHAPES
        for kind in KINDS
    ]
    return [cell for cell in cells if cell.elements <= MOST_OUTPUT and not too_short_in_place(cell)]


def too_short_in_place(cell):
    """In place, the input is put back before every call, so a call cannot be repeated under one timer."""
    return cell.in_place and math.prod(cell.shape) < 1000


def choose(quick=False, pattern=""):
    """The cells of a run: all or the quick ones, of these those whose name matches the regular expression."""
    return [cell for cell in every_cell() if (cell.is_quick or not quick) and re.search(pattern, cell.name)]


# The numbers of one cell

# How far a library may be from the float64 formula, relative to the mean size of the result: loose, since it
# only has to show that the same thing is computed. Sums in one float32 lose more on longer rows.
TOLERANCE = {"float32": 2e-3, "float64": 1e-6, "float16": 0.1, "bfloat16": 0.5}
LONG_ROW = 100_000  # classes; beyond, the tolerance grows with the row
CHECKED_ROWS = 256  # of a Jacobian


def dtype_of(name):
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def aligned(shape, dtype):
    """Zeros that start on a cache line, in pages that have been touched."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    raw.fill(0)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


# x logits, t labels, q probability targets, p probabilities, g incoming gradient, w weights of a linear layer
INPUTS = {
    "softmax": "x",
    "log_softmax": "x",
    "logsumexp": "x",
    "cross_entropy": "xt",
    "cross_entropy_soft": "xq",
    "jacobian": "p",
    "vjp": "pg",
    "grad_hess": "xt",
    "linear_cross_entropy": "xwt",
}


class Problem:
    """Inputs shared by all peers; `arrays()` adds the output buffers, fresh for each peer.

    With axis 0, operations without an axis argument get the transposed view: Fortran order, classes last.
    """

    def __init__(self, cell: Cell):
        self.cell = cell
        self.dtype = dtype_of(cell.dtype)
        self.classes_last = cell.op in ("jacobian", "grad_hess")
        self.axis = -1 if self.classes_last else cell.axis
        rng = np.random.default_rng(2024)
        self.inputs = {name: self._draw(name, rng) for name in INPUTS[cell.op]}

    def _draw(self, name, rng):
        cell, shape = self.cell, self.cell.shape
        if cell.op == "linear_cross_entropy":
            rows, features, classes = shape
            shape = (classes, features) if name == "w" else (rows, features)
        if name == "t":
            return rng.integers(0, cell.classes, cell.rows)
        values = rng.standard_normal(shape)
        if name in "xp" and not cell.kind:
            values *= 3
        if name == "x" and cell.kind == "flat":
            values *= 0.02
        if name == "x" and cell.kind == "peaked":
            values[:, ::2] -= 75
            values[:, 1] += 20
        if name in "pq":
            values = softmax(values, cell.axis)
        if name == "w":
            values /= shape[1] ** 0.5
        stored = aligned(shape, self.dtype)
        stored[...] = values
        return stored.T if self.classes_last and cell.axis == 0 else stored

    def _like(self, array):
        """Zeros of the same shape and memory order."""
        if array.flags.c_contiguous:
            return aligned(array.shape, array.dtype)
        return aligned(array.shape[::-1], array.dtype).T

    @property
    def overwritten(self):
        """The input whose place the result takes in an in-place cell."""
        return "g" if self.cell.op == "vjp" else "x"

    def arrays(self):
        """Inputs and fresh outputs by name. In place, y is the overwritten input, `kept` what it held."""
        names, cell = dict(self.inputs), self.cell
        if cell.in_place:
            kept = names[self.overwritten]
            names["kept"], names["y"] = kept, self._like(kept)
            names[self.overwritten] = names["y"]
            names["y"][...] = kept
        elif cell.op == "logsumexp":
            names["y"] = aligned((cell.rows,), self.dtype)
        elif cell.op == "jacobian":
            names["y"] = aligned((cell.rows, cell.classes, cell.classes), self.dtype)
        elif cell.op == "linear_cross_entropy":
            names["dx"], names["dw"] = self._like(names["x"]), self._like(names["w"])
        else:
            first = next(iter(self.inputs.values()))
            names["y"] = self._like(first)
            if cell.op == "grad_hess":
                names["h"] = self._like(first)
        return names

    @functools.cached_property
    def answers(self):
        inputs = {k: v if k == "t" else self._checked(v).astype(float) for k, v in self.inputs.items()}
        return FORMULAS[self.cell.op](axis=self.axis, **inputs)

    def disagreement(self, results):
        """What is wrong with a peer's results; an empty string if they are those of the formula."""
        results = results if isinstance(results, tuple) else (results,)
        tolerance = TOLERANCE[self.cell.dtype] * max(1, self.cell.classes / LONG_ROW)
        for number, (got, answer) in enumerate(zip(results, self.answers, strict=True)):
            got = self._checked(np.asarray(got)).astype(float)
            if self.dtype.itemsize == 2 and answer.ndim == 0:
                continue  # the sum of many losses overflows a peer's float16; its time counts all the same
            if got.shape != answer.shape:
                return f"result {number} has shape {got.shape}, not {answer.shape}"
            error = np.max(np.abs(got - answer) / (np.abs(answer) + np.mean(np.abs(answer))))
            if not error <= tolerance:
                return f"result {number} is off by {error:.1e}"
        return ""

    def _checked(self, array):
        if self.cell.op != "jacobian":
            return array
        return array[:: max(1, self.cell.rows // CHECKED_ROWS)]


# The formulas: plain NumPy, classes along `axis`


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis):
    return x - logsumexp(x, axis, keepdims=True)


def logsumexp(x, axis, keepdims=False):
    m = x.max(axis, keepdims=True)
    total = np.log(np.exp(x - m).sum(axis, keepdims=True)) + m
    return total if keepdims else total.squeeze(axis)


def one_hot(t, classes, axis):
    hot = np.zeros((t.size, classes))
    hot[np.arange(t.size), t] = 1
    return hot if axis == -1 else hot.T


def cross_entropy_soft(x, q, axis):
    return -(q * log_softmax(x, axis)).sum(), softmax(x, axis) - q


def cross_entropy(x, t, axis):
    return cross_entropy_soft(x, one_hot(t, x.shape[axis], axis), axis)


def jacobian(p, axis):
    return p[:, :, None] * (np.eye(p.shape[-1]) - p[:, None, :])


def vjp(p, g, axis):
    return p * (g - (p * g).sum(axis, keepdims=True))


def grad_hess(x, t, axis):
    p = softmax(x, axis)
    return p - one_hot(t, x.shape[axis], axis), 2 * p * (1 - p)


def linear_cross_entropy(x, w, t, axis):
    loss, grad = cross_entropy(x @ w.T, t, axis)
    return loss, grad @ w, grad.T @ x


FORMULAS = {
    "softmax": lambda **a: (softmax(**a),),
    "log_softmax": lambda **a: (log_softmax(**a),),
    "logsumexp": lambda **a: (logsumexp(**a),),
    "cross_entropy": cross_entropy,
    "cross_entropy_soft": cross_entropy_soft,
    "jacobian": lambda **a: (jacobian(**a),),
    "vjp": lambda **a: (vjp(**a),),
    "grad_hess": grad_hess,
    "linear_cross_entropy": linear_cross_entropy,
}
