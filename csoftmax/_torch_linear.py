"""The operators of a linear layer's cross-entropy, by chunks of rows whose matrix products are torch.mm.

The products run where PyTorch's are fastest, with MKL or oneDNN. The logits of a chunk have the dtype of x and w, so
those of bfloat16 are rounded, as those of `x @ w.T` are.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from csoftmax._torch_ops import OPTIONS, TARGET, loss_and_grad, loss_dtype, register

LEAST_ROWS, CHUNK = 1024, 2**23  # a chunk has so many rows, or so many bytes if that is more rows, ...
MEMORY, PART = 2**26, 8  # ... but takes at most so many bytes, or this part of all the logits


class Options(NamedTuple):
    """What is given beside x, w, target and bias, in the order of the schemas."""

    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int | None
    label_smoothing: float
    focal_gamma: float
    z_loss: float
    softcap: float | None
    temperature: float
    temperatures: Tensor | None
    where: Tensor | None
    reduction: str
    normalizer: float | None


class Rows(NamedTuple):
    """What is given per row, flat, or of a chunk of the rows."""

    target: Tensor
    prob: Tensor | None
    sample_weight: Tensor | None
    temperatures: Tensor | None
    where: Tensor | None

    def take(self, chosen: Any) -> "Rows":
        where = self.where if self.where is None or self.where.ndim <= 1 else self.where[chosen]
        prob, weights, temperatures = (
            None if a is None else a[chosen] for a in (self.prob, self.sample_weight, self.temperatures)
        )
        return Rows(self.target[chosen], prob, weights, temperatures, where)


def check_layer(x: Tensor, w: Tensor, bias: Tensor | None) -> None:
    if w.ndim != 2:
        raise ValueError(f"w has shape {tuple(w.shape)}, but must be (classes, features)")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, but w of shape {tuple(w.shape)} takes (..., {w.shape[1]})")
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}, but w of shape {tuple(w.shape)} takes ({len(w)},)")
    for name, a in (("w", w), ("bias", bias)):
        if a is not None and a.dtype != x.dtype:
            raise TypeError(f"{name} has dtype {a.dtype} and x has dtype {x.dtype}: pass {name}.to({x.dtype})")
    if not x.dtype.is_floating_point:
        raise TypeError(f"x has dtype {x.dtype}, which has no gradient: pass x.double()")


def over(a: Tensor | None, shape: tuple[int, ...], flat: tuple[int, ...], name: str) -> Tensor | None:
    """A tensor broadcast to a shape, as one of the shape `flat`."""
    if a is None:
        return None
    try:
        return a.expand(shape).reshape(flat)
    except RuntimeError:
        raise ValueError(f"{name} has shape {tuple(a.shape)}, which does not broadcast to {shape}") from None


def flatten(rows: tuple[int, ...], classes: int, target: Tensor, prob: Tensor | None, options: Options) -> Rows:
    """Everything that is given per row, with one axis of rows."""
    n = math.prod(rows)
    where = options.where
    if where is not None and where.ndim > 1:
        last = where.shape[-1:]
        where = over(where, (*rows, *last), (n, *last), "where")
    if prob is not None:
        pairs = target.shape[-1:]
        flat_target = over(target, (*rows, *pairs), (n, *pairs), "target[0]")
        prob = over(prob, (*rows, *pairs), (n, *pairs), "target[1]")
    elif target.ndim == len(rows):
        flat_target = over(target, rows, (n,), "target")
    elif target.shape == (*rows, classes):
        flat_target = target.reshape(n, classes)
    else:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, but rows of shape {rows} and {classes} classes take class "
            f"indices of shape {rows} or probabilities of shape {(*rows, classes)}"
        )
    assert flat_target is not None
    return Rows(
        flat_target,
        prob,
        over(options.sample_weight, rows, (n,), "sample_weight"),
        over(options.temperatures, rows, (n,), "temperature"),
        where,
    )


def labelled(rows: Rows, shape: tuple[int, ...], classes: int, ignore_index: int | None) -> Tensor | None:
    """Which rows have a class index, all of which are checked; None for probabilities, where all rows count."""
    if rows.target.ndim == 2 and rows.prob is None:
        return None
    labels = rows.target
    counts = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    bad = counts & ((labels < 0) | (labels >= classes))
    if bool(bad.any()):
        first, *slot = bad.nonzero()[0].tolist()
        place = ", ".join(str(int(i)) for i in [*torch.unravel_index(torch.tensor(first), shape), *slot])
        name, label = "target" if rows.prob is None else "target[0]", labels[(first, *slot)].item()
        raise IndexError(f"{name}[{place or '()'}] = {label} is not a class index in [0, {classes})")
    return counts if rows.prob is None else counts.any(dim=1)


def divisor(rows: Rows, counts: Tensor | None, weight: Tensor | None) -> float:
    """What a mean divides by."""
    if counts is None:
        return len(rows.target)
    if weight is None or rows.prob is not None:
        return int(counts.sum())
    return float(weight.double()[rows.target[counts].long()].sum())


def chunks(counts: Tensor | None, rows: Rows, row_bytes: int, chunk_size: int | None) -> list[Any]:
    """The rows that count and have a weight, some at a time: slices, or numbers where there are others."""
    n = len(rows.target)
    if rows.sample_weight is not None:
        weighty = rows.sample_weight != 0
        counts = weighty if counts is None else counts & weighty
    if chunk_size is None:
        memory = max(MEMORY, n * row_bytes // PART)
        chunk_size = max(1, min(max(LEAST_ROWS, CHUNK // row_bytes), memory // row_bytes))
    elif chunk_size < 1:
        raise ValueError(f"chunk_size must be positive, got {chunk_size}")
    if counts is None or bool(counts.all()):
        return [slice(start, min(start + chunk_size, n)) for start in range(0, n, chunk_size)]
    return [part for part in torch.split(counts.nonzero()[:, 0], chunk_size) if len(part)]


class Gradients:
    """dx, dw and db, to which chunks of rows are added; sums of 16-bit products are kept in float32."""

    def __init__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> None:
        self.w, self.bias, wide = w, bias, loss_dtype(x)
        self.dx = torch.zeros(x.shape, dtype=x.dtype)
        self.rows = self.dx.view(-1, w.shape[1]) if x.numel() else self.dx.view(0, w.shape[1])
        self.dw = torch.zeros(w.shape, dtype=wide)
        self.db = torch.zeros(0 if bias is None else len(w), dtype=torch.float64)

    def add(self, chosen: Any, x: Tensor, g: Tensor) -> None:
        self.rows[chosen] = torch.mm(g, self.w)
        if self.dw.dtype == g.dtype:
            self.dw.addmm_(g.t(), x)
        else:
            self.dw += torch.mm(g.t(), x)
        if self.bias is not None:
            self.db += g.sum(0, dtype=self.dw.dtype)

    def finish(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.dx, self.dw.to(self.w.dtype), self.db.to(self.w.dtype)


def loss_of(
    chosen: Any, logits: Tensor, rows: Rows, options: Options, normalizer: float | None, grad: Tensor | None
) -> Any:
    """The loss of some of the rows, which have these logits."""
    part = rows.take(chosen)
    now = options._replace(
        sample_weight=part.sample_weight, temperatures=part.temperatures, where=part.where, normalizer=normalizer
    )
    return loss_and_grad(grad, logits, part.target, part.prob, -1, *now)


def check_options(rows: Rows, counts: Tensor | None, options: Options, logits: Tensor) -> None:
    """Have csoftmax check what it is given, by the loss of one row, of those that count if there are such."""
    first = 0 if counts is None or not len(counts) else int(counts.int().argmax())
    one = slice(first, min(first + 1, len(rows.target)))
    loss_of(one, logits[: one.stop - one.start], rows, options, options.normalizer, None)


def compute(
    x: Tensor,
    w: Tensor,
    target: Tensor,
    prob: Tensor | None,
    bias: Tensor | None,
    given: tuple[Any, ...],
    chunk_size: int | None,
    gradients: Gradients | None,
) -> Tensor:
    """The loss; the gradients of each chunk are added to `gradients`, unless that is None."""
    options, shape, classes = Options(*given), tuple(x.shape[:-1]), len(w)
    rows = flatten(shape, classes, target, prob, options)
    counts = labelled(rows, shape, classes, options.ignore_index)
    check_options(rows, counts, options, x.new_zeros(1, classes))
    by, dtype = options.normalizer, loss_dtype(x)
    if options.reduction == "mean" and by is None:
        by = divisor(rows, counts, options.weight)
        if by == 0:
            return torch.full((), math.nan, dtype=dtype)
    losses, total = torch.zeros(len(rows.target), dtype=dtype), 0.0
    flat = x.reshape(len(losses), w.shape[1])
    for chosen in chunks(counts, rows, max(1, classes * x.itemsize), chunk_size):
        features = flat[chosen]
        logits = torch.mm(features, w.t()) if bias is None else torch.addmm(bias, features, w.t())
        loss = loss_of(chosen, logits, rows, options, by, None if gradients is None else logits)
        if gradients is not None:
            gradients.add(chosen, features, logits)
        if options.reduction == "none":
            losses[chosen] = torch.from_numpy(loss)
        else:
            total += float(loss)
    return losses.reshape(shape) if options.reduction == "none" else torch.tensor(total, dtype=dtype)


def linear_cross_entropy(
    x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *given: Any
) -> Tensor:
    check_layer(x, w, bias)
    return compute(x, w, target, prob, bias, given[:-1], given[-1], None)


def linear_cross_entropy_grad(
    x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *given: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_layer(x, w, bias)
    gradients = Gradients(x, w, bias)
    loss = compute(x, w, target, prob, bias, given[:-1], given[-1], gradients)
    return loss, *gradients.finish()


def fake(x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *given: Any) -> Tensor:
    return x.new_empty(x.shape[:-1] if given[-3] == "none" else (), dtype=loss_dtype(x))


def fake_grad(
    x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *given: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    db = w.new_empty(0 if bias is None else w.shape[0])
    return fake(x, w, target, prob, bias, *given), x.new_empty(x.shape), w.new_empty(w.shape), db


LINEAR = f"Tensor x, Tensor w, {TARGET}, Tensor? bias, {OPTIONS}, int? chunk_size"
register(f"linear_cross_entropy({LINEAR}) -> Tensor", linear_cross_entropy, fake)
register(
    f"linear_cross_entropy_grad({LINEAR}) -> (Tensor, Tensor, Tensor, Tensor)", linear_cross_entropy_grad, fake_grad
)
