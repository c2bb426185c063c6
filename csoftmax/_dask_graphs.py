"""The graphs of dask: which blocks go to which task of `_dask_losses`, and what comes of the loss.

The class axis comes last. Axes have numbers for dask.array.blockwise: those of the rows count from 0.
"""

import operator
from typing import Any, TypeAlias

import dask.array
import numpy as np

import csoftmax
from csoftmax import _dask_losses

da: Any = dask.array  # most of which has no types

Array: TypeAlias = Any  # of dask, which has no types for it
Operand: TypeAlias = tuple[Any, tuple[int, ...] | None]  # an array with the numbers of its axes; or anything, and None

CLASS, ROW, FEATURE, SLOT, WHOLE = -1, -2, -3, -4, -5  # ROW: of what is sent per row; SLOT: of pairs; WHOLE: one chunk
NOTHING: Operand = (None, None)


def known(x: Array, name: str) -> Array:
    """A dask array whose chunks have sizes."""
    x = da.asarray(x)
    if any(np.isnan(size) for sizes in x.chunks for size in sizes):
        raise ValueError(f"{name} has chunks of unknown size: call {name}.compute_chunk_sizes() first")
    return x


def floating(x: Array) -> Array:
    """An array of the dtype that csoftmax keeps: integers and bool as float64."""
    return x.astype(np.float64) if x.dtype.kind in "iub" else x


def logits_of(x: Array, axis: int, name: str) -> tuple[Array, int]:
    """Logits with the class axis last, and where it was."""
    x, axis = floating(known(x, name)), operator.index(axis)
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(axis, x.ndim)
    return da.moveaxis(x, axis, -1), axis % x.ndim


def moved(a: Array, x: Array, axis: int, name: str) -> Array:
    """An array that broadcasts to logits as they were given, as x is now: its class axis last, and its chunks."""
    a, shape = known(a, name), list(x.shape[:-1])
    shape.insert(axis, x.shape[-1])
    try:
        return da.moveaxis(da.broadcast_to(a, tuple(shape)), axis, -1).rechunk(x.chunks)
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}, which does not broadcast to {tuple(shape)}") from None


def axes_of(x: Array) -> tuple[int, ...]:
    return (*range(x.ndim - 1), CLASS)


def like_rows(a: Array, x: Array) -> Array:
    """An array of rows, and perhaps one axis more, in the chunks of the rows of x."""
    return a.rechunk(x.chunks[:-1] + ((a.shape[-1],),) * (a.ndim - x.ndim + 1))


def per_row(a: Any, x: Array, name: str) -> Operand:
    """An operand that is one number, or broadcasts to the rows of x."""
    if a is None or np.ndim(a) == 0:
        return a, None
    a, rows = known(a, name), x.shape[:-1]
    try:
        return like_rows(da.broadcast_to(a, rows), x), axes_of(x)[:-1]
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}, which does not broadcast to rows of shape {rows}") from None


