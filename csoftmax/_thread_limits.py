"""The number of threads that the environment and the cgroup of the process grant, as they are at import."""

import os
import re
from pathlib import Path, PurePosixPath

MOST = 2**31 - 1
"""As many as there are CPUs."""


def granted_threads(environment=os.environ, root="/"):
    """The least of what the environment asks for and of the CPUs that the cgroup's quota is worth."""
    return min(asked_threads(environment), quota_threads(Path(root)))


def asked_threads(environment):
    """``CSOFTMAX_NUM_THREADS``, which must be a number; else ``OMP_NUM_THREADS``, where it is one that OpenMP takes."""
    own = environment.get("CSOFTMAX_NUM_THREADS", "").strip()
    if own:
        if not (count := positive(own)):
            raise ImportError(
                f"CSOFTMAX_NUM_THREADS={own[:40]}: write a number of threads of at least 1, or unset the variable"
            )
        return count
    outermost, *_ = environment.get("OMP_NUM_THREADS", "").split(",")
    return positive(outermost.strip()) or MOST


def positive(text):
    """A whole number of at least 1 in decimal digits, at most MOST; 0 for anything else."""
    digits = re.fullmatch("0*([0-9]*)", text)[1] if re.fullmatch("[0-9]+", text) else ""
    return min(int(digits[:20] or 0), MOST)


def quota_threads(root):
    """The CPUs that the quotas of the process's cgroup and of those above it are worth, of versions 1 and 2.

    A part of a CPU does not count, but one thread there is: with a thread more, the quota would be used up before its
    period is over, and the kernel would halt all of them until then.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return MOST
    cpus = [MOST]
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            cpus += (cpus_by_v2(folder) for folder in folders(root / "sys/fs/cgroup", path))
        elif "cpu" in controllers.split(","):
            cpus += (cpus_by_v1(folder) for folder in folders(root / "sys/fs/cgroup/cpu", path))
    return max(1, int(min(cpus)))


def folders(mount, path):
    """Those of a group and of all above it; in a container without a namespace for cgroups, `mount` is the group's."""
    relative = PurePosixPath(path.lstrip("/"))
    return [mount / folder for folder in (relative, *relative.parents)]


def cpus_by_v2(folder):
    """CPUs by a file like ``150000 100000``, or ``max 100000``."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return MOST


def cpus_by_v1(folder):
    """CPUs by two files; a quota of -1 is none."""
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else MOST
    except (OSError, ValueError, ZeroDivisionError):
        return MOST
