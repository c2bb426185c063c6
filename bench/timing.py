"""How a cell is timed: calls and the machine's limits in alternation, every call the same way."""

import math
import statistics
import time
import timeit
from dataclasses import replace

import machine
from peers import NumPy
from problem import Problem

TURN = 2e-4  # seconds under one timer: calls are repeated to fill it
MOST_CALLS = 100_000
FEWEST, MOST = 5, 201  # rounds
SLOW = 6  # times the fastest: such a library sits out after the fewest rounds
SETTLED = 0.004  # relative error of every median still being improved


def calls_per_turn(seconds):
    return min(MOST_CALLS, math.ceil(TURN / max(seconds, 1e-9)))


class Call:
    """A peer's job as a participant: `turn` gives seconds per call."""

    def __init__(self, job):
        self.job = job
        self.timer = timeit.Timer(job.call.strip(), globals=job.names)
        self.before = compile(job.before, "before", "exec") if job.before else None

    def result(self):
        exec(self.job.call, self.job.names)
        return eval(self.job.result, self.job.names)

    def turn(self, calls):
        if self.before is None:
            return self.timer.timeit(calls) / calls
        total = 0.0
        for _ in range(calls):
            exec(self.before, self.job.names)
            total += self.timer.timeit(1)
        return total / calls


class Limit:
    """What the cell's formula must move and compute, timed in loops of C, on one thread and on all."""

    def __init__(self, cell, threads):
        self.cell, self.times = cell, {}
        self.counts = sorted({1, threads})
        real = "float64" if cell.dtype == "float64" else "float32"
        self.moves, self.computes, streams = {}, {}, {}
        for count in self.counts:
            for name in cell.moves:
                self.moves[count, name] = machine.Loop(name, cell.stream_bytes, count, real, streams=streams)
            for name in {v for part in cell.operation.loops for v in variants(part, real)}:
                size = cell.elements * (8 if real == "float64" else 4)
                self.computes[count, name] = machine.Loop(name, size, count, real, in_l1=True)

    def turn(self):
        for key, loop in (self.moves | self.computes).items():
            self.times.setdefault(key, []).append(loop.turn(calls_per_turn(loop.turn(1))))

    def result(self):
        """Seconds a call takes at least, and what sets them."""
        medians = {key: statistics.median(times) for key, times in self.times.items()}
        limits = []
        for count in self.counts:
            moves = {name: medians[n, name] for n, name in self.moves if n == count}
            move = min(moves.values(), default=0.0)
            compute = sum(
                min(medians[count, v] for v in variants(part) if (count, v) in medians)
                for part in self.cell.operation.loops
            )
            limit = {"threads": count, "move": move, "compute": compute, "seconds": max(move, compute)}
            limit["by"] = min(moves, key=moves.get) if move > compute else "+".join(self.cell.operation.loops)
            limits.append(limit)
        return min(limits, key=lambda limit: limit["seconds"])


def variants(loop, real="float32"):
    """The ways limits.c has to run a loop: exp also by table."""
    return [name for name in machine.loops(real) if name in (loop, f"{loop}_table")]


class MatrixProducts:
    """The limit of the linear cross-entropy: its three products by np.matmul, 16-bit ones in float32."""

    def __init__(self, cell, threads):
        wide = replace(cell, dtype="float64" if cell.dtype == "float64" else "float32")
        job = NumPy(threads).job(Problem(wide))
        job.call = "matmul(x, w.T, out=y); matmul(y, w, out=dx); matmul(y.T, x, out=dw)"
        self.call, self.times, self.threads = Call(job), [], threads

    def turn(self):
        self.times.append(self.call.turn(1))

    def result(self):
        return {"seconds": statistics.median(self.times), "by": "three matmuls", "threads": self.threads}


def alternate(calls, limit, rest, warm_up, budget):
    """{name: [seconds per call, ...]}: a turn each per round, for `budget` seconds or until medians settle.

    Before each turn, outside of the budget, come `rest` seconds in which the threads of the library before fall
    asleep; then the call is repeated for `warm_up` seconds, at least once: its data come back into the caches, its
    threads wake.
    """
    counts = {name: calls_per_turn(min(call.turn(1), call.turn(1))) for name, call in calls.items()}
    times = {name: [] for name in calls}
    racing, spent = list(calls), 0.0
    for done in range(1, MOST + 1):
        racing.append(racing.pop(0))
        for name in racing:
            time.sleep(rest)
            began = time.perf_counter()
            calls[name].turn(1)
            while time.perf_counter() < began + warm_up:
                calls[name].turn(1)
            times[name].append(calls[name].turn(counts[name]))
            spent += time.perf_counter() - began
        time.sleep(rest)
        began = time.perf_counter()
        limit.turn()
        spent += time.perf_counter() - began
        if done < FEWEST:
            continue
        medians = {name: statistics.median(times[name]) for name in racing}
        racing = [name for name in racing if medians[name] <= SLOW * min(medians.values())]
        settled = done >= 3 * FEWEST and all(error(times[name]) < SETTLED for name in racing)
        if settled or spent > budget:
            break
    return times


def error(values):
    """The relative error of the median, from the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle / math.sqrt(len(values))
