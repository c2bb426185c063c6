"""Softmax, its derivatives and its losses on NumPy arrays: compiled, exact, fast."""

import sys as _sys

try:
    import csoftmax._csoftmax as _csoftmax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "csoftmax._csoftmax":
        raise
    raise ImportError(
        "csoftmax is not compiled in this folder, which shadows any csoftmax that is installed: "
        "run Python from another folder, or `pip install -e .` here"
    ) from error

from csoftmax._control import get_num_threads, set_num_threads, show_config
from csoftmax._csoftmax import (
    cross_entropy,
    kl_divergence,
    log_softmax,
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp,
    segment_cross_entropy,
    segment_log_softmax,
    segment_logsumexp,
    segment_softmax,
    segment_softmax_vjp,
    selective_log_softmax,
    softmax,
    softmax_entropy,
    softmax_expectation,
    softmax_grad_hess,
    softmax_jacobian,
    softmax_jvp,
    softmax_vjp,
    top_k_log_softmax,
)
from csoftmax._linear import linear_cross_entropy

if hasattr(_sys.modules.get("threadpoolctl"), "register"):
    from csoftmax import threadpoolctl  # noqa: F401

__version__ = "0.1.0"

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

for _name in __all__:
    globals()[_name].__module__ = "csoftmax"  # the module that people import it from, not the one that holds its code
del _name
