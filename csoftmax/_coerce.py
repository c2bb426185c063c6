"""Makes an argument simple: array, dtype, axes, mask, target, where the result goes; or says what is wrong with it.

Knows NumPy and nothing of kernels. What it returns are numbers, and ndarrays of dtypes that the core reads; strides,
byte order and alignment are left to the core.
"""

import math
import operator

import numpy as np


def is_bfloat16(dtype):
    """Whether a dtype is that of ml_dtypes.bfloat16, which NumPy itself does not know."""
    return dtype.type.__name__ == "bfloat16" and dtype.type.__module__ == "ml_dtypes"


def is_floating(dtype):
    """Whether a dtype is one of the four that results may have, of either byte order."""
    return (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or is_bfloat16(dtype)


def plain(x, name, hint="pass a plain array"):
    """x as an ndarray of any dtype, and of no subclass."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost: {hint}")
    if type(x).__module__.startswith("scipy.sparse"):
        raise TypeError(f"{name} is a sparse {type(x).__name__}: pass {name}.toarray()")
    return np.asarray(x)


def as_array(x, name):
    """x as an ndarray of a floating dtype, an integer type or bool."""
    a = plain(x, name, "pass a plain array and where=~a.mask")
    if a.dtype.kind in "iub" or is_floating(a.dtype):
        return a
    raise TypeError(f"{name} has dtype {a.dtype}, which is not supported{_hint(x, a, name, float)}")


def _hint(x, a, name, kind):
    """How an argument x, the array `a`, is converted to numbers of a kind; nothing if that is not clear."""
    if a.dtype.kind == "f":
        return f": pass {name}.astype(numpy.float64)"
    if a.dtype != object or not a.ndim:
        return ""
    return f": pass {name}.astype({kind.__name__})" if hasattr(x, "astype") else f": pass an array of {kind.__name__}"


def floating(*arrays):
    """The native dtype of a result from these arrays: their common one, float64 if that is not floating."""
    common = np.result_type(*(a.dtype for a in arrays))
    return common if is_floating(common) else np.dtype(np.float64)


def result_dtype(dtype, given):
    """(whether to compute in float64, dtype of the result) for an argument `dtype` and the input's floating dtype."""
    if dtype is None:
        return is_wide(given), given
    asked = np.dtype(dtype)
    if not is_floating(asked):
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, got {asked}")
    return is_wide(asked) or is_wide(given), asked.newbyteorder("=")


def is_wide(dtype):
    """Whether the core computes in float64 for a floating dtype; else it does in float32."""
    return dtype.itemsize == 8


def common_dtype(p, g, name, first="p"):
    """The native dtype of what is computed from p, called `first`, and g."""
    try:
        return floating(p, g)
    except np.exceptions.DTypePromotionError:
        raise TypeError(
            f"{first} has dtype {p.dtype} and {name} has dtype {g.dtype}, which have no common dtype"
        ) from None


def as_number(v, name):
    """A real number as a float."""
    if isinstance(v, int):
        try:
            return float(v)
        except OverflowError:
            raise ValueError(f"{name} must be a number that a float can hold, got {shown(v)}") from None
    a = np.asarray(v)
    if a.dtype.kind not in "iufb" and not is_bfloat16(a.dtype):
        raise TypeError(f"{name} must be a real number, got {v!r}")
    if a.ndim:
        raise TypeError(f"{name} must be one number, got an array of shape {a.shape}")
    return float(a)


def shown(v):
    """A number for a message: of an int, no more than a few digits."""
    return repr(v) if not isinstance(v, int) or v.bit_length() <= 64 else f"an int of {v.bit_length()} bits"


def as_index(k, name):
    """An integer argument as an int."""
    try:
        return operator.index(k)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {k!r}") from None


def as_doubles(v, name):
    """Real numbers as an array of native aligned float64."""
    return np.require(as_array(v, name), np.float64, ["ALIGNED", "ENSUREARRAY"])


def over_rows(a, rows, name):
    """An array broadcast to the rows."""
    return broadcast(a, rows, name, f"there are rows of shape {rows}")


def broadcast(a, shape, name, what):
    """An array broadcast to a shape, or an error that says `what` has it."""
    if a.shape == shape:
        return a
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(
            f"{name} has shape {a.shape}, which does not broadcast: {what}{_ravel(a, shape, name)}"
        ) from None


def _ravel(a, shape, name):
    """The advice to drop the last axis of an array that has one too many, as a column beside rows."""
    return f"; pass {name}.ravel()" if len(shape) == 1 and a.ndim == 2 and a.shape[1] == 1 else ""


def as_mask(where):
    """A mask as an ndarray of bool."""
    mask = plain(where, "where")
    if mask.dtype != np.bool_:
        raise TypeError(f"where must be an array of bool, got dtype {mask.dtype}{_hint(where, mask, 'where', bool)}")
    return mask


def axes_of(axis, ndim):
    """An axis argument (int, tuple or None) as a tuple of non-negative ints. A 0-d array counts as one class."""
    if axis is None:
        return tuple(range(ndim))
    most = max(ndim, 1)
    axes = []
    for k in axis if isinstance(axis, tuple) else (axis,):
        k = as_index(k, "axis")
        if not -most <= k < most:
            raise np.exceptions.AxisError(k, ndim)
        axes.append(k % most)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(axes) if ndim else ()


def one_axis(axis, ndim):
    """An axis argument that must be one int."""
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"axis must be one int here, got {axis!r}")
    return axes_of(axis, ndim)