def starts_of(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where each chunk of an axis begins."""
    return tuple(int(n) for n in np.cumsum((0, *sizes[:-1])))


def one_each(numbers: tuple[int, ...]) -> Array:
    return da.from_array(np.array(numbers), chunks=1)


def class_starts(x: Array) -> Operand:
    return one_each(starts_of(x.chunks[-1])), (CLASS,)


def row_starts(x: Array) -> list[Operand]:
    return [(one_each(starts_of(sizes)), (i,)) for i, sizes in enumerate(x.chunks[:-1])]


def blockwise(
    function: Any,
    axes: tuple[int, ...],
    dtype: Any,
    *operands: Operand,
    new_axes: dict[int, int] | None = None,
    chunks: dict[int, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Array:
    """An array with these axes, each block of which a function makes of those of the operands."""
    flat = [item for operand in operands for item in operand]
    return da.blockwise(
        function,
        axes,
        *flat,
        dtype=dtype,
        new_axes=new_axes or {},
        adjust_chunks=chunks or {},
        align_arrays=False,
        concatenate=True,
        meta=np.empty((0,) * len(axes), dtype),
        **(options or {}),
    )


def send(function: Any, count: int, *operands: Operand, options: dict[str, Any] | None = None) -> Array:
    """What each shard sends: so many numbers per row, side by side on the class axis."""
    x, axes = operands[0]
    assert axes is not None
    shards = len(x.chunks[-1]) if CLASS in axes else 1
    return blockwise(function, axes, np.float64, *operands, chunks={CLASS: (count,) * shards}, options=options)


class Loss:
    """A loss of rows of logits: its operands, its divisor, and its graphs."""

    def __init__(
        self,
        logits: Array,
        axis: int,
        target: Any,
        sample_weight: Any,
        temperature: Any,
        where: Any,
        reduction: str,
        normalizer: float | None,
        options: dict[str, Any],
    ) -> None:
        self.logits, self.axes, self.reduction, self.options = logits, axes_of(logits), reduction, options
        self.rows, self.shards = self.axes[:-1], len(logits.chunks[-1])
        self._take_target(target, axis)
        self._check_options(normalizer)
        self.sample_weight = per_row(sample_weight, logits, "sample_weight")
        self.temperature = per_row(temperature, logits, "temperature")
        self.where = NOTHING if where is None else (moved(where, logits, axis, "where"), self.axes)
        for name, given in (("where", where is not None), ("focal_gamma", options["focal_gamma"])):
            if given and self.shards > 1:
                raise ValueError(f"{name} needs the classes in one chunk, and there are {self.shards}: rechunk them")
        self.divisor = self._find_divisor(normalizer)

    def _take_target(self, target: Any, axis: int) -> None:
        rows, shape = self.logits.shape[:-1], self.logits.shape
        self.prob: Operand = NOTHING
        if isinstance(target, tuple):
            index, prob = (known(a, f"target[{i}]") for i, a in enumerate(target))
            if index.shape[:-1] != rows or prob.shape != index.shape:
                raise ValueError(
                    f"target has shapes {index.shape} and {prob.shape}, but rows of shape {rows} take both of shape "
                    f"{rows} + (k,)"
                )
            self.kind, both = "pairs", (*self.rows, SLOT)
            self.target: Operand = like_rows(index, self.logits), both
            self.prob = like_rows(prob, self.logits), both
            return
        target = known(target, "target")
        if target.shape == rows:
            self.kind, self.target = "labels", (like_rows(target, self.logits), self.rows)
        elif target.ndim == len(shape):
            self.kind, self.target = "probabilities", (moved(target, self.logits, axis, "target"), self.axes)
        else:
            raise ValueError(
                f"target has shape {target.shape}, but there are rows of shape {rows} and {shape[-1]} classes"
            )

    def _check_options(self, normalizer: float | None) -> None:
        """Have csoftmax check them, by the loss of a row like these."""
        if self.options["weight"] is not None:
            self.options["weight"] = np.asarray(self.options["weight"])
        one: Any = {
            "labels": [0],
            "pairs": (np.zeros((1, 1), int), np.ones((1, 1))),
            "probabilities": np.ones((1, self.logits.shape[-1])),
        }[self.kind]
        csoftmax.cross_entropy(
            np.zeros((1, self.logits.shape[-1])),
            one,
            reduction=self.reduction,  # type: ignore[call-overload]
            normalizer=normalizer,
            **self.options,
        )

    def _find_divisor(self, normalizer: float | None) -> Operand:
        """What a mean divides by, an array of no axes."""
        if self.reduction != "mean":
            return NOTHING
        if normalizer is not None:
            return da.from_array(np.float64(normalizer)), ()
        if self.kind == "probabilities":
            return da.from_array(np.float64(np.prod(self.logits.shape[:-1]))), ()
        weight = self.options["weight"] if self.kind == "labels" else None
        counted = blockwise(
            _dask_losses.counted,
            self.rows,
            np.float64,
            self.target,
            self.whole(weight),
            options={"ignore_index": self.options["ignore_index"], "pairs": self.kind == "pairs"},
        )
        return counted.sum(), ()

    def whole(self, weight: Any) -> Operand:
        """The weights of all classes, for each task."""
        return NOTHING if weight is None else (da.from_array(weight, chunks=-1), (WHOLE,))

    def reduce(self, losses: Array) -> Array:
        """The loss, of those of the rows, which a mean has divided already where the rows are whole."""
        dtype = np.float32 if self.logits.dtype.itemsize == 2 else self.logits.dtype
        if self.reduction == "none":
            return losses.astype(dtype)
        total = losses.sum(dtype=np.float64)
        if self.reduction == "mean":
            divisor = self.divisor[0]
            total = da.where(divisor == 0, np.nan, total if self.shards == 1 else total / divisor)
        return total.astype(dtype)

    # Rows whose classes lie in one chunk

    def of_rows(self, function: Any, operands: list[Operand], return_grad: bool, axes: tuple[int, ...]) -> Array:
        """The losses of csoftmax; with gradients, tuples of what a task returns, as an array with these axes."""
        return blockwise(
            function,
            axes if return_grad else self.rows,
            object if return_grad else np.float64,
            *operands,
            self.target,
            self.prob,
            self.sample_weight,
            self.temperature,
            self.where,
            self.divisor,
            *row_starts(self.logits),
            options={"options": self.options, "return_grad": return_grad},
        )

    # Rows in shards

    def merge(self, function: Any, operands: list[Operand]) -> tuple[Array, Array]:
        """What the shards send, and what is made of it for each row."""
        classes, weight = self.logits.shape[-1], self.options["weight"]
        smoothing = self.options["label_smoothing"]
        by_label = self.kind == "labels" and not smoothing
        self.shared = {
            "softcap": self.options["softcap"],
            "ignore_index": self.options["ignore_index"],
            "classes": classes,
            "z_loss": self.options["z_loss"],
            "by_label": by_label,
            "label_smoothing": smoothing,
        }
        dense = NOTHING
        if weight is not None and not by_label:
            dense = da.from_array(weight, chunks=(self.logits.chunks[-1],)), (CLASS,)
        self.given = [class_starts(self.logits), self.target, self.prob, dense, self.temperature]
        shards = (3,) * self.shards
        sent = blockwise(
            function,
            self.axes,
            np.float64,
            *operands,
            *self.given,
            chunks={CLASS: shards},
            options={"options": self.shared},
        )
        labels = NOTHING if self.kind == "probabilities" else self.target
        merged = blockwise(
            _dask_losses.merged_stats,
            (*self.rows, ROW),
            np.float64,
            (sent, self.axes),
            labels,
            self.whole(weight if by_label else None),
            self.sample_weight,
            *row_starts(self.logits),
            new_axes={ROW: 5},
            options={"options": self.shared, "pairs": self.kind == "pairs"},
        )
        return sent, merged

    def back(self, sent: Array, merged: Array) -> list[Operand]:
        """What a task needs for a gradient, beside what it had."""
        return [*self.given, (sent, self.axes), (merged, (*self.rows, ROW)), self.divisor]

    # The graphs

    def of_logits(self, logits: Array, return_grad: bool) -> tuple[Array, Array]:
        """The losses of rows and their gradient."""
        x = logits, self.axes
        if self.shards > 1:
            sent, merged = self.merge(_dask_losses.shard_stats, [x])
            grad = blockwise(
                _dask_losses.shard_gradient,
                self.axes,
                logits.dtype,
                x,
                *self.back(sent, merged),
                options={"options": self.shared},
            )
            return merged[..., 0], grad
        both = self.of_rows(_dask_losses.row_losses, [x], return_grad, self.rows)
        if not return_grad:
            return both, None
        losses = part_of(both, self.rows, 0, self.rows, np.float64)
        return losses, part_of(both, self.rows, 1, self.axes, logits.dtype, None, {CLASS: logits.shape[-1]})

    def of_layer(self, x: Array, w: Array, bias: Array | None, return_grad: bool) -> tuple[Array, Any]:
        """The losses of rows and (dx, dw, db)."""
        layer: list[Operand] = [(x, (0, FEATURE)), (w, (CLASS, FEATURE)), NOTHING if bias is None else (bias, (CLASS,))]
        axes = self.axes
        if self.shards > 1:
            sent, merged = self.merge(_dask_losses.linear_stats, layer)
            losses = merged[..., 0]
            parts = blockwise(
                _dask_losses.linear_gradients,
                axes,
                object,
                *layer,
                *self.back(sent, merged),
                options={"options": self.shared},
            )
        else:
            parts = self.of_rows(_dask_losses.linear_losses, layer, return_grad, axes)
            losses = part_of(parts, axes, 3, axes, np.float64, 1, {}, {CLASS: 1})[:, 0] if return_grad else parts
        if not return_grad:
            return losses, None
        features = {FEATURE: x.shape[1]}
        cube = 0, CLASS, FEATURE
        dx = part_of(parts, axes, 0, cube, x.dtype, 1, features, {CLASS: 1}).sum(axis=1, dtype=x.dtype)
        dw = part_of(parts, axes, 1, cube, w.dtype, 0, features, {0: 1}).sum(axis=0, dtype=w.dtype)
        db = None
        if bias is not None:
            db = part_of(parts, axes, 2, axes, bias.dtype, 0, {}, {0: 1}).sum(axis=0, dtype=bias.dtype)
        return losses, (dx, dw, db)


def part_of(
    parts: Array,
    axes: tuple[int, ...],
    number: int,
    out: tuple[int, ...],
    dtype: Any,
    along: int | None = None,
    new_axes: dict[int, int] | None = None,
    chunks: dict[int, Any] | None = None,
) -> Array:
    """One of the results of each task, in an array of its own; `along` is a new axis, to sum over the tasks."""
    return blockwise(
        _dask_losses.part, out, dtype, (parts, axes), (number, None), (along, None), new_axes=new_axes, chunks=chunks
    )
