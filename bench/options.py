"""What each unusual layout, option, dtype and kind of numbers costs beside its plain call, and what it may cost.

    python bench/options.py [--quick] [--dtype float32] [--only PATTERN]

At the end come the ratios that are above their allowance, the furthest first, and the status is 1 if there are any.
On one thread the two calls of a cell take turns in one process, and the least time of many turns counts. A plain call
is shown in ns per element (of the result, for Jacobians), the others as their ratio to it. A plain call has the
computing dtype and the shape of the unusual ones, and all its arrays have the memory order of the logits. That of every
second row or class computes a copy of them.
"""

import argparse
import re
import sys
import timeit
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

import csoftmax

SHAPES = [
    ((10000, 10), 1),
    ((1024, 1000), 1),
    ((4096, 128), 1),
    ((64, 32000), 1),
    ((10, 100000), 0),
    ((16, 64, 100), 1),
]
OPTION, CONVERTED, NUMBERS, SUBNORMAL = 2.0, 2.5, 1.3, 2.0
"""Allowances; the last is that of numbers where results are subnormal."""
TURN = 5e-4  # seconds
CONVERSIONS = {"float32": ["float16"], "float64": ["float32", "float16", "int8", "int64", "bool"], "float16": []}
"""Dtypes that are computed in the one before the colon. Of float16 only numbers are cells."""
MOST_SQUARES = 4_000_000  # elements of Jacobians


class Cells(NamedTuple):
    """A plain statement, and those beside it."""

    allowance: float
    plain: str
    others: list


def with_options(call, *options):
    """A call with each of some options."""
    return [f"{call[:-1]}, {option})" for option in options]


def instead(call, *changes):
    """A call with other arguments: each change is a string of old and new words, in turn."""
    words = [change.split() for change in changes]
    new = [dict(zip(w[::2], w[1::2], strict=True)) for w in words]
    return [re.sub(r"\b\w+\b", lambda word, by=by: by.get(word[0], word[0]), call) for by in new]


def in_f(call):
    """A call of arrays in Fortran order."""
    return instead(call, "x x_f p p_f y y_f h h_f")[0]


SOFTMAX, LOG, LSE = "softmax(x, axis, out=y)", "log_softmax(x, axis, out=y)", "logsumexp(x, axis)"
ENTROPY, HESSIAN = "softmax_entropy(x, axis)", "softmax_grad_hess(x, label, out=(y, h))"
LABELS = "cross_entropy(x, label, axis, return_grad=True, out=y)"
SOFT = "cross_entropy(x, p, axis, return_grad=True, out=y)"
VJP, JACOBIAN = "softmax_vjp(p, x, axis, out=y)", "softmax_jacobian(few, out=square)"
TEMPERATURES = "temperature=2", "temperature=T"
MASKS = "where=some_classes", "where=some_rows", "where=some"
WEIGHTS = "weight=weight", "sample_weight=T", "label_smoothing=0.1", "z_loss=1e-4", "softcap=30.0"
CELLS = [
    # Layouts: results in the other order, everything in Fortran order but the result, inputs backwards
    *(
        Cells(OPTION, call, instead(call, "y y_f h h_f", "x rows_back", "x classes_back"))
        for call in (SOFTMAX, LOG, LSE, LABELS, SOFT, VJP, HESSIAN)
    ),
    *(
        Cells(OPTION, in_f(call), instead(in_f(call), "y_f y h_f h"))
        for call in (SOFTMAX, LOG, LABELS, SOFT, VJP, HESSIAN)
    ),
    *(Cells(OPTION, call, instead(call, "p p_f", "p p_back")) for call in (SOFT, VJP)),
    *(Cells(OPTION, in_f(call), instead(in_f(call), "p_f p")) for call in (SOFT, VJP)),
    Cells(OPTION, JACOBIAN, instead(JACOBIAN, "square square_f", "square square_turned", "few few_f")),
    *(
        Cells(OPTION, *instead(call, f"x {kind}_copy y {kind}_y"), instead(call, f"x {kind} y {kind}_y"))
        for call in (SOFTMAX, LSE)
        for kind in ("even_rows", "even_classes")
    ),
    *(
        Cells(OPTION, f"copyto(y, x); {instead(call, 'x y y z')[0]}", [f"copyto(y, x); {instead(call, 'x y')[0]}"])
        for call in (SOFTMAX, LABELS)
    ),
    # Options
    *(Cells(OPTION, call, with_options(call, *TEMPERATURES)) for call in (SOFTMAX, LABELS, SOFT, VJP)),
    Cells(OPTION, JACOBIAN, with_options(JACOBIAN, "temperature=2", "temperature=few_T")),
    *(Cells(OPTION, call, with_options(call, *WEIGHTS)) for call in (LABELS, SOFT)),
    Cells(OPTION, LABELS, with_options(*instead(LABELS, "label some_labels"), "ignore_index=-7")),
    Cells(OPTION, LABELS, instead(LABELS, "label pair2", "label pair4")),
    Cells(1.1, LSE, with_options(LSE, "b=0.5")),
    # Masks and dtypes
    *(Cells(CONVERTED, call, with_options(call, *MASKS)) for call in (SOFTMAX, LSE, ENTROPY)),
    Cells(CONVERTED, LSE, with_options(LSE, "b=b")),
    *(
        Cells(CONVERTED, call, instead(call, "x swapped", "y y_swapped", "p p_swapped", "label label_swapped"))
        for call in (SOFTMAX, LABELS, SOFT, VJP)
    ),
    *(
        Cells(
            CONVERTED,
            call,
            [
                other
                for kind in ("float16", "float32")
                for other in instead(call, f"x x_{kind}", f"y y_{kind}", f"x x_{kind} y y_{kind}")
            ]
            + instead(call, "x x_int8", "x x_int64", "x x_bool"),
        )
        for call in (SOFTMAX, LABELS)
    ),
    Cells(CONVERTED, SOFTMAX, instead(SOFTMAX, "x x_float16_f")),
    *(Cells(CONVERTED, call, instead(call, "p p_float16", "p p_float32")) for call in (SOFT, VJP)),
    # Numbers
    *(
        Cells(NUMBERS, call, instead(call, "x flat", "x peaked", "x bimodal"))
        for call in (SOFTMAX, LOG, LSE, LABELS, SOFT)
    ),
    *(
        Cells(NUMBERS, *with_options(call, "temperature=2"), with_options(call, "temperature=100", "temperature=0.02"))
        for call in (SOFTMAX, LOG, LABELS)
    ),
    *(Cells(NUMBERS, call, instead(call, "p onehot")) for call in (SOFT, VJP)),
    Cells(NUMBERS, JACOBIAN, instead(JACOBIAN, "few few_onehot")),
]


