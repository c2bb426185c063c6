"""NumPy's OpenBLAS as the CPU has it: imported before NumPy, this drops what would make it choose other kernels."""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)


def description():
    """What the BLAS of NumPy says it runs, such as "openblas 0.3.31 (SkylakeX)"; None without threadpoolctl."""
    try:
        import numpy  # noqa: F401  loads the library
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    return ", ".join(f"{lib['internal_api']} {lib['version']} ({lib.get('architecture')})" for lib in libraries)
