"""Prints the polynomial coefficients and constants of csoftmax/core/math as C hex floats.

Each polynomial is fitted by a Remez exchange on the relative error of the function it serves, then its
coefficients are rounded one after the other, lowest power first, the higher ones being fitted again each
time. The error printed is that of the rounded coefficients in exact arithmetic.

Run: python tools/coefficients.py
"""

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

from mpmath import atanh, cos, exp, fabs, factorial, log, lu_solve, matrix, mp, mpf, pi, power, tanh, workprec

mp.prec = 240
BITS = {"float32": 24, "float64": 53}
GRID = 700


@dataclass
class Problem:
    """Approximate `function` on [low, high]; an error d costs `weight` * d of relative accuracy."""

    title: str
    low: mpf
    high: mpf
    function: Callable
    weight: Callable


def rounded(x, bits):
    with workprec(bits):
        return +mpf(x)


def c_literal(x, bits):
    """The value as C's %a prints it, with every digit of the format: 0x1.5554dcp-3f."""
    mantissa, exponent = float(x).hex().split("p")
    whole, _, fraction = mantissa.partition(".")
    digits, suffix = (6, "f") if bits == 24 else (13, "")
    assert not fraction[digits:].strip("0")
    return f"{whole}.{fraction[:digits]:0<{digits}}p{int(exponent)}{suffix}"


def horner(coefficients, t):
    value = mpf(0)
    for c in reversed(coefficients):
        value = value * t + c
    return value


def chebyshev(low, high, count):
    """`count` points, dense at both ends; none of them is 0, where the weighted error vanishes."""
    return [(low + high - (high - low) * cos(pi * (i + mpf(1) / 3) / count)) / 2 for i in range(count)]


def exchange(reference, errors):
    """Bring the worst point into the reference in place of one, so that the signs still alternate."""
    worst = max(range(len(errors)), key=lambda i: fabs(errors[i]))
    after = bisect(reference, worst)
    for place in (after - 1, after):
        if 0 <= place < len(reference) and (errors[worst] > 0) == (errors[reference[place]] > 0):
            return [*reference[:place], worst, *reference[place + 1 :]]
    return [worst, *reference[:-1]] if after == 0 else [*reference[1:], worst]


def remez(points, values, weights, fixed, free):
    """The minimax coefficients of `free` powers that follow those `fixed`, on a grid.

    With k coefficients fixed the free part is t^k times a polynomial. The sign of t^k goes with the error,
    so that the weight |t|^k w leaves a Haar system and the exchange converges on both sides of 0.
    """
    k = len(fixed)
    rest = [v - horner(fixed, t) for v, t in zip(values, points, strict=True)]
    signed = [w if t > 0 or k % 2 == 0 else -w for w, t in zip(weights, points, strict=True)]
    last = len(points) - 1
    reference = [round((1 - cos(pi * (i + 0.5) / (free + 1))) / 2 * last) for i in range(free + 1)]
    while True:
        rows = [
            [power(points[i], k + j) for j in range(free)] + [(-1) ** n / signed[i]] for n, i in enumerate(reference)
        ]
        *found, level = lu_solve(matrix(rows), matrix([rest[i] for i in reference]))
        errors = [w * (v - horner(found, t) * t**k) for w, v, t in zip(signed, rest, points, strict=True)]
        if max(map(fabs, errors)) <= fabs(level) * (1 + mpf(10) ** -6):
            return fixed + found
        reference = exchange(reference, errors)


def fit(problem, bits, count, first=()):
    """`count` coefficients rounded to `bits`, the leading ones given by `first`, and their worst error."""
    points = chebyshev(problem.low, problem.high, GRID)
    values, weights = [problem.function(t) for t in points], [problem.weight(t) for t in points]
    chosen = [rounded(c, bits) for c in first]
    while len(chosen) < count:
        best = remez(points, values, weights, chosen, count - len(chosen))
        chosen.append(rounded(best[len(chosen)], bits))
    fine = chebyshev(problem.low, problem.high, 4 * GRID)
    return chosen, max(fabs(problem.weight(t) * (problem.function(t) - horner(chosen, t))) for t in fine)


