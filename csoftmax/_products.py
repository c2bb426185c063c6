"""The three matrix products of a linear layer, a chunk of rows at a time, by NumPy's BLAS."""

import math

import numpy as np

from csoftmax import _coerce

TILE = 2**21  # bytes of a tile: of converted weights, and of what is added to their gradient ...
_LEAST_CLASSES = 16  # ... unless it has but this many classes


def _fits_blas(a, real):
    """Whether np.matmul hands the matrix `a` to BLAS as it lies, without a copy or a loop of its own."""
    if a.dtype != real or not a.flags.aligned:
        return False
    if a.flags.c_contiguous:
        return True
    (rows, columns), (down, along), item = a.shape, a.strides, real.itemsize
    by_rows = along == item and down >= item * max(1, columns) and down % item == 0
    by_columns = down == item and along >= item * max(1, rows) and along % item == 0
    return by_rows or by_columns


def as_real(a, real):
    """The matrix `a` in a dtype and layout for BLAS: itself, or a copy in C order."""
    return a if _fits_blas(a, real) else _fill(np.empty(a.shape, real), a)


def _fill(to, a):
    """Copy `a` into `to`, an array of float32 or float64.

    float16 takes a way of its own, since NumPy's conversion costs 3.8 ns a number and this one 0.3: the bits, shifted
    to their places in a float32, are the number over 2^112. Infinities and NaN, whose exponent is the largest,
    come out as 2^16 and more, and are left to NumPy.
    """
    if a.dtype != np.float16 or to.dtype != np.float32:
        np.copyto(to, a)
        return to
    bits = to.view(np.int32)
    np.copyto(bits, a.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, -0x70002000, out=bits)  # the sign, then 28 - 13 bits: its copies are cleared
    np.multiply(to, np.float32(2.0**112), out=to)
    if to.size and max(to.max(), -to.min()) >= 2.0**16:
        np.copyto(to, a)
    return to


class Weights:
    """Weights as BLAS takes them, in tiles of classes: one, or as many as must be converted; and the bias."""

    def __init__(self, w, bias, real):
        self.w, self.scratch = w, None
        self.bias = None if bias is None else bias.astype(real)
        self.step = max(1, len(w))
        if not _fits_blas(w, real):
            self.step = _classes_per_tile(w, real)
            self.scratch = np.empty_like(w[: self.step], dtype=real, subok=False)

    def _tiles(self):
        for tile in slices(len(self.w), self.step):
            part = self.w[tile]
            yield tile, part if self.scratch is None else _fill(self.scratch[: len(part)], part)

    def logits(self, rows, out):
        """``rows @ w.T + bias``."""
        for tile, part in self._tiles():
            np.matmul(rows, part.T, out=out[:, tile])
        if self.bias is not None:
            out += self.bias
        return out

    def gradient(self, g, out):
        """``g @ w``, g being the gradient of the logits."""
        for tile, part in self._tiles():
            if tile.start == 0:
                np.matmul(g[:, tile], part, out=out)
            else:
                out += g[:, tile] @ part
        return out


