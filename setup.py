"""The compiled part of the build: one extension over the C core.

CSOFTMAX_THREADS=0: no threads.
CSOFTMAX_SSE2=1: on x86-64, vectors for CPUs without AVX2, which are else given plain C.
CSOFTMAX_DEBUG=1: for a debugger, without optimisation and with assertions.
MAX_JOBS=n: compile n files at a time, not as many as there are CPUs.
"""

import os
import shutil
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
    "-std=c11",
    "-O2",
    "-g0",
    "-fvisibility=hidden",
    # Exactness: products and sums are fused where the code says so, nowhere else.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-asynchronous-unwind-tables",  # nothing here unwinds the stack: a fiftieth of the wheel
]
# Without these small calls take up to a quarter longer, rows of three classes up to a third (docs/notes/compiler.md).
FLAGS_IF_KNOWN = ["-mtune=skylake", "-falign-functions=64"]
# clang-cl hands on to clang what is one of its flags.
FLAGS_OF_CLANG_CL = ["/std:c11", "/O2", *(f"/clang:{flag}" for flag in FLAGS if flag.startswith("-f"))]

DEBUG = os.environ.get("CSOFTMAX_DEBUG", "0") != "0"
THREADS = os.environ.get("CSOFTMAX_THREADS", "1")
if THREADS not in ("0", "1"):
    sys.exit(f"CSOFTMAX_THREADS={THREADS}: expected 0 or 1")
SSE2 = os.environ.get("CSOFTMAX_SSE2", "0")
if SSE2 not in ("0", "1"):
    sys.exit(f"CSOFTMAX_SSE2={SSE2}: expected 0 or 1")
FLAGS += ["-O0", "-g", "-UNDEBUG"] if DEBUG else []
PTHREAD = ["-pthread"] if THREADS == "1" else []

NO_COMPILER = """
csoftmax is built from C, and `{compiler}` builds no program: install a C compiler (`apt install gcc` on Debian and
Ubuntu, `dnf install gcc` on Fedora, `xcode-select --install` on macOS), or set CC to the one to use.
"""
NO_CLANG_CL = "On Windows csoftmax is built by clang-cl: install LLVM (`winget install LLVM.LLVM`) and set PATH."


class BuildCore(build_ext):
    def run(self):
        # A wheel needs no symbol table; who profiles builds in place, which the run below forgets.
        self.strips = not (self.inplace or self.editable_mode or DEBUG)
        super().run()

    def build_extension(self, ext):
        if self.compiler.compiler_type == "msvc":
            # Microsoft's compiler has no pragma for the instruction set of a function.
            self.compiler.initialize()
            self.compiler.cc = shutil.which("clang-cl") or sys.exit(NO_CLANG_CL)
            ext.extra_compile_args = FLAGS_OF_CLANG_CL
        else:
            self.works() or sys.exit(NO_COMPILER.format(compiler=self.compiler.compiler[0]))
            known = [flag for flag in FLAGS_IF_KNOWN if self.works(flag, "-Werror")]
            ext.extra_compile_args, ext.extra_link_args = FLAGS + known + PTHREAD, [*PTHREAD]
            if self.strips and self.works("-Wl,-s"):
                ext.extra_link_args.append("-Wl,-s")
        stamp = Path(self.build_temp) / "flags"
        flags = f"{vars(self.compiler)} {vars(ext)}"
        self.force = self.force or not stamp.exists() or stamp.read_text() != flags
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

    def works(self, *flags):
        """Whether a program builds with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("int main(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir="/", extra_postargs=[*flags])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=[*flags])
            except (CompileError, LinkError):
                return False
        return True


extension = Extension(
    "csoftmax._csoftmax",
    sources=["csoftmax/_csoftmax.pyx", *map(str, sorted([*CORE.glob("*.c"), *CORE.glob("isa/*.c")]))],
    depends=[*map(str, sorted([*CORE.rglob("*.h"), *CORE.parent.glob("*.px[id]")]))],
    include_dirs=["csoftmax", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_1_26_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_1_26_API_VERSION"),
        *([("CSM_NO_THREADS", None)] if THREADS == "0" else []),
        *([("CSM_SSE2", None)] if SSE2 == "1" else []),
    ],
)

setup(ext_modules=cythonize([extension]), cmdclass={"build_ext": BuildCore})
