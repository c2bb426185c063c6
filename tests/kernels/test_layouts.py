"""Memory layouts: the answer depends on the values alone, not on how they lie in memory.

Every function runs on arrays of every shape, axis, order, stride, alignment and byte order, into outputs of
the same variety, and is compared with the same call on plain C-contiguous copies whose classes come last.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FILL = 0x5A
LARGEST = 3000

many = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


# The operations


@dataclass(frozen=True)
class Operation:
    """A public function seen as arrays -> [result], or [gradient, loss of each row].

    The shape of the first is that of the input ("same"), of the rows, or rows + (n, n) ("square"). Where
    terms may cancel, an error is measured against them and not against the result.
    """

    function: str
    inputs: tuple = ("x",)
    result: str = "same"
    cancels: bool = False
    tuples: bool = False

    def __call__(self, package, arrays, axis, out=None):
        if self.function != "cross_entropy":
            return [getattr(package, self.function)(*arrays, axis=axis, out=out)]
        loss, gradient = package.cross_entropy(*arrays, axis=axis, reduction="none", return_grad=True, out=out)
        return [gradient, loss]

    def __str__(self):
        return f"{self.function}({', '.join(self.inputs)})"


OPERATIONS = [
    Operation("softmax", tuples=True),
    Operation("log_softmax", tuples=True),
    Operation("logsumexp", result="rows", cancels=True, tuples=True),
    Operation("softmax_jacobian", ("p",), result="square"),
    Operation("softmax_vjp", ("p", "x"), cancels=True),
    Operation("softmax_jvp", ("p", "x"), cancels=True),
    Operation("log_softmax_vjp", ("p", "x"), cancels=True),
    Operation("log_softmax_jvp", ("p", "x"), cancels=True),
    Operation("cross_entropy", ("x", "labels")),
    Operation("cross_entropy", ("x", "t"), cancels=True),
]

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
every_operation_of_one_shape = pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS if operation.result == "same"], ids=str
)


def axes_of(axis, ndim):
    """The class axes as a tuple of non-negative numbers; a 0-d array has none."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(i % ndim for i in axes) if ndim else ()


def rows_of(axis, ndim):
    return tuple(i for i in range(ndim) if i not in axes_of(axis, ndim))


def plain(operation, package, arrays, axis):
    """The operation on native C-contiguous copies with one class axis, which is the last."""
    shape, ndim = arrays[0].shape, arrays[0].ndim
    rows, classes = rows_of(axis, ndim), axes_of(axis, ndim)
    row_sides, class_sides = [shape[i] for i in rows], [shape[i] for i in classes]

    def classes_last(a):
        native = a.astype(a.dtype.newbyteorder("="))
        if a.ndim < ndim:
            return native.copy(order="C")
        return native.transpose(rows + classes).reshape([*row_sides, math.prod(class_sides)]).copy(order="C")

    results = operation(package, [classes_last(a) for a in arrays], -1)
    if operation.result == "same":
        results[0] = results[0].reshape(row_sides + class_sides).transpose(np.argsort(rows + classes).astype(int))
    return results


def result_shape(operation, shape, axis):
    rows = tuple(shape[i] for i in rows_of(axis, len(shape)))
    classes = math.prod(shape[i] for i in axes_of(axis, len(shape)))
    return {"same": shape, "rows": rows, "square": (*rows, classes, classes)}[operation.result]


def check(operation, results, expected, arrays):
    """Equal within a few ULP of the result, or of the largest term where terms may cancel."""
    scale = 0.0
    if operation.cancels:
        largest = np.abs(np.asarray(arrays[-1], np.float64)).max(initial=1.0)
        scale = largest * max(arrays[0].shape, default=1)
    for a, b in zip(results, expected, strict=True):
        eps = float(max(np.finfo(a.dtype).eps, np.finfo(b.dtype).eps))
        atol = 16 * eps * scale + 4 * float(np.finfo(np.float32).smallest_subnormal)
        assert a.shape == b.shape
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=16 * eps, atol=atol)


# The layouts


