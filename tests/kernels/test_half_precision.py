"""float16 and bfloat16: every number of them read and written, rounding at every midpoint, every layout.

Numbers pass through the core unchanged as ``log_softmax_jvp(0, t) = t - sum(0 * t)``, and infinities and NaN as
the logsumexp of one class.
"""

import ml_dtypes
import numpy as np
import processes
import pytest
from guard_pages import EDGES, Arena
from layouts import LAYOUTS

import csoftmax

HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
WIDE = ("float32", "float64")
LENGTHS = range(71)


@pytest.fixture(params=HALVES)
def half(request):
    return HALVES[request.param]


def every(half):
    """The numbers of all 65536 patterns."""
    return np.arange(1 << 16, dtype=np.uint16).view(half)


def magnitudes(a):
    """The bits of `a` but for the sign: unlike a comparison, no NaN makes them warn."""
    bits = a.view(f"u{a.itemsize}")
    return bits & bits.dtype.type((1 << 8 * a.itemsize - 1) - 1)


def infinity(dtype):
    return magnitudes(np.array(np.inf, dtype))


def every_finite(half):
    numbers = every(half)
    return numbers[magnitudes(numbers) < infinity(half)]


def passed(csm, t, dtype, compute=np.float32, out=None):
    """`t`, one-dimensional, read by the core, held in `compute` and written as `dtype`."""
    out = np.empty(t.shape, dtype) if out is None else out
    zero = np.zeros((t.size, 1), np.result_type(compute, t.dtype))
    csm.log_softmax_jvp(zero, t[:, None], out=out[:, None])
    return out


