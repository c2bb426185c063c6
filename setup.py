"""The compiled part of the build: one extension over the C core; OpenMP, which says how many threads there may be,
where the compiler has it.

CSOFTMAX_OPENMP=auto|0|1: use OpenMP if it works (default), never, or fail without.
CSOFTMAX_DEBUG=1: for a debugger, without optimisation and with assertions.
MAX_JOBS=n: compile n files at a time, not as many as there are CPUs.
"""

import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

CORE = Path("csoftmax/core")

FLAGS = [
    "-std=c11", "-O2", "-g0", "-fvisibility=hidden", "-pthread",
    # Exactness: products and sums are fused where the code says so, nowhere else.
    "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
    "-fno-asynchronous-unwind-tables",  # nothing here unwinds the stack: a fiftieth of the wheel
]
if sys.platform == "linux" and platform.machine() == "x86_64":
    # By gcc's generic costs small calls take up to a quarter longer, rows of three classes up to a third
    # (docs/notes/compiler.md).
    FLAGS += ["-mtune=skylake", "-falign-functions=64"]
DEBUG = os.environ.get("CSOFTMAX_DEBUG", "0") != "0"
FLAGS += ["-O0", "-g", "-UNDEBUG"] if DEBUG else []

NO_COMPILER = """
csoftmax is built from C and found no working C compiler ({error}).
Install one and try again: `apt install gcc` on Debian and Ubuntu, `dnf install gcc` on Fedora,
`xcode-select --install` on macOS; or set CC to the compiler to use.
"""


class BuildCore(build_ext):
    def build_extension(self, ext):
        try:
            self.try_program("int main(void) { return 0; }", [])
        except (CompileError, LinkError) as error:
            sys.exit(NO_COMPILER.format(error=error))
        if self.wants_openmp():
            ext.extra_compile_args.append("-fopenmp")
            ext.extra_link_args.append("-fopenmp")
        if sys.platform == "linux" and not (self.inplace or self.editable_mode or DEBUG):
            ext.extra_link_args.append("-Wl,-s")  # a wheel needs no symbol table; who profiles installs with -e
        stamp = Path(self.build_temp) / "flags"
        flags = f"{self.compiler.compiler_so} {ext.extra_compile_args} {ext.extra_link_args}"
        if not stamp.exists() or stamp.read_text() != flags:
            self.force = True
        self.compile_at_once()
        super().build_extension(ext)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(flags)

    def compile_at_once(self):
        """Let the compiler's `compile`, which takes one file after another, hand each to a thread, and wait for all."""
        compile_files, compile_file = self.compiler.compile, self.compiler._compile
        jobs = int(os.environ.get("MAX_JOBS") or self.parallel or os.cpu_count() or 1)
        def compile_in_threads(*arguments, **options):
            with ThreadPoolExecutor(jobs) as pool:
                running = []
                self.compiler._compile = lambda *file: running.append(pool.submit(compile_file, *file))
                objects = compile_files(*arguments, **options)
            for file in running:
                file.result()
            return objects

        self.compiler.compile = compile_in_threads

    def wants_openmp(self):
        asked = os.environ.get("CSOFTMAX_OPENMP", "auto")
        if asked not in ("auto", "0", "1"):
            sys.exit(f"CSOFTMAX_OPENMP={asked}: expected auto, 0 or 1")
        if asked == "0":
            return False
        try:
            self.try_program("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }", ["-fopenmp"])
        except (CompileError, LinkError):
            if asked == "1":
                sys.exit("CSOFTMAX_OPENMP=1, but a program with -fopenmp does not build: install libgomp or libomp")
            return False
        return True

    def try_program(self, source, flags):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.c"
            path.write_text(source)
            objects = self.compiler.compile([str(path)], output_dir="/", extra_postargs=flags)
            self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=flags)


extension = Extension(
    "csoftmax._csoftmax",
    sources=["csoftmax/_csoftmax.pyx", *map(str, sorted([*CORE.glob("*.c"), *CORE.glob("isa/*.c")]))],
    depends=[*map(str, sorted([*CORE.rglob("*.h"), *CORE.parent.glob("*.pxi")]))],
    include_dirs=["csoftmax", numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_26_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_1_26_API_VERSION")],
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
)

setup(
    ext_modules=cythonize(
        [extension],
        compiler_directives={
            "language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True,
            "freethreading_compatible": True, "embedsignature": True,
        },
    ),
    cmdclass={"build_ext": BuildCore},
)
