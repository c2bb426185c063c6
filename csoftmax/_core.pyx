"""The door to the C core: arrays become pointers, sizes and dtype codes; status codes become exceptions.

Nothing here loops over data. `plain_*` take a call as the user wrote it and return None where it holds anything
but plain arrays and numbers; `_arrays` then makes it plain and comes back through `run` or `run_loss`.
"""

import os

cimport numpy as cnp
from libc.math cimport isfinite
from libc.string cimport memset
from numpy cimport ndarray

import numpy as np

cnp.import_array()

cdef object float32 = np.float32, float64 = np.float64


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object, int *overflow) except? -1
    int PyErr_CheckSignals() noexcept      # the exception it sets is raised by check(), not here


cdef extern from "core/csoftmax.h" nogil:
    ctypedef enum csm_dtype:
        CSM_F32, CSM_F64, CSM_F16, CSM_BF16, CSM_BOOL, CSM_I8, CSM_U8, CSM_I16, CSM_U16, CSM_I32, CSM_U32, CSM_I64, CSM_U64, CSM_DTYPES
    ctypedef enum csm_op:
        CSM_SOFTMAX, CSM_LOG_SOFTMAX, CSM_LOGSUMEXP, CSM_ENTROPY, CSM_SELECTIVE
        CSM_CROSS_ENTROPY, CSM_SOFT_CROSS_ENTROPY, CSM_GRAD_HESS
        CSM_JACOBIAN, CSM_VJP, CSM_LOG_VJP, CSM_LOG_JVP
    ctypedef enum csm_status:
        CSM_OK, CSM_NO_MEMORY, CSM_INTERRUPTED, CSM_BAD_LABEL, CSM_FRACTION
    ctypedef enum csm_reduction:
        CSM_NONE, CSM_SUM, CSM_MEAN
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
        csm_array x, g, y, r
        double temperature
        csm_array target
        int ignores
        long long ignore_index
        csm_reduction reduction
        double *loss
        int (*poll)() noexcept
        Py_ssize_t bad_row
        char bad_label[32]
    enum: CSM_MAX_NDIM
    csm_status csm_run(csm_call *call)
    void csm_set_num_threads(int n)
    int csm_get_num_threads()
    int csm_has_openmp()
    void csm_guard_forks()
    void csm_forget_fork()
    int csm_init(const char *isa)
    const char *csm_isa()
    const char *csm_isa_built(int i)
    int csm_isa_runs(int i)
    const char *csm_compiler()


SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = CSM_SOFTMAX, CSM_LOG_SOFTMAX, CSM_LOGSUMEXP
JACOBIAN, VJP, LOG_VJP, LOG_JVP = CSM_JACOBIAN, CSM_VJP, CSM_LOG_VJP, CSM_LOG_JVP

# Elements from which on the GIL is released: below, letting it go costs more than the call.
cdef enum:
    GIL_ELEMENTS = 4096

cdef dict REDUCTIONS = {"none": CSM_NONE, "sum": CSM_SUM, "mean": CSM_MEAN}


cdef int poll() noexcept with gil:
    return PyErr_CheckSignals()


