"""The package once per instruction set that this CPU can run.

The level is chosen when the extension is loaded, from ``CSOFTMAX_ISA``. To have every level in one process, the
package is copied to a folder, once per level, and imported from there: each copy of the shared object has state of
its own.
"""

import importlib
import os
import shutil
import sys
from pathlib import Path

import csoftmax

LEVELS = csoftmax.show_config(mode="dicts")["isas"]


def _forget():
    return {k: sys.modules.pop(k) for k in list(sys.modules) if k.split(".")[0] == "csoftmax"}


def load_level(level, folder):
    """Import a private copy of the package that runs on `level`."""
    source = Path(csoftmax.__file__).parent
    ignore = shutil.ignore_patterns("core", "*.c", "*.pyx", "__pycache__")
    shutil.copytree(source, Path(folder) / "csoftmax", ignore=ignore)
    kept, asked = _forget(), os.environ.get("CSOFTMAX_ISA")
    sys.path.insert(0, str(folder))
    os.environ["CSOFTMAX_ISA"] = level
    try:
        module = importlib.import_module("csoftmax")
        assert module.show_config(mode="dicts")["isa"] == level
        return module
    finally:
        sys.path.remove(str(folder))
        os.environ.pop("CSOFTMAX_ISA")
        if asked is not None:
            os.environ["CSOFTMAX_ISA"] = asked
        _forget()
        sys.modules.update(kept)
