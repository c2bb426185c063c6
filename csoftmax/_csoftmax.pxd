# Typed loops for other Cython packages: pointers and sizes, no Python object, no GIL.
# They return 0, or a csm_status of core/csoftmax.h: 1 no memory, 3 a label outside [0, n) (nothing is written then).

ctypedef fused real:
    float
    double

# y = softmax of each of `rows` adjacent rows of n logits; y may be x.
cdef int softmax_rows(const real *x, real *y, Py_ssize_t rows, Py_ssize_t n) noexcept nogil

# jac[r] = diag(p[r]) - p[r] p[r]^T, (rows, n, n).
cdef int jacobian_rows(const real *p, real *jac, Py_ssize_t rows, Py_ssize_t n) noexcept nogil

# losses[r] = -log softmax(x[r])[labels[r]], and grad = softmax(x) - onehot(labels), divided by `rows` if `mean`;
# grad may be x.
cdef int loss_gradient_rows(const real *x, const Py_ssize_t *labels, real *losses, real *grad,
                            Py_ssize_t rows, Py_ssize_t n, bint mean) noexcept nogil