def report(problem, dtype, count, first=()):
    chosen, worst = fit(problem, BITS[dtype], count, first)
    print(f"{problem.title}, {dtype}, {count} coefficients")
    print(f"    worst relative error {float(worst):.3g} = 2^{float(log(worst, 2)):.2f}")
    for i, c in enumerate(chosen):
        show(f"c{i}", c, dtype)
    print()


def show(name, value, dtype):
    digits = 9 if dtype == "float32" else 17
    print(f"    {name:6} {c_literal(value, BITS[dtype]):26} /* {float(value):.{digits}g} */")


def constants(dtype, cleared):
    """log2(e), and ln 2 = hi + lo with the low bits of hi clear: n*hi is exact for n of `cleared` bits."""
    bits = BITS[dtype]
    ln2 = log(mpf(2))
    unit = mpf(2) ** (cleared - bits)
    high = int(ln2 / unit) * unit
    print(f"constants, {dtype}, ln2_hi of {bits - cleared} bits")
    show("log2e", rounded(1 / ln2, bits), dtype)
    show("ln2_hi", high, dtype)
    show("ln2_lo", rounded(ln2 - high, bits), dtype)
    print()


def exp_tail(t):
    """(e^t - 1 - t) / t^2, by its series: the closed form cancels near 0."""
    return sum(power(t, k) / factorial(k + 2) for k in range(36))


def log_tail(z):
    return (2 * atanh(z**0.5) / z**0.5 - 2) / z


def exp_problem(steps):
    """What is left of e^x when x is reduced by multiples of ln2/steps."""
    half = log(mpf(2)) / (2 * steps) * (1 + mpf(2) ** -10)
    return Problem(
        f"exp: q(t) = (e^t-1-t)/t^2 on |t| <= ln2/{2 * steps} (1+2^-10)", -half, half, exp_tail, lambda t: t**2 / exp(t)
    )


def powers(dtype, steps):
    """The powers as v_raise takes them, with j/steps taken off their exponent and fraction as they are represented, and
    the relative rests that the rounded powers lack."""
    print(f"2^(j/{steps}) less j/{steps} as represented; its relative rest, {dtype}")
    for j in range(steps):
        power = mpf(2) ** (mpf(j) / steps)
        high = rounded(power, BITS[dtype])
        low = rounded(power / high - 1, BITS[dtype])
        fraction = high - 1 - mpf(j) / steps
        less = 1 + fraction if fraction >= 0 else 1 + fraction / 2
        print(f"    j={j:<4} {c_literal(less, BITS[dtype])}, {c_literal(low, BITS[dtype])}")
    print()


LOG = Problem(
    "log: P(z), log(1+f) = f - f^2/2 + s(f^2/2 + z P(z)), s = f/(2+f), z = s^2 <= 0.0295",
    mpf(0),
    mpf("0.0295"),
    log_tail,
    lambda z: z**1.5 / (2 * atanh(z**0.5)),
)

TANH = Problem(
    "tanh: P(z), tanh(a) = a - a z P(z), a <= 0.35, z = a^2",
    mpf(0),
    mpf("0.1225"),
    lambda z: (1 - tanh(z**0.5) / z**0.5) / z,
    lambda z: z**1.5 / tanh(z**0.5),
)

if __name__ == "__main__":
    report(exp_problem(1), "float32", 5, first=(0.5,))
    report(exp_problem(16), "float32", 2, first=(0.5,))
    report(exp_problem(1), "float64", 10, first=(0.5,))
    report(exp_problem(16), "float64", 5, first=(0.5,))
    powers("float32", 16)
    powers("float64", 16)
    report(LOG, "float32", 3)
    report(LOG, "float64", 7)
    report(TANH, "float32", 3)
    report(TANH, "float64", 8)
    for fraction in 0, 4:  # bits of n below the point: without a table, with 16 powers
        constants("float32", cleared=10 + fraction)
        constants("float64", cleared=12 + fraction)
