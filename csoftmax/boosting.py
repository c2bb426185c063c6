"""An objective for XGBoost and LightGBM: softmax cross-entropy over classes, or over the rows of each group."""

from collections.abc import Iterator, Mapping
from types import EllipsisType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

import csoftmax

__all__ = ["SoftmaxObjective"]

_Array: TypeAlias = NDArray[Any]

_LEAST_HESSIAN = 1e-16
"""That of `csoftmax.softmax_grad_hess`."""


class SoftmaxObjective:
    """Softmax cross-entropy as a custom objective of XGBoost and LightGBM, and as a metric.

    An object is called in each of the libraries' ways, told apart by its arguments: ``objective(predictions, data)``
    by ``xgboost.train(obj=objective)`` and by ``lightgbm.train({"objective": objective})``, ``data`` being a DMatrix or
    a Dataset; ``objective(y_true, y_pred, sample_weight)`` by the scikit-learn estimators of both. Neither library is
    imported here. An object can be pickled and sent to the workers of ``xgboost.dask`` and ``lightgbm.dask``.

    Parameters
    ----------
    hessian : {"diagonal", "upper", "friedman", "residual"}
        The rule, as in `csoftmax.softmax_grad_hess`. "upper" is that of XGBoost up to 3.2, "friedman" that of LightGBM.
    focal_gamma : float
        At least 0: each row's loss is multiplied by ``(1 - p)**focal_gamma``, p being the probability of its label.
        For class indices, without `label_smoothing`.
    label_smoothing : float
        In [0, 1]: ``(1 - label_smoothing) * t + label_smoothing / K`` takes the place of the target t, K being the
        number of classes, or of rows in the group.
    class_weight : array_like or mapping, optional
        A factor for each class, shape (K,); or ``{class: factor}``, 1 for the others.
    groups : array_like of int or "data", optional
        The softmax is taken over the rows of each group, which have one score each. The groups' sizes, in the order of
        the rows, or "data": those of the DMatrix or Dataset (``set_group``, ``qid``).

    Raises
    ------
    TypeError, ValueError
        An option out of range; `focal_gamma` or `class_weight` with `groups`.

    Notes
    -----
    With p the softmax of the scores, c the class weights times the smoothed target and s the sample weight, gradient
    and Hessian are those of `csoftmax.softmax_grad_hess` for the target c: ``s * (sum(c) * p - c)``, and by the rule
    "diagonal" ``s * sum(c) * p * (1 - p)``. A focal loss is a function f of the cross-entropy l: its gradient is exact,
    that of l times f'(l), and so is the Hessian without the term of f'', which may be negative.

    In groups the target of a row is its label: 1 for what was chosen and 0 for the rest (conditional logit, McFadden,
    1974), or a relevance that is not negative (ListNet, Cao et al., 2007). Labels need not sum to 1; a group whose
    labels are all 0 has no gradient. Weights are one per group, or one per row, which then multiplies the row's target.

    Examples
    --------
    >>> import numpy as np
    >>> from csoftmax.boosting import SoftmaxObjective
    >>> objective = SoftmaxObjective(hessian="upper")
    >>> grad, hess = objective(np.array([0, 2]), np.zeros((2, 3), np.float32))
    >>> grad.round(4)
    array([[-0.6667,  0.3333,  0.3333],
           [ 0.3333,  0.3333, -0.6667]], dtype=float32)
    >>> choice = SoftmaxObjective(groups=[2, 3])
    >>> choice(np.array([1, 0, 0, 0, 1]), np.zeros(5))[0].round(4)
    array([-0.5   ,  0.5   ,  0.3333,  0.3333, -0.6667], dtype=float32)
    """

    def __init__(
        self,
        hessian: Literal["diagonal", "upper", "friedman", "residual"] = "diagonal",
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
        class_weight: ArrayLike | Mapping[int, float] | None = None,
        groups: ArrayLike | Literal["data"] | None = None,
    ) -> None:
        csoftmax.softmax_grad_hess(np.zeros((1, 2)), [0], hessian=hessian)  # both check what they are given
        csoftmax.cross_entropy(np.zeros((1, 2)), [0], focal_gamma=focal_gamma, label_smoothing=label_smoothing)
        if groups is not None and (focal_gamma or class_weight is not None):
            raise ValueError(f"{'focal_gamma' if focal_gamma else 'class_weight'} has no meaning with groups")
        self.hessian = hessian
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.class_weight = _class_weight(class_weight)
        self.groups = groups if groups is None or isinstance(groups, str) else _sizes(groups)
        if isinstance(self.groups, str) and self.groups != "data":
            raise ValueError(f"groups must be sizes or 'data', got {groups!r}")

    def __repr__(self) -> str:
        return f"SoftmaxObjective({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        group: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute gradient and Hessian diagonal.

        Parameters
        ----------
        y_true : array_like
            Class indices, shape (n,), or probabilities, shape (n, K); with groups a number per row. Or, of the call
            ``objective(predictions, data)``, the predictions.
        y_pred : array_like
            Scores, shape (n, K); with groups (n,). Or the DMatrix or Dataset.
        sample_weight : array_like, optional
            Of each row, shape (n,); with groups also of each group. None or empty: 1.
        group : array_like, optional
            Sizes of the groups, for ``groups="data"``; LightGBM gives them here.

        Returns
        -------
        grad, hess : ndarray
            float32, of the scores' shape and memory order; hess is at least 1e-16.

        Raises
        ------
        IndexError
            A class index outside [0, K), named with its row.
        ValueError
            Shapes that do not match; one score per row and no groups, which two classes get from both libraries;
            soft labels with `focal_gamma`.
        """
        batch = _read(y_true, y_pred, sample_weight, group)
        if self.groups is None:
            return self._over_classes(*_classes(batch))
        grad = np.zeros(batch.scores.size, np.float32)
        hess = np.full(batch.scores.size, _LEAST_HESSIAN, np.float32)
        for scores, target, weight, rows in self._lists(batch):
            if rows.shape[1] > 1:
                grad[rows], hess[rows] = csoftmax.softmax_grad_hess(
                    scores, target, sample_weight=weight, hessian=self.hessian
                )
        return grad.reshape(batch.scores.shape), hess.reshape(batch.scores.shape)

    def loss(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        group: ArrayLike | EllipsisType | None = ...,
    ) -> float | tuple[str, float] | tuple[str, float, bool]:
        """Compute the mean loss of raw scores: a metric for the libraries, which give it what they give the objective.

        Parameters
        ----------
        y_true, y_pred, sample_weight, group
            As in a call of the objective.

        Returns
        -------
        float or tuple
            The sum of the rows' losses over that of their weights; with groups over that of the groups' weights, or
            their number. For ``xgboost.train(custom_metric=objective.loss)`` ("loss", value), and for LightGBM
            ("loss", value, False); its estimators are known by the `group` that they give, be it None.
        """
        batch = _read(y_true, y_pred, sample_weight, None if group is ... else group)
        value = self._mean_over_rows(*_classes(batch)) if self.groups is None else self._mean_over_groups(batch)
        if _is_of(y_pred, "lightgbm") or group is not ...:
            return "loss", value, False
        return ("loss", value) if _is_data(y_pred) else value

    def _over_classes(
        self, scores: _Array, target: _Array, weight: _Array | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        target, weight = self._reduced(scores, target, weight)
        out = np.empty_like(scores, np.float32, subok=False), np.empty_like(scores, np.float32, subok=False)
        return csoftmax.softmax_grad_hess(scores, target, sample_weight=weight, hessian=self.hessian, out=out)

    def _reduced(self, scores: _Array, target: _Array, weight: _Array | None) -> tuple[_Array, _Array | None]:
        """Target and weights for `csoftmax.softmax_grad_hess`, the options being in them."""
        factors = self._factors(scores.shape[1])
        if self.focal_gamma:
            if target.ndim == 2:
                raise ValueError("focal_gamma is for class indices alone and has no meaning with soft labels")
            slope = _focal_slope(csoftmax.selective_log_softmax(scores, target), self.focal_gamma)
            weight = slope if weight is None else slope * weight
        if factors is None and not self.label_smoothing:
            return target, weight
        if target.ndim == 1:
            target = _indices(scores, target)
            if not self.label_smoothing:
                weight = factors[target] if weight is None else factors[target] * weight
                return target, weight
            target = np.eye(scores.shape[1])[target]
        return _smoothed(target, self.label_smoothing) * (1.0 if factors is None else factors), weight

    def _factors(self, classes: int) -> Any:
        """The class weights as an array; None if there are none."""
        if not isinstance(self.class_weight, dict):
            if self.class_weight is not None and self.class_weight.shape != (classes,):
                raise ValueError(f"class_weight has shape {self.class_weight.shape}, but there are {classes} classes")
            return self.class_weight
        unknown = [k for k in self.class_weight if not 0 <= k < classes]
        if unknown:
            raise ValueError(f"class_weight has a class {unknown[0]}, but classes are in [0, {classes})")
        factors = np.ones(classes)
        factors[list(self.class_weight)] = list(self.class_weight.values())
        return factors

    def _mean_over_rows(self, scores: _Array, target: _Array, weight: _Array | None) -> float:
        total = len(scores) if weight is None else weight.sum()
        return float(
            csoftmax.cross_entropy(
                scores,
                target,
                weight=self._factors(scores.shape[1]),
                sample_weight=weight,
                normalizer=total,
                ignore_index=None,
                label_smoothing=self.label_smoothing,
                focal_gamma=self.focal_gamma,
            )
        )

    def _mean_over_groups(self, batch: "_Batch") -> float:
        losses, total = 0.0, 0.0
        for scores, target, weight, rows in self._lists(batch):
            losses += float(csoftmax.cross_entropy(scores, target, sample_weight=weight, reduction="sum"))
            total += len(rows) if weight is None else float(weight.sum())
        return losses / total if total else 0.0

    def _lists(self, batch: "_Batch") -> Iterator[tuple[_Array, _Array, _Array | None, _Array]]:
        """(scores, targets, weights of the groups, numbers of the rows) of all groups of one size, size by size."""
        scores, target, weight = batch.scores.reshape(-1), np.asarray(batch.target, np.float64), batch.weight
        sizes: Any = _sizes(batch.groups()) if isinstance(self.groups, str) else self.groups
        if scores.shape != batch.scores.shape[:1] or target.shape != scores.shape:
            raise ValueError(
                f"groups take one score and one label per row, got shapes {batch.scores.shape} and {target.shape}"
            )
        if sizes.sum() != scores.size:
            raise ValueError(
                f"groups add up to {sizes.sum()} rows, but there are {scores.size} scores: for several data sets give "
                "each its groups, and pass groups='data'"
            )
        if weight is not None and weight.shape == scores.shape:
            target, weight = target * weight, None
        elif weight is not None and weight.shape != sizes.shape:
            raise ValueError(f"sample_weight has shape {weight.shape}, for {scores.size} rows in {sizes.size} groups")
        for members, rows in _by_size(sizes):
            factors = None if weight is None else weight[members]
            yield scores[rows], _smoothed(target[rows], self.label_smoothing), factors, rows


class _Batch(NamedTuple):
    """What a library hands over, whichever way."""

    scores: _Array
    target: ArrayLike
    weight: _Array | None
    given: Any

    def groups(self) -> ArrayLike:
        sizes: ArrayLike | None = self.given.get_group() if _is_data(self.given) else self.given
        if sizes is None or np.size(sizes) == 0:
            raise ValueError("groups='data', but the data have none: give them to the DMatrix or Dataset by set_group")
        return sizes


def _read(y_true: Any, y_pred: Any, sample_weight: Any, group: Any) -> _Batch:
    if _is_data(y_pred):
        y_true, y_pred, sample_weight, group = y_pred.get_label(), y_true, y_pred.get_weight(), y_pred
    weight = None if sample_weight is None or np.size(sample_weight) == 0 else np.asarray(sample_weight, np.float64)
    return _Batch(np.asarray(y_pred), y_true, weight, group)


def _is_data(argument: Any) -> bool:
    """Whether this is a DMatrix or a Dataset, or anything that has labels and weights as they have."""
    return hasattr(argument, "get_label") and hasattr(argument, "get_weight")


def _is_of(argument: Any, package: str) -> bool:
    return any(parent.__module__.split(".")[0] == package for parent in type(argument).__mro__)


def _classes(batch: _Batch) -> tuple[_Array, _Array, _Array | None]:
    """(scores, target, weights) of rows with classes."""
    scores, target = batch.scores, np.asarray(batch.target)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim != 2:
        csoftmax.softmax_grad_hess(scores, target)  # says what two classes need
    if target.ndim == 1 and target.size == scores.size:
        target = target.reshape(scores.shape)
    if target.shape not in (scores.shape, scores.shape[:1]) or target.dtype == bool:
        csoftmax.softmax_grad_hess(scores, target)  # says what is wrong
    return scores, target, batch.weight


def _indices(scores: _Array, labels: _Array) -> _Array:
    """Class indices as integers."""
    with np.errstate(invalid="ignore"):
        indices = labels.astype(np.int64)
    if ((indices != labels) | (indices < 0) | (indices >= scores.shape[1])).any():
        csoftmax.softmax_grad_hess(scores, labels)  # says which is none
    return indices


def _smoothed(target: _Array, smoothing: float) -> _Array:
    return (1 - smoothing) * target + smoothing / target.shape[1] if smoothing else target


def _focal_slope(log_p: _Array, gamma: float) -> _Array:
    """The derivative of ``(1 - exp(-l))**gamma * l`` at l = -log_p: ``(1 - p)**gamma * (1 + gamma * l / expm1(l))``."""
    loss = np.minimum(-log_p.astype(np.float64), 700.0)  # where expm1 is finite, and far beyond the last digit
    ratio = np.divide(loss, np.expm1(loss), out=np.ones_like(loss), where=loss != 0)
    slope: _Array = (-np.expm1(-loss)) ** gamma * (1 + gamma * ratio)
    return slope


def _class_weight(given: Any) -> Any:
    if isinstance(given, str):
        raise ValueError(
            f"class_weight must be factors, got {given!r}: sklearn.utils.class_weight.compute_class_weight finds them"
        )
    if not isinstance(given, Mapping):
        return given if given is None else np.asarray(given, np.float64)
    if not all(isinstance(k, int | np.integer) for k in given):
        raise TypeError(f"class_weight must have class indices as keys, got {list(given)}")
    return dict(given)


def _by_size(sizes: _Array) -> Iterator[tuple[_Array, _Array]]:
    """(numbers of the groups, numbers of their rows) of all groups of one size, size by size."""
    starts, order = np.cumsum(sizes) - sizes, np.argsort(sizes, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1):
        if members.size and sizes[members[0]]:
            yield members, starts[members][:, None] + np.arange(sizes[members[0]])


def _sizes(groups: ArrayLike) -> _Array:
    sizes = np.asarray(groups)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 0).any():
        raise ValueError(f"groups must be sizes, integers of one axis and not negative, got {groups!r}")
    return sizes.astype(np.int64)
