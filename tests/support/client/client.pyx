# cython: language_level=3
"""What another Cython package does with csoftmax: typed rows, pointers, no Python object and no GIL."""

from csoftmax cimport jacobian_rows, loss_gradient_rows, softmax_rows

ctypedef fused number:
    float
    double


def softmax(number[:, ::1] x, number[:, ::1] y):
    """Softmax of the rows of x, into y; the status."""
    cdef int status
    with nogil:
        status = softmax_rows(&x[0, 0], &y[0, 0], x.shape[0], x.shape[1])
    return status


def jacobian(number[:, ::1] p, number[:, :, ::1] jac):
    """The Jacobians of the rows of p, into jac; the status."""
    cdef int status
    with nogil:
        status = jacobian_rows(&p[0, 0], &jac[0, 0, 0], p.shape[0], p.shape[1])
    return status


def loss_gradient(number[:, ::1] x, const Py_ssize_t[::1] labels, number[::1] losses, number[:, ::1] grad,
                  bint mean):
    """Losses and gradient of the rows of x; the status."""
    cdef int status
    with nogil:
        status = loss_gradient_rows(&x[0, 0], &labels[0], &losses[0], &grad[0, 0],
                                    x.shape[0], x.shape[1], mean)
    return status


def softmax_of_no_rows():
    """Pointers are not followed where there is nothing to compute."""
    cdef float *nothing = NULL
    cdef int status
    with nogil:
        status = softmax_rows(nothing, nothing, 0, 5)
    return status


def one_softmax(double a, double b):
    """Numbers that no Python object holds."""
    cdef double[2] x = [a, b]
    softmax_rows[double](x, x, 1, 2)
    return x[0], x[1]
