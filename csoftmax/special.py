"""SciPy's softmax, log_softmax and logsumexp: names, defaults and results of scipy.special.

``from csoftmax import special`` in place of ``from scipy import special``. float16, float32 and float64 arrays are
computed by csoftmax; longdouble and complex ones, which only this module takes, by functions of NumPy.
"""

from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

import csoftmax
from csoftmax import _formulas
from csoftmax._formulas import Axes

__all__ = ["log_softmax", "logsumexp", "softmax"]

_Inexact = TypeVar("_Inexact", bound=np.inexact[Any])
_BY_FORMULA = "gFDG"
"""The codes of longdouble and of the complex dtypes."""


@overload
def softmax(x: NDArray[_Inexact], axis: Axes = None) -> NDArray[_Inexact]: ...
@overload
def softmax(x: ArrayLike, axis: Axes = None) -> Any: ...
def softmax(x: ArrayLike, axis: Axes = None) -> Any:
    """Compute the softmax, ``exp(x) / sum(exp(x))``, over all elements or along axes.

    Parameters
    ----------
    x : array_like
        Of any shape, real or complex. A floating or complex dtype is kept; integers and bool give float64.
    axis : int, tuple of int or None
        The axis or axes to sum over; None for all, unlike `csoftmax.softmax`.

    Returns
    -------
    ndarray or scalar
        Of x's shape; each number within 3 ULP if `x` is of float16, float32 or float64.

    Raises
    ------
    TypeError
        A dtype that is none of numbers; a masked array.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    What differs from ``scipy.special.softmax`` 1.18: integers of 8 and 16 bits and bool give float64 (float16, float32
    and an error there, and nan for most uint8); an empty array gives an empty one (an error there); a masked array is
    a TypeError (there its mask is lost).

    Examples
    --------
    >>> from csoftmax import special
    >>> special.softmax([[1.0, 2.0], [3.0, 4.0]]).round(4)
    array([[0.0321, 0.0871],
           [0.2369, 0.6439]])
    >>> special.softmax([[1.0, 2.0], [3.0, 4.0]], axis=1).round(4)
    array([[0.2689, 0.7311],
           [0.2689, 0.7311]])
    """
    x = x if type(x) is np.ndarray else _array(x, "x")
    if x.dtype.char in _BY_FORMULA:
        return _formulas.softmax(x, axis)
    return csoftmax.softmax(x, axis)


@overload
def log_softmax(x: NDArray[_Inexact], axis: Axes = None) -> NDArray[_Inexact]: ...
@overload
def log_softmax(x: ArrayLike, axis: Axes = None) -> Any: ...
def log_softmax(x: ArrayLike, axis: Axes = None) -> Any:
    """Compute the logarithm of the softmax, ``x - log(sum(exp(x)))``, over all elements or along axes.

    Parameters
    ----------
    x, axis
        As in `softmax`.

    Returns
    -------
    ndarray or scalar
        Of x's shape; each number within 4 ULP if `x` is of float16, float32 or float64, also next to 0.

    Raises
    ------
    TypeError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    What differs from ``scipy.special.log_softmax`` 1.18: what the notes of `softmax` say; next to +inf every element is
    nan (the finite ones are -inf there, though the softmax is nan in both).

    Examples
    --------
    >>> from csoftmax import special
    >>> special.log_softmax([1000.0, 1.0])
    array([   0., -999.])
    """
    x = x if type(x) is np.ndarray else _array(x, "x")
    if x.dtype.char in _BY_FORMULA:
        return _formulas.log_softmax(x, axis)
    return csoftmax.log_softmax(x, axis)


def logsumexp(
    a: ArrayLike, axis: Axes = None, b: ArrayLike | None = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """Compute ``log(sum(b * exp(a)))`` without overflow.

    Parameters
    ----------
    a : array_like
        Of any shape, real or complex. A floating or complex dtype is kept; integers and bool give float64.
    axis : int, tuple of int or None
        The axis or axes to sum over; None for all.
    b : array_like, optional
        Factors, real of any sign or complex; `a` and `b` broadcast to each other, and their common dtype is kept.
        Where `b` is 0 there is no term, whatever `a` is.
    keepdims : bool
        Keep summed axes with length 1.
    return_sign : bool
        Return the sign of the sum as well, and the logarithm of its absolute value.

    Returns
    -------
    ndarray or scalar
        -inf of nothing; nan where a real sum is negative, unless `return_sign`. The imaginary part of a complex
        logarithm is in (-pi, pi].
    sign : ndarray or scalar
        If `return_sign`: 1, 0, -1, or nan where the sum is; of complex numbers, s/abs(s) or 0.

    Raises
    ------
    TypeError, numpy.exceptions.AxisError
        As `softmax`.
    ValueError
        `a` and `b` of shapes that do not broadcast.

    Notes
    -----
    What differs from ``scipy.special.logsumexp`` 1.18: the sign of a sum of nothing is 0 (-1 there, nan if complex);
    infinite elements with a `b` of 0 count as nothing in every row (there not in one whose sum is infinite); a masked
    array is a TypeError.

    Examples
    --------
    >>> from csoftmax import special
    >>> special.logsumexp([1000.0, 1000.0])
    np.float64(1000.6931471805599)
    >>> special.logsumexp([0.0, 1.0], b=[1.0, -1.0], return_sign=True)
    (np.float64(0.5413248546129181), np.float64(-1.0))
    """
    if b is not None:
        b = b if type(b) in (bool, int, float, complex) else _array(b, "b")
        if type(a) in (bool, int, float, complex):
            a = np.asarray(a, np.result_type(a, getattr(b, "dtype", b)))
    a = a if type(a) is np.ndarray else _array(a, "a")
    if keepdims and a.ndim == 0:
        a = a.reshape(1)
    dtype = a.dtype if b is None else np.result_type(a.dtype, getattr(b, "dtype", b))
    if dtype.char in _BY_FORMULA:
        return _formulas.logsumexp(a, axis, None if b is None else np.asarray(b), dtype, keepdims, return_sign)
    return csoftmax.logsumexp(a, axis, b, keepdims, return_sign)


def _array(x: ArrayLike, name: str) -> NDArray[Any]:
    """x as an array of numbers."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost: the functions of csoftmax take where=")
    a = np.asarray(x)
    if a.dtype == object:
        how = ".toarray()" if type(x).__module__.startswith("scipy.sparse") else ".astype(float)"
        raise TypeError(f"{name} is a {type(x).__name__} that holds objects: pass {name}{how}, or an array of numbers")
    return a