def as_labels(labels, name):
    """Class indices as an array of a dtype that the core reads."""
    a = plain(labels, name)
    if a.dtype.kind in "iu" or (a.dtype.kind == "f" and a.dtype.itemsize in (4, 8)):
        return a
    if a.dtype.kind == "f" or is_bfloat16(a.dtype):
        return a.astype(np.float64)
    hint = _hint(labels, a, name, int)
    raise TypeError(f"{name} has dtype {a.dtype}: class indices must be integers or whole floats{hint}")


def as_pair(pair, shape, rows, ignore_index):
    """(index, prob) of logits of a shape, broadcast to rows + (k,), with the ignore_index; k is at least 1."""
    if len(pair) != 2 or all(np.ndim(a) == 0 for a in pair):
        raise ValueError(
            f"target is a tuple of {len(pair)}: a tuple must be a pair of arrays (index, prob); "
            "for class indices pass np.asarray(target)"
        )
    index, prob = as_labels(pair[0], "target[0]"), as_doubles(pair[1], "target[1]")
    if index.ndim != len(rows) + 1 or prob.ndim != len(rows) + 1 or index.shape[-1] != prob.shape[-1]:
        raise ValueError(
            f"target[0] has shape {index.shape} and target[1] has shape {prob.shape}, but logits of shape {shape} "
            f"take both of shape {rows} + (k,)"
        )
    what = f"logits of shape {shape} have rows of shape {rows}"
    index = broadcast(index, rows + index.shape[-1:], "target[0]", what)
    prob = broadcast(prob, index.shape, "target[1]", what)
    if index.shape[-1] == 0:  # as padding alone
        return np.zeros((*rows, 1), int), np.zeros((*rows, 1)), None if ignore_index is None else 0
    return index, prob, ignore_index


def check_classes(shape, rows, name):
    """Refuse rows without classes: no target is one of them."""
    if math.prod(rows):
        raise IndexError(f"{name} of shape {shape} has no classes, so no target is one of them")


def refuse_target(a, name, shape, rows, x_name):
    """Say why an array is neither class indices of the rows nor probabilities."""
    if a.ndim == len(rows):
        broadcast(a, rows, name, f"{x_name} of shape {shape} has rows of shape {rows}")
    raise ValueError(
        f"{name} has shape {a.shape}, but {x_name} of shape {shape} take class indices of shape {rows} "
        f"or probabilities of shape {shape}{_ravel(a, rows, name)}"
    )