cdef int code_of(ndarray a) noexcept:
    """The dtype code of an array, -1 where the core knows none."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    cdef int kind = cnp.PyArray_TYPE(a)
    if cnp.PyTypeNum_ISFLOAT(kind):
        return CSM_F32 if size == 4 else CSM_F64 if size == 8 else -1
    if cnp.PyTypeNum_ISSIGNED(kind):
        return CSM_I8 if size == 1 else CSM_I16 if size == 2 else CSM_I32 if size == 4 else CSM_I64
    if cnp.PyTypeNum_ISUNSIGNED(kind):
        return CSM_U8 if size == 1 else CSM_U16 if size == 2 else CSM_U32 if size == 4 else CSM_U64
    return CSM_BOOL if cnp.PyTypeNum_ISBOOL(kind) else -1


ctypedef Py_ssize_t strides[CSM_MAX_NDIM]


cdef void describe(csm_array *to, ndarray a, Py_ssize_t *stride, int axis) noexcept:
    """Point `to` at an array, its strides in order but for `axis`, which comes last; -1: as they are."""
    cdef int i, k = 0
    to.data = cnp.PyArray_DATA(a)
    to.dtype = <csm_dtype>code_of(a)
    to.swapped = not cnp.PyArray_ISNOTSWAPPED(a)
    to.stride = stride
    for i in range(cnp.PyArray_NDIM(a)):
        if i != axis:
            stride[k] = cnp.PyArray_STRIDES(a)[i]
            k += 1
    if axis >= 0:
        stride[k] = cnp.PyArray_STRIDES(a)[axis]


cdef int check(csm_status status, const csm_call *c, ndarray target) except -1:
    """Raise what a status says."""
    if status == CSM_OK:
        return 0
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
        raise ValueError(f"target[{row}] = {label} is not a whole number: class indices must be")
    raise IndexError(f"target[{row}] = {label} is not a class index in [0, {c.shape[c.ndim]})")


cdef int go(csm_call *c, Py_ssize_t elements, ndarray target) except -1:
    cdef csm_status status
    c.poll = poll
    if elements < GIL_ELEMENTS:
        status = csm_run(c)
    else:
        with nogil:
            status = csm_run(c)
    return check(status, c, target)


# ---- calls that are plain as they stand ----

cdef bint is_plain(object x) noexcept:
    """An ndarray of float32 or float64, not a subclass, with at least one axis."""
    return cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<ndarray>x) > 0 and 0 <= code_of(<ndarray>x) <= CSM_F64


cdef int axis_of(object axis, int ndim) noexcept:
    """A valid int axis as a non-negative number, else -1."""
    cdef long long k
    cdef int overflow
    if type(axis) is not int:
        return -1
    k = PyLong_AsLongLongAndOverflow(axis, &overflow)
    return -1 if overflow else <int>(k + ndim if -ndim <= k < 0 else k if 0 <= k < ndim else -1)


cdef double temperature_of(object temperature) noexcept:
    """A temperature as a number; 0 where it is anything but a good float."""
    cdef double t
    if type(temperature) is not float:
        return 0
    t = temperature
    return t if t > 0 and isfinite(t) else 0


cdef bint apart(ndarray x, ndarray y) noexcept:
    """Both are C-contiguous, and share no memory."""
    cdef char *a = cnp.PyArray_BYTES(x)
    cdef char *b = cnp.PyArray_BYTES(y)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y)):
        return False
    return a + cnp.PyArray_NBYTES(x) <= b or b + cnp.PyArray_NBYTES(y) <= a


cdef bint fits(object out, ndarray x) noexcept:
    """`out` is x itself, or laid out like it and not overlapping."""
    cdef ndarray y
    cdef int i
    if not cnp.PyArray_CheckExact(out):
        return False
    y = out
    if not cnp.PyArray_ISWRITEABLE(y) or code_of(y) != code_of(x) or cnp.PyArray_NDIM(y) != cnp.PyArray_NDIM(x):
        return False
    for i in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(y, i) != cnp.PyArray_DIM(x, i) or cnp.PyArray_STRIDE(y, i) != cnp.PyArray_STRIDE(x, i):
            return False
    if not cnp.PyArray_IS_C_CONTIGUOUS(y):
        return False
    return cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) or apart(x, y)


cdef ndarray like(ndarray x):
    """A new native array of x's shape, dtype and memory order."""
    if cnp.PyArray_IS_C_CONTIGUOUS(x):
        return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    return np.empty_like(x, dtype=x.dtype.newbyteorder("="))