class Layout(NamedTuple):
    """How an array lies in memory: its axes from outermost to innermost, a step along each, and so on."""

    order: tuple
    steps: tuple
    misaligned: bool = False
    swapped: bool = False
    repeated: tuple = ()
    read_only: bool = False


class Placed:
    """A copy of `values` laid out as `layout` says; `gaps_untouched` looks at the bytes around it."""

    def __init__(self, values, layout):
        self.layout = layout
        dtype = values.dtype.newbyteorder("S") if layout.swapped else values.dtype
        shape = [min(side, 1) if i in layout.repeated else side for i, side in enumerate(values.shape)]
        sides = [shape[i] * abs(layout.steps[i]) for i in layout.order]
        size = math.prod(sides) * dtype.itemsize
        self.bytes = np.full(size + dtype.itemsize, FILL, np.uint8)
        start = 1 if layout.misaligned else 0
        memory = self.bytes[start : start + size].view(dtype).reshape(sides)
        steps = [slice(None, None, step) for step in layout.steps]
        self.view = memory.transpose(np.argsort(layout.order).astype(int))[(*steps, ...)]
        self.view[...] = values[tuple(slice(0, side) for side in shape)]
        self.array = np.broadcast_to(self.view, values.shape) if layout.repeated else self.view
        if layout.read_only:
            self.array.flags.writeable = False

    def __repr__(self):
        return f"Placed({self.array.dtype.str}, shape={self.array.shape}, {self.layout})"

    def gaps_untouched(self):
        self.view.fill(np.frombuffer(bytes([FILL]) * self.view.itemsize, self.view.dtype)[0])
        return (self.bytes == FILL).all()


def layouts(ndim, repeats=True, writable=False):
    order = st.permutations(range(ndim)).map(tuple)
    steps = st.tuples(*[st.sampled_from([1, 1, 1, 2, -1, -3])] * ndim)
    axes = st.sets(st.sampled_from(range(ndim)), max_size=2) if repeats and ndim else st.just(set())
    rarely = st.sampled_from([False, False, True])
    return st.builds(
        Layout,
        order,
        steps,
        rarely,
        rarely,
        st.one_of(st.just(()), axes.map(tuple)),
        st.just(False) if writable else rarely,
    )


@st.composite
def shapes(draw, largest=LARGEST):
    """0 to 4 sides of 0 to 70; the more sides, the shorter, so that arrays stay near `largest` elements."""
    ndim = draw(st.sampled_from([2, 3, 1, 4, 2, 3, 0]))
    limit = min(70, round(2 * largest ** (1 / max(ndim, 1))))
    side = st.one_of(st.integers(1, limit), st.integers(1, limit), st.integers(0, limit))
    return tuple(draw(side) for _ in range(ndim))


def axes(ndim, tuples):
    """Every form of an axis argument that NumPy takes; a 0-d array has the axes 0 and -1."""
    single = st.integers(-max(ndim, 1), max(ndim, 1) - 1)
    if not tuples:
        return single
    several = st.lists(st.integers(0, ndim - 1), unique=True, min_size=1).map(tuple) if ndim else st.just(())
    negative = several.map(lambda t: tuple(i - ndim for i in t))
    return st.one_of(single, several, negative, st.none())


DTYPES = {
    "x": ["f4", "f8", "f4", "f8", "i2", "u1", "?"],
    "p": ["f4", "f8"],
    "t": ["f4", "f8", "i4"],
    "labels": ["i8", "i4", "u1", "u8", "f8", "f4"],
}


def values_of(kind, shape, axis, dtype, layout, rng):
    """Logits, probabilities, soft targets or labels, already equal along the axes that `layout` repeats."""
    if kind == "labels":
        classes = math.prod(shape[i] for i in axes_of(axis, len(shape)))
        shape = tuple(shape[i] for i in rows_of(axis, len(shape)))
        values = rng.integers(0, max(classes, 1), shape)
    else:
        values = rng.normal(scale=3.0, size=shape)
    kept = tuple(slice(0, 1) if i in layout.repeated else slice(None) for i in range(len(shape)))
    values = np.broadcast_to(np.asarray(values)[kept], shape)
    if kind == "p":
        classes = axes_of(axis, len(shape))
        values = np.exp(values)
        values = values / values.sum(axis=classes, keepdims=True)
    elif np.dtype(dtype).kind == "u":
        values = abs(values)
    return values.astype(dtype)


