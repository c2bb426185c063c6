# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True
"""The public functions over the C core: arrays become pointers, sizes and dtype codes; status codes become exceptions.

`_maps.pxi`, `_expectation.pxi`, `_top_k.pxi`, `_derivatives.pxi`, `_losses.pxi` and `_segments.pxi` hold the public
functions, `_typed.pxi` the loops for other Cython packages. `_arguments.pxi` takes arguments into a csm_call, which
`_call.pxi` runs; `_results.pxi` places the results.
"""

import math
import os

cimport numpy as cnp
from libc.math cimport INFINITY, NAN
from libc.string cimport memset
from numpy cimport ndarray

import numpy as np

from csoftmax import _coerce
from csoftmax._capi cimport *

cnp.import_array()


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object, int *overflow) except? -1
    double PyFloat_AS_DOUBLE(object) noexcept
    int PyErr_CheckSignals() noexcept      # the exception it sets is raised by check(), not here


cdef enum:
    # Elements from which on the GIL is released: below, letting it go costs more than the call.
    GIL_ELEMENTS = 4096
    # Type numbers that NumPy counts from 0 on: bool, integers, floats, complex and others, the last of them float16.
    TYPES = 24
    # Arrays of a call that have strides.
    MOST_ARRAYS = 10

# The type number of bfloat16, once an array of it has come by.
cdef int bfloat16 = -1


cdef bint is_bfloat16(ndarray a) noexcept:
    """Whether this array, of a dtype that NumPy does not bring along, is one of ml_dtypes.bfloat16."""
    global bfloat16
    kind = a.dtype.type
    if kind.__name__ == "bfloat16" and kind.__module__ == "ml_dtypes":
        bfloat16 = cnp.PyArray_TYPE(a)
    return cnp.PyArray_TYPE(a) == bfloat16


# The dtype code of each of NumPy's own type numbers, -1 where the core knows none.
cdef int[TYPES] codes


def _fill_codes():
    """By kind and size: which type number is which size depends on the platform."""
    known = {"b1": CSM_BOOL, "f2": CSM_F16, "f4": CSM_F32, "f8": CSM_F64, "i1": CSM_I8, "u1": CSM_U8,
             "i2": CSM_I16, "u2": CSM_U16, "i4": CSM_I32, "u4": CSM_U32, "i8": CSM_I64, "u8": CSM_U64}
    for number in range(TYPES):
        codes[number] = -1
    for letter in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?":
        dtype = np.dtype(letter)
        codes[dtype.num] = known.get(dtype.str[1:], -1)


_fill_codes()


cdef inline int code_of(ndarray a) noexcept:
    """The dtype code of an array, -1 where the core knows none."""
    cdef int kind = cnp.PyArray_TYPE(a)
    if 0 <= kind < TYPES:
        return codes[kind]
    return CSM_BF16 if kind == bfloat16 or cnp.PyTypeNum_ISUSERDEF(kind) and is_bfloat16(a) else -1


include "_call.pxi"
include "_arguments.pxi"
include "_results.pxi"
include "_maps.pxi"
include "_expectation.pxi"
include "_top_k.pxi"
include "_derivatives.pxi"
include "_losses.pxi"
include "_segments.pxi"
include "_typed.pxi"


# ---- control ----

def get_num_threads():
    return csm_get_num_threads()


def set_num_threads(int n):
    csm_set_num_threads(n)


def grant_threads(int n):
    """No call takes more than n threads from now on, whatever `set_num_threads` is given."""
    csm_grant_threads(n)


def assume_cpus(int n):
    """For tests: calls take n for the number of CPUs; 0: they ask the system again."""
    csm_assume_cpus(n)


def threading():
    return csm_threading().decode()


def keep_float_flags(bint keep):
    """For tests: whether calls leave the flags of floating-point exceptions that they raise, on x86-64."""
    csm_keep_flags(keep)


def compiler():
    return csm_compiler().decode()


def isa():
    return csm_isa().decode()


def isas_built():
    cdef int i = 0
    names = []
    while csm_isa_built(i) != NULL:
        names.append(csm_isa_built(i).decode())
        i += 1
    return names


def isas_here():
    return [name for i, name in enumerate(isas_built()) if csm_isa_runs(i)]


def _start():
    asked = os.environ.get("CSOFTMAX_ISA", "")
    if csm_init(asked.encode()):
        raise ImportError(f"CSOFTMAX_ISA={asked} cannot run here: this CPU and build have {', '.join(isas_here())}")
    csm_guard_forks()


_start()