def _classes_per_tile(w, real):
    return max(1, min(len(w), max(_LEAST_CLASSES, TILE // max(1, real.itemsize * w.shape[1]))))


def slices(length, step):
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


class _Sum:
    """The gradient of w or bias, summed over the chunks: in `given` where that has the digits, else apart."""

    def __init__(self, like, given, real, inputs, accumulate):
        self.given, self.accumulate, self.dtype = given, accumulate, _coerce.floating(like)
        fine = given is not None and given.dtype.kind == "f" and given.itemsize >= real.itemsize
        self.direct = fine and not any(np.may_share_memory(given, a) for a in inputs)
        self.array = given if self.direct else np.empty(like.shape, real)
        self.begun = self.direct and accumulate  # whether there is something to add to

    def take(self, part, place=slice(None)):
        """Add what a chunk has for a slice of classes; write it, where the sum has not begun."""
        to = self.array[place]
        if self.begun:
            np.add(to, part, out=to, casting="unsafe")
        else:
            np.copyto(to, part, casting="unsafe")

    def finish(self):
        if not self.begun:
            self.array[...] = 0
        if self.given is None:
            return self.array.astype(self.dtype, copy=False)
        if not self.direct and self.accumulate:
            np.add(self.given, self.array, out=self.given, casting="unsafe")
        elif not self.direct:
            np.copyto(self.given, self.array, casting="unsafe")
        return self.given


class Gradients:
    """dx, dw and db: checked and allocated, then made chunk by chunk, then handed over."""

    def __init__(self, x, w, bias, out, accumulate, real, inputs):
        given = (None, None, None) if out is None else out
        if out is not None:
            _check_out(out, x, w, bias)
        self.given, dw, db = given
        self.real, shape = real, (math.prod(x.shape[:-1]), x.shape[-1])
        self.dx = self.given
        if self.dx is None or _overlaps(self.dx, x, [a for a in inputs if a is not x]) or not _flattens(self.dx, shape):
            self.dx = np.empty(x.shape, _coerce.floating(x))
        self.rows = self.dx.reshape(shape)
        self.dw = _Sum(w, dw, real, inputs, accumulate)
        self.db = None if bias is None else _Sum(bias, db, np.dtype(np.float64), inputs, accumulate)
        self.scratch = None

    def begin(self, left_out):
        self.rows[left_out] = 0

    def add(self, chosen, rows, g, weights):
        """Take in a chunk: its rows of x, and the gradient g of its logits. dx, which may be x, comes last."""
        self._add_dw(rows, g)
        if self.db is not None:
            self.db.take(np.ones(len(g), g.dtype) @ g)
            self.db.begun = True
        to = self.rows[chosen]
        direct = isinstance(chosen, slice) and _fits_blas(to, self.real)
        dx = weights.gradient(g, to if direct else np.empty(to.shape, self.real))
        if not direct:
            self.rows[chosen] = dx

    def _add_dw(self, rows, g):
        """The first chunk's dw is written by the product itself, where nothing stands against it."""
        total = self.dw.array
        if not self.dw.begun and _fits_blas(total, self.real):
            np.matmul(g.T, rows, out=total)
        else:
            if self.scratch is None:
                step = _classes_per_tile(total, self.real)
                self.scratch = np.empty_like(total[:step], dtype=self.real, subok=False)
            for tile in slices(len(total), len(self.scratch)):
                part = np.matmul(g[:, tile].T, rows, out=self.scratch[: tile.stop - tile.start])
                self.dw.take(part, tile)
        self.dw.begun = True

    def finish(self):
        if self.given is not None and self.dx is not self.given:
            np.copyto(self.given, self.dx, casting="unsafe")
        dx = self.dx if self.given is None else self.given
        return dx, self.dw.finish(), None if self.db is None else self.db.finish()


def _check_out(out, x, w, bias):
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(f"out must be a tuple (dx, dw, db) of arrays or None, got {type(out).__name__}")
    names = "dx", "dw", "db"
    for name, given, like in zip(names, out, (x, w, bias), strict=True):
        if given is not None and like is None:
            raise ValueError("out has a db, but there is no bias")
        if given is not None:
            _coerce.check_out(given, like.shape, _coerce.floating(like), f"{name} of out")
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if out[i] is not None and out[j] is not None and np.shares_memory(out[i], out[j]):
            raise ValueError(f"{names[i]} and {names[j]} of out share memory")


def _overlaps(dx, x, others):
    """Whether a write to dx could change what is still to be read: its row of x is not."""
    apart = np.may_share_memory(dx, x) and not _coerce.same_layout(dx, x)
    return apart or any(np.may_share_memory(dx, a) for a in others)


def _flattens(a, shape):
    """Whether `a` has a view of this shape."""
    return a.size == 0 or np.may_share_memory(a, a.reshape(shape))
