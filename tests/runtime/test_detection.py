"""Which levels a CPU and its system can run: dispatch.c alone, told what CPUID and XGETBV say."""

import ctypes
import platform
from pathlib import Path

import processes
import pytest

pytestmark = pytest.mark.skipif(not processes.sets_modes(), reason="asks a CPU of x86-64")

STAND_IN = """
#include <cpuid.h>

static unsigned leaf_1, leaf_7, registers, illegal;

static int say_1(unsigned leaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
    *a = *b = *d = 0;
    *c = leaf == 1 ? leaf_1 : 0;
    return 1;
}

static int say_7(unsigned leaf, unsigned part, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
    *a = *c = *d = 0;
    *b = leaf == 7 && part == 0 ? leaf_7 : 0;
    return leaf_7 != 0;
}

static unsigned say_registers(void)
{
    illegal |= !(leaf_1 & bit_OSXSAVE);
    return registers;
}

#define __get_cpuid say_1
#define __get_cpuid_count say_7
#define __builtin_ia32_xgetbv(part) say_registers()
#include "%s"

const csm_table csm_f32_scalar = {.isa = "scalar"}, csm_f64_scalar = {.isa = "scalar"};
const csm_table csm_f32_avx2 = {.isa = "avx2"}, csm_f64_avx2 = {.isa = "avx2"};
const csm_table csm_f32_avx512 = {.isa = "avx512"}, csm_f64_avx512 = {.isa = "avx512"};

const char *best_of(unsigned one, unsigned seven, unsigned kept)
{
    leaf_1 = one, leaf_7 = seven, registers = kept, illegal = 0;
    csm_init(NULL);
    return illegal ? "illegal instruction" : csm_isa();
}
"""

LEAF_1 = {"fma": 12, "osxsave": 27, "avx": 28, "f16c": 29}
LEAF_7 = {"avx2": 5, "avx512f": 16, "avx512dq": 17, "avx512cd": 28, "avx512bw": 30, "avx512vl": 31}
KEPT = {"xmm": 1, "ymm": 2, "k": 5, "zmm, upper halves": 6, "zmm, upper 16": 7}
"""Bits of CPUID (ecx, ebx) and of XCR0, by Intel's manual."""

EVERYTHING = {*LEAF_1, *LEAF_7, *KEPT}
OF_AVX2 = {*LEAF_1, "avx2", "xmm", "ymm"}


def word(bits, names):
    return sum(1 << bit for name, bit in bits.items() if name in names)


@pytest.fixture(scope="module")
def best_of(tmp_path_factory):
    """The level that is chosen where the CPU and its system have what is named."""
    folder = tmp_path_factory.mktemp("dispatch")
    source = folder / "stand_in.c"
    source.write_text(STAND_IN % (processes.CORE / "dispatch.c"))
    library = ctypes.CDLL(processes.c_library(folder, source))
    library.best_of.restype = ctypes.c_char_p
    return lambda names: library.best_of(*(word(bits, names) for bits in (LEAF_1, LEAF_7, KEPT))).decode()


def test_a_cpu_that_has_everything(best_of):
    assert best_of(EVERYTHING) == "avx512"
    assert best_of(OF_AVX2) == "avx2"
    assert best_of(set()) == "scalar"


@pytest.mark.parametrize("missing", sorted(EVERYTHING))
def test_each_part_is_needed(best_of, missing):
    assert best_of(EVERYTHING - {missing}) == ("scalar" if missing in OF_AVX2 else "avx2")
    assert best_of(OF_AVX2 - {missing}) == ("scalar" if missing in OF_AVX2 else "avx2")


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
def test_this_cpu_is_seen_as_the_system_sees_it(isa):
    """The system lists a feature only where it keeps its registers."""
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    needs = {"avx2": {"avx2", "fma", "f16c"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}}
    assert needs.get(isa, set()) <= flags