@st.composite
def problems(draw, operation, largest=LARGEST, float_only=False, repeats=True, writable=False):
    """Placed inputs and an axis for an operation."""
    shape = draw(shapes(largest))
    axis = draw(axes(len(shape), operation.tuples))
    if operation.result == "square" or operation.function == "cross_entropy":
        shape = shape or (draw(st.integers(1, 20)),)
    if operation.function == "cross_entropy":
        side = axes_of(axis, len(shape))[0]
        shape = (*shape[:side], max(shape[side], 1), *shape[side + 1 :])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    placed = []
    for kind in operation.inputs:
        dtype = draw(st.sampled_from(["f4", "f8"] if float_only and kind != "labels" else DTYPES[kind]))
        ndim = len(rows_of(axis, len(shape))) if kind == "labels" else len(shape)
        layout = draw(layouts(ndim, repeats, writable))
        placed.append(Placed(values_of(kind, shape, axis, dtype, layout, rng), layout))
    return placed, axis


def on_examples(check):
    """A test of one operation that runs a check on the examples that hypothesis draws."""

    def test(csm, operation):
        many(given(st.data())(lambda data: check(csm, operation, data)))()

    return test


# Inputs


@every_operation
@on_examples
def test_inputs_of_any_layout(csm, operation, data):
    placed, axis = data.draw(problems(operation))
    arrays = [p.array for p in placed]
    expected = plain(operation, csm, arrays, axis)
    kept = [a.copy() for a in arrays]
    results = operation(csm, arrays, axis)
    assert [r.dtype.str for r in results] == [e.dtype.str for e in expected]
    check(operation, results, expected, arrays)
    for a, b in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(a, b)


@every_operation
@on_examples
def test_outputs_of_any_layout(csm, operation, data):
    """`out` of any layout and floating dtype is filled, returned, and nothing beside it is written."""
    placed, axis = data.draw(problems(operation))
    arrays = [p.array for p in placed]
    expected = plain(operation, csm, arrays, axis)
    shape = result_shape(operation, arrays[0].shape, axis)
    empty = np.full(shape, np.nan, data.draw(st.sampled_from(["f4", "f8"])))
    out = Placed(empty, data.draw(layouts(len(shape), repeats=False, writable=True)))
    results = operation(csm, arrays, axis, out=out.array)
    assert results[0] is out.array
    check(operation, results, expected, arrays)
    assert out.gaps_untouched()


@every_operation_of_one_shape
@on_examples
def test_outputs_that_are_inputs(csm, operation, data):
    """`out` is one of the inputs."""
    placed, axis = data.draw(problems(operation, float_only=True, repeats=False, writable=True))
    arrays = [p.array for p in placed]
    expected = plain(operation, csm, arrays, axis)
    originals = [a.copy() for a in arrays]
    target = data.draw(st.sampled_from([p for p in placed if p.array.shape == expected[0].shape]))
    results = operation(csm, arrays, axis, out=target.array)
    assert results[0] is target.array
    check(operation, results, expected, originals)
    assert target.gaps_untouched()


@every_operation
@on_examples
def test_outputs_that_overlap_inputs(csm, operation, data):
    """Inputs and `out` are views of one buffer, shifted against each other in either direction."""
    dtype = np.dtype(data.draw(st.sampled_from(["f4", "f8"])))
    shape = data.draw(shapes(largest=600))
    axis = data.draw(axes(len(shape), operation.tuples))
    if not math.prod(shape) or not shape:
        shape, axis = (4, 3), -1
    out_shape = result_shape(operation, shape, axis)
    sizes = [math.prod(shape), math.prod(out_shape)]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    buffer = rng.uniform(0.0, 0.5, 3 * max(sizes)).astype(dtype)

    def view(sides):
        size = math.prod(sides)
        start = data.draw(st.integers(0, min(buffer.size - size, size + 2)))
        order = data.draw(st.sampled_from("CF"))
        return buffer[start : start + size].reshape(sides, order=order)

    labels = np.zeros([shape[i] for i in rows_of(axis, len(shape))], int)
    arrays = [labels if kind == "labels" else view(shape) for kind in operation.inputs]
    out = view(out_shape)
    kept = [a.copy() for a in arrays]
    expected = plain(operation, csm, arrays, axis)
    results = operation(csm, arrays, axis, out=out)
    assert results[0] is out
    check(operation, results, expected, kept)


