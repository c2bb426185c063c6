"""Types of the public names.

A result has the dtype of its input where that is float16, float32 or float64 (a loss, of the last two);
integers and bool give float64. Where the types do not tell the dtype, or whether a sum over axes is an array
or a scalar, the result is Any. Two scalars pass for arrays: the softmax of a 0-d array, and the loss of a
single row under reduction="none".
"""

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, TypedDict, TypeVar, overload, type_check_only

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "cross_entropy",
    "get_num_threads",
    "kl_divergence",
    "linear_cross_entropy",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "segment_cross_entropy",
    "segment_log_softmax",
    "segment_logsumexp",
    "segment_softmax",
    "segment_softmax_vjp",
    "selective_log_softmax",
    "set_num_threads",
    "show_config",
    "softmax",
    "softmax_entropy",
    "softmax_expectation",
    "softmax_grad_hess",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_vjp",
    "top_k_log_softmax",
]

__version__: str

_Real = TypeVar("_Real", bound=np.float16 | np.float32 | np.float64)
_Loss = TypeVar("_Loss", bound=np.float32 | np.float64)
_Out = TypeVar("_Out", bound=NDArray[Any])

_AsFloat64: TypeAlias = NDArray[np.integer[Any] | np.bool] | Sequence[float] | Sequence[Sequence[float]]
_Array: TypeAlias = NDArray[Any] | Sequence[Any]
_Axes: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Number: TypeAlias = float | np.floating[Any] | np.integer[Any]
_Given: TypeAlias = NDArray[Any] | None
_Temperature: TypeAlias = _Number | _Array
_Bool: TypeAlias = NDArray[np.bool] | Sequence[Any] | bool | None
_Target: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]
_Hessian: TypeAlias = Literal["diagonal", "upper", "friedman", "residual"]

@type_check_only
class _Config(TypedDict):
    version: str
    isa: str
    isas: list[str]
    built: list[str]
    threading: Literal["pthreads", "windows", "none"]
    threads: int
    compiler: str
    numpy: str

