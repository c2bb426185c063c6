"""Guard pages: nothing outside the arrays is read or written, whatever the number of classes and of rows.

Every array lies between two pages that nobody may touch, and starts right after the first or ends right
before the second. One stray element kills the process: each instruction set and dtype has one of its own,
which prints the call before it makes it.
"""

import ctypes
import signal
from typing import NamedTuple

import numpy as np
import processes
import pytest
from guard_pages import EDGES, Arena

import csoftmax

LENGTHS = range(1, 68)
"""No tail at all, and every tail after up to 4 vectors of the widest level."""


class Call(NamedTuple):
    """A public function, the names of its array arguments, and the shape of `out`; None: it takes none."""

    function: str
    operands: tuple[str, ...]
    out: str | None

    def __call__(self, operands, out, axis, temperature):
        options = {"axis": axis, "temperature": temperature}
        if self.function == "logsumexp":
            options = {"axis": axis}
        if self.function == "cross_entropy":
            options |= {"reduction": "none", "return_grad": self.out is not None}
        return getattr(csoftmax, self.function)(*operands, **options, out=out)


CALLS = [
    Call("softmax", ("x",), "same"),
    Call("log_softmax", ("x",), "same"),
    Call("logsumexp", ("x",), "rows"),
    Call("softmax_jacobian", ("p",), "square"),
    Call("softmax_vjp", ("p", "x"), "same"),
    Call("softmax_jvp", ("p", "x"), "same"),
    Call("log_softmax_vjp", ("p", "x"), "same"),
    Call("log_softmax_jvp", ("p", "x"), "same"),
    Call("cross_entropy", ("x", "labels"), None),
    Call("cross_entropy", ("x", "labels"), "same"),
    Call("cross_entropy", ("x", "p"), None),
    Call("cross_entropy", ("x", "p"), "same"),
]


class Layout(NamedTuple):
    """An array of a given length along the axis whose tails are wanted; every `gap`-th element of memory."""

    rows: int | None
    classes: int | None
    axis: int
    gap: int = 1

    def shape(self, length):
        rows, classes = self.rows or length, self.classes or length
        return (rows, classes) if self.axis else (classes, rows)

    def spread(self, a):
        """`a` with gaps between its elements."""
        spread = np.zeros((*a.shape[:-1], a.shape[-1] * self.gap), a.dtype)[..., :: self.gap]
        spread[...] = a
        return spread


LAYOUTS = {
    "rows": Layout(3, None, axis=1),
    "columns": Layout(None, 5, axis=0),
    "pairs of columns": Layout(None, 2, axis=0),
    "rows with gaps": Layout(3, None, axis=1, gap=2),
    "rows of three": Layout(None, 3, axis=1),
    "rows of ten": Layout(None, 10, axis=1),
}


def arrays_for(layout, length, dtype):
    """The arrays that the calls take, by name, and empty ones that take their results."""
    rng = np.random.default_rng(length)
    shape, axis = layout.shape(length), layout.axis
    rows, n = shape[1 - axis], shape[axis]
    x, p = 3 * rng.standard_normal(shape), rng.dirichlet(np.ones(n), rows)
    labels = rng.integers(0, n, rows)
    labels[1::3] = -100
    arrays = {"x": x, "p": p if axis else p.T, "same": np.zeros(shape), "square": np.zeros((rows, n, n))}
    spread = {name: layout.spread(a.astype(dtype)) for name, a in arrays.items()}
    return spread | {"labels": labels, "rows": np.zeros(rows, dtype)}


def bits(results):
    return [np.asarray(a).tobytes() for a in (results if isinstance(results, tuple) else (results,))]


def check_every_tail(dtype):
    arenas = [Arena() for _ in range(3)]
    for name, layout in LAYOUTS.items():
        for length in LENGTHS:
            arrays = arrays_for(layout, length, dtype)
            for call in CALLS:
                check_call(call, arrays, arenas, f"{dtype}, {name} of length {length}", layout.axis)


def check_call(call, arrays, arenas, where, axis):
    """The call between guard pages, its result apart and in place, gives what it gives elsewhere."""
    given = [arrays[name] for name in call.operands]
    for temperature in (1.0, 0.5):
        out = None if call.out is None else np.zeros_like(arrays[call.out])
        expected = bits(call(given, out, axis, temperature))
        for edge in EDGES:
            print(f"{call.function}{call.operands} of {where}, T = {temperature}, at the {edge}", flush=True)
            operands = [arena.place(a, edge) for arena, a in zip(arenas, given, strict=False)]
            out = None if call.out is None else arenas[-1].place(arrays[call.out], edge)
            assert bits(call(operands, out, axis, temperature)) == expected
            if call.out == "same":
                assert bits(call(operands, operands[0], axis, temperature)) == expected, "in place"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tail(isa, dtype):
    processes.run_function(check_every_tail, dtype, CSOFTMAX_ISA=isa)


def read_next_to_an_array(edge):
    a = Arena().place(np.zeros(3, np.float32), edge)
    ctypes.string_at(a.ctypes.data + (-1 if edge == "start" else a.nbytes), 1)


@pytest.mark.parametrize("edge", EDGES)
def test_a_stray_read_is_caught(edge):
    with pytest.raises(AssertionError, match=f"status -({signal.SIGSEGV}|{signal.SIGBUS})\n"):
        processes.run_function(read_next_to_an_array, edge)
