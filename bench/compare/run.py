"""The comparison: `python bench/compare/run.py`. Times csoftmax, its peers and the machine's limits side by side.

Cells are timed by workers, a process per number of threads, because the environment and the CPU affinity that hold
every library to that number must be set before the libraries start. Memory takes a process per call. Both are this
file, started with `--worker` or `--memory-of`; they print lines of JSON.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import cells
import peers
import report
import timing
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

RESULTS = Path(__file__).parents[1] / "results"
BUDGET = {True: 0.25, False: 2.0}  # seconds of rounds per cell, quick or not
WIDTH = 110  # of the tables, at least
MOST_DEATHS = 3  # workers that died, before the rest of their cells is given up
REST = 0.05  # seconds with several threads: until those of the library before sleep, which spin for up to 30 ms
WARM_UP = 0.004  # and until a library's own are awake


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cells, under two minutes")
    parser.add_argument("--only", metavar="PATTERN", default="", help="cells with a name like it (regex)")
    parser.add_argument("--threads", metavar="1,2", help="numbers of threads (default: 1 and all cores)")
    parser.add_argument("--peers", metavar="A,B", default="", help="only these peers (parts of their names)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of rounds per cell")
    parser.add_argument("--memory", action="store_true", help="only the peak extra memory of one call")
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    chosen = parser.parse_args()
    cores = len(timing.usable_cpus())
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
    return (
        os.environ
        | {f"{pool}_NUM_THREADS": count for pool in pools}
        | {
            "NPROC": count,
            "OPENBLAS_THREAD_TIMEOUT": "20",  # 2^20 cycles
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={multi} intra_op_parallelism_threads={count}",
            "JAX_PLATFORMS": "cpu",
            "MALLOC_MMAP_MAX_": "0",
            "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        }
    )


def time_cells(threads, chosen, run, progress):
    """Runs a worker over the cells and files what it says; if it dies, a new one goes on after that cell."""
    names = [cell.name for cell in cells.choose(chosen.quick, chosen.only)]
    bar = progress.add_task(report.plural(threads), total=len(names))
    done = deaths = 0
    while done < len(names) and deaths < MOST_DEATHS:
        settings = {"threads": threads, "skip": done, "peers": chosen.peers, "quick": chosen.quick}
        settings |= {"only": chosen.only, "budget": chosen.budget}
        command = [sys.executable, __file__, "--worker", json.dumps(settings)]
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
    elif kind == "config":
        run[kind] = value


def measure_memory(chosen, run, progress):
    threads = chosen.threads[-1]
    plain = environment(threads)
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        del plain[name]
    calls = [(cell, peer) for cell in memory_cells() for peer in report.MEMORY_PEERS]
    for cell, peer in progress.track(calls, description="memory"):
        command = [sys.executable, __file__, "--memory-of", peer, cell.name, str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, env=plain, check=False)
        record = {"cell": cell.name, "peer": peer, "threads": threads, "allowed": memory_allowed(cell, threads)}
        if done.returncode:
            record["failed"] = (done.stderr.strip().splitlines() or ["died"])[-1]
        else:
            record["bytes"] = int(done.stdout)
        run["memory"].append(record)


def main():
    chosen = options()
    if chosen.list:
        for cell in cells.choose(chosen.quick, chosen.only):
            print(cell.name)
        return
    run = {"machine": timing.describe(), "settings": vars(chosen), "peers": {}, "missing": {}}
    run |= {"abilities": [], "cells": [], "memory": []}
    began, busy, interrupted = time.perf_counter(), timing.busy_elsewhere(), False
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
    run["cores busy elsewhere"] = (timing.busy_elsewhere() - busy) / run["seconds"]
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
    if run["memory"]:
        console.print(report.memory_table(run["memory"]))
    for line in report.lines(run):
        console.print(line)


def save(run, chosen, console):
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S") + "-quick" * chosen.quick
    report.write_json(run, RESULTS / f"{stamp}.json")
    report.write_csv(run, RESULTS / f"{stamp}.csv")
    console.print(f"{run['seconds']:.0f} s; written: {RESULTS / stamp}.json, .csv")


# In a process of its own


def measure(cell, present, threads, budget):
    """Everything about one cell, as it is written down."""
    record = {"cell": cell.name, "threads": threads, "elements": cell.elements, "left out": {}, "calls": {}}
    ours = next((peer for peer in present if isinstance(peer, peers.Csoftmax)), None)
    if ours and (reason := ours.missing(cell)):
        return record | {"status": "not there yet", "reason": reason}
    problem, calls = cells.Problem(cell), {}
    for peer in present:
        if not peer.can(cell):
            continue
        try:
            call = timing.Call(peer.job(problem))
            wrong = problem.disagreement(call.result())
        except Exception as failure:  # a peer's failure is a line of the report, not the end of the run
            wrong = f"{type(failure).__name__}: {failure}"[:300]
        if wrong:
            record["left out"][peer.name] = wrong
        else:
            calls[peer.name] = call
            record["calls"][peer.name] = call.job.call.strip()
    if cell.op == "linear_cross_entropy":
        limit = timing.MatrixProducts(cell, threads, peers.NumPy(threads))
    else:
        limit = timing.Limit(cell, threads)
    record["times"] = {}
    rest, warm_up = (REST, WARM_UP) if threads > 1 else (0, 0)
    for name, times in timing.alternate(calls, limit, rest, warm_up, budget).items():
        low, middle, high = statistics.quantiles(times, n=4)
        record["times"][name] = {"seconds": middle, "q1": low, "q3": high, "rounds": len(times)}
    return record | {"status": "timed", "limit": limit.result()}


def start_peers(names, threads):
    """The peers that are installed, and {name: why not} for the others."""
    present, missing = [], {}
    for kind in peers.ALL:
        if names and kind is not peers.Csoftmax and not any(name.lower() in kind.name.lower() for name in names):
            continue
        try:
            present.append(kind(threads))
        except Exception as failure:  # broken installations fail in many ways
            missing[kind.name] = f"{type(failure).__name__}: {failure}"[:300]
    return present, missing


def time_worker(settings):
    settings = json.loads(settings)
    threads = settings["threads"]
    lines = os.fdopen(os.dup(1), "w", buffering=1)  # what libraries print must not get between the lines
    os.dup2(2, 1)

    def say(kind, value):
        print(json.dumps({kind: value}), file=lines)

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, timing.usable_cpus()[-threads:])
    present, missing = start_peers(settings["peers"], threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    say("peers", {"present": {peer.name: peer.version for peer in present}, "missing": missing})
    timing.check_exp()
    say("abilities", timing.abilities(threads))
    for cell in cells.choose(settings["quick"], settings["only"])[settings["skip"] :]:
        say("begin", cell.name)
        say("cell", measure(cell, present, threads, settings["budget"]))
    if ours := next((peer for peer in present if peer.name == report.OURS), None):
        say("config", ours.module.show_config(mode="dicts"))


def memory_cells():
    shapes = {"jacobian": (2048, 100), "linear_cross_entropy": (4096, 1024, 128256)}
    found = [cells.Cell(op, "float32", shapes.get(op, (4096, 1000))) for op in cells.OPERATIONS]
    return found + [cells.Cell(op, "float32", (1000, 4096), axis=0) for op in ("softmax", "cross_entropy")]


def memory_allowed(cell, threads):
    if cell.op == "linear_cross_entropy":
        return max(2**26, cell.elements * cells.ITEMSIZE[cell.dtype] // 8)
    return threads * 2**20 + 16 * cell.rows


def status(field):
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} here")


def memory_worker(peer_name, cell_name, threads):
    """Prints the peak extra memory of one call, in bytes."""
    cell = next(c for c in memory_cells() if c.name == cell_name)
    peer = next(kind for kind in peers.ALL if kind.name == peer_name)(int(threads))
    if peer.name == report.OURS and peer.missing(cell):
        raise SystemExit("not there yet")
    small = peer.job(cells.Problem(cell.tiny))
    exec(small.call, small.names)  # thread pools, lazily loaded code
    job = peer.job(cells.Problem(cell))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    exec(job.call, job.names)
    print(max(0, status("VmHWM") - before), flush=True)
    os._exit(0)


if __name__ == "__main__":
    worker = {"--worker": time_worker, "--memory-of": memory_worker}.get("".join(sys.argv[1:2]))
    worker(*sys.argv[2:]) if worker else main()
