"""The numbers of one cell: inputs, output buffers, and the right answer by a float64 NumPy formula."""

import functools

import blas  # noqa: F401
import numpy as np
from cells import Cell

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


# ---- the formulas: plain NumPy, classes along `axis` -------------------------------------------------------


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