cdef plain_map(csm_op op, object x, object g, object axis, object temperature, object out):
    """y of an operation on x, and on g unless that is None; or None where the call is not plain."""
    cdef double t = temperature_of(temperature)
    cdef int k
    cdef ndarray a, y
    if t == 0 or not is_plain(x):
        return None
    a = x
    k = axis_of(axis, cnp.PyArray_NDIM(a))
    if k < 0 or (g is not None and not (cnp.PyArray_SAMESHAPE(a, <ndarray>g) and code_of(<ndarray>g) == code_of(a))):
        return None
    if out is None:
        y = like(a)
    elif fits(out, a) and (g is None or out is g or fits(out, <ndarray>g)):
        y = out
    else:
        return None
    run_axis(op, a, g, y, k, t)
    return y


cdef ndarray new_or_given(object out, ndarray x, int ndim, Py_ssize_t *shape):
    """A new C-ordered array of this shape and x's dtype; or `out` if that is such an array apart from x, else None."""
    cdef ndarray y
    cdef int i
    if out is None:
        return cnp.PyArray_EMPTY(ndim, <cnp.npy_intp *>shape, cnp.PyArray_TYPE(x), 0)
    if not cnp.PyArray_CheckExact(out):
        return None
    y = out
    if cnp.PyArray_NDIM(y) != ndim or code_of(y) != code_of(x) or not cnp.PyArray_ISWRITEABLE(y) or not apart(x, y):
        return None
    for i in range(ndim):
        if cnp.PyArray_DIM(y, i) != shape[i]:
            return None
    return y


cdef int run_axis(csm_op op, ndarray x, object g, ndarray y, int axis, double temperature) except -1:
    """y, or the result per row for a logsumexp, from x and g, along one axis."""
    cdef csm_call c
    cdef strides shape, xs, gs, ys
    cdef int i, k = 0, ndim = cnp.PyArray_NDIM(x)
    memset(&c, 0, sizeof(c))
    for i in range(ndim):
        if i != axis:
            shape[k] = cnp.PyArray_DIM(x, i)
            k += 1
    shape[k] = cnp.PyArray_DIM(x, axis)
    describe(&c.x, x, xs, axis)
    if op == CSM_LOGSUMEXP:
        describe(&c.r, y, ys, -1)
    else:
        describe(&c.y, y, ys, axis)
    if g is not None:
        describe(&c.g, g, gs, axis)
    c.op, c.dtype, c.temperature = op, c.x.dtype, temperature
    c.ndim, c.nclass = ndim - 1, 1
    c.shape = shape
    return go(&c, cnp.PyArray_SIZE(x), None)


def plain_softmax(x, axis, temperature, where, dtype, out):
    return plain_map(CSM_SOFTMAX, x, None, axis, temperature, out) if where is None and dtype is None else None


def plain_log_softmax(x, axis, temperature, where, dtype, out):
    return plain_map(CSM_LOG_SOFTMAX, x, None, axis, temperature, out) if where is None and dtype is None else None


def plain_vjp(p, g, axis, temperature, out):
    return plain_map(CSM_VJP, p, g, axis, temperature, out) if is_plain(g) else None


def plain_log_vjp(p, g, axis, temperature, out):
    return plain_map(CSM_LOG_VJP, p, g, axis, temperature, out) if is_plain(g) else None


def plain_log_jvp(p, t, axis, temperature, out):
    return plain_map(CSM_LOG_JVP, p, t, axis, temperature, out) if is_plain(t) else None


def plain_logsumexp(a, axis, out):
    """logsumexp over one axis of a plain array, or None."""
    cdef ndarray x, r
    cdef strides shape
    cdef int i, k, rows = 0
    if not is_plain(a):
        return None
    x = a
    k = axis_of(axis, cnp.PyArray_NDIM(x))
    if k < 0:
        return None
    for i in range(cnp.PyArray_NDIM(x)):
        if i != k:
            shape[rows] = cnp.PyArray_DIM(x, i)
            rows += 1
    r = new_or_given(out, x, rows, shape)
    if r is None:
        return None
    run_axis(CSM_LOGSUMEXP, x, None, r, k, 1)
    return r if rows or out is not None else r[()]