@overload
def softmax(
    x: NDArray[_Real],
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax(
    x: _AsFloat64,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def softmax(
    x: _Array,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: type[_Real] | np.dtype[_Real],
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Out,
) -> _Out: ...
@overload
def softmax(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> Any: ...
@overload
def log_softmax(
    x: NDArray[_Real],
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def log_softmax(
    x: _AsFloat64,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax(
    x: _Array,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: type[_Real] | np.dtype[_Real],
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def log_softmax(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Out,
) -> _Out: ...
@overload
def log_softmax(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> Any: ...
@overload
def logsumexp(
    a: NDArray[_Real],
    axis: None = None,
    b: None = None,
    keepdims: Literal[False] = False,
    return_sign: Literal[False] = False,
    *,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> _Real: ...
@overload
def logsumexp(
    a: _AsFloat64,
    axis: None = None,
    b: None = None,
    keepdims: Literal[False] = False,
    return_sign: Literal[False] = False,
    *,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> np.float64: ...
@overload
def logsumexp(
    a: NDArray[_Real],
    axis: _Axes = None,
    b: None = None,
    *,
    keepdims: Literal[True],
    return_sign: Literal[False] = False,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def logsumexp(
    a: _AsFloat64,
    axis: _Axes = None,
    b: None = None,
    *,
    keepdims: Literal[True],
    return_sign: Literal[False] = False,
    where: _Bool = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: _Axes = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    *,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Out,
) -> _Out: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: _Axes = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: _Axes = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    *,
    where: _Bool = None,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> Any: ...
@overload
def selective_log_softmax(
    x: NDArray[_Real],
    index: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    softcap: _Number | None = None,
    where: _Bool = None,
    ignore_index: SupportsIndex | None = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def selective_log_softmax(
    x: _AsFloat64,
    index: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    softcap: _Number | None = None,
    where: _Bool = None,
    ignore_index: SupportsIndex | None = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def selective_log_softmax(
    x: ArrayLike,
    index: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    softcap: _Number | None = None,
    where: _Bool = None,
    ignore_index: SupportsIndex | None = None,
    dtype: DTypeLike | None = None,
    out: _Out,
) -> _Out: ...
@overload
def selective_log_softmax(
    x: ArrayLike,
    index: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    softcap: _Number | None = None,
    where: _Bool = None,
    ignore_index: SupportsIndex | None = None,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_entropy(
    x: NDArray[_Real],
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: Literal[True],
    return_grad: Literal[False] = False,
    dtype: None = None,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax_entropy(
    x: _AsFloat64,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: Literal[True],
    return_grad: Literal[False] = False,
    dtype: None = None,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_entropy(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: bool = False,
    return_grad: Literal[False] = False,
    dtype: DTypeLike | None = None,
    out: _Out,
) -> _Out: ...
@overload
def softmax_entropy(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: bool = False,
    return_grad: Literal[False] = False,
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_entropy(
    x: NDArray[_Real],
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: bool = False,
    return_grad: Literal[True],
    dtype: None = None,
    out: None = None,
) -> tuple[Any, NDArray[_Real]]: ...
@overload
def softmax_entropy(
    x: ArrayLike,
    axis: _Axes = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    keepdims: bool = False,
    return_grad: Literal[True],
    dtype: DTypeLike | None = None,
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def softmax_expectation(
    x: NDArray[_Real],
    values: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    return_grad: Literal[True],
    out: None = None,
) -> tuple[Any, NDArray[_Real]]: ...
@overload
def softmax_expectation(
    x: ArrayLike,
    values: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    return_grad: Literal[True],
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def softmax_expectation(
    x: ArrayLike,
    values: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    return_grad: Literal[False] = False,
    out: _Out,
) -> _Out: ...
@overload
def softmax_expectation(
    x: ArrayLike,
    values: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    return_grad: bool = False,
    out: _Given = None,
) -> Any: ...
@overload
def top_k_log_softmax(
    x: NDArray[_Real],
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
) -> tuple[NDArray[_Real], NDArray[np.intp]]: ...
@overload
def top_k_log_softmax(
    x: _AsFloat64,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]: ...
@overload
def top_k_log_softmax(
    x: ArrayLike,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
) -> tuple[Any, NDArray[np.intp]]: ...
@overload
def segment_softmax(
    x: NDArray[_Real],
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def segment_softmax(
    x: _AsFloat64,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def segment_softmax(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def segment_softmax(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> Any: ...
@overload
def segment_log_softmax(
    x: NDArray[_Real],
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def segment_log_softmax(
    x: _AsFloat64,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def segment_log_softmax(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def segment_log_softmax(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> Any: ...
@overload
def segment_logsumexp(
    x: NDArray[_Real],
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def segment_logsumexp(
    x: _AsFloat64,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def segment_logsumexp(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def segment_logsumexp(
    x: ArrayLike,
    offsets: ArrayLike,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> Any: ...
@overload
def segment_softmax_vjp(
    p: NDArray[_Real],
    g: NDArray[_Real],
    offsets: ArrayLike,
    *,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def segment_softmax_vjp(
    p: _AsFloat64,
    g: _AsFloat64,
    offsets: ArrayLike,
    *,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def segment_softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    offsets: ArrayLike,
    *,
    out: _Out,
) -> _Out: ...
@overload
def segment_softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    offsets: ArrayLike,
    *,
    out: None = None,
) -> Any: ...
@overload
def segment_cross_entropy(
    x: NDArray[_Loss],
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    return_grad: Literal[False] = False,
    out: None = None,
) -> _Loss: ...
@overload
def segment_cross_entropy(
    x: NDArray[_Loss],
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    return_grad: Literal[True],
    out: None = None,
) -> tuple[_Loss, NDArray[_Loss]]: ...
@overload
def segment_cross_entropy(
    x: NDArray[_Loss],
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["none"],
    return_grad: Literal[False] = False,
    out: None = None,
) -> NDArray[_Loss]: ...
@overload
def segment_cross_entropy(
    x: NDArray[_Loss],
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["none"],
    return_grad: Literal[True],
    out: None = None,
) -> tuple[NDArray[_Loss], NDArray[_Loss]]: ...
@overload
def segment_cross_entropy(
    x: ArrayLike,
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    return_grad: Literal[True],
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def segment_cross_entropy(
    x: ArrayLike,
    target: ArrayLike,
    offsets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    return_grad: bool = False,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_jacobian(
    p: NDArray[_Real],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax_jacobian(
    p: _AsFloat64,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_jacobian(
    p: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def softmax_jacobian(
    p: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_vjp(
    p: NDArray[_Real],
    g: NDArray[_Real],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax_vjp(
    p: _AsFloat64,
    g: _AsFloat64,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_jvp(
    p: NDArray[_Real],
    t: NDArray[_Real],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def softmax_jvp(
    p: _AsFloat64,
    t: _AsFloat64,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_jvp(
    p: ArrayLike,
    t: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def softmax_jvp(
    p: ArrayLike,
    t: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Given = None,
) -> Any: ...
@overload
def log_softmax_vjp(
    p: NDArray[_Real],
    g: NDArray[_Real],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def log_softmax_vjp(
    p: _AsFloat64,
    g: _AsFloat64,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def log_softmax_vjp(
    p: ArrayLike,
    g: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Given = None,
) -> Any: ...
@overload
def log_softmax_jvp(
    p: NDArray[_Real],
    t: NDArray[_Real],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[_Real]: ...
@overload
def log_softmax_jvp(
    p: _AsFloat64,
    t: _AsFloat64,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: None = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax_jvp(
    p: ArrayLike,
    t: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def log_softmax_jvp(
    p: ArrayLike,
    t: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    out: _Given = None,
) -> Any: ...
@overload
def kl_divergence(
    p_logits: NDArray[_Loss],
    q_logits: NDArray[_Loss],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> _Loss: ...
@overload
def kl_divergence(
    p_logits: NDArray[_Loss],
    q_logits: NDArray[_Loss],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: None = None,
) -> tuple[_Loss, NDArray[_Loss]]: ...
@overload
def kl_divergence(
    p_logits: NDArray[_Loss],
    q_logits: NDArray[_Loss],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: _Out,
) -> tuple[_Loss, _Out]: ...
@overload
def kl_divergence(
    p_logits: NDArray[_Loss],
    q_logits: NDArray[_Loss],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> NDArray[_Loss]: ...
@overload
def kl_divergence(
    p_logits: NDArray[_Loss],
    q_logits: NDArray[_Loss],
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: None = None,
) -> tuple[NDArray[_Loss], NDArray[_Loss]]: ...
@overload
def kl_divergence(
    p_logits: ArrayLike,
    q_logits: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def kl_divergence(
    p_logits: ArrayLike,
    q_logits: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> Any: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> _Loss: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: None = None,
) -> tuple[_Loss, NDArray[_Loss]]: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: _Out,
) -> tuple[_Loss, _Out]: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["none"],
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> NDArray[_Loss]: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["none"],
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: None = None,
) -> tuple[NDArray[_Loss], NDArray[_Loss]]: ...
@overload
def cross_entropy(
    logits: NDArray[_Loss],
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["none"],
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: _Out,
) -> tuple[NDArray[_Loss], _Out]: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    out: _Given = None,
) -> tuple[Any, Any]: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[False] = False,
    out: None = None,
) -> Any: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: _Target,
    axis: SupportsIndex = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: bool,
    out: _Given = None,
) -> Any: ...
@overload
def softmax_grad_hess(
    raw: NDArray[_Real],
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    hessian: _Hessian = "diagonal",
    eps: _Number = 1e-16,
    out: None = None,
) -> tuple[NDArray[_Real], NDArray[_Real]]: ...
@overload
def softmax_grad_hess(
    raw: _AsFloat64,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    hessian: _Hessian = "diagonal",
    eps: _Number = 1e-16,
    out: None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def softmax_grad_hess(
    raw: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    hessian: _Hessian = "diagonal",
    eps: _Number = 1e-16,
    out: tuple[_Out, _Out],
) -> tuple[_Out, _Out]: ...
@overload
def softmax_grad_hess(
    raw: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    hessian: _Hessian = "diagonal",
    eps: _Number = 1e-16,
    out: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> tuple[Any, Any]: ...
@overload
def linear_cross_entropy(
    x: ArrayLike,
    w: ArrayLike,
    target: _Target,
    bias: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: Literal[True],
    chunk_size: SupportsIndex | None = None,
    out: tuple[_Given, _Given, _Given] | None = None,
    accumulate: bool = False,
) -> tuple[Any, tuple[NDArray[Any], NDArray[Any], _Given]]: ...
@overload
def linear_cross_entropy(
    x: ArrayLike,
    w: ArrayLike,
    target: _Target,
    bias: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    label_smoothing: _Number = 0.0,
    focal_gamma: _Number = 0.0,
    z_loss: _Number = 0.0,
    softcap: _Number | None = None,
    temperature: _Temperature = 1.0,
    where: _Bool = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    normalizer: _Number | None = None,
    return_grad: bool = False,
    chunk_size: SupportsIndex | None = None,
    out: tuple[_Given, _Given, _Given] | None = None,
    accumulate: bool = False,
) -> Any: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> _Config: ...
