"""Options of the losses by name, and the losses of the pure-Python reference for arrays."""

import numpy as np
import reference

TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 2e-6, "float64": 1e-13}
OPTIONS = {
    "weight": lambda n, rows: {"weight": np.linspace(0.5, 2.0, n)},
    "sample_weight": lambda n, rows: {"sample_weight": np.linspace(-1.0, 2.0, rows)},
    "label_smoothing": lambda n, rows: {"label_smoothing": 0.2},
    "z_loss": lambda n, rows: {"z_loss": 0.05},
    "softcap": lambda n, rows: {"softcap": 6.0},
    "temperature": lambda n, rows: {"temperature": np.linspace(0.5, 3.0, rows)},
}


def options_of(name, shape, among=tuple(OPTIONS)):
    """The option of a name, or "all" of those among which it is, for logits (rows, n); of other names none."""
    rows, n = shape
    return {k: v for option in among if name in (option, "all") for k, v in OPTIONS[option](n, rows).items()}


def by_reference(x, target, **options):
    """(losses, gradient) of cross_entropy for rows of logits, by reference.py."""
    if isinstance(target, tuple):
        target = list(zip(*(a.tolist() for a in target), strict=True))
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in options.items()}
    rows = np.asarray(target).tolist() if not isinstance(target, list) else target
    return reference.cross_entropy(x.astype(float).tolist(), rows, **plain)


def poisoned(x, where, hidden=np.nan):
    """`hidden` where no class takes part."""
    with np.errstate(over="ignore"):
        return np.where(where, x, np.array(hidden).astype(x.dtype))


def near(actual, expected, dtype="float64", scale=1.0):
    """Equal within the tolerance of a dtype, or that of a number of size `scale`."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=scale * TOLERANCE[dtype])