# Single layouts worth their own name


def logits(*shape, dtype=np.float64):
    return np.random.default_rng(shape).normal(scale=3.0, size=shape).astype(dtype)


def problem(operation, shape=(6, 5), dtype=np.float64):
    """Plain arrays for an operation, classes last."""
    layout = Layout(tuple(range(len(shape))), (1,) * len(shape))
    rng = np.random.default_rng(0)
    kinds = {"labels": "i8"}
    return [values_of(kind, shape, -1, kinds.get(kind, dtype), layout, rng) for kind in operation.inputs]


@every_operation
def test_memory_mapped(csm, operation, tmp_path):
    arrays = problem(operation)
    expected = operation(csm, arrays, -1)
    mapped = []
    for i, a in enumerate(arrays):
        (tmp_path / f"{i}.bin").write_bytes(a.tobytes())
        mapped.append(np.memmap(tmp_path / f"{i}.bin", a.dtype, mode="r", shape=a.shape))
    results = operation(csm, mapped, -1)
    assert all(type(r) is np.ndarray for r in results)
    check(operation, results, expected, arrays)
    out = np.memmap(tmp_path / "out.bin", expected[0].dtype, mode="w+", shape=expected[0].shape)
    check(operation, operation(csm, mapped, -1, out=out), expected, arrays)
    np.testing.assert_array_equal(out, results[0])


@every_operation
def test_unaligned_records(csm, operation):
    """A field of packed records: misaligned and strided at once."""
    arrays = problem(operation)
    expected = operation(csm, arrays, -1)
    fields = []
    for a in arrays:
        records = np.zeros(a.shape, np.dtype([("tag", "u1"), ("value", a.dtype)]))
        records["value"] = a
        fields.append(records["value"])
        assert not fields[-1].flags.aligned
    check(operation, operation(csm, fields, -1), expected, arrays)


@pytest.mark.parametrize("turn", [np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1], None], ids=str)
@every_operation_of_one_shape
def test_out_is_an_input_reversed_or_transposed(csm, operation, turn):
    arrays = problem(operation, shape=(6, 6))
    kept = [a.copy() for a in arrays]
    expected = plain(operation, csm, arrays, -1)
    square = arrays[-1 if turn is None and arrays[-1].ndim == 2 else 0]
    out = square.T if turn is None else square[turn]
    results = operation(csm, arrays, -1, out=out)
    assert results[0] is out
    check(operation, results, expected, kept)


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("f8", "f4")])
def test_out_is_the_input_seen_as_another_dtype(csm, dtypes):
    """The same bytes under a dtype of another size: a row of the output covers other rows of the input."""
    buffer = np.zeros(80, np.uint8)
    x, out = (buffer[: 10 * np.dtype(d).itemsize].view(d).reshape(5, 2) for d in dtypes)
    x[...] = np.arange(10).reshape(5, 2) % 3
    expected = csm.softmax(x.copy())
    csm.softmax(x, out=out)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_columns_of_one_matrix(csm):
    """Interleaved, not overlapping: both halves of each record are used."""
    buffer = logits(8, 6)
    expected = csm.softmax(buffer[:, ::2].copy())
    kept = buffer[:, ::2].copy()
    csm.softmax(buffer[:, ::2], out=buffer[:, 1::2])
    np.testing.assert_allclose(buffer[:, 1::2], expected, rtol=1e-14)
    np.testing.assert_array_equal(buffer[:, ::2], kept)


