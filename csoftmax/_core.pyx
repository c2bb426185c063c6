"""The door to the C core: arrays become pointers, sizes and dtype codes; status codes become exceptions.

Nothing here loops over data. `run` takes what `_arrays` has made plain. `_thin.pxi` holds the doors for calls that
are plain as they stand, `_typed.pxi` the loops for other Cython packages.
"""

import os
from functools import wraps

cimport numpy as cnp
from libc.math cimport isfinite
from libc.string cimport memset
from numpy cimport ndarray

import numpy as np

cnp.import_array()


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object, int *overflow) except? -1
    double PyFloat_AS_DOUBLE(object) noexcept
    int PyErr_CheckSignals() noexcept      # the exception it sets is raised by check(), not here


cdef extern from "core/csoftmax.h" nogil:
    ctypedef enum csm_dtype:
        CSM_F32, CSM_F64, CSM_F16, CSM_BF16
        CSM_BOOL, CSM_I8, CSM_U8, CSM_I16, CSM_U16, CSM_I32, CSM_U32, CSM_I64, CSM_U64, CSM_DTYPES
    ctypedef enum csm_op:
        CSM_SOFTMAX, CSM_LOG_SOFTMAX, CSM_LOGSUMEXP, CSM_ENTROPY, CSM_SELECTIVE
        CSM_CROSS_ENTROPY, CSM_SOFT_CROSS_ENTROPY, CSM_GRAD_HESS
        CSM_JACOBIAN, CSM_VJP, CSM_LOG_VJP, CSM_LOG_JVP
    ctypedef enum csm_status:
        CSM_OK, CSM_NO_MEMORY, CSM_INTERRUPTED, CSM_BAD_LABEL, CSM_FRACTION
    ctypedef enum csm_reduction:
        CSM_NONE, CSM_SUM, CSM_MEAN
    ctypedef enum csm_hessian:
        CSM_DIAGONAL, CSM_UPPER, CSM_FRIEDMAN, CSM_RESIDUAL
    ctypedef struct csm_array:
        void *data
        csm_dtype dtype
        int swapped
        const Py_ssize_t *stride
    ctypedef struct csm_call:
        csm_op op
        csm_dtype dtype
        int ndim, nclass
        const Py_ssize_t *shape
        csm_array x, g, y, h, r
        double temperature
        csm_array temperatures, where
        csm_array target
        Py_ssize_t slots
        csm_array prob
        int ignores
        long long ignore_index
        csm_array weight, sample_weight
        double label_smoothing, z_loss, softcap
        csm_reduction reduction
        double normalizer
        double *loss
        csm_hessian hessian
        double hessian_floor
        int (*poll)() noexcept
        Py_ssize_t bad_row
        char bad_label[32]
    enum: CSM_MAX_NDIM
    csm_status csm_run(csm_call *call)
    void csm_set_num_threads(int n)
    int csm_get_num_threads()
    void csm_keep_flags(int keep)
    int csm_has_openmp()
    void csm_guard_forks()
    int csm_init(const char *isa)
    const char *csm_isa()
    const char *csm_isa_built(int i)
    int csm_isa_runs(int i)
    const char *csm_compiler()


SOFTMAX, LOG_SOFTMAX, LOGSUMEXP, ENTROPY, SELECTIVE = \
    CSM_SOFTMAX, CSM_LOG_SOFTMAX, CSM_LOGSUMEXP, CSM_ENTROPY, CSM_SELECTIVE
CROSS_ENTROPY, SOFT_CROSS_ENTROPY, GRAD_HESS = CSM_CROSS_ENTROPY, CSM_SOFT_CROSS_ENTROPY, CSM_GRAD_HESS
JACOBIAN, VJP, LOG_VJP, LOG_JVP = CSM_JACOBIAN, CSM_VJP, CSM_LOG_VJP, CSM_LOG_JVP

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


# ---- a call, with room for the shape and the strides that it points to ----

ctypedef struct frame:
    csm_call call
    Py_ssize_t[CSM_MAX_NDIM] shape
    Py_ssize_t[MOST_ARRAYS][CSM_MAX_NDIM] stride
    int arrays                              # that have strides by now


cdef void open_frame(frame *f, csm_op op, csm_dtype dtype, int ndim, int nclass) noexcept nogil:
    """A call with `ndim` axes of rows, without arrays yet."""
    memset(&f.call, 0, sizeof(f.call))
    f.arrays = 0
    f.call.op, f.call.dtype = op, dtype
    f.call.ndim, f.call.nclass = ndim, nclass
    f.call.shape = f.shape
    f.call.temperature = 1


cdef inline void put(frame *f, csm_array *to, ndarray a, int axis) noexcept:
    """Point `to` at an array, its strides in order but for `axis`, which comes last; -1: as they are."""
    cdef Py_ssize_t *stride = f.stride[f.arrays]
    cdef int i, k = 0
    f.arrays += 1
    to.data = cnp.PyArray_DATA(a)
    to.dtype = <csm_dtype>code_of(a)
    to.swapped = not cnp.PyArray_ISNOTSWAPPED(a)
    to.stride = stride
    for i in range(cnp.PyArray_NDIM(a)):
        if i != axis:
            stride[k] = cnp.PyArray_STRIDE(a, i)
            k += 1
    if axis >= 0:
        stride[k] = cnp.PyArray_STRIDE(a, axis)


cdef int set_ignored(csm_call *c, ignore_index) except -1:
    """Labels equal to an int are ignored; None: no label is."""
    cdef int overflow
    if ignore_index is not None:
        c.ignore_index = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
        c.ignores = not overflow
        if overflow > 0 and ignore_index < 2**64:     # no label is beyond
            c.ignores, c.ignore_index = 2, <long long>(ignore_index - 2**64)
    return 0


