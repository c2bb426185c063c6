"""Threads, and what was built."""

import operator

import numpy as np

from csoftmax import _coerce, _csoftmax, _thread_limits

_csoftmax.grant_threads(_thread_limits.granted_threads())


def set_num_threads(n):
    """Limit the threads that a call may use.

    A call takes the least of `n`; the environment variable ``CSOFTMAX_NUM_THREADS``, or else
    ``OMP_NUM_THREADS``; the CPUs that its thread may use at the time; and the CPUs that the quotas of
    its cgroup are worth, rounded down, but one at least. Variables and quotas are those at import. It
    takes only as many as its size is worth: one per 75,000 float32 numbers of long rows, some
    15 microseconds; a float64 counts as two numbers, a row as eight more. Results do not depend on it.

    `threadpoolctl` limits threads too, once `csoftmax.threadpoolctl` is imported.

    Parameters
    ----------
    n : int
        At least 1 and below 2**31.

    Raises
    ------
    TypeError, ValueError
        `n` is not an integer, or out of range.

    Examples
    --------
    >>> import csoftmax
    >>> csoftmax.set_num_threads(1)
    >>> csoftmax.get_num_threads()
    1
    """
    n = operator.index(n)
    if not 1 <= n < 2**31:
        raise ValueError(f"n must be at least 1 and below 2**31, got {_coerce.shown(n)}")
    _csoftmax.set_num_threads(n)


def get_num_threads():
    """Return the number of threads a large call would use now.

    1 in a build without threads, and in a forked child of a process.

    Returns
    -------
    int

    Examples
    --------
    >>> import csoftmax
    >>> csoftmax.get_num_threads() >= 1
    True
    """
    return _csoftmax.get_num_threads()


def show_config(mode="stdout"):
    """Show what was built and what runs.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print it, or return it as a dict: ``version``; ``isa``, the instruction set that runs;
        ``isas``, those this CPU has, best first; ``built``, those of this build; ``threading``,
        "pthreads", "windows" or "none"; ``threads``, see `get_num_threads`; ``compiler``; ``numpy``,
        its version.

    Returns
    -------
    dict or None

    Raises
    ------
    ValueError
        Another `mode`.

    Examples
    --------
    >>> import csoftmax
    >>> csoftmax.show_config(mode="dicts")["isa"] in ("avx512", "avx2", "sse2", "neon", "scalar")
    True
    """
    from csoftmax import __version__

    config = {
        "version": __version__,
        "isa": _csoftmax.isa(),
        "isas": _csoftmax.isas_here(),
        "built": _csoftmax.isas_built(),
        "threading": _csoftmax.threading(),
        "threads": get_num_threads(),
        "compiler": _csoftmax.compiler(),
        "numpy": np.__version__,
    }
    if mode == "dicts":
        return config
    if mode != "stdout":
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}")
    for key, value in config.items():
        print(f"{key:>9}: {', '.join(value) if isinstance(value, list) else value}")
    return None
