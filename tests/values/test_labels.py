"""Index targets: every dtype and shape; what is refused, how it is named, and that nothing is written."""

import re
import threading
import time

import numpy as np
import pytest

INTEGERS = [
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.intp,
    np.uintp,
]
FLOATS = [np.float32, np.float64]
SENTINEL = 7.25

OUT_OF_RANGE = [
    (np.int8, [5, 127, -1, -128]),
    (np.uint8, [5, 127, 128, 156, 255]),
    (np.int16, [5, 256, -32768]),
    (np.uint16, [5, 256, 65436, 65535]),
    (np.int32, [5, 65536, 2**31 - 1, -(2**31)]),
    (np.uint32, [5, 2**31, 2**32 - 100, 2**32 - 1]),
    (np.int64, [5, -1, -99, -101, 256, 2**31, 2**32, 2**32 + 1, 10**12, 2**63 - 1, -(2**63), 2**32 - 100]),
    (np.uint64, [5, 2**32, 10**12, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 100, 2**64 - 1]),
    (np.float32, [5.0, -1.0, -101.0, 2.0**32, 2.0**64]),
    (np.float64, [5.0, -1.0, -101.0, 2.0**31, 2.0**32, 1e12, 2.0**63, -(2.0**63), 2.0**64]),
]


def logits(*shape, dtype=np.float64):
    return np.random.default_rng(shape).normal(scale=3.0, size=shape).astype(dtype)


def both(csm, x, labels, **options):
    """Losses of the rows and their gradient."""
    return csm.cross_entropy(x, labels, reduction="none", return_grad=True, **options)


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_near(actual, expected):
    """Equal within a few ULP: another memory order or other rows beside may take another kernel."""
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-15)


def names_row(message, row, rows_shape):
    """Whether `message` names `row`: by its index, or by the flat one."""
    flat = int(np.ravel_multi_index(row, rows_shape))
    plain = ",".join(map(str, row))
    return re.search(rf"\({plain},?\)|\[{plain}\]|\b{flat}\b", message.replace(", ", ",")) is not None


def check_refused(csm, x, labels, row, value, **options):
    """IndexError with row and value in the message; `out`, apart and in place, keeps every byte."""
    rows_shape = np.delete(x.shape, options.get("axis", -1))
    out, in_place = np.full_like(x, SENTINEL), x.copy(order="K")
    for destination, logits_given in [(out, x), (in_place, in_place)]:
        with pytest.raises(IndexError) as caught:
            csm.cross_entropy(logits_given, labels, return_grad=True, out=destination, **options)
        message = str(caught.value)
        assert names_row(message, row, rows_shape), message
        assert str(int(value)) in message or str(float(value)) in message, message
    with pytest.raises(IndexError):
        csm.cross_entropy(x, labels, **options)
    np.testing.assert_array_equal(out, SENTINEL)
    np.testing.assert_array_equal(in_place, x)


