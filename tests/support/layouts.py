"""Copies of an array that lie otherwise in memory."""

from functools import partial

import numpy as np


def with_steps(a, step):
    """Every `step`-th element along each axis; backwards if the step is negative."""
    view = np.zeros([abs(step) * n for n in a.shape], a.dtype)[(..., *[slice(None, None, step)] * a.ndim)]
    view[...] = a
    return view


def misaligned(a):
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def swapped(a):
    """In the other byte order, which bfloat16 does not have."""
    return a.astype(a.dtype.newbyteorder()) if a.dtype.kind == "f" else a


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "with gaps": partial(with_steps, step=2),
    "backwards": partial(with_steps, step=-1),
    "misaligned": misaligned,
    "swapped": swapped,
}
