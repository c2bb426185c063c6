"""Cross-entropy of a linear layer whose logits never exist whole: what is given per row, by chunks of rows.

Knows cross_entropy, which makes a chunk of logits a loss and their gradient, and nothing of kernels.
"""

import math

import numpy as np

from csoftmax import _coerce
from csoftmax._csoftmax import cross_entropy, per_row
from csoftmax._products import TILE, Gradients, Weights, as_real, slices

_ROWS, _CHUNK = 1024, 2**23  # a chunk has so many rows, or so many bytes if that is more rows, ...
_MEMORY, _PART = 2**26, 8  # ... but takes, with its tiles, at most so many bytes, or this part of all the logits
_IGNORED = -1  # stands for ignore_index in our copy of the labels


def linear_cross_entropy(
    x,
    w,
    target,
    bias=None,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    focal_gamma=0.0,
    z_loss=0.0,
    softcap=None,
    temperature=1.0,
    where=None,
    reduction="mean",
    normalizer=None,
    return_grad=False,
    chunk_size=None,
    out=None,
    accumulate=False,
):
    """Compute the cross-entropy of ``x @ w.T + bias`` and, if asked, its gradients, without holding the logits.

    The result is that of ``cross_entropy(x @ w.T + bias, target, ...)``. With g its gradient with respect to the
    logits, ``dx = g @ w``, ``dw = g.T @ x`` and ``db = g.sum(axis=0)``. Rows are taken in chunks: beside inputs and
    results the call needs at most 64 MB, or an eighth of the memory of the logits if that is more, some 30 bytes per
    row, and arrays for those gradients that cannot be made in place (see `out`).

    Parameters
    ----------
    x : array_like
        Shape (..., features); "rows" are the shape without the last axis.
    w : array_like
        Shape (classes, features).
    target : array_like or tuple
        What `cross_entropy` takes for logits of shape rows + (classes,): class indices, shaped like the rows;
        probabilities, shaped like the logits; or a pair (index, prob), each of shape rows + (k,).
    bias : array_like, optional
        Shape (classes,).
    weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap, reduction, normalizer
        As for `cross_entropy`. Ignored rows take no part in the products.
    sample_weight, temperature, where
        As for `cross_entropy`; the first, and an array as `temperature`, broadcast to the rows, `where` to rows +
        (classes,).
    return_grad : bool
        Return the gradients of the reduced loss (of the sum, for "none") as well.
    chunk_size : int, optional
        Rows per chunk. By default 1024, or as many as make 8 MB of logits, but no more than fit in 64 MB or, if that is
        more, in an eighth of the memory of all the logits.
    out : tuple, optional
        ``(dx, dw, db)``: where the gradients go, each an array or None. dx may be x itself. Where dw or db has fewer
        digits than the sum needs (float16, bfloat16), or overlaps an input, the sum is made in an array of its own;
        a dw of float32 for weights of 16 bits takes the sum directly.
    accumulate : bool
        Add to the dw and db of `out` instead of overwriting them; dx is overwritten.

    Returns
    -------
    loss : scalar or ndarray
        In nats, of the common dtype of `x`, `w` and `bias`, float32 if that has 16 bits; shaped like the rows if
        `reduction` is "none".
    gradients : tuple of ndarray
        If `return_grad`: (dx, dw, db), in C order where new, of the shapes and dtypes of `x`, `w` and `bias` (float64
        for integers and bool). Without a bias, db is None.

    Raises
    ------
    IndexError
        A class index outside [0, classes): the first such row and its index are named.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; an array of `out` cannot take its gradient.
    ValueError
        Shapes that do not match; a class index that is not a whole number; an option outside its domain; `out` or
        `accumulate` without `return_grad`; arrays of `out` that overlap each other; a db without a bias.

    All of these are raised before anything is written.

    Notes
    -----
    Three matrix products per chunk, in the common dtype (float32 for 16-bit types), take nearly all the time; NumPy's
    BLAS runs them, and its number of threads is its own (`OMP_NUM_THREADS`, threadpoolctl).

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> x = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
    >>> w = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, (dx, dw, db) = csoftmax.linear_cross_entropy(x, w, np.array([0, 1, -100]), return_grad=True)
    >>> round(float(loss), 4)
    1.5073
    >>> dx.round(4)
    array([[-0.3655,  0.3655],
           [ 0.4088, -0.4088],
           [ 0.    ,  0.    ]])
    >>> dw.round(4)
    array([[-0.1611, -1.1398],
           [ 0.1611,  1.1398]])
    """
    with np.errstate(all="ignore"):
        x, w = _coerce.as_array(x, "x"), _coerce.as_array(w, "w")
        bias = None if bias is None else _coerce.as_array(bias, "bias")
        _check_shapes(x, w, bias)
        if not return_grad and (out is not None or accumulate):
            raise ValueError("out and accumulate concern the gradients: they need return_grad=True")
        real = _computed_in(x, w, bias)
        batch = _Batch(x.shape[:-1], len(w), target, sample_weight, temperature, where, ignore_index)
        options = {
            "weight": weight,
            "label_smoothing": label_smoothing,
            "focal_gamma": focal_gamma,
            "z_loss": z_loss,
            "softcap": softcap,
        }
        batch.reduce(options, reduction, normalizer, real)
        gradients = None
        if return_grad:
            inputs = [a for a in (x, w, bias, weight, *batch.arrays) if isinstance(a, np.ndarray)]
            gradients = Gradients(x, w, bias, out, accumulate, real, inputs)
            gradients.begin(batch.left_out)
        size = _rows_per_chunk(chunk_size, batch, w, real)
        x, weights = x.reshape(batch.count, w.shape[1]), Weights(w, bias, real)
        buffer = np.empty((size, len(w)), real)
        options |= {"reduction": "none" if reduction == "none" else "sum", "return_grad": return_grad}
        for chosen in batch.chunks(size):
            rows = as_real(x[chosen], real)
            logits = weights.logits(rows, buffer[: len(rows)])
            loss = cross_entropy(logits, **batch.options(chosen), **options, out=logits if return_grad else None)
            if return_grad:
                loss, g = loss
                gradients.add(chosen, rows, g, weights)
            batch.take(chosen, loss)
        loss = batch.loss(real)
        return (loss, gradients.finish()) if return_grad else loss


