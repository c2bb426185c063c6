"""The list of cells: operation x dtype x shape x axis x in place or not x kind of logits, and their least cost."""

import math
import re
from dataclasses import dataclass

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
        for op in OF_KINDS for dtype in DTYPES[:2] for shape in KINDS_SHAPES for kind in KINDS
    ]
    return [cell for cell in cells if cell.elements <= MOST_OUTPUT and not too_short_in_place(cell)]


def too_short_in_place(cell):
    """In place, the input is put back before every call, so a call cannot be repeated under one timer."""
    return cell.in_place and math.prod(cell.shape) < 1000


def choose(quick=False, pattern=""):
    """The cells of a run: all or the quick ones, of these those whose name matches the regular expression."""
    return [cell for cell in every_cell() if (cell.is_quick or not quick) and re.search(pattern, cell.name)]
