"""The tests that the csoftmax that is installed must pass on every platform, Python and compiler.

    python tools/test_installed.py kernels|most|threads|parallel [pytest arguments]

`kernels` are those of the instruction sets; `most` are what takes seconds and asks for no compiler; `threads` are those
of threads; `parallel` are those of `most` that may run on several threads at once, by pytest-run-parallel.
"""

import contextlib
import importlib.util
import re
import sys
import tempfile

import check_installed
import pytest
from check_installed import ROOT

SETS = {
    "kernels": """
        runtime/test_dispatch.py runtime/test_detection.py
        values/test_boosting_libraries.py values/test_softmax_grad_hess.py values/test_special_values.py
    """,
    "most": """
        api/test_api.py api/test_argument_forms.py api/test_demo.py api/test_dtypes.py api/test_refusals.py
        kernels/test_half_precision.py kernels/test_layouts.py kernels/test_single_row.py kernels/test_staging.py
        kernels/test_tiles.py
        runtime/test_memory.py runtime/test_sizes.py
        values/test_boosting.py values/test_boosting_libraries.py values/test_gradients.py values/test_labels.py
        values/test_linear_cross_entropy.py values/test_logsumexp_weights.py values/test_loss_options.py
        values/test_selective_log_softmax.py values/test_softmax_grad_hess.py values/test_special.py
        values/test_special_values.py values/test_temperature.py values/test_where.py
    """,
    "threads": """
        runtime/test_threads.py runtime/test_pool.py runtime/test_thread_limits.py runtime/test_changing_arrays.py
    """,
    "parallel": """
        values/test_gradients.py values/test_labels.py values/test_special_values.py values/test_where.py
    """,
}


def can_import(path):
    """Whether what a test module imports is there: ml_dtypes has no wheels for musl."""
    text = path.read_text(encoding="utf-8")
    if importlib.util.find_spec("ml_dtypes") or not re.search(r"^import ml_dtypes\b", text, re.MULTILINE):
        return True
    print(f"LEFT OUT: {path.name}, no ml_dtypes")
    return False


def main(name, *arguments):
    check_installed.check()
    files = [path for file in SETS[name].split() if can_import(path := ROOT / "tests" / file)]
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider", *files, *arguments]
    # From a folder that has no csoftmax, for tests that start Python.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return pytest.main([*map(str, options)])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
