"""What one task of a map computes: on rows and a shard of their classes, or on what the shards of some rows sent.

Classes are the last axis here. The softmax of all classes is that of the shards, by their logsumexps, times that within
a shard; so a shard sends its logsumexp, and with it whatever else of a row is wanted. This module knows NumPy alone.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

import csoftmax

Array: TypeAlias = np.ndarray[Any, Any]

_lock, _running, _threads = threading.Lock(), 0, 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Have csoftmax compute on one thread, in this process, while a task runs: dask runs tasks side by side."""
    global _running, _threads
    with _lock:
        if _running == 0:
            _threads = csoftmax.get_num_threads()
            csoftmax.set_num_threads(1)
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                csoftmax.set_num_threads(_threads)


def task(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with one_thread(), np.errstate(all="ignore"):
            return function(*arguments, **options)

    return run


def check_labels(labels: Array, classes: int, ignore_index: int | None, starts: tuple[Array, ...], name: str) -> None:
    """Refuse class indices out of range; `starts` are the numbers of the first row, along each axis of the rows."""
    bad = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        bad &= labels != ignore_index
    if bad.any():
        place = np.unravel_index(bad.argmax(), labels.shape)
        first = [int(s[0]) for s in starts] + [0] * (labels.ndim - len(starts))
        row = ", ".join(str(int(i) + start) for i, start in zip(place, first, strict=True))
        raise IndexError(f"{name}[{row or '()'}] = {labels[place]} is not a class index in [0, {classes})")


def local(labels: Array, start: int, classes: int) -> Array:
    """Class indices within a shard, -1 for those of other shards."""
    here = labels.astype(np.int64) - start
    return np.where((here >= 0) & (here < classes), here, -1)


def capped(x: Array, softcap: float | None) -> Array:
    """Logits under a softcap, in float64; -inf stays out."""
    if softcap is None:
        return x
    x = x.astype(np.float64)
    return np.where(x == -np.inf, x, softcap * np.tanh(x / softcap))


def scaled(y: Array, factor: Array, dead: Array) -> Array:
    """y times a factor per row, in place; where nothing of a row is in this shard, the factor itself."""
    np.multiply(y, factor[..., None], out=y, casting="unsafe")
    y[dead] = factor[dead][..., None]
    return y


# Maps


@task
def rowwise(function: str, x: Array, temperature: Any) -> Any:
    """A map of csoftmax on whole rows."""
    return getattr(csoftmax, function)(x, temperature=temperature)


@task
def logsumexp(x: Array, axis: Any, keepdims: bool, dtype: Any = np.float64) -> Any:
    return csoftmax.logsumexp(x, axis, keepdims=keepdims, dtype=dtype)


@task
def shard_lse(x: Array, temperature: Any) -> Array:
    return lse_of(x, temperature)[..., None]


def lse_of(x: Array, temperature: Any) -> Array:
    """The logsumexp of x/T in float64."""
    one = np.ndim(temperature) == 0 and temperature == 1
    v = x if one else x / np.asarray(temperature, np.float64)[..., None]
    return np.asarray(csoftmax.logsumexp(v, -1, dtype=np.float64))


@task
def merged_lse(lse: Array) -> Array:
    return np.asarray(csoftmax.logsumexp(lse, -1, keepdims=True))


@task
def shard_map(x: Array, function: str, temperature: Any, lse: Array, total: Array) -> Any:
    """softmax or log_softmax of a shard, from its logsumexp and that of all."""
    y = getattr(csoftmax, function)(x, temperature=temperature)
    log_share, dead = (lse - total)[..., 0], lse[..., 0] == -np.inf
    log_share[np.isinf(total[..., 0])] = np.nan
    if function == "softmax":
        return scaled(y, np.exp(log_share), dead)
    np.add(y, log_share[..., None], out=y, casting="unsafe")
    y[dead] = log_share[dead][..., None]
    return y


@task
def shard_entropy(x: Array, temperature: Any) -> Array:
    """(logsumexp, entropy) of a shard."""
    wide = x.astype(np.float64)
    entropy = csoftmax.softmax_entropy(wide, temperature=temperature)
    return np.stack([lse_of(x, temperature), entropy], -1)


@task
def merged_entropy(sent: Array, to: Any) -> Any:
    """Of all classes: that of the shards, and the mean of those within them."""
    lse, within = sent[..., ::2], sent[..., 1::2]
    share = csoftmax.softmax(lse)
    return (csoftmax.softmax_entropy(lse) + np.where(share == 0, 0, share * within).sum(-1)).astype(to)


@task
def shard_expectation(x: Array, values: Array, temperature: Any) -> Array:
    """(logsumexp, expectation) of a shard."""
    mean = csoftmax.softmax_expectation(x.astype(np.float64), values, temperature=temperature)
    return np.stack([lse_of(x, temperature), mean], -1)


@task
def merged_expectation(sent: Array, to: Any) -> Any:
    """Of all classes: the mean of the shards'."""
    share = csoftmax.softmax(sent[..., ::2])
    return np.where(share == 0, 0, share * sent[..., 1::2]).sum(-1).astype(to)


@task
def shard_selected(
    x: Array, index: Array, start: Array, temperature: Any, softcap: float | None, ignore_index: int | None
) -> Array:
    """(logsumexp, log p within the shard of each class chosen, 0 for those of other shards)."""
    u = capped(x, softcap)
    here = local(index, int(start[0]), x.shape[-1])
    if ignore_index is not None:
        here[index == ignore_index] = -1
    chosen = csoftmax.selective_log_softmax(u, here, temperature=temperature, ignore_index=-1, dtype=np.float64)
    lse = lse_of(u, temperature)
    chosen[lse == -np.inf] = 0  # the logarithm of the shard's share is -inf
    return np.concatenate([lse[..., None], chosen], -1)


@task
def merged_selected(
    sent: Array, index: Array, *starts: Array, shards: tuple[int, ...], ignore_index: int | None, one: bool, to: Any
) -> Array:
    check_labels(index[..., 0] if one else index, shards[-1], ignore_index, starts, "index")
    lse = sent[..., :: index.shape[-1] + 1]
    within = sent.reshape(*lse.shape, -1)[..., 1:].sum(-2)
    shard = np.searchsorted(shards[1:-1], index, side="right")
    log_p = within + np.take_along_axis(csoftmax.log_softmax(lse), shard, -1)
    return np.where(index == ignore_index, 0, log_p).astype(to)