def refuse_index(index, shape, rows):
    """Say why an array is no index of the rows."""
    if index.ndim in (len(rows), len(rows) + 1):
        full = rows + index.shape[len(rows) :]
        broadcast(index, full, "index", f"x of shape {shape} has rows of shape {rows}")
    raise ValueError(f"index has shape {index.shape}, but x of shape {shape} has rows of shape {rows}")


def refuse_class_weight(w, shape, classes):
    raise ValueError(
        f"weight has shape {w.shape}, but logits of shape {shape} take one of shape {(classes,)}"
        f"{_ravel(w, (classes,), 'weight')}"
    )


def refuse_values(values, shape, classes):
    """Say why an array is neither one value for each class nor those of every row."""
    if values.ndim == 1:
        raise ValueError(f"values has shape {values.shape}, but x of shape {shape} has {classes} classes")
    broadcast(values, shape, "values", f"x has shape {shape}")


def as_offsets(offsets):
    """Offsets of rows as a new array of native integers; there is at least one."""
    a = plain(offsets, "offsets")
    if a.dtype.kind not in "iu" or a.ndim != 1 or not a.size:
        raise ValueError(
            f"offsets must be integers of shape (rows + 1,), got an array of dtype {a.dtype} and shape {a.shape}"
        )
    return np.array(a, np.intp)


def refuse_offsets(offsets, size):
    """Say what is wrong with the offsets of rows among `size` numbers."""
    at = np.asarray(offsets).tolist()
    for i, (before, here) in enumerate(zip([0, *at], at, strict=False)):
        if here < before:
            raise ValueError(f"offsets[{i}] = {here} is less than {before}, the one before: offsets must not fall")
        if i == 0 and here != 0:
            raise ValueError(f"offsets[0] = {here}: offsets must begin at 0")
        if here > size:
            raise ValueError(f"offsets[{i}] = {here} is past the end of an array of {size}")
    raise ValueError(f"offsets[{len(at) - 1}] = {at[-1]}: offsets must end at the length of the array, {size}")


def segment_target(target):
    """A target of rows of various lengths as an array that the core reads."""
    if isinstance(target, tuple):
        raise TypeError("target is a tuple: pass an array of positions or of probabilities, as numpy.asarray(target)")
    a = plain(target, "target")
    return as_array(a, "target") if a.dtype.kind == "f" or is_bfloat16(a.dtype) else as_labels(target, "target")


def refuse_segment_target(a, size, rows):
    """Say why an array is neither positions in the rows nor probabilities."""
    raise ValueError(
        f"target has shape {a.shape} and dtype {a.dtype}, but {rows} rows of {size} numbers together take integers of "
        f"shape {(rows,)}, positions, or floating numbers of shape {(size,)}, probabilities"
        f"{_ravel(a, (rows,), 'target')}"
    )


def refuse_raw(raw):
    """Say that scores need two axes, and what two classes with one score do."""
    hint = ""
    if raw.ndim == 1:
        hint = (
            ": two classes with one score each have the scores numpy.column_stack([numpy.zeros(len(raw)), raw]); the "
            "logistic objective that XGBoost and LightGBM bring along does without"
        )
    raise ValueError(f"raw has shape {raw.shape}, but samples and classes need two axes{hint}")


def refuse_hessian(hessian):
    if hessian == "friedman":
        raise ValueError("hessian='friedman' is K/(K-1) p (1-p), which one class does not have")
    rules = "'diagonal', 'upper', 'friedman', 'residual'"
    raise ValueError(f"hessian must be one of {rules}, got {hessian!r}")


def coordinates(position, shape):
    """Where a position in C order lies in an array."""
    where = []
    for n in reversed(shape):
        position, i = divmod(position, n)
        where.insert(0, i)
    return where