def plain_jacobian(p, axis, temperature, out):
    """The Jacobian along the last axis of a plain array, or None."""
    cdef double t = temperature_of(temperature)
    cdef ndarray x, y
    cdef strides shape
    cdef int i, ndim
    if t == 0 or not is_plain(p):
        return None
    x = p
    ndim = cnp.PyArray_NDIM(x)
    if ndim == CSM_MAX_NDIM or axis_of(axis, ndim) != ndim - 1:
        return None
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIM(x, i)
    shape[ndim] = shape[ndim - 1]
    y = new_or_given(out, x, ndim + 1, shape)
    if y is None:
        return None
    run(CSM_JACOBIAN, code_of(x) == CSM_F64, x, None, y, None, 1, t)
    return y


def plain_cross_entropy(logits, target, axis, ignore_index, temperature, reduction, bint return_grad, out):
    """(loss, grad or None) of targets that match the logits exactly, or None."""
    cdef double t = temperature_of(temperature)
    cdef bint soft
    cdef int k, i, j = 0
    cdef ndarray x, y
    cdef object grad = None
    if t == 0 or not is_plain(logits) or not cnp.PyArray_CheckExact(target) or type(reduction) is not str:
        return None
    x, y = logits, target
    k = axis_of(axis, cnp.PyArray_NDIM(x))
    soft = cnp.PyArray_NDIM(y) == cnp.PyArray_NDIM(x)
    if k < 0 or reduction not in REDUCTIONS or cnp.PyArray_DIM(x, k) == 0:
        return None
    if soft:
        if not is_plain(y) or not cnp.PyArray_SAMESHAPE(x, y) or (ignore_index is not None and ignore_index != -100):
            return None
    else:
        if not (ignore_index is None or type(ignore_index) is int):
            return None
        if code_of(y) < CSM_I8 or cnp.PyArray_NDIM(y) != cnp.PyArray_NDIM(x) - 1:
            return None
        for i in range(cnp.PyArray_NDIM(x)):
            if i != k:
                if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(y, j):
                    return None
                j += 1
    if return_grad and out is None:
        grad = like(x)
    elif return_grad and fits(out, x) and (not soft or apart(out, y)):
        grad = out
    elif return_grad or out is not None:
        return None
    last = grad
    if k != cnp.PyArray_NDIM(x) - 1:
        x = np.moveaxis(x, k, -1)
        y = np.moveaxis(y, k, -1) if soft else y
        last = None if grad is None else np.moveaxis(grad, k, -1)
    return run_loss(soft, code_of(x) == CSM_F64, x, y, last, t, ignore_index, reduction), grad


# ---- calls that _arrays has made plain: class axes last, shapes equal, dtypes known to the core ----

def run(int op, bint double_precision, ndarray x, ndarray g, ndarray y, ndarray r, int nclass, double temperature):
    """Compute y from x and g, or r from x; absent ones are None. For the Jacobian y is (rows..., n, n)."""
    cdef csm_call c
    cdef strides shape, xs, gs, ys, rs
    cdef int i, ndim = cnp.PyArray_NDIM(x)
    memset(&c, 0, sizeof(c))
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIM(x, i)
    describe(&c.x, x, xs, -1)
    if g is not None:
        describe(&c.g, g, gs, -1)
    if y is not None:
        describe(&c.y, y, ys, -1)
    if r is not None:
        describe(&c.r, r, rs, -1)
    c.op, c.dtype, c.temperature = <csm_op>op, CSM_F64 if double_precision else CSM_F32, temperature
    c.ndim, c.nclass = ndim - nclass, nclass
    c.shape = shape
    if op == CSM_JACOBIAN:
        shape[ndim] = shape[ndim - 1]
        xs[ndim] = xs[ndim - 1]
        xs[ndim - 1] = 0
        c.ndim += 1
    go(&c, cnp.PyArray_SIZE(x if y is None else y), None)


