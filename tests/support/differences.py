"""Derivatives by central finite differences in float64, and the tolerances that go with them."""

import numpy as np

# A central difference errs by f''' h^2 / 6 (truncation) and by eps f / h (rounding). With f of order 1
# the two balance at h = eps^(1/3) = 6.1e-6, at about 4e-11. 2^-17 = 7.6e-6 is the power of two beside it:
# dividing by 2h is then exact. Losses here reach 100 and f''' reaches 8 at T = 1/2, hence the tolerance.
STEP = 2.0**-17
TOLERANCE = 2e-8


def differences(f, x):
    """D[i] = df(x)/dx_i for an `f` that takes a stack of points, one per row."""
    steps = STEP * np.eye(x.size)
    return (np.asarray(f(x + steps)) - np.asarray(f(x - steps))) / (2 * STEP)


def gradient_by_differences(f, x):
    """df(x)/dx for a scalar `f` and an `x` of any shape."""
    return differences(lambda points: [f(point.reshape(x.shape)) for point in points], x.ravel()).reshape(x.shape)


def along(f, x, t):
    """The derivative of `f` at `x` in the direction `t`."""
    return (np.asarray(f(x + STEP * t)) - np.asarray(f(x - STEP * t))) / (2 * STEP)


def near(actual, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def same(actual, expected, scale=1.0):
    """Equal up to a few roundings of numbers of size `scale`."""
    np.testing.assert_allclose(actual, expected, rtol=1e-14, atol=4e-15 * scale)
