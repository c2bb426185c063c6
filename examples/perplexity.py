"""Perplexity and the log-probability of every token, from a file of float16 logits that memory has no room for.

    pip install csoftmax rich matplotlib
    python examples/perplexity.py [PLOT.png]

The example first makes the file, 205 MB in a temporary folder: logits of 8 texts of 256 tokens, 50,000 classes each.
They stand for a language model that is surer the further it has read, and the tokens are drawn from them. Then, on
Linux, the process forbids itself more than 32 MB beyond what it has, so that float32 copies of the logits fail. The
file is memory-mapped; csoftmax reads slices of its rows where they are, converts 32 KB at a time, and returns a number
per row.
"""

import argparse
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.progress import Progress

import csoftmax

TEXTS, LENGTH, VOCABULARY, SLICE, ALLOWED = 8, 256, 50_000, 64, 32 * 2**20


def write_logits(path, progress):
    """Writes logits of shape (texts, length, vocabulary) as .npy, a slice at a time; the tokens, (texts, length)."""
    rng = np.random.default_rng(0)
    shape = TEXTS, LENGTH, VOCABULARY
    logits = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    sharpness = 1 + 2.5 * (1 - np.exp(-np.arange(LENGTH, dtype=np.float32) / 60))
    tokens = np.empty(shape[:2], np.int64)
    for text, start in progress.track(list(np.ndindex(TEXTS, LENGTH // SLICE)), description="making logits"):
        rows = text, slice(start * SLICE, (start + 1) * SLICE)
        x = rng.standard_normal((SLICE, VOCABULARY), np.float32) * sharpness[rows[1], None]
        logits[rows] = x
        # The argmax of x plus Gumbel noise is drawn from softmax(x). Some exponentials are rounded to 0.
        x -= np.log(np.maximum(rng.standard_exponential(x.shape, np.float32), 3e-8))
        tokens[rows] = x.argmax(axis=1)
    logits.flush()
    return tokens


@contextmanager
def memory_limit():
    """No more than ALLOWED bytes of new memory, files that are mapped read-only apart; yields whether this holds."""
    if sys.platform != "linux":
        yield False
        return
    import resource

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used = 1024 * int(status["VmData"].split()[0])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + ALLOWED, before[1]))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def score(logits, tokens, progress):
    """Of each token (log-probability, entropy of the distribution that it was drawn from), in float32."""
    logits, tokens = logits.reshape(-1, VOCABULARY), tokens.reshape(-1)
    log_p, entropy = np.empty((2, len(tokens)), np.float32)
    for start in progress.track(range(0, len(tokens), SLICE), description="reading them"):
        rows = slice(start, start + SLICE)
        log_p[rows] = csoftmax.selective_log_softmax(logits[rows], tokens[rows], dtype=np.float32)
        entropy[rows] = csoftmax.softmax_entropy(logits[rows], dtype=np.float32)
    return log_p.reshape(TEXTS, LENGTH), entropy.reshape(TEXTS, LENGTH)


def plot(log_p, entropy, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.hist(-log_p.ravel(), bins=60, color="#1f6fb4")
    left.axvline(-log_p.mean(), color="black", linestyle=":", label=f"mean {-log_p.mean():.3f}")
    left.set(xlabel="-log p of the token, nats", ylabel="tokens", xlim=(0, None))
    left.legend()
    places = np.arange(LENGTH).reshape(-1, 8).mean(axis=1) + 1
    for values, style, name in ((-log_p, "o", "tokens"), (entropy, "-", "expected, from the entropy")):
        by_place = values.reshape(TEXTS, -1, 8).mean(axis=(0, 2))
        right.plot(places, np.exp(by_place), style, markersize=4, label=name)
    right.set(xlabel="place in the text", ylabel="perplexity", yscale="log")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    plot_path = parser.parse_args().plot
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        path = Path(folder) / "logits.npy"
        tokens = write_logits(path, progress)
        logits = np.load(path, mmap_mode="r")
        with memory_limit() as limited:
            if limited:
                try:
                    logits.astype(np.float32)
                    raise SystemExit("the memory limit does not hold")
                except MemoryError as error:
                    progress.console.print(f"All logits at once: {error}", highlight=False, soft_wrap=True)
            log_p, entropy = score(logits, tokens, progress)
        size = path.stat().st_size / 1e6
        del logits  # Windows removes no file that is mapped
    print(
        f"{size:.0f} MB of logits, {ALLOWED / 1e6:.0f} MB of memory: {'enforced' if limited else 'not enforced here'}"
    )
    print(f"perplexity {np.exp(-log_p.mean()):.1f} over {log_p.size} tokens; expected {np.exp(entropy.mean()):.1f}")
    if plot_path:
        plot(log_p, entropy, plot_path)


if __name__ == "__main__":
    main()
