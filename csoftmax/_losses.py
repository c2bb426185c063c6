"""What linear_cross_entropy needs of the losses beside cross_entropy: targets and weights as arrays."""

import math

from csoftmax import _arrays
from csoftmax._core import cross_entropy  # noqa: F401


def sample_weight_for(weight, rows):
    """The weights as float64, broadcast to the rows; None if there are none."""
    if weight is None:
        return None
    return _arrays.over_rows(_arrays.as_doubles(weight, "sample_weight"), rows, "sample_weight")


def check_classes(last, what):
    """Refuse rows without classes: no target is one of them."""
    if last.shape[-1] == 0 and math.prod(last.shape[:-1]):
        raise IndexError(f"{what} has no classes, so no target is one of them")


def target_operands(target, x, axes, ignore_index):
    """(None, the target of logits x as arrays): target and name, g, or a pair with prob."""
    if ignore_index is not None:
        ignore_index = _arrays.as_index(ignore_index, "ignore_index")
    rows = _arrays.rows_of(x.shape, axes)
    if isinstance(target, tuple):
        index, prob, ignore_index = _arrays.as_pair(target, x.shape, rows, ignore_index)
        return None, {"target": index, "prob": prob, "name": "target[0]", "ignore_index": ignore_index}
    a = _arrays.plain(target, "target")
    if a.ndim == len(rows):
        what = f"logits of shape {x.shape} has rows of shape {rows}"
        labels = _arrays.broadcast(_arrays.as_labels(a, "target"), rows, "target", what)
        return None, {"target": labels, "name": "target", "ignore_index": ignore_index}
    if a.shape != x.shape:
        _arrays.refuse_target(a, "target", x.shape, rows, "logits")
    _arrays.check_no_ignored(ignore_index)
    return None, {"g": _arrays.classes_last(_arrays.as_array(a, "target"), axes)}
