# Typed loops, for Cython callers and for arrays known to be C-contiguous. Declared in _csoftmax.pxd.

cdef inline csm_dtype dtype_of(const real *_) noexcept nogil:
    return CSM_F32 if real is float else CSM_F64


cdef void put_adjacent(frame *f, csm_array *to, const void *data, csm_dtype dtype, Py_ssize_t size,
                       int ndim) noexcept nogil:
    """Point `to` at numbers of `size` bytes, in C order over the first `ndim` axes of the call."""
    cdef Py_ssize_t *stride = f.stride[f.arrays]
    cdef int i
    f.arrays += 1
    to.data, to.dtype, to.stride = <void *>data, dtype, stride
    for i in range(ndim - 1, -1, -1):
        stride[i] = size
        size *= f.shape[i]


cdef int run_rows(csm_op op, csm_dtype dtype, const void *x, const void *y,
                  Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef frame f
    cdef Py_ssize_t size = 4 if dtype == CSM_F32 else 8
    open_frame(&f, op, dtype, 1, 1)
    f.shape[0], f.shape[1] = rows, n
    put_adjacent(&f, &f.call.x, x, dtype, size, 2)
    if op == CSM_JACOBIAN:
        spread_jacobian(&f)
    put_adjacent(&f, &f.call.y, y, dtype, size, f.call.ndim + 1)
    return csm_run(&f.call)


cdef int softmax_rows(const real *x, real *y, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    return run_rows(CSM_SOFTMAX, dtype_of(x), x, y, rows, n)


cdef int jacobian_rows(const real *p, real *jac, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    return run_rows(CSM_JACOBIAN, dtype_of(p), p, jac, rows, n)


cdef int loss_gradient_rows(const real *x, const Py_ssize_t *labels, real *losses, real *grad,
                            Py_ssize_t rows, Py_ssize_t n, bint mean) noexcept nogil:
    cdef frame f
    cdef csm_dtype dtype = dtype_of(x), integer = CSM_I64 if sizeof(Py_ssize_t) == 8 else CSM_I32
    open_frame(&f, CSM_CROSS_ENTROPY, dtype, 1, 1)
    f.shape[0], f.shape[1] = rows, n
    put_adjacent(&f, &f.call.x, x, dtype, sizeof(real), 2)
    put_adjacent(&f, &f.call.y, grad, dtype, sizeof(real), 2)
    put_adjacent(&f, &f.call.target, labels, integer, sizeof(Py_ssize_t), 1)
    put_adjacent(&f, &f.call.r, losses, dtype, sizeof(real), 1)
    f.call.reduction = CSM_MEAN if mean else CSM_NONE
    return csm_run(&f.call)


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
    status = loss_gradient_rows(<const real *>&x[0, 0], &labels[0], &losses[0], &x[0, 0],
                                x.shape[0], x.shape[1], mean)
    if status == CSM_BAD_LABEL:
        raise IndexError(f"a label is not in [0, {x.shape[1]})")
    if status:
        raise MemoryError("no memory for scratch space")
