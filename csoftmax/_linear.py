"""Cross-entropy of a linear layer whose logits never exist whole: chunks of rows, products by np.matmul.

Knows cross_entropy, which makes a chunk of logits a loss and their gradient, and nothing of kernels.
"""

import math

import numpy as np

from csoftmax import _arrays
from csoftmax._csoftmax import cross_entropy

_ROWS, _CHUNK = 1024, 2**23  # a chunk has so many rows, or so many bytes if that is more rows, ...
_MEMORY, _PART = 2**26, 8  # ... but takes, with its tiles, at most so many bytes, or this part of all the logits
_TILE = 2**21  # bytes of a tile: of converted weights, and of what is added to their gradient ...
_LEAST_CLASSES = 16  # ... unless it has but this many classes
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
        x, w = _arrays.as_array(x, "x"), _arrays.as_array(w, "w")
        if bias is not None:
            bias = _arrays.as_array(bias, "bias")
        _check_shapes(x, w, bias)
        if not return_grad and (out is not None or accumulate):
            raise ValueError("out and accumulate concern the gradients: they need return_grad=True")
        real = _computed_in(x, w, bias)
        batch = _Batch(x.shape[:-1], len(w), target, sample_weight, temperature, where, ignore_index)
        options = {
            "weight": weight, "label_smoothing": label_smoothing, "focal_gamma": focal_gamma, "z_loss": z_loss,
            "softcap": softcap,
        }
        batch.reduce(options, reduction, normalizer, real)
        gradients = None
        if return_grad:
            inputs = [a for a in (x, w, bias, weight, *batch.arrays) if isinstance(a, np.ndarray)]
            gradients = _Gradients(x, w, bias, out, accumulate, real, inputs)
        size = _rows_per_chunk(chunk_size, batch, w, real)
        x = x.reshape(batch.count, w.shape[1])
        weights = _Tiles(w, real)
        shift = None if bias is None else bias.astype(real)
        buffer = np.empty((size, len(w)), real)
        options |= {"reduction": "none" if reduction == "none" else "sum", "return_grad": return_grad}
        if return_grad:
            gradients.begin(batch.left_out)
        for chosen in batch.chunks(size):
            rows = _as_real(x[chosen], real)
            logits = buffer[: len(rows)]
            for tile, part in weights:
                np.matmul(rows, part.T, out=logits[:, tile])
            if shift is not None:
                logits += shift
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
    common = np.result_type(*[np.float32 if d.itemsize == 2 and _arrays.is_floating(d) else d for d in dtypes])
    return common if common.kind == "f" else np.dtype(np.float64)


