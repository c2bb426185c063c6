"""The arrays that the cells of options.py name."""

import numpy as np

import csoftmax

CONVERSIONS = {"float32": ["float16"], "float64": ["float32", "float16", "int8", "int64", "bool"], "float16": []}
"""Dtypes that are computed in the one before the colon. Of float16 only numbers are cells."""
MOST_SQUARES = 4_000_000  # elements of Jacobians


def along(a, axis, step):
    """A view of every step-th entry along an axis."""
    return a[(slice(None),) * axis + (slice(None, None, step),)]


def names(shape, axis, dtype):
    """What the statements name. What a dtype or a shape does not have is absent, and so are its cells."""
    rng = np.random.default_rng(1)
    n, rows = shape[axis], shape[:axis] + shape[axis + 1:]
    wide, one = rng.standard_normal(shape), [m if i == axis else 1 for i, m in enumerate(shape)]
    peaked = wide - 75 * (rng.random(shape) < 0.5)
    np.put_along_axis(peaked, np.expand_dims(rng.integers(0, n, rows), axis), 20.0, axis)
    x, p, onehot = wide.astype(dtype), csoftmax.softmax(3 * wide, axis).astype(dtype), np.zeros(shape, dtype)
    label = rng.integers(0, n, rows)
    np.put_along_axis(onehot, np.expand_dims(label, axis), 1, axis)
    swapped = x.dtype.newbyteorder()
    given = {name: getattr(csoftmax, name) for name in csoftmax.__all__} | {
        "copyto": np.copyto, "axis": axis, "x": x, "p": p, "label": label, "T": rng.uniform(0.5, 2, rows),
        "rows_back": along(x, int(axis == 0), -1), "classes_back": along(x, axis, -1), "p_back": along(p, axis, -1),
        "even_rows": along(x, int(axis == 0), 2), "even_classes": along(x, axis, 2),
        "some_labels": np.where(rng.random(rows) < 1 / 7, -7, label), "weight": rng.uniform(0.5, 2, n),
        "some": rng.random(shape) < 0.8, "b": rng.random(shape).astype(dtype), "some_classes": rng.random(one) < 0.8,
        "some_rows": np.expand_dims(rng.random(rows) < 0.8, axis), "onehot": onehot, "peaked": peaked.astype(dtype),
        "flat": (0.02 * wide).astype(dtype), "bimodal": (wide - 75 * (np.indices(one)[axis] % 2)).astype(dtype),
        "swapped": x.astype(swapped), "p_swapped": p.astype(swapped), "y_swapped": x.astype(swapped),
        "label_swapped": label.astype(label.dtype.newbyteorder()),
    }
    for k in (2, 4):
        given[f"pair{k}"] = rng.integers(0, n, (*rows, k)), rng.dirichlet(np.ones(k), rows)
    for kind in CONVERSIONS[np.dtype(dtype).name]:
        given |= {f"x_{kind}": x.astype(kind), f"p_{kind}": p.astype(kind), f"y_{kind}": x.astype(kind)}
        given |= {f"x_{kind}_f": np.asfortranarray(given[f"x_{kind}"])}
    for name in ("even_rows", "even_classes"):
        given[f"{name}_copy"], given[f"{name}_y"] = given[name].copy(), given[name].copy()
    if axis == len(shape) - 1 and n * n <= MOST_SQUARES:
        few = p.reshape(-1, n)[: MOST_SQUARES // n**2]
        square = np.zeros((*few.shape, n), dtype)
        given |= {"few": few, "few_f": np.asfortranarray(few), "few_onehot": onehot.reshape(-1, n)[: len(few)],
                  "few_T": rng.uniform(0.5, 2, len(few)), "square": square, "square_f": np.asfortranarray(square),
                  "square_turned": square.copy().swapaxes(-1, -2)}
    if len(shape) == 2 and axis == 1:
        given |= {"h": np.zeros_like(x), "h_f": np.asfortranarray(x)}
    given |= {name: np.zeros_like(x) for name in "yz"}
    return given | {f"{name}_f": np.asfortranarray(given[name]) for name in "xpyz"}
