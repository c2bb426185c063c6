"""`normalizer` of the losses: what the mean divides by, and 0 where nothing counts."""

import numpy as np
import pytest

import csoftmax

NONE_COUNTS = {
    "ignored labels": ({"target": np.array([-100, -100, -100])}, 3),
    "another index": ({"target": [7, 7, 7], "ignore_index": 7}, 3),
    "ignored floats": ({"target": np.array([-100.0] * 3)}, 3),
    "padded pairs": ({"target": (np.full((3, 2), -100), np.ones((3, 2)))}, 3),
    "pairs of no slots": ({"target": (np.zeros((3, 0), int), np.zeros((3, 0)))}, 3),
    "no rows": ({"target": np.zeros(0, int)}, 0),
    "no rows of probabilities": ({"target": np.zeros((0, 4))}, 0),
    "one row, broadcast": ({"target": [-100]}, 1),
}
ONE_COUNTS = {
    "labels": {"target": np.array([-100, 2, -100])},
    "nothing ignored": {"target": [0, 0, 0], "ignore_index": None},
    "probabilities": {"target": np.zeros((3, 4))},
    "pairs": {"target": (np.array([[-100, -100], [-100, 1], [-100, -100]]), np.zeros((3, 2)))},
    "pairs, nothing ignored": {"target": (np.zeros((3, 2), int), np.zeros((3, 2))), "ignore_index": None},
    "a row of weight 0": {"target": [0, -100, -100], "sample_weight": 0},
}


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, np.float32(0), np.array(0)])
@pytest.mark.parametrize("case", NONE_COUNTS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normalizer_of_nothing(case, zero, dtype):
    options, rows = NONE_COUNTS[case]
    x = np.full((rows, 4), np.nan, dtype)
    loss = csoftmax.cross_entropy(x, **options, normalizer=zero)
    assert loss == 0 and loss.dtype == dtype
    loss, grad = csoftmax.cross_entropy(x, **options, normalizer=zero, return_grad=True, out=x)
    assert loss == 0 and grad is x and not grad.any()


@pytest.mark.parametrize("case", ONE_COUNTS)
def test_normalizer_of_something(case):
    x = np.zeros((3, 4))
    out = np.full_like(x, 7.0)
    with pytest.raises(ValueError, match="normalizer must be finite and not 0"):
        csoftmax.cross_entropy(x, **ONE_COUNTS[case], normalizer=0, return_grad=True, out=out)
    assert (out == 7).all()
