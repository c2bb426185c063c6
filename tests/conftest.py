"""Fixtures: the package itself, once per instruction set that this CPU can run."""

import processes
import pytest
from levels import LEVELS, load_level


@pytest.fixture(scope="session")
def levels(tmp_path_factory):
    """{level: package}, best level first."""
    return {level: load_level(level, tmp_path_factory.mktemp(level)) for level in LEVELS}


@pytest.fixture(scope="session", params=LEVELS)
def isa(request):
    """The name of an instruction set: a test that asks for it runs on each."""
    return request.param


@pytest.fixture(scope="session")
def csm(isa, levels):
    """The package running on `isa`."""
    return levels[isa]


@pytest.fixture(scope="session")
def control_word(tmp_path_factory):
    """The path of a library that sets and checks the floating-point modes of a thread."""
    if not processes.sets_modes():
        pytest.skip("sets the modes of x86-64")
    return processes.c_library(tmp_path_factory.mktemp("modes"), processes.MODES)
