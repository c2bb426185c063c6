"""The benchmark: `python bench/run.py`. Times csoftmax, its peers and the machine's limits side by side."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import machine
import memory
import plot
import report
from cells import choose
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

HERE = Path(__file__).parent
BUDGET = {True: 0.25, False: 2.0}  # seconds of rounds per cell, quick or not
WIDTH = 110  # of the tables, at least
MOST_DEATHS = 3  # workers that died, before the rest of their cells is given up


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cells, under two minutes")
    parser.add_argument("--only", metavar="PATTERN", default="", help="cells with a name like it (regex)")
    parser.add_argument("--threads", metavar="1,2", help="numbers of threads (default: 1 and all cores)")
    parser.add_argument("--peers", metavar="A,B", default="", help="only these peers (parts of their names)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of rounds per cell")
    parser.add_argument("--memory", action="store_true", help="only the peak extra memory of one call")
    parser.add_argument("--no-plot", action="store_true", help="no figures")
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    chosen = parser.parse_args()
    cores = len(machine.usable_cpus())
    threads = chosen.threads.split(",") if chosen.threads else {1, cores}
    chosen.threads = sorted({int(n) for n in threads})
    if chosen.threads[0] < 1 or chosen.threads[-1] > cores:
        parser.error(f"--threads: between 1 and {cores} here")
    chosen.peers = [name.strip() for name in chosen.peers.split(",") if name.strip()]
    chosen.budget = chosen.budget or BUDGET[chosen.quick]
    return chosen


def environment(threads):
    """Every library held to `threads`, memory that is reused instead of given back between calls, and no core kept busy
    by idle threads of NumPy's BLAS, which else look for work for a tenth of a second.
    """
    count = str(threads)
    pools = ["OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMBA"]
    multi = "true" if threads > 1 else "false"
    return os.environ | {f"{pool}_NUM_THREADS": count for pool in pools} | {
        "NPROC": count,
        "OPENBLAS_THREAD_TIMEOUT": "20",  # 2^20 cycles
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={multi} intra_op_parallelism_threads={count}",
        "JAX_PLATFORMS": "cpu",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }


def time_cells(threads, chosen, run, progress):
    """Runs a worker over the cells and files what it says; if it dies, a new one goes on after that cell."""
    names = [cell.name for cell in choose(chosen.quick, chosen.only)]
    bar = progress.add_task(report.plural(threads), total=len(names))
    done = deaths = 0
    while done < len(names) and deaths < MOST_DEATHS:
        settings = {"threads": threads, "skip": done, "peers": chosen.peers, "quick": chosen.quick}
        settings |= {"only": chosen.only, "budget": chosen.budget, "latency": done == 0}
        command = [sys.executable, str(HERE / "worker.py"), json.dumps(settings)]
        with tempfile.TemporaryFile("w+") as errors:
            worker = subprocess.Popen(
                command, env=environment(threads), stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                started = False
                for line in worker.stdout:
                    ((kind, value),) = json.loads(line).items()
                    started = started or kind == "begin"
                    if kind == "begin":
                        progress.update(bar, description=f"{report.plural(threads)}: {value}")
                    elif kind == "cell":
                        done += 1
                        progress.update(bar, completed=done)
                    file_message(kind, value, run)
            finally:
                worker.kill()
                worker.wait()
            if done < len(names):
                errors.seek(0)
                last = errors.read().strip()[-1500:]
                if not started:
                    raise SystemExit(f"the worker could not start:\n{last}")
                record = {"cell": names[done], "threads": threads, "status": "died", "last words": last}
                run["cells"].append(record)
                done, deaths = done + 1, deaths + 1
    progress.update(bar, description=report.plural(threads))


def file_message(kind, value, run):
    if kind == "cell":
        run["cells"].append(report.summarize(value))
    elif kind == "peers":
        run["peers"], run["missing"] = value["present"], value["missing"]
    elif kind == "abilities":
        if value["threads"] not in [known["threads"] for known in run["abilities"]]:
            run["abilities"].append(value)
    elif kind in ("latency", "config"):
        run[kind] = value


def measure_memory(chosen, run, progress):
    threads = chosen.threads[-1]
    cells = memory.cells()
    bar = progress.add_task("memory", total=len(cells) * len(memory.PEERS))
    plain = environment(threads)
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        del plain[name]
    for record in memory.measure(threads, plain):
        run["memory"].append(record)
        progress.advance(bar)


def main():
    chosen = options()
    if chosen.list:
        for cell in choose(chosen.quick, chosen.only):
            print(cell.name)
        return
    run = {"machine": machine.describe(), "settings": vars(chosen), "peers": {}, "missing": {}}
    run |= {"abilities": [], "cells": [], "latency": [], "memory": []}
    began, busy, interrupted = time.perf_counter(), machine.busy_elsewhere(), False
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        try:
            if not chosen.memory:
                for threads in chosen.threads:
                    time_cells(threads, chosen, run, progress)
            if chosen.memory or not chosen.only:
                measure_memory(chosen, run, progress)
        except KeyboardInterrupt:
            interrupted = True
    run["seconds"] = time.perf_counter() - began
    run["cores busy elsewhere"] = (machine.busy_elsewhere() - busy) / run["seconds"]
    report.add_scaling(run["cells"])
    console = Console(width=max(WIDTH, shutil.get_terminal_size().columns), highlight=False)
    show(run, chosen, console)
    save(run, chosen, console)
    if interrupted:
        raise SystemExit("interrupted: the results are of the cells that were done")


def show(run, chosen, console):
    for line in report.machine_lines(run["machine"]):
        console.print(line)
    for abilities in run["abilities"]:
        console.print(report.abilities_table(abilities))
    if run["cells"]:
        for threads in chosen.threads:
            console.print(report.table(run["cells"], threads))
    if run["latency"]:
        console.print(report.latency_table(run["latency"]))
    if run["memory"]:
        console.print(report.memory_table(run["memory"]))
    for line in report.lines(run):
        console.print(line)


def save(run, chosen, console):
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S") + "-quick" * chosen.quick
    report.write_json(run, results / f"{stamp}.json")
    report.write_csv(run, results / f"{stamp}.csv")
    figures = [] if chosen.no_plot else plot.draw(run, results, stamp)
    console.print(f"{run['seconds']:.0f} s; written: {stamp}.json, .csv" + "".join(f", {f}" for f in figures))


if __name__ == "__main__":
    main()