def assert_same(actual, expected):
    """Equal bits, but for those of NaN."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    bits = f"u{actual.itemsize}"
    both_nan = (magnitudes(actual) > infinity(actual.dtype)) & (magnitudes(expected) > infinity(actual.dtype))
    different = (actual.view(bits) != expected.view(bits)) & ~both_nan
    assert not different.any(), (actual[different][:5], expected[different][:5])


def cast(a, dtype):
    """As NumPy does, without its warnings of signalling NaN and overflow."""
    with np.errstate(invalid="ignore", over="ignore"):
        return a.astype(dtype)


def without_minus_zero(a):
    """`a` as a logsumexp gives it."""
    return np.where(magnitudes(a) == 0, a.dtype.type(0), a)


@pytest.mark.parametrize("wide", WIDE)
def test_every_number_is_read(csm, half, wide):
    assert_same(passed(csm, every_finite(half), wide, wide), every_finite(half).astype(wide))
    numbers = every(half)
    assert_same(csm.logsumexp(numbers[:, None], 1, dtype=wide), without_minus_zero(cast(numbers, wide)))


@pytest.mark.parametrize("wide", WIDE)
def test_every_number_is_written(csm, half, wide):
    assert_same(passed(csm, every_finite(half).astype(wide), half), every_finite(half))
    numbers = every(half)
    result = csm.logsumexp(cast(numbers, wide)[:, None], 1, out=np.empty(numbers.shape, half))
    assert_same(result, without_minus_zero(numbers))


def neighbours(half):
    """Positive numbers in order, and the next ones; what comes after the largest, as a float64 and as infinity."""
    low = np.arange(infinity(half), dtype=np.uint16)
    high = (low + 1).view(half)
    exact = high.astype(np.float64)
    exact[-1] = 2 * exact[-2] - low.view(half)[-2].astype(np.float64)
    return low.view(half), high, exact


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("wide", WIDE)
def test_rounding_around_every_midpoint(csm, half, wide, sign):
    low, high, exact_high = neighbours(half)
    middle = ((low.astype(np.float64) + exact_high) / 2).astype(wide)
    even = np.where(low.view(np.uint16) % 2 == 0, low, high)
    up = np.dtype(wide).type(np.inf)
    for numbers, expected in ((np.nextafter(middle, -up), low), (middle, even), (np.nextafter(middle, up), high)):
        assert_same(passed(csm, sign * numbers, half, wide), (sign * expected).astype(half))


@pytest.mark.parametrize("wide", WIDE)
def test_what_is_too_large_or_too_small(csm, half, wide):
    limits = np.finfo(wide)
    numbers = np.array([limits.max, limits.smallest_subnormal, 0], wide)
    for sign in (1, -1):
        expected = (sign * np.array([np.inf, 0, 0])).astype(half)
        assert_same(passed(csm, sign * numbers, half, wide), expected)


@pytest.mark.parametrize("wide", WIDE)
def test_nan_stays_nan(csm, half, wide):
    """Also where all the bits that are kept are zero."""
    bits = {
        "float32": [0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF],
        "float64": [0x7FF0000000000001, 0xFFF0000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF],
    }[wide]
    numbers = np.tile(np.array(bits, f"u{np.dtype(wide).itemsize}").view(wide), 20)
    assert np.isnan(passed(csm, numbers, half, wide)).all()


# Layouts


@pytest.mark.parametrize("layout", [np.copy, *LAYOUTS.values()], ids=["adjacent", *LAYOUTS])
@pytest.mark.parametrize("wide", WIDE)
def test_layouts_and_tails(csm, half, wide, layout):
    rng = np.random.default_rng(0)
    for length in (*LENGTHS, 127, 128, 129, 1000):
        numbers = rng.standard_normal(length).astype(half)
        read = passed(csm, layout(numbers), wide, wide)
        assert_same(read, numbers.astype(wide))
        out = layout(np.zeros(length, half))
        passed(csm, layout(numbers.astype(wide)), half, wide, out)
        assert_same(out.astype(half), numbers)


def test_what_lies_between_strided_results_is_kept(csm, half):
    memory = np.full(3 * 200, 7, half)
    passed(csm, np.arange(200, dtype=np.float32), half, out=memory[1::3])
    assert (memory.reshape(200, 3) == np.stack([np.full(200, 7), np.arange(200), np.full(200, 7)], 1)).all()


def check_guarded(dtype, wide):
    arenas = [Arena(), Arena()]
    for length in LENGTHS[1:]:
        numbers = np.arange(length).astype(HALVES[dtype])
        for edge in EDGES:
            print(f"{length} at the {edge}", flush=True)
            guarded, out = arenas[0].place(numbers, edge), arenas[1].place(np.zeros_like(numbers), edge)
            assert_same(passed(csoftmax, guarded, wide, wide), numbers.astype(wide))
            assert_same(passed(csoftmax, numbers.astype(wide), guarded.dtype, wide, out), numbers)


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("dtype", HALVES)
def test_nothing_beyond_the_array_is_touched(isa, dtype, wide):
    processes.run_function(check_guarded, dtype, wide, CSOFTMAX_ISA=isa)


# Through the functions: float32 inside, one rounding


MAPS = {
    "softmax": lambda csm, x, axis: csm.softmax(x, axis),
    "log_softmax": lambda csm, x, axis: csm.log_softmax(x, axis, temperature=0.7),
    "softmax_vjp": lambda csm, x, axis: csm.softmax_vjp(np.full_like(x, 0.25), x, axis),
    "logsumexp": lambda csm, x, axis: csm.logsumexp(x, axis),
}


@np.errstate(invalid="ignore")  # NumPy on aarch64 warns where it casts NaN
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("n", [1, 2, 16, 64, 1024])
def test_every_number_through_a_map(csm, half, name, n):
    """Rows of numbers that are close and rows of any."""
    call, numbers = MAPS[name], every(half)
    for x in (numbers.reshape(-1, n), np.random.default_rng(n).permutation(numbers).reshape(-1, n)):
        y = call(csm, x, 1)
        assert y.dtype == half
        assert_same(y, cast(call(csm, x.astype(np.float32), 1), half))


VIEWS = {
    "C order": lambda x: x,
    "Fortran order": np.asfortranarray,
    "every other": lambda x: x[::-1, ::2, ::3],
    "swapped axes": lambda x: x.swapaxes(0, 2),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(5, 33, 7), (3, 40, 200), (2, 2100, 70), (70, 5000, 1)])
def test_half_precision_along_any_axis_in_any_order(csm, half, name, shape):
    """One rounding of what float32 gives to a few ULP: the kernel may be that of another layout."""
    x = (3 * np.random.default_rng(1).standard_normal(shape)).astype(half)
    for view in VIEWS.values():
        for axis in range(3):
            y = MAPS[name](csm, view(x), axis)
            wide = MAPS[name](csm, view(x.astype(np.float32)), axis)
            ends = [(wide * np.float32(1 + error)).astype(half) for error in (-(2**-21), 2**-21)]
            assert y.dtype == half
            assert ((np.minimum(*ends) <= y) & (y <= np.maximum(*ends))).all()


def test_half_precision_in_place(csm, half):
    x = np.random.default_rng(2).standard_normal((300, 100)).astype(half)
    expected = csm.softmax(x)
    assert csm.softmax(x, out=x) is x
    assert_same(x, expected)


def test_whole_numbers_of_16_bits_are_labels(csm):
    x = np.random.default_rng(3).standard_normal((300, 100)).astype(np.float32)
    labels = np.arange(300) % 100
    assert csm.cross_entropy(x, labels.astype(np.float16)) == csm.cross_entropy(x, labels)