def test_strides_that_cross_without_meeting(csm):
    """Strides 2 and 3 items: no element twice, although the axes interleave."""
    buffer = np.full(8, -1.0)
    out = np.lib.stride_tricks.as_strided(buffer, (3, 2), (16, 24))
    x = logits(3, 2)
    csm.softmax(x, out=out)
    np.testing.assert_allclose(out, csm.softmax(x), rtol=1e-14)
    np.testing.assert_array_equal(buffer[[1, 6]], -1.0)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_many_rows_of_few_classes_that_lie_closer(csm, dtype):
    """Rows that are adjacent and have to be transposed: hundreds of them at once, class by class."""
    x = logits(3, 3000, dtype=dtype)
    along, takes_part = np.ascontiguousarray(x.T), x > -2
    p = csm.softmax(x, axis=0, where=takes_part)
    np.testing.assert_array_equal(p.T, csm.softmax(along, where=np.ascontiguousarray(takes_part.T)))
    np.testing.assert_array_equal(csm.softmax_jacobian(p, axis=0), csm.softmax_jacobian(np.ascontiguousarray(p.T)))


def test_zero_stride_of_a_side_of_one_is_a_fine_output(csm):
    out = np.lib.stride_tricks.as_strided(np.empty(3), (1, 3), (0, 8))
    x = logits(1, 3)
    np.testing.assert_array_equal(csm.softmax(x, out=out), csm.softmax(x))


ORDERS = {
    "C": lambda x: x,
    "F": np.asfortranarray,
    "middle outermost": lambda x: x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    "reversed": lambda x: x[::-1, :, ::-1],
    "with gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "Fortran with gaps": lambda x: np.asfortranarray(np.repeat(x, 2, axis=0))[::2],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", ">f4"])
@every_operation_of_one_shape
def test_results_keep_the_order(csm, operation, dtype, order):
    arrays = [ORDERS[order](a) if a.ndim == 3 else a for a in problem(operation, (4, 3, 5), dtype)]
    result = operation(csm, arrays, -1)[0]
    assert result.strides == np.empty_like(arrays[0], dtype=result.dtype).strides
    assert result.flags.writeable


@pytest.mark.parametrize("order", ORDERS)
def test_jacobian_is_in_c_order(csm, order):
    p = ORDERS[order](csm.softmax(logits(4, 3, 5)))
    for axis in range(3):
        assert csm.softmax_jacobian(p, axis=axis).flags.c_contiguous


def test_no_axis_at_all(csm):
    """`axis=()` reduces nothing, as in NumPy: every element is a row of one class."""
    x = logits(3, 4)
    np.testing.assert_allclose(csm.softmax(x, axis=()), np.ones_like(x), rtol=4e-16)
    np.testing.assert_array_equal(csm.log_softmax(x, axis=()), 0.0)
    np.testing.assert_array_equal(csm.logsumexp(x, axis=()), x)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 0), (-1, 1), None, (0, 1, 2)])
def test_keepdims(csm, axis):
    x = logits(4, 3, 5)
    flat = csm.logsumexp(x, axis=axis)
    kept = csm.logsumexp(x, axis=axis, keepdims=True)
    assert flat.shape == x.sum(axis=axis).shape
    assert kept.shape == x.sum(axis=axis, keepdims=True).shape
    np.testing.assert_array_equal(kept.ravel(), np.ravel(flat))
    out = np.empty_like(kept)
    assert csm.logsumexp(x, axis=axis, keepdims=True, out=out) is out
    np.testing.assert_array_equal(out, kept)


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [(0, 1), (2, 0), (1, 2), None, (0, 1, 2)])
def test_several_axes_are_one(csm, function, axis):
    x = logits(4, 3, 5, dtype=np.float32)
    whole = x if axis is None else np.moveaxis(x, axis, range(-len(axis), 0))
    rows = whole.reshape(-1, 60 if axis is None else math.prod(x.shape[i] for i in axis))
    expected = getattr(csm, function)(rows).reshape(whole.shape)
    result = getattr(csm, function)(x, axis=axis)
    moved = result if axis is None else np.moveaxis(result, axis, range(-len(axis), 0))
    np.testing.assert_allclose(moved, expected, rtol=2e-6)
