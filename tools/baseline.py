"""What a change of the kernels does to their code, their time and the size of the library.

    python tools/baseline.py freeze FOLDER     writes what there is now
    python tools/baseline.py compare FOLDER    compares what there is now with that; status 1 where code or size differ

A baseline has, of each instance (csoftmax/core/isa): the instructions of every function, names and addresses left out;
with --times also the ns per element of every kernel by bench/kernels.c, in memory that is warm and in no cache. It
needs gcc or clang and objdump, and for the times a machine that does nothing else.
"""

import argparse
import ast
import csv
import hashlib
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "csoftmax" / "core"
SLOWER = 1.03
"""A kernel's time over that of the baseline from which on it is listed."""


def flags_of_setup():
    """The list FLAGS of setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "FLAGS":
            return [*ast.literal_eval(node.value), "-fPIC", "-mtune=skylake", "-falign-functions=64"]
    raise SystemExit("setup.py has no FLAGS")


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def compiler():
    return shlex.split(os.environ.get("CC", "cc"))


def functions_of(source, folder):
    """{name: instructions} of an instance, without addresses, names and places of constants."""
    made = folder / f"{source.stem}.o"
    run(*compiler(), *flags_of_setup(), "-c", source, "-o", made)
    found, name = {}, None
    for line in run("objdump", "-d", "--no-show-raw-insn", made).splitlines():
        begin = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if begin:
            name = begin[1]
            found[name] = []
        elif name and re.match(r"\s+[0-9a-f]+:\t", line):
            instruction = line.split("\t", 1)[1].split("#")[0].strip()
            instruction = re.sub(r"[0-9a-f]+ <[^>]*>", "TARGET", instruction)
            instruction = re.sub(r"0x[0-9a-f]+\(%rip\)", "CONSTANT", instruction)
            if not instruction.startswith(("nop", "data16", "cs nop", "xchg   %ax,%ax")):
                found[name].append(instruction)
    return {name: "\n".join(code) for name, code in found.items()}


def digest(code):
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def code_of(folder):
    """Lines (instance, function, number of instructions, digest) of all instances, and the bytes of their objects."""
    sources = sorted((CORE / "isa").glob("*.c"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        all_functions = list(pool.map(lambda source: functions_of(source, folder), sources))
    lines = [
        (source.stem, name, code.count("\n") + 1, digest(code))
        for source, functions in zip(sources, all_functions, strict=True)
        for name, code in functions.items()
    ]
    sizes = {made.stem: int(run("size", made).splitlines()[1].split()[0]) for made in sorted(folder.glob("*.o"))}
    return lines, sizes


def times_of(folder, runs):
    """{(instance, cold, rows, n, kernel): ns per element}, the median of some runs."""
    measured = {}
    flags = [
        "-O2",
        "-std=gnu11",
        "-mtune=skylake",
        "-falign-functions=64",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-trapping-math",
    ]
    for source in sorted((CORE / "isa").glob("*.c")):
        for cold in ([], ["-DCOLD"]):
            program = folder / f"{source.stem}{'_cold' if cold else ''}"
            run(
                *compiler(), *flags, *cold, f'-DINSTANCE="{source}"', ROOT / "bench" / "kernels.c", "-lm", "-o", program
            )
            for _ in range(runs):
                head, *lines = [line for line in run(program).splitlines() if line.strip()]
                names = re.split(r"\s{2,}", head.strip())[2:]
                for line in lines:
                    rows, n, *values = line.split()
                    for name, value in zip(names, values, strict=True):
                        key = source.stem, "cold" if cold else "warm", rows, n, name
                        measured.setdefault(key, []).append(float(value))
    return {key: statistics.median(values) for key, values in measured.items()}


def write(path, head, lines):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *lines])


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


def freeze(folder, with_times, runs):
    lines, sizes = code_of(folder)
    write(folder / "code.csv", ["instance", "function", "instructions", "digest"], lines)
    write(folder / "sizes.csv", ["instance", "bytes of code"], sizes.items())
    if with_times:
        times = times_of(folder, runs)
        write(
            folder / "times.csv",
            ["instance", "cache", "rows", "classes", "kernel", "ns per element"],
            [(*key, f"{value:.4g}") for key, value in times.items()],
        )
    print(f"{len(lines)} functions of {len(sizes)} instances in {folder}")


def compare_code(folder, now):
    """How many functions differ, whatever they are called."""
    lines, sizes = code_of(now)
    differ = 0
    for instance, size in sizes.items():
        before = Counter(digest for name, _, _, digest in read(folder / "code.csv") if name == instance)
        after = Counter(digest for name, _, _, digest in lines if name == instance)
        new = after - before
        changed = [f"{name} ({count})" for stem, name, count, d in lines if stem == instance and d in new]
        differ += len(changed)
        old_size = dict(read(folder / "sizes.csv")).get(instance)
        print(
            f"{instance}: {len(changed)} functions differ, {sum((before - after).values())} are gone; "
            f"{size} bytes, {old_size} before"
        )
        for name in changed:
            print(f"    {name}")
    return differ


def compare_times(folder, now, runs):
    before = {tuple(line[:5]): float(line[5]) for line in read(folder / "times.csv")}
    after = times_of(now, runs)
    ratios = {key: after[key] / before[key] for key in after if before.get(key, 0) > 0}
    print(f"{len(ratios)} times, median ratio {statistics.median(ratios.values()):.3f}")
    for key, ratio in sorted(ratios.items(), key=lambda item: -item[1]):
        if ratio > SLOWER:
            print(f"    {ratio:.2f}  {' '.join(key)}: {before[key]:.4g} -> {after[key]:.4g} ns")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["freeze", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", action="store_true", help="the kernels' times too")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if asked.what == "freeze":
        freeze(folder, asked.times, asked.runs)
        return
    now = folder / "now"
    now.mkdir(exist_ok=True)
    differ = compare_code(folder, now)
    if asked.times:
        compare_times(folder, now, asked.runs)
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
