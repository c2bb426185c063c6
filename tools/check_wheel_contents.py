"""What a wheel must hold, what it must not, and how large it may be.

python tools/check_wheel_contents.py WHEEL...
"""

import sys
import zipfile
from pathlib import Path

MOST_BYTES = 1_500_000
MUST_HOLD = {
    "__init__.pyi", "__init__.pxd", "_csoftmax.pxd", "py.typed", "data/iris.csv",
    "boosting.py", "dask.py", "special.py", "threadpoolctl.py", "torch.py",
}  # fmt: skip
SOURCES = (".pyx", ".pxi", ".c", ".h")
LIBRARIES = (".so", ".pyd", ".dll", ".dylib")


def faults(wheel):
    """What is wrong with a wheel, a sentence each."""
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name.removeprefix("csoftmax/") for name in names}
    libraries = [name for name in names if name.endswith(LIBRARIES) or ".so." in name]
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        yield f"has {size} bytes, more than {MOST_BYTES}"
    if MUST_HOLD - inside:
        yield f"lacks {sorted(MUST_HOLD - inside)}"
    if found := [name for name in names if name.endswith(SOURCES)]:
        yield f"holds sources: {found}"
    if len(libraries) != 1 or not libraries[0].startswith("csoftmax/_csoftmax."):
        yield f"holds other libraries than its extension: {libraries}"
    if not any(name.endswith("/LICENSE") for name in names):
        yield "has no license"


def main(*wheels):
    for wheel in map(Path, wheels):
        if found := list(faults(wheel)):
            sys.exit("\n".join(f"{wheel.name} {fault}" for fault in found))
        print(f"{wheel.name}: {wheel.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
