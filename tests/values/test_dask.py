"""csoftmax.dask on worker processes beside csoftmax in one: chunks along rows and classes, memory, a killed worker."""

import doctest
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import processes
import pytest

import csoftmax

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed", reason="needs distributed")
cloudpickle = pytest.importorskip("cloudpickle")
cd = pytest.importorskip("csoftmax.dask")

pytestmark = pytest.mark.filterwarnings("ignore")  # of distributed, about the ports and the memory of workers

ROWS, CLASSES, FEATURES = 12, 10, 4
CHUNKS = {"rows": (7, CLASSES), "classes": (ROWS, 4), "both": (7, 6)}
MEMORY = 300_000_000  # of a worker
every_chunking = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
every_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@pytest.fixture(scope="module", autouse=True)
def client():
    """Two worker processes, which compute whatever this module computes."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    environment = {"PYTHONPATH": processes.PATH}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10, "distributed.worker.memory.terminate": 0.98}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=MEMORY, dashboard_address=None, env=environment
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def generator():
    return np.random.default_rng(0)


def logits(dtype=np.float64):
    return (3 * generator().normal(size=(ROWS, CLASSES))).astype(dtype)


def labels():
    y = generator().integers(0, CLASSES, ROWS)
    y[3] = -100
    return y


def positive(*shape):
    return generator().random(shape) + 0.5


MASK = np.arange(ROWS * CLASSES).reshape(ROWS, CLASSES) % 3 > 0
MASK[2] = False
TARGETS = {
    "labels": labels(),
    "probabilities": positive(ROWS, CLASSES),
    "pairs": (generator().integers(0, CLASSES, (ROWS, 3)), positive(ROWS, 3)),
}
OPTIONS = {
    "plain": {},
    "weight": {"weight": positive(CLASSES)},
    "smoothing": {"weight": positive(CLASSES), "label_smoothing": 0.1},
    "z_loss": {"z_loss": 0.1, "temperature": positive(ROWS), "sample_weight": positive(ROWS)},
    "softcap": {"softcap": 2.0, "temperature": 2.0},
    "rows": {"reduction": "none", "sample_weight": np.arange(ROWS) % 3},
    "normalizer": {"normalizer": 3.0},
    "sum": {"reduction": "sum"},
}
WHOLE_ROWS = {"focal_gamma": {"focal_gamma": 2.0}, "where": {"where": MASK | True}}
CASES = [(t, o) for t in TARGETS for o in OPTIONS]


def assert_near(results, expected, dtype, case=""):
    """To 1e-12 in float64, and to some units in the last place of the largest in float32."""
    tolerance = 1e-12 if dtype == np.float64 else 8 * np.finfo(np.float32).eps
    for result, right in zip(results, expected, strict=True):
        assert result.dtype == dtype and result.shape == right.shape
        size = min(1, np.nanmax(np.abs(right)))
        np.testing.assert_allclose(result, right, rtol=tolerance, atol=tolerance * size, err_msg=str(case))


# Maps


@every_dtype
@every_chunking
@pytest.mark.parametrize("options", [{}, {"temperature": positive(ROWS)}, {"where": MASK}], ids=["", "T", "where"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmax_entropy"])
def test_map_of_chunks(name, options, chunks, dtype):
    x = logits(dtype)
    result = getattr(cd, name)(da.from_array(x, chunks=chunks), **options).compute()
    right = getattr(csoftmax, name)(x, **options)
    tolerance = 1e-12 if dtype == np.float64 else 5 * np.finfo(dtype).eps
    assert result.dtype == dtype
    np.testing.assert_allclose(result, right, rtol=tolerance)


@every_dtype
@every_chunking
@pytest.mark.parametrize("options", [{}, {"temperature": positive(ROWS)}, {"where": MASK}], ids=["", "T", "where"])
@pytest.mark.parametrize("of_rows", [False, True])
def test_expectation_of_chunks(of_rows, options, chunks, dtype):
    x, values = logits(dtype), generator().normal(size=(ROWS, CLASSES) if of_rows else CLASSES)
    result = cd.softmax_expectation(da.from_array(x, chunks=chunks), values, **options).compute()
    tolerance = 1e-12 if dtype == np.float64 else 5 * np.finfo(dtype).eps
    assert result.dtype == dtype
    right = csoftmax.softmax_expectation(x, values, **options)
    np.testing.assert_allclose(result, right, rtol=tolerance, atol=4 * tolerance)
    turned = cd.softmax_expectation(da.from_array(x.T, chunks=chunks[::-1]), values.T, 0).compute()
    np.testing.assert_allclose(turned, csoftmax.softmax_expectation(x, values), rtol=tolerance, atol=4 * tolerance)


@every_chunking
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_logsumexp_of_chunks(axis, chunks):
    x = logits()
    for keepdims in (False, True):
        result = cd.logsumexp(da.from_array(x, chunks=chunks), axis, keepdims, where=MASK).compute()
        np.testing.assert_allclose(result, csoftmax.logsumexp(x, axis, keepdims=keepdims, where=MASK), rtol=1e-12)


def test_three_axes_of_which_the_first_has_the_classes():
    x, y = generator().normal(size=(5, 3, 4)), generator().integers(0, 5, (3, 4))
    chunked = da.from_array(x, chunks=(2, 2, 3))
    for name in ("softmax", "log_softmax"):
        np.testing.assert_allclose(getattr(cd, name)(chunked, 0).compute(), getattr(csoftmax, name)(x, 0), rtol=1e-12)
    kept = cd.softmax_entropy(chunked, 0, keepdims=True)
    np.testing.assert_allclose(kept.compute(), csoftmax.softmax_entropy(x, 0, keepdims=True), rtol=1e-12)
    options = {"reduction": "none", "return_grad": True}
    results = dask.compute(*cd.cross_entropy(chunked, y, 0, **options))
    assert_near(results, csoftmax.cross_entropy(x, y, 0, **options), np.float64)


@every_dtype
@every_chunking
def test_selective_log_softmax_of_chunks(chunks, dtype):
    x = logits(dtype)
    chunked = da.from_array(x, chunks=chunks)
    several = generator().integers(0, CLASSES, (ROWS, 2))
    options = {"softcap": 3.0, "temperature": positive(ROWS)}
    results = dask.compute(
        cd.selective_log_softmax(chunked, several, **options),
        cd.selective_log_softmax(chunked, labels(), ignore_index=-100),
    )
    expected = (
        csoftmax.selective_log_softmax(x, several, **options),
        csoftmax.selective_log_softmax(x, labels(), ignore_index=-100),
    )
    assert_near(results, expected, dtype)


SPECIAL = {"nan": np.nan, "inf": np.inf, "some -inf": -np.inf, "all -inf": -np.inf}


@pytest.mark.parametrize("chunks", [CHUNKS["rows"], CHUNKS["both"]], ids=["rows", "both"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_values_of_chunks(kind, chunks):
    x = logits()
    x[1, : 4 if kind == "some -inf" else CLASSES if kind == "all -inf" else 1] = SPECIAL[kind]
    y = np.full(ROWS, 5)
    chunked = da.from_array(x, chunks=chunks)
    maps, targets = ("softmax", "log_softmax", "softmax_entropy"), (y, y * 0, np.where(np.arange(ROWS) == 1, -100, y))
    options = {"reduction": "none", "return_grad": True}
    found, selected, losses = dask.compute(
        [getattr(cd, name)(chunked) for name in maps],
        cd.selective_log_softmax(chunked, y),
        [cd.cross_entropy(chunked, target, **options) for target in targets],
    )
    for name, result in zip(maps, found, strict=True):
        np.testing.assert_allclose(result, getattr(csoftmax, name)(x), rtol=1e-12)
    np.testing.assert_allclose(selected, csoftmax.selective_log_softmax(x, y), rtol=1e-12)
    for target, results in zip(targets, losses, strict=True):
        for result, right in zip(results, csoftmax.cross_entropy(x, target, **options), strict=True):
            np.testing.assert_allclose(result, right, rtol=1e-12, atol=1e-15)


# Losses


@every_dtype
@every_chunking
def test_cross_entropy_of_chunks(chunks, dtype):
    x = logits(dtype)
    chunked = da.from_array(x, chunks=chunks)
    results = dask.compute(
        {(t, o): cd.cross_entropy(chunked, TARGETS[t], **OPTIONS[o], return_grad=True) for t, o in CASES}
    )[0]
    for (target, option), result in results.items():
        right = csoftmax.cross_entropy(x, TARGETS[target], **OPTIONS[option], return_grad=True)
        assert_near(result, right, dtype, (target, option))


@pytest.mark.parametrize("chunks", [CHUNKS["rows"], CHUNKS["both"]], ids=["rows", "both"])
def test_linear_cross_entropy_of_chunks(chunks):
    x, w, bias = generator().normal(size=(ROWS, FEATURES)), positive(CLASSES, FEATURES), positive(CLASSES)
    chunked = da.from_array(x, chunks=(chunks[0], FEATURES)), da.from_array(w, chunks=(chunks[1], FEATURES))
    results = dask.compute(
        {(t, o): cd.linear_cross_entropy(*chunked, TARGETS[t], bias, **OPTIONS[o], return_grad=True) for t, o in CASES}
    )[0]
    for (target, option), (loss, gradients) in results.items():
        value, right = csoftmax.linear_cross_entropy(x, w, TARGETS[target], bias, **OPTIONS[option], return_grad=True)
        assert_near((loss, *gradients), (value, *right), np.float64, (target, option))


@pytest.mark.parametrize("option", WHOLE_ROWS)
def test_options_that_need_whole_rows(option):
    x, options = logits(), WHOLE_ROWS[option]
    results = dask.compute(
        *cd.cross_entropy(da.from_array(x, chunks=CHUNKS["rows"]), labels(), **options, return_grad=True)
    )
    assert_near(results, csoftmax.cross_entropy(x, labels(), **options, return_grad=True), np.float64)
    with pytest.raises(ValueError, match=f"{option} needs the classes in one chunk, and there are 3: rechunk"):
        cd.cross_entropy(da.from_array(x, chunks=CHUNKS["classes"]), labels(), **options)


@every_chunking
def test_a_small_loss_of_chunks_is_exact(chunks):
    x = np.zeros((ROWS, CLASSES), np.float32)
    x[:, 0] = 40
    x[:, 0] += np.arange(ROWS)
    options = {"reduction": "none", "return_grad": True}
    results = dask.compute(*cd.cross_entropy(da.from_array(x, chunks=chunks), np.zeros(ROWS, int), **options))
    for result, right in zip(results, csoftmax.cross_entropy(x, np.zeros(ROWS, int), **options), strict=True):
        np.testing.assert_allclose(result, right, rtol=1e-6, atol=0)


@every_chunking
def test_nothing_counts_in_chunks(chunks):
    nothing = np.full(ROWS, -100)
    loss, grad = dask.compute(*cd.cross_entropy(da.from_array(logits(), chunks=chunks), nothing, return_grad=True))
    assert np.isnan(loss) and (grad == 0).all()
    assert cd.cross_entropy(da.from_array(logits(), chunks=chunks), nothing, normalizer=2.0).compute() == 0


# Errors


@every_chunking
def test_a_bad_label_of_chunks_is_named(chunks):
    y = labels()
    y[7] = CLASSES
    chunked = da.from_array(logits(), chunks=chunks)
    for result in (cd.cross_entropy(chunked, y), cd.selective_log_softmax(chunked, y, ignore_index=-100)):
        with pytest.raises(IndexError, match=rf"(target|index)\[7\] = {CLASSES} is not a class index in \[0, "):
            result.compute()


def test_chunks_of_unknown_size_are_refused():
    x = da.from_array(logits(), chunks=(5, 3))
    unknown = x[x[:, 0] > 0]
    for function in (cd.softmax, cd.log_softmax, cd.softmax_entropy, cd.logsumexp):
        with pytest.raises(ValueError, match=r"has chunks of unknown size: call [xa]\.compute_chunk_sizes"):
            function(unknown)
    with pytest.raises(ValueError, match=r"logits has chunks of unknown size: call logits\.compute_chunk_sizes\(\)"):
        cd.cross_entropy(unknown, labels())


def test_bad_arguments_of_chunks():
    x = da.from_array(logits(), chunks=(5, 3))
    with pytest.raises(np.exceptions.AxisError):
        cd.softmax(x, 2)
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        cd.cross_entropy(x, labels(), label_smoothing=2)
    with pytest.raises(ValueError, match="reduction must be"):
        cd.cross_entropy(x, labels(), reduction="max")
    with pytest.raises(ValueError, match=r"target has shape \(11,\)"):
        cd.cross_entropy(x, labels()[1:])
    with pytest.raises(ValueError, match="w has its features in 2 chunks"):
        cd.linear_cross_entropy(x.rechunk((5, -1)), da.ones((3, CLASSES), chunks=(3, 5)), labels())
    with pytest.raises(ValueError, match="temperature must be positive"):
        cd.softmax(x, temperature=-1.0).compute()


def test_empty_chunks():
    x = da.from_array(logits(), chunks=((0, 5, 7), (3, 3, 4)))
    assert x.chunks[0][0] == 0
    np.testing.assert_allclose(cd.softmax(x).compute(), csoftmax.softmax(logits()), rtol=1e-12)
    results = dask.compute(*cd.cross_entropy(x, labels(), return_grad=True))
    assert_near(results, csoftmax.cross_entropy(logits(), labels(), return_grad=True), np.float64)


def test_docstrings_of_chunks():
    result = doctest.testmod(cd)
    assert result.failed == 0 and result.attempted > 10


# Threads, memory, workers that die


def test_a_task_computes_on_one_thread():
    from csoftmax import _dask_blocks

    before = csoftmax.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: _dask_blocks.task(csoftmax.get_num_threads)(), range(100))) == {1}
    assert csoftmax.get_num_threads() == before


def test_a_worker_that_is_killed(client):
    def slowly(block):
        time.sleep(0.2)
        return block

    x = da.from_array(logits(), chunks=(1, 5)).map_blocks(slowly, dtype=float)
    future = client.compute(cd.cross_entropy(x, labels()))
    time.sleep(0.8)
    assert not future.done()
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
    assert abs(future.result(timeout=60) - csoftmax.cross_entropy(logits(), labels())) < 1e-12


def test_an_array_larger_than_the_memory_of_the_workers(client, tmp_path):
    shape, step, path = (20_000, 8_000), 2_000, tmp_path / "logits.f32"
    block = generator().normal(size=(step, shape[1])).astype(np.float32)
    with path.open("wb") as file:
        for _ in range(shape[0] // step):
            file.write(block.data)
    assert path.stat().st_size > 2 * MEMORY

    def load(block_info=None):
        (rows, classes) = block_info[None]["array-location"]
        return np.array(np.memmap(path, np.float32, "r", shape=shape)[slice(*rows), slice(*classes)])

    x = da.map_blocks(load, chunks=((1_000,) * 20, (4_000,) * 2), dtype=np.float32)
    y = np.arange(shape[0]) % shape[1]
    losses = cd.cross_entropy(x, y, reduction="none")
    largest = cd.cross_entropy(x, y, reduction="sum", return_grad=True)[1].max()
    losses, largest = dask.compute(losses, largest)
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        np.testing.assert_allclose(losses[rows], csoftmax.cross_entropy(block, y[rows], reduction="none"), rtol=1e-6)
    right = max(
        csoftmax.cross_entropy(block, y[s : s + step], reduction="sum", return_grad=True)[1].max()
        for s in range(0, shape[0], step)
    )
    np.testing.assert_allclose(largest, right, rtol=1e-6)