# Dtypes


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("label_dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_of_labels(csm, dtype, label_dtype, swapped):
    x = logits(50, 5, dtype=dtype)
    labels = np.random.default_rng(1).integers(0, 5, 50)
    given = labels.astype(np.dtype(label_dtype).newbyteorder() if swapped else label_dtype)
    assert_same(both(csm, x, given), both(csm, x, labels))
    assert both(csm, x, given)[0].dtype == dtype


def test_lists_and_scalars(csm):
    x = logits(3, 4)
    expected = both(csm, x, np.array([0, 3, 1]))
    assert_same(both(csm, x, [0, 3, 1]), expected)
    assert_same(both(csm, x, [0.0, 3.0, 1.0]), expected)
    for label in (3, np.int8(3), np.uint64(3), np.array(3), 3.0):
        loss, gradient = both(csm, x[1], label)
        assert_near((loss, gradient), (expected[0][1], expected[1][1]))


@pytest.mark.parametrize("value", [0.5, 1.0000001, -0.25, np.nan, -np.nan, 4.999999])
@pytest.mark.parametrize("label_dtype", FLOATS)
def test_fractions_and_nan_are_refused(csm, label_dtype, value):
    x = logits(30, 5)
    for row in (0, 17, 29):
        labels = np.zeros(30, label_dtype)
        labels[row] = value
        out, in_place = np.full_like(x, SENTINEL), x.copy()
        for destination, given in [(out, x), (in_place, in_place)]:
            with pytest.raises(ValueError, match=rf"\b{row}\b"):
                csm.cross_entropy(given, labels, return_grad=True, out=destination)
        np.testing.assert_array_equal(out, SENTINEL)
        np.testing.assert_array_equal(in_place, x)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_labels_are_refused(csm, value):
    with pytest.raises((ValueError, IndexError)):
        csm.cross_entropy(logits(3, 4), [0.0, value, 1.0])


def test_negative_zero_is_class_zero(csm):
    x = logits(2, 3)
    assert_same(both(csm, x, [-0.0, 2.0]), both(csm, x, [0, 2]))


# Out of range


@pytest.mark.parametrize(("label_dtype", "value"), [(d, v) for d, values in OUT_OF_RANGE for v in values])
@pytest.mark.parametrize("dtype", FLOATS)
def test_out_of_range(csm, dtype, label_dtype, value):
    x = logits(40, 5, dtype=dtype)
    for row in (0, 23, 39):
        labels = np.ones(40, label_dtype)
        labels[row] = value
        check_refused(csm, x, labels, (row,), value)


@pytest.mark.parametrize("classes", [1, 2, 3, 8, 17, 300])
def test_the_class_count_is_the_bound(csm, classes):
    x = logits(9, classes)
    labels = np.full(9, classes - 1)
    assert np.isfinite(both(csm, x, labels)[0]).all()
    labels[4] = classes
    check_refused(csm, x, labels, (4,), classes)
    check_refused(csm, np.asfortranarray(x), labels, (4,), classes)
    check_refused(csm, x.T.copy(), labels, (4,), classes, axis=0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_first_bad_row_in_c_order_is_named(csm, order):
    x = np.asarray(logits(4, 5, 6, 3), order=order)
    for bad in [(0, 0, 1), (0, 3, 0), (1, 4, 5), (3, 4, 5)]:
        labels = np.zeros((4, 5, 6), int, order=order)
        first = np.ravel_multi_index(bad, labels.shape)
        for i in range(first + 1, labels.size, 7):
            labels[np.unravel_index(i, labels.shape)] = -5
        labels[bad] = 77
        check_refused(csm, x, labels, bad, 77)
        check_refused(csm, np.asarray(np.moveaxis(x, -1, 1), order=order), labels, bad, 77, axis=1)


def test_first_bad_row_of_many(csm):
    """Far apart, so that threads that shared the check would find the later one first."""
    x, labels = np.zeros((200_000, 3)), np.zeros(200_000, np.int32)
    labels[199_000], labels[54_321], labels[160_000] = 5, 4, -1
    check_refused(csm, x, labels, (54_321,), 4)


def test_bad_label_beside_ignored_rows(csm):
    x, labels = logits(10, 3), np.full(10, -100)
    labels[7], labels[8] = 3, 4
    check_refused(csm, x, labels, (7,), 3)


def test_one_dimensional_logits(csm):
    x = logits(5)
    for value in (5, -1, 10**12):
        with pytest.raises(IndexError, match=str(value)):
            csm.cross_entropy(x, value)


# ignore_index


@pytest.mark.parametrize(
    ("label_dtype", "ignored"),
    [
        (np.int64, -100),
        (np.int8, -100),
        (np.int64, -1),
        (np.int64, 0),
        (np.int64, 2),
        (np.int64, 5),
        (np.int64, 10**12),
        (np.int64, -(2**63)),
        (np.int64, 2**63 - 1),
        (np.int32, -(2**31)),
        (np.uint8, 255),
        (np.uint8, 0),
        (np.uint32, 2**32 - 1),
        (np.uint64, 2**63 - 1),
        (np.uint64, 2**64 - 1),
        (np.float32, -100),
        (np.float64, -100),
        (np.float64, 10**12),
    ],
)
def test_any_value_can_be_ignored(csm, label_dtype, ignored):
    x = logits(60, 5)
    labels = np.random.default_rng(2).integers(0, 5, 60)
    skipped = np.arange(60) % 3 == 1
    labels[labels == ignored] = 1
    expected_loss, expected_gradient = both(csm, x, labels)
    expected_loss[skipped] = 0.0
    expected_gradient[skipped] = 0.0
    given = labels.astype(label_dtype)
    given[skipped] = ignored
    for value in (ignored, np.array(ignored)[()]):
        assert_near(both(csm, x, given, ignore_index=value), (expected_loss, expected_gradient))
    mean = csm.cross_entropy(x, given, ignore_index=ignored)
    np.testing.assert_allclose(mean, expected_loss.sum() / 40, rtol=1e-14)


def test_none_ignores_nothing(csm):
    x, labels = logits(6, 3), np.array([0, 1, 2, 0, 1, 2])
    assert_same(both(csm, x, labels, ignore_index=None), both(csm, x, labels))
    labels[4] = -100
    check_refused(csm, x, labels, (4,), -100, ignore_index=None)


@pytest.mark.parametrize(
    ("label_dtype", "value"), [(np.uint8, 156), (np.uint32, 2**32 - 100), (np.uint64, 2**64 - 100)]
)
def test_ignore_index_does_not_wrap(csm, label_dtype, value):
    """These labels have the bits of -100."""
    x, labels = logits(5, 4), np.zeros(5, label_dtype)
    labels[2] = value
    check_refused(csm, x, labels, (2,), value)


@pytest.mark.parametrize(
    ("label_dtype", "ignored"), [(np.uint8, 256), (np.int8, 256), (np.uint8, -255), (np.int32, 2**32)]
)
def test_ignore_index_outside_the_dtype_ignores_nothing(csm, label_dtype, ignored):
    x, labels = logits(5, 4), np.array([0, 1, 2, 3, 0], label_dtype)
    assert_same(both(csm, x, labels, ignore_index=ignored), both(csm, x, labels))


@pytest.mark.parametrize(
    "value, ignored, error",
    [(2.0**63, -1, IndexError), (-(2.0**64), -1, IndexError), (np.nan, -(2**63), ValueError), (0.5, -1, ValueError)],
)
def test_floats_beyond_integers_are_not_the_ignored_one(csm, value, ignored, error):
    labels = np.array([0.0, value, 1.0])
    with pytest.raises(error):
        csm.cross_entropy(logits(3, 5), labels, ignore_index=ignored)


def test_another_ignore_index_frees_minus_100(csm):
    x, labels = logits(5, 4), np.array([0, 1, -100, 3, -1])
    check_refused(csm, x, labels, (2,), -100, ignore_index=-1)


def test_no_ignore_index_with_probabilities(csm):
    x, t = logits(5, 4), np.full((5, 4), 0.25)
    assert_same(both(csm, x, t, ignore_index=None), both(csm, x, t, ignore_index=-100))


# Shapes


@pytest.mark.parametrize("shape", [(6, 4), (3, 5, 4), (2, 3, 5, 4), (7, 3, 1, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_axis_anywhere(csm, shape, order):
    rows_shape = shape[:-1]
    x, labels = logits(*shape), np.random.default_rng(3).integers(0, 4, rows_shape)
    labels[(1,) + (0,) * (len(rows_shape) - 1)] = -100
    flat_loss, flat_gradient = both(csm, x.reshape(-1, 4), labels.ravel())
    for axis in range(len(shape)):
        given = np.asarray(np.moveaxis(x, -1, axis), order=order)
        for some_axis in (axis, axis - len(shape)):
            loss, gradient = both(csm, given, np.asarray(labels, order=order), axis=some_axis)
            assert loss.shape == rows_shape and gradient.shape == given.shape
            flat = (loss.ravel(), np.moveaxis(gradient, axis, -1).reshape(-1, 4))
            assert_near(flat, (flat_loss, flat_gradient))


@pytest.mark.parametrize("given", [(1,), (1, 5), (3, 1), (1, 1)])
def test_labels_broadcast_to_the_rows(csm, given):
    rows_shape = (7,) if len(given) == 1 else (3, 5)
    x = logits(*rows_shape, 4)
    labels = np.random.default_rng(5).integers(0, 4, given)
    full = np.broadcast_to(labels, rows_shape)
    assert_same(both(csm, x, labels), both(csm, x, full.copy()))
    assert_same(both(csm, x, full), both(csm, x, full.copy()))
    assert csm.cross_entropy(x, labels) == csm.cross_entropy(x, full.copy())


def test_broadcast_labels_are_checked(csm):
    x, labels = logits(3, 5, 4), np.array([[0, 1, 4, 2, 9]])
    check_refused(csm, x, labels, (0, 2), 4)


def test_broadcast_ignored_labels(csm):
    x = logits(3, 5, 4)
    x[1] = np.nan
    loss, gradient = both(csm, x, np.array([[0], [-100], [2]]))
    np.testing.assert_array_equal(loss[1], 0.0)
    np.testing.assert_array_equal(gradient[1], 0.0)
    assert np.isfinite(csm.cross_entropy(x, np.array([[0], [-100], [2]])))


def test_read_only_labels_stay_as_they_are(csm):
    x, labels = logits(5, 4), np.array([0, 3, -100, 1, 2])
    kept = labels.copy()
    labels.flags.writeable = False
    both(csm, x, labels)
    np.testing.assert_array_equal(labels, kept)


def test_labels_inside_the_logits(csm):
    """The gradient may overwrite the memory of the labels: they are copied before anything is written."""
    buffer = logits(8, 3, dtype=np.float64)
    buffer[:, 1] = np.arange(8) % 3
    expected = both(csm, buffer.copy(), buffer[:, 1].copy())
    assert_near(both(csm, buffer, buffer[:, 1], out=buffer), expected)


# A race


@pytest.mark.parametrize("label_dtype", [np.int64, np.int8, np.float64])
def test_labels_that_flip_while_the_loss_runs(csm, label_dtype):
    """Either the loss of valid labels or IndexError; bounded to a tenth of a second per run."""
    x = logits(3000, 5)
    good = (np.arange(3000) % 5).astype(label_dtype)
    bad = np.full(3000, 100).astype(label_dtype)
    labels, stop = good.copy(), threading.Event()
    expected = csm.cross_entropy(x, good)

    def flip():
        while not stop.is_set():
            labels[:] = bad
            labels[:] = good
            time.sleep(2e-5)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        deadline, calls = time.monotonic() + 0.1, 0
        while time.monotonic() < deadline:
            calls += 1
            try:
                assert csm.cross_entropy(x, labels) == expected
            except IndexError as error:
                assert "100" in str(error)
    finally:
        stop.set()
        thread.join()
    assert calls > 0