cdef int poll() noexcept with gil:
    return PyErr_CheckSignals()


cdef int go(frame *f, Py_ssize_t elements, ndarray target, name) except -1:
    """Run the call; raise what its status says. `target` are the labels, `name` is the argument they came in."""
    cdef csm_status status
    f.call.poll = poll
    if elements < GIL_ELEMENTS:
        status = csm_run(&f.call)
    else:
        with nogil:
            status = csm_run(&f.call)
    return 0 if status == CSM_OK else fail(status, &f.call, target, name)


cdef int fail(csm_status status, const csm_call *c, ndarray target, name) except -1:
    if status == CSM_INTERRUPTED:
        return -1
    if status == CSM_NO_MEMORY:
        raise MemoryError("no memory for scratch space")
    shape = (<object>target).shape
    row = ", ".join(str(int(i)) for i in np.unravel_index(c.bad_row, shape)) if shape else "()"
    label = (<bytes>c.bad_label).decode()
    if target.dtype.kind == "f":
        label = str(float(label))
    if status == CSM_FRACTION:
        raise ValueError(f"{name}[{row}] = {label} is not a whole number: class indices must be")
    raise IndexError(f"{name}[{row}] = {label} is not a class index in [0, {c.shape[c.ndim]})")


def run(int op, bint wide, ndarray x, int nclass=1, *, ndarray g=None, ndarray y=None, ndarray h=None,
        ndarray r=None, temperature=1.0, ndarray where=None, ndarray target=None, name="target", ndarray prob=None,
        ignore_index=None, ndarray weight=None, ndarray sample_weight=None, double label_smoothing=0,
        double z_loss=0, double softcap=0, reduction="none", double normalizer=0, hessian="diagonal",
        double hessian_floor=0):
    """Run an operation on arrays whose class axes come last, in float64 if `wide`, else in float32.

    The arguments are the fields of csm_call (core/csoftmax.h), None and 0 standing for absent. `temperature` is a
    float or an array. Where `target` has an axis more than the rows, that is the axis of slots. `name` is what a bad
    label of it is reported under. Returns the reduced loss, 0 where there is none.
    """
    cdef frame f
    cdef int i, ndim = cnp.PyArray_NDIM(x)
    cdef double loss = 0
    cdef csm_call *c = &f.call
    open_frame(&f, <csm_op>op, CSM_F64 if wide else CSM_F32, ndim - nclass, nclass)
    for i in range(ndim):
        f.shape[i] = cnp.PyArray_DIM(x, i)
    put(&f, &c.x, x, -1)
    if g is not None:
        put(&f, &c.g, g, -1)
    if y is not None:
        put(&f, &c.y, y, -1)
    if h is not None:
        put(&f, &c.h, h, -1)
    if r is not None:
        put(&f, &c.r, r, -1)
    if where is not None:
        put(&f, &c.where, where, -1)
    if isinstance(temperature, ndarray):
        put(&f, &c.temperatures, temperature, -1)
    else:
        c.temperature = temperature
    if target is not None:
        put(&f, &c.target, target, -1)
        c.slots = cnp.PyArray_DIM(target, c.ndim) if cnp.PyArray_NDIM(target) > c.ndim else 0
    if prob is not None:
        put(&f, &c.prob, prob, -1)
    if weight is not None:
        put(&f, &c.weight, weight, -1)
    if sample_weight is not None:
        put(&f, &c.sample_weight, sample_weight, -1)
    set_ignored(c, ignore_index)
    c.label_smoothing, c.z_loss, c.softcap = label_smoothing, z_loss, softcap
    c.reduction, c.normalizer = <csm_reduction>reduction_of(reduction), normalizer
    c.hessian, c.hessian_floor = <csm_hessian>hessian_of(hessian), hessian_floor
    if c.reduction != CSM_NONE:
        c.loss = &loss
    if op == CSM_JACOBIAN:
        spread_jacobian(&f)
    go(&f, cnp.PyArray_SIZE(x if y is None else y), target, name)
    return loss


cdef void spread_jacobian(frame *f) noexcept nogil:
    """Make the rows of a Jacobian an axis of the call: x and the temperatures stand still along it."""
    cdef csm_call *c = &f.call
    cdef Py_ssize_t *xs = <Py_ssize_t *>c.x.stride
    f.shape[c.ndim + 1] = f.shape[c.ndim]
    xs[c.ndim + 1] = xs[c.ndim]
    xs[c.ndim] = 0
    if c.temperatures.data:
        (<Py_ssize_t *>c.temperatures.stride)[c.ndim] = 0
    c.ndim += 1


cdef int hessian_of(rule) except -2:
    """The code of a rule for the Hessian, -1 where there is none of that name."""
    if rule == "diagonal":
        return CSM_DIAGONAL
    if rule == "upper":
        return CSM_UPPER
    if rule == "friedman":
        return CSM_FRIEDMAN
    return CSM_RESIDUAL if rule == "residual" else -1


cdef int reduction_of(reduction) except -2:
    """The code of a reduction, -1 where there is none of that name."""
    if reduction == "mean":
        return CSM_MEAN
    if reduction == "sum":
        return CSM_SUM
    return CSM_NONE if reduction == "none" else -1


include "_thin.pxi"
include "_typed.pxi"


# ---- control ----

def set_num_threads(int n):
    csm_set_num_threads(n)


def get_num_threads():
    return csm_get_num_threads()


def keep_float_flags(bint keep):
    """For tests: whether calls leave the flags of floating-point exceptions that they raise, on x86-64."""
    csm_keep_flags(keep)


def has_openmp():
    return bool(csm_has_openmp())


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