def _check_shapes(x, w, bias):
    if w.ndim != 2:
        raise ValueError(f"w has shape {w.shape}, but must be (classes, features)")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape}, but w of shape {w.shape} takes (..., {w.shape[1]})")
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {bias.shape}, but w of shape {w.shape} takes {w.shape[:1]}")


def _computed_in(*arrays):
    """The dtype of the products and the loss: the common one of the arrays that are not None, 16 bits as float32."""
    dtypes = [a.dtype for a in arrays if a is not None]
    common = np.result_type(*[np.float32 if d.itemsize == 2 and _coerce.is_floating(d) else d for d in dtypes])
    return common if common.kind == "f" else np.dtype(np.float64)


def _rows_per_chunk(chunk_size, batch, w, real):
    """Rows of a chunk, at least 1: what was asked, or about as many in each chunk as its size allows."""
    kept = max(1, len(batch.kept))
    if chunk_size is not None:
        size = _coerce.as_index(chunk_size, "chunk_size")
        if size < 1:
            raise ValueError(f"chunk_size must be positive, got {chunk_size!r}")
        return min(size, kept)
    classes, features = w.shape
    row = max(1, (classes + 3 * features) * real.itemsize)  # x and dx are copied where they do not lie as BLAS wants
    memory = max(_MEMORY, batch.count * classes * real.itemsize // _PART) - 2 * TILE
    size = max(1, min(max(_ROWS, _CHUNK // row), memory // row))
    return math.ceil(kept / math.ceil(kept / size))


class _Batch:
    """What is given per row, flat and checked: targets, sample weights, temperatures, `where`; which rows are kept; the
    loss."""

    def __init__(self, rows, classes, target, sample_weight, temperature, where, ignore_index):
        self.rows, self.count, self.classes = rows, math.prod(rows), classes
        labels, prob, self.temperature, self.sample_weight, self.where = per_row(
            (*rows, classes), target, ignore_index, temperature, sample_weight, where
        )
        self.by_label, self.is_pair = prob is None, labels is not None and prob is not None
        self.ignore_index = None if labels is None else _IGNORED
        self.divisor, self.total = None, 0.0
        if self.is_pair:
            prob = np.broadcast_to(prob, labels.shape)
        self.targets = tuple(a.reshape(self.count, *a.shape[len(rows) :]) for a in (labels, prob) if a is not None)
        if isinstance(self.temperature, np.ndarray):
            self.temperature = np.broadcast_to(self.temperature, rows).reshape(self.count)
        if self.sample_weight is not None:
            self.sample_weight = np.broadcast_to(self.sample_weight, rows).reshape(self.count)
        if self.where is not None and self.where.ndim > 1:
            self.where = np.broadcast_to(self.where, rows + self.where.shape[-1:])
        has_label = None if labels is None else self.targets[0] != _IGNORED
        self._keep(has_label.any(axis=1) if self.is_pair else has_label)

    @property
    def arrays(self):
        """All that is read per row, some of it the caller's memory."""
        return *self.targets, self.sample_weight, self.temperature, self.where

    def _mask_of(self, chosen):
        if self.where is None or self.where.ndim <= 1:
            return self.where
        numbers = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        return self.where[np.unravel_index(numbers, self.rows)]

    def _keep(self, valid):
        """Count the rows that are valid, and list those to compute: valid, and of some weight."""
        self.number = self.count if valid is None else int(np.count_nonzero(valid))
        self.first = int(valid.argmax()) if valid is not None and self.number else 0
        keep = None if self.number == self.count else valid
        if self.sample_weight is not None and not self.sample_weight.all():
            weighty = self.sample_weight != 0
            keep = weighty if keep is None else keep & weighty
        self.kept = range(self.count) if keep is None else np.flatnonzero(keep)
        self.left_out = slice(0) if keep is None else ~keep

    def reduce(self, options, reduction, normalizer, real):
        """Check all options, by cross_entropy of a row that counts, and find what a mean divides by."""
        one = slice(self.first, self.first + min(1, self.number))
        row = np.zeros((one.stop - one.start, self.classes), real)
        cross_entropy(row, **self.options(one), **options, reduction=reduction, normalizer=normalizer)
        self.losses = np.zeros(self.count, real) if reduction == "none" else None
        if reduction == "mean":
            # 0 is the normalizer of no rows alone.
            self.divisor = self._divisor(options["weight"]) if normalizer is None else float(normalizer) or 1.0
            if self.divisor == 0:
                self.total, self.kept, self.left_out = math.nan, range(0), slice(None)
            elif not math.isfinite(self.divisor):
                self.divisor = math.nan

    def _divisor(self, weight):
        if weight is None or not self.by_label:
            return self.number
        labels = self.targets[0]
        return float(_coerce.as_doubles(weight, "weight")[labels[labels != _IGNORED]].sum())

    def chunks(self, size):
        """The rows that are kept, `size` at a time: slices where these are neighbours, else their numbers."""
        for part in slices(len(self.kept), size):
            chosen = self.kept[part]
            first, last = int(chosen[0]), int(chosen[-1])
            yield slice(first, last + 1) if last - first == len(chosen) - 1 else chosen

    def options(self, chosen):
        """What cross_entropy is told of these rows; a mean's divisor goes into the weights, in float64."""
        targets = tuple(a[chosen] for a in self.targets)
        weight = None if self.sample_weight is None else self.sample_weight[chosen]
        if self.divisor is not None:
            weight = np.full(len(targets[0]), 1 / self.divisor) if weight is None else weight / self.divisor
        return {
            "target": targets if self.is_pair else targets[0],
            "ignore_index": self.ignore_index,
            "sample_weight": weight,
            "temperature": self.temperature[chosen] if isinstance(self.temperature, np.ndarray) else self.temperature,
            "where": self._mask_of(chosen),
        }

    def take(self, chosen, loss):
        """File the losses of a chunk."""
        if self.losses is None:
            self.total += float(loss)
        else:
            self.losses[chosen] = loss

    def loss(self, real):
        return real.type(self.total) if self.losses is None else self.losses.reshape(self.rows)[()]