def run_loss(bint soft, bint double_precision, ndarray x, ndarray target, ndarray y, double temperature,
             ignore_index, reduction):
    """The loss of rows along the last axis, a scalar or an array, and its gradient into y unless that is None."""
    cdef csm_call c
    cdef strides shape, xs, ts, ys, rs
    cdef int i, ndim = cnp.PyArray_NDIM(x)
    cdef ndarray r = None
    cdef double loss = 0
    cdef float narrow
    cdef int overflow, kind
    memset(&c, 0, sizeof(c))
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIM(x, i)
    describe(&c.x, x, xs, -1)
    describe(&c.g if soft else &c.target, target, ts, -1)
    if y is not None:
        describe(&c.y, y, ys, -1)
    c.op = CSM_SOFT_CROSS_ENTROPY if soft else CSM_CROSS_ENTROPY
    c.dtype = CSM_F64 if double_precision else CSM_F32
    c.ndim, c.nclass, c.temperature = ndim - 1, 1, temperature
    c.shape = shape
    c.reduction = REDUCTIONS[reduction]
    if not soft and ignore_index is not None:
        c.ignore_index = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
        c.ignores = not overflow
        if overflow > 0 and ignore_index < 2**64:     # no label is beyond
            c.ignores, c.ignore_index = 2, <long long>(ignore_index - 2**64)
    if c.reduction == CSM_NONE:
        kind = cnp.NPY_FLOAT64 if double_precision else cnp.NPY_FLOAT32
        r = cnp.PyArray_EMPTY(ndim - 1, cnp.PyArray_DIMS(x), kind, 0)
        describe(&c.r, r, rs, -1)
    else:
        c.loss = &loss
    go(&c, cnp.PyArray_SIZE(x), target)
    if r is not None:
        return r if ndim > 1 else r[()]
    if code_of(x) > CSM_F64 or not cnp.PyArray_ISNOTSWAPPED(x):
        return float64(loss) if double_precision else float32(loss)
    narrow = <float>loss
    return cnp.PyArray_ToScalar(<void *>&loss if double_precision else <void *>&narrow, x)


# ---- typed loops, for Cython callers and for arrays known to be C-contiguous ----

cdef inline csm_dtype dtype_of(const real *_) noexcept nogil:
    return CSM_F32 if real is float else CSM_F64