def label_error(name, shape, position, text, is_float, is_fraction, classes):
    """The exception for the label at a position in C order that the core refuses, `text` being its value."""
    row = ", ".join(map(str, coordinates(position, shape))) or "()"
    label = str(float(text)) if is_float else text.decode()
    if is_fraction:
        return ValueError(f"{name}[{row}] = {label} is not a whole number: class indices must be")
    return IndexError(f"{name}[{row}] = {label} is not a class index in [0, {classes})")


def option_error(field, values, value, position, shape, axes):
    """The exception for the value of a field of csm_call that must be one of `values`.

    It is that of a row, unless the position in rows of a shape is negative; the argument has some of their axes.
    """
    name, place = "eps" if field == "hessian_floor" else field, ""
    if position >= 0:
        place = f"{name}[{', '.join(map(str, coordinates(position, shape)[axes]))}] = "
    return ValueError(f"{name} must be {values}, got {place}{value}")


def factor_of(a, b):
    """(b, dtype of a sum of b exp(a), None for that of a) for arrays, b of one number; 0 if it is not positive."""
    value = float(b)
    if not 0 < value < np.inf:
        return 0.0, None
    return value, None if a.dtype == b.dtype else floating(a, b)


def broadcast_factors(a, b):
    """Logits and their factors, broadcast to each other."""
    try:
        return np.broadcast_arrays(a, b)
    except ValueError:
        raise ValueError(f"a has shape {a.shape} and b has shape {b.shape}, which do not broadcast") from None


def copy(a, to):
    """Copy an array into another that may have fewer digits."""
    with np.errstate(all="ignore"):
        np.copyto(np.asarray(to), a, casting="unsafe")


def overlaps_itself(a):
    """Whether two elements of `a` share memory."""
    reach = a.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if stride < reach:
            offsets = np.zeros(1, np.intp)
            for s, n in zip(a.strides, a.shape, strict=True):
                offsets = np.add.outer(offsets, np.arange(n) * s).ravel()
            return bool((np.diff(np.sort(offsets)) < a.itemsize).any())
        reach += stride * (length - 1)
    return False


def target_for(out, shape, dtype, like, inputs, apart, name="out"):
    """The array to compute a result of `shape` and `dtype` in.

    That is `out` where the core can write it, no input overlaps it but as the same array, and none of `apart`
    at all (some of these may be None); else a new one: in the memory order of `like`, or C order if that is None.
    """
    view = check_out(out, shape, dtype, name)
    if is_floating(view.dtype):
        others = [a for a in apart if a is not None] + [a for a in inputs if not same_layout(view, a)]
        if not any(np.may_share_memory(view, a) for a in others):
            return view
        dtype = view.dtype.newbyteorder("=")
    return np.empty(shape, dtype) if like is None else np.empty_like(like, dtype=dtype, shape=shape, subok=False)


def same_layout(a, b):
    return (
        a.__array_interface__["data"] == b.__array_interface__["data"]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.itemsize == b.itemsize
    )


def check_out(out, shape, dtype, name="out"):
    """A view of `out` that is no subclass, whose attributes are those of its memory, if it can take the result."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    view = np.asarray(out)
    if view.shape != shape:
        raise ValueError(f"{name} has shape {view.shape}, the result has shape {shape}")
    if not (is_floating(view.dtype) or np.can_cast(dtype, view.dtype, "same_kind")):
        raise TypeError(f"{name} has dtype {view.dtype}, to which a result of dtype {dtype} cannot be cast safely")
    if not view.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if overlaps_itself(view):
        raise ValueError(f"{name} has elements that share memory (strides {view.strides})")
    return view


def two_outs(out):
    """The arrays for a gradient and a Hessian, or None for each."""
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise TypeError("out must be a pair of arrays, (grad, hess)")
    return tuple(out)


def check_apart(one, other):
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        if np.may_share_memory(one, other) and np.shares_memory(one, other):
            raise ValueError("out[0] and out[1] share memory")