# The arrays


def along(a, axis, step):
    """A view of every step-th entry along an axis."""
    return a[(slice(None),) * axis + (slice(None, None, step),)]


def names(shape, axis, dtype):
    """What the statements name. What a dtype or a shape does not have is absent, and so are its cells."""
    rng = np.random.default_rng(1)
    n, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    wide, one = rng.standard_normal(shape), [m if i == axis else 1 for i, m in enumerate(shape)]
    peaked = wide - 75 * (rng.random(shape) < 0.5)
    np.put_along_axis(peaked, np.expand_dims(rng.integers(0, n, rows), axis), 20.0, axis)
    x, p, onehot = wide.astype(dtype), csoftmax.softmax(3 * wide, axis).astype(dtype), np.zeros(shape, dtype)
    label = rng.integers(0, n, rows)
    np.put_along_axis(onehot, np.expand_dims(label, axis), 1, axis)
    swapped = x.dtype.newbyteorder()
    given = {name: getattr(csoftmax, name) for name in csoftmax.__all__} | {
        "copyto": np.copyto,
        "axis": axis,
        "x": x,
        "p": p,
        "label": label,
        "T": rng.uniform(0.5, 2, rows),
        "rows_back": along(x, int(axis == 0), -1),
        "classes_back": along(x, axis, -1),
        "p_back": along(p, axis, -1),
        "even_rows": along(x, int(axis == 0), 2),
        "even_classes": along(x, axis, 2),
        "some_labels": np.where(rng.random(rows) < 1 / 7, -7, label),
        "weight": rng.uniform(0.5, 2, n),
        "some": rng.random(shape) < 0.8,
        "b": rng.random(shape).astype(dtype),
        "some_classes": rng.random(one) < 0.8,
        "some_rows": np.expand_dims(rng.random(rows) < 0.8, axis),
        "onehot": onehot,
        "peaked": peaked.astype(dtype),
        "flat": (0.02 * wide).astype(dtype),
        "bimodal": (wide - 75 * (np.indices(one)[axis] % 2)).astype(dtype),
        "swapped": x.astype(swapped),
        "p_swapped": p.astype(swapped),
        "y_swapped": x.astype(swapped),
        "label_swapped": label.astype(label.dtype.newbyteorder()),
    }
    for k in (2, 4):
        given[f"pair{k}"] = rng.integers(0, n, (*rows, k)), rng.dirichlet(np.ones(k), rows)
    for kind in CONVERSIONS[np.dtype(dtype).name]:
        given |= {f"x_{kind}": x.astype(kind), f"p_{kind}": p.astype(kind), f"y_{kind}": x.astype(kind)}
        given |= {f"x_{kind}_f": np.asfortranarray(given[f"x_{kind}"])}
    for name in ("even_rows", "even_classes"):
        given[f"{name}_copy"], given[f"{name}_y"] = given[name].copy(), given[name].copy()
    if axis == len(shape) - 1 and n * n <= MOST_SQUARES:
        few = p.reshape(-1, n)[: MOST_SQUARES // n**2]
        square = np.zeros((*few.shape, n), dtype)
        given |= {
            "few": few,
            "few_f": np.asfortranarray(few),
            "few_onehot": onehot.reshape(-1, n)[: len(few)],
            "few_T": rng.uniform(0.5, 2, len(few)),
            "square": square,
            "square_f": np.asfortranarray(square),
            "square_turned": square.copy().swapaxes(-1, -2),
        }
    if len(shape) == 2 and axis == 1:
        given |= {"h": np.zeros_like(x), "h_f": np.asfortranarray(x)}
    given |= {name: np.zeros_like(x) for name in "yz"}
    return given | {f"{name}_f": np.asfortranarray(given[name]) for name in "xpyz"}


# Timing, and the table


class Call:
    """A statement of a cell, and the least time that one of its turns took."""

    def __init__(self, statement, given):
        self.timer, self.seconds = timeit.Timer(statement, globals=given), np.inf
        self.timer.timeit(1)
        self.calls = max(1, int(TURN / self.timer.timeit(1)))

    def turn(self):
        """Whether it was faster than those before, by half a percent."""
        seconds, before = self.timer.timeit(self.calls) / self.calls, self.seconds
        self.seconds = min(seconds, before)
        return seconds < 0.995 * before


def is_known(statement, given):
    return set(compile(statement, "cell", "exec").co_names) <= set(given)


def has_subnormals(given):
    y = given["y"]
    return bool(np.any((y != 0) & (np.abs(y) < np.finfo(y.dtype).smallest_normal)))


def measure(cells, given, turns):
    """{statement: text}, and (times its allowance, text) of ratios above; ends once so many turns brought nothing."""
    plain = Call(cells.plain, given)
    result = given["square" if "square" in cells.plain else "x"]
    shown, above = {}, []
    for statement in cells.others:
        if not is_known(statement, given):
            continue
        call = Call(statement, given)
        subnormal = cells.allowance == NUMBERS and "out=y" in statement and has_subnormals(given)
        allowance = SUBNORMAL if subnormal else cells.allowance
        quiet = 0
        while quiet < turns:
            quiet = 0 if plain.turn() | call.turn() else quiet + 1
        ratio = call.seconds / plain.seconds
        if ratio > allowance:
            above.append((ratio / allowance, f"{ratio:.2f} > {allowance}  {statement}"))
        shown[statement] = f"[red]{ratio:.2f} > {allowance}[/]" if ratio > allowance else f"{ratio:.2f}"
    if shown:
        shown[cells.plain] = f"[dim]{1e9 * plain.seconds / result.size:.3g} ns[/]"
    return shown, above


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two shapes of float32, fewer turns")
    parser.add_argument("--dtype", choices=CONVERSIONS, help="one dtype; default: all")
    parser.add_argument("--only", default="", metavar="PATTERN", help="the statements that match a regular expression")
    asked = parser.parse_args()
    csoftmax.set_num_threads(1)
    cells = [c._replace(others=[s for s in c.others if re.search(asked.only, s)]) for c in CELLS]
    cells = [c for c in cells if c.others]
    shapes, turns = (SHAPES[:2], 10) if asked.quick else (SHAPES, 20)
    dtypes = [asked.dtype] if asked.dtype else ["float32"] if asked.quick else CONVERSIONS
    console, above = console_of(), []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(dtypes) * len(shapes) * len(cells))
        for dtype in dtypes:
            columns = []
            for shape, axis in shapes:
                progress.update(task, description=f"{dtype} {shape}")
                given, column = names(shape, axis, np.dtype(dtype)), {}
                for i, c in enumerate(cells):
                    if is_known(c.plain, given) and (dtype != "float16" or c.allowance == NUMBERS):
                        shown, over = measure(c, given, turns)
                        column |= {(i, statement): text for statement, text in shown.items()}
                        above += [(by, f"{dtype} {shape} axis {axis}: {text}") for by, text in over]
                    progress.advance(task)
                columns.append(column)
            console.print(table_of(dtype, cells, shapes, columns))
    for _, text in sorted(above, reverse=True):
        console.print(text, highlight=False)
    if above:
        sys.exit(f"{len(above)} ratios are above their allowance")


def console_of():
    """As wide as the terminal, or as the table."""
    return Console(width=None if sys.stdout.isatty() else 160)


def table_of(dtype, cells, shapes, columns):
    heads = [f"{shape}" if axis else f"{shape}, axis 0" for shape, axis in shapes]
    table = Table(Column(dtype, no_wrap=True), *heads, title="ratio to the plain call above, whose ns are given")
    for i, c in enumerate(cells):
        for statement in (c.plain, *c.others):
            entries = [column.get((i, statement), "") for column in columns]
            if any(entries):
                table.add_row(("" if statement == c.plain else "  ") + statement, *entries)
    return table


if __name__ == "__main__":
    main()