cdef int run_rows(csm_op op, csm_dtype dtype, const void *x, const void *y,
                  Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef csm_call c
    cdef Py_ssize_t size = 4 if dtype == CSM_F32 else 8
    cdef Py_ssize_t[3] shape, xs, ys
    memset(&c, 0, sizeof(c))
    c.op, c.dtype, c.ndim, c.nclass, c.temperature = op, dtype, 1, 1, 1
    c.shape = shape
    shape[0], shape[1], shape[2] = rows, n, n
    xs[0], xs[1] = n * size, size
    ys[0], ys[1] = n * size, size
    if op == CSM_JACOBIAN:
        c.ndim = 2
        xs[1], xs[2] = 0, size
        ys[0], ys[1], ys[2] = n * n * size, n * size, size
    c.x.data, c.x.dtype = <void *>x, dtype
    c.x.stride = xs
    c.y.data, c.y.dtype = <void *>y, dtype
    c.y.stride = ys
    return csm_run(&c)


cdef int softmax_rows(const real *x, real *y, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    return run_rows(CSM_SOFTMAX, dtype_of(x), x, y, rows, n)


cdef int jacobian_rows(const real *p, real *jac, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    return run_rows(CSM_JACOBIAN, dtype_of(p), p, jac, rows, n)


cdef int loss_gradient_rows(const real *x, const Py_ssize_t *labels, real *losses, real *grad,
                            Py_ssize_t rows, Py_ssize_t n, bint mean) noexcept nogil:
    cdef csm_call c
    cdef Py_ssize_t[2] shape, xs
    cdef Py_ssize_t label_stride = sizeof(Py_ssize_t), result_stride = sizeof(real)
    memset(&c, 0, sizeof(c))
    c.op, c.dtype, c.ndim, c.nclass, c.temperature = CSM_CROSS_ENTROPY, dtype_of(x), 1, 1, 1
    c.shape = shape
    shape[0], shape[1] = rows, n
    xs[0], xs[1] = n * <Py_ssize_t>sizeof(real), sizeof(real)
    c.x.data, c.x.dtype = <void *>x, c.dtype
    c.x.stride = xs
    c.y.data, c.y.dtype = grad, c.dtype
    c.y.stride = xs
    c.target.data, c.target.dtype = <void *>labels, CSM_I64 if sizeof(Py_ssize_t) == 8 else CSM_I32
    c.target.stride = &label_stride
    c.r.data, c.r.dtype, c.r.stride = losses, c.dtype, &result_stride
    c.reduction = CSM_MEAN if mean else CSM_NONE
    return csm_run(&c)


def softmax_inplace(real[:, ::1] x not None):
    """Replace each row of x by its softmax."""
    if x.shape[0] and x.shape[1] and softmax_rows(<const real *>&x[0, 0], &x[0, 0], x.shape[0], x.shape[1]):
        raise MemoryError("no memory for scratch space")


def jacobian_fill(const real[:, ::1] p not None, real[:, :, ::1] jac not None):
    """Fill jac[r] with diag(p[r]) - p[r] p[r]^T; shapes (rows, n) and (rows, n, n)."""
    if jac.shape[0] != p.shape[0] or jac.shape[1] != p.shape[1] or jac.shape[2] != p.shape[1]:
        raise ValueError(f"jac has shape {(jac.shape[0], jac.shape[1], jac.shape[2])}, but p with shape "
                         f"{(p.shape[0], p.shape[1])} needs {(p.shape[0], p.shape[1], p.shape[1])}")
    if jac.size and jacobian_rows(&p[0, 0], &jac[0, 0, 0], p.shape[0], p.shape[1]):
        raise MemoryError("no memory for scratch space")


def loss_gradient(real[:, ::1] x not None, const Py_ssize_t[::1] labels not None, real[::1] losses not None,
                  bint mean=False):
    """Replace logits x by the gradient softmax(x) - onehot(labels) (over rows if `mean`); fill losses (rows,)."""
    cdef int status
    if labels.shape[0] != x.shape[0] or losses.shape[0] != x.shape[0]:
        raise ValueError(f"x of shape {(x.shape[0], x.shape[1])} needs as many labels and losses as rows, "
                         f"got {labels.shape[0]} and {losses.shape[0]}")
    if x.shape[0] == 0:
        return
    if x.shape[1] == 0:
        raise IndexError("x has no classes")
    status = loss_gradient_rows(<const real *>&x[0, 0], &labels[0], &losses[0], &x[0, 0], x.shape[0], x.shape[1], mean)
    if status == CSM_BAD_LABEL:
        raise IndexError(f"a label is not in [0, {x.shape[1]})")
    if status:
        raise MemoryError("no memory for scratch space")


# ---- control ----

def set_num_threads(int n):
    csm_set_num_threads(n)


def get_num_threads():
    return csm_get_num_threads()


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


def forget_fork():
    """Let a forked child use threads again. For the test that shows why it must not."""
    csm_forget_fork()


def _start():
    asked = os.environ.get("CSOFTMAX_ISA", "")
    if csm_init(asked.encode()):
        raise ImportError(f"CSOFTMAX_ISA={asked} cannot run here: this CPU and build have {', '.join(isas_here())}")
    csm_guard_forks()


_start()