def _rows_per_chunk(chunk_size, batch, w, real):
    """Rows of a chunk, at least 1: what was asked, or about as many in each chunk as its size allows."""
    kept = max(1, len(batch.kept))
    if chunk_size is not None:
        size = _arrays.as_index(chunk_size, "chunk_size")
        if size < 1:
            raise ValueError(f"chunk_size must be positive, got {chunk_size!r}")
        return min(size, kept)
    classes, features = w.shape
    row = max(1, (classes + 3 * features) * real.itemsize)  # x and dx are copied where they do not lie as BLAS wants
    memory = max(_MEMORY, batch.count * classes * real.itemsize // _PART) - 2 * _TILE
    size = max(1, min(max(_ROWS, _CHUNK // row), memory // row))
    return math.ceil(kept / math.ceil(kept / size))


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


def _as_real(a, real):
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


class _Tiles:
    """The weights as BLAS takes them, as pairs (slice of classes, matrix): one pair, or one per converted tile."""

    def __init__(self, w, real):
        self.w, self.scratch = w, None
        self.step = max(1, len(w))
        if not _fits_blas(w, real):
            self.step = _classes_per_tile(w, real)
            self.scratch = np.empty_like(w[: self.step], dtype=real, subok=False)

    def __iter__(self):
        for tile in _slices(len(self.w), self.step):
            part = self.w[tile]
            yield tile, part if self.scratch is None else _fill(self.scratch[: len(part)], part)


def _classes_per_tile(w, real):
    return max(1, min(len(w), max(_LEAST_CLASSES, _TILE // max(1, real.itemsize * w.shape[1]))))


def _slices(length, step):
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _target_operands(target, shape, ignore_index):
    """The target of logits of a shape as arrays: labels, of a pair with their prob; or probabilities g."""
    if ignore_index is not None:
        ignore_index = _arrays.as_index(ignore_index, "ignore_index")
    rows = shape[:-1]
    if isinstance(target, tuple):
        index, prob, ignore_index = _arrays.as_pair(target, shape, rows, ignore_index)
        return {"target": index, "prob": prob, "ignore_index": ignore_index}
    a = _arrays.plain(target, "target")
    if a.ndim == len(rows):
        what = f"logits of shape {shape} has rows of shape {rows}"
        labels = _arrays.broadcast(_arrays.as_labels(a, "target"), rows, "target", what)
        return {"target": labels, "ignore_index": ignore_index}
    if a.shape != shape:
        _arrays.refuse_target(a, "target", shape, rows, "logits")
    if ignore_index not in (-100, None):
        _arrays.refuse_ignored(ignore_index)
    return {"g": _arrays.as_array(a, "target")}


def _indices(labels, logits, ignore_index, in_pair):
    """The labels as int64 in memory that no other thread can change, those to ignore as _IGNORED.

    Of labels that are no class one value may be there, the ignored one. What is ignored is for cross_entropy to say;
    where there is another, it raises what it raises for `logits`, of which it reads the shape alone.
    """
    labels, classes = np.array(labels), logits.shape[-1]
    fine = (labels >= 0) & (labels < classes)
    if labels.dtype.kind == "f":
        fine &= labels == np.trunc(labels)
    if np.count_nonzero(fine) == fine.size:
        indices = labels.astype(np.int64)
    else:
        others = labels[~fine]
        if not _is_ignored(others[:1], classes, ignore_index) or (others != others[0]).any():
            cross_entropy(logits, (labels, np.ones(labels.shape)) if in_pair else labels, ignore_index=ignore_index)
        indices = np.full(labels.shape, _IGNORED, np.int64)
        indices[fine] = labels[fine]
    if ignore_index is not None:
        indices[indices == ignore_index] = _IGNORED
    return indices


def _is_ignored(label, classes, ignore_index):
    """Whether cross_entropy takes a label, in an array, that is none of the classes."""
    try:
        cross_entropy(np.zeros((1, classes)), label, ignore_index=ignore_index)
    except (IndexError, ValueError):
        return False
    return True


class _Batch:
    """What is given per row, flat: checked targets, sample weights, temperatures, and `where`; which rows are kept; the
    loss."""

    def __init__(self, rows, classes, target, sample_weight, temperature, where, ignore_index):
        self.rows, self.count, self.classes = rows, math.prod(rows), classes
        shape = *rows, classes  # of the logits: what the target must suit
        logits = np.ndarray(shape, np.float32, bytes(4), strides=[0] * len(shape))
        if classes == 0:
            _arrays.check_classes(shape, rows, "logits")
        operands = _target_operands(target, shape, ignore_index)
        self.is_pair, self.by_label = "prob" in operands, False
        self.divisor, self.total = None, 0.0
        self.ignore_index, valid = operands.get("ignore_index"), None
        if "g" in operands:
            self.targets = (operands["g"].reshape(self.count, classes),)
        else:
            valid = self._take_labels(logits, **operands)
        self.sample_weight = None
        if sample_weight is not None:
            weights = _arrays.as_doubles(sample_weight, "sample_weight")
            self.sample_weight = _arrays.over_rows(weights, rows, "sample_weight").reshape(self.count)
        self.temperature = _arrays.temperature_for(temperature, rows)
        if isinstance(self.temperature, np.ndarray):
            self.temperature = self.temperature.reshape(self.count)
        self.where = self._mask(where)
        self._keep(valid)

    @property
    def arrays(self):
        """All that is read per row, some of it the caller's memory."""
        return *self.targets, self.sample_weight, self.temperature, self.where

    def _mask(self, where):
        """The mask, checked: of all rows, or of shape rows + (classes,), the last axis of which may be 1."""
        if where is None:
            return None
        mask, shape = _arrays.as_mask(where), (*self.rows, self.classes)
        _arrays.broadcast(mask, shape, "where", f"the logits have shape {shape}")
        return mask if mask.ndim <= 1 else np.broadcast_to(mask, self.rows + mask.shape[-1:])

    def _mask_of(self, chosen):
        if self.where is None or self.where.ndim <= 1:
            return self.where
        numbers = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        return self.where[np.unravel_index(numbers, self.rows)]

    def _take_labels(self, logits, target, ignore_index, prob=None):
        """Check and copy the labels; True for rows that have one."""
        labels = _indices(target, logits, ignore_index, prob is not None)
        self.by_label = prob is None
        if ignore_index is not None:
            self.ignore_index = _IGNORED
        flat = (self.count,) if self.by_label else (self.count, labels.shape[-1])
        self.targets = tuple(a.reshape(flat) for a in (labels, prob) if a is not None)
        has_label = self.targets[0] != _IGNORED
        return has_label if self.by_label else has_label.any(axis=1)

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
        if normalizer is not None:
            normalizer = _arrays.as_number(normalizer, "normalizer")
            if normalizer == 0 and self.number == 0:
                normalizer = 1.0  # there is nothing to divide
        one = slice(self.first, self.first + min(1, self.number))
        row = np.zeros((one.stop - one.start, self.classes), real)
        cross_entropy(row, **self.options(one), **options, reduction=reduction, normalizer=normalizer)
        self.losses = np.zeros(self.count, real) if reduction == "none" else None
        if reduction == "mean":
            self.divisor = self._divisor(options["weight"]) if normalizer is None else normalizer
            if self.divisor == 0:
                self.total, self.kept, self.left_out = math.nan, range(0), slice(None)
            elif not math.isfinite(self.divisor):
                self.divisor = math.nan

    def _divisor(self, weight):
        if weight is None or not self.by_label:
            return self.number
        labels = self.targets[0]
        return float(_arrays.as_doubles(weight, "weight")[labels[labels != _IGNORED]].sum())

    def chunks(self, size):
        """The rows that are kept, `size` at a time: slices where these are neighbours, else their numbers."""
        for part in _slices(len(self.kept), size):
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


class _Sum:
    """The gradient of w or bias, summed over the chunks: in `given` where that has the digits, else apart."""

    def __init__(self, like, given, real, inputs, accumulate):
        self.given, self.accumulate, self.dtype = given, accumulate, _arrays.floating(like)
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


class _Gradients:
    """dx, dw and db: checked and allocated, then made chunk by chunk, then handed over."""

    def __init__(self, x, w, bias, out, accumulate, real, inputs):
        given = (None, None, None) if out is None else out
        if out is not None:
            _check_out(out, x, w, bias)
        self.given, dw, db = given
        self.real, shape = real, (math.prod(x.shape[:-1]), x.shape[-1])
        self.dx = self.given
        if self.dx is None or _overlaps(self.dx, x, [a for a in inputs if a is not x]) or not _flattens(self.dx, shape):
            self.dx = np.empty(x.shape, _arrays.floating(x))
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
        dx = to if direct else np.empty(to.shape, self.real)
        for tile, part in weights:
            if tile.start == 0:
                np.matmul(g[:, tile], part, out=dx)
            else:
                dx += g[:, tile] @ part
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
            for tile in _slices(len(total), len(self.scratch)):
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
            _arrays.check_out(given, like.shape, _arrays.floating(like), f"{name} of out")
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if out[i] is not None and out[j] is not None and np.shares_memory(out[i], out[j]):
            raise ValueError(f"{names[i]} and {names[j]} of out share memory")


def _overlaps(dx, x, others):
    """Whether a write to dx could change what is still to be read: its row of x is not."""
    apart = np.may_share_memory(dx, x) and not _arrays.same_layout(dx, x)
    return apart or any(np.may_share_memory(dx, a) for a in others)


def _flattens(a, shape):
    """Whether `a` has a view of this shape."""
    return a.size == 0 or np.may_share_memory(a, a.reshape(shape))
