"""How many threads a call may take: by the environment, the quotas of cgroups, the affinity and set_num_threads."""

import os

import processes
import pytest

import csoftmax
from csoftmax import _thread_limits as limits

needs_threads = pytest.mark.skipif(
    csoftmax.show_config(mode="dicts")["threading"] == "none", reason="built without threads"
)


# The environment

ASKED = [
    ({}, limits.MOST),
    ({"OMP_NUM_THREADS": "3"}, 3),
    ({"OMP_NUM_THREADS": " 3 , 2"}, 3),
    ({"OMP_NUM_THREADS": "0"}, limits.MOST),
    ({"OMP_NUM_THREADS": "many"}, limits.MOST),
    ({"CSOFTMAX_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, 5),
    ({"CSOFTMAX_NUM_THREADS": "2", "OMP_NUM_THREADS": "many"}, 2),
    ({"CSOFTMAX_NUM_THREADS": "", "OMP_NUM_THREADS": "3"}, 3),
    ({"CSOFTMAX_NUM_THREADS": " 007 "}, 7),
    ({"CSOFTMAX_NUM_THREADS": "9" * 5000}, limits.MOST),
]


@pytest.mark.parametrize(("environment", "threads"), ASKED)
def test_threads_that_the_environment_asks_for(environment, threads):
    assert limits.asked_threads(environment) == threads


@pytest.mark.parametrize("value", ["abc", "0", "000", "-1", "+2", "1.5", "2,1", "0x2", "1_0", "\N{SUPERSCRIPT TWO}"])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ImportError, match="write a number of threads of at least 1") as caught:
        limits.asked_threads({"CSOFTMAX_NUM_THREADS": value})
    assert f"CSOFTMAX_NUM_THREADS={value}:" in str(caught.value)


def test_import_refuses_a_number_that_is_none():
    done = processes.run_python("-c", "import csoftmax", CSOFTMAX_NUM_THREADS="abc")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: CSOFTMAX_NUM_THREADS=abc: write a number")


def check_threads(expected):
    assert csoftmax.get_num_threads() == csoftmax.show_config(mode="dicts")["threads"] == expected
    csoftmax.set_num_threads(100)
    assert csoftmax.get_num_threads() == expected
    csoftmax.set_num_threads(2)
    assert csoftmax.get_num_threads() == min(2, expected)


@needs_threads
@pytest.mark.parametrize(
    ("own", "openmp", "threads"), [(None, None, 8), ("3", None, 3), (None, "5", 5), ("3", "2", 3), ("100", "1", 8)]
)
def test_calls_heed_the_environment(own, openmp, threads):
    processes.run_function(check_threads, threads, cpus=8, CSOFTMAX_NUM_THREADS=own, OMP_NUM_THREADS=openmp)


# The quotas of cgroups


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"
QUOTAS = {
    "no cgroups": ({}, limits.MOST),
    "2, no limit": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "max 100000\n"}, limits.MOST),
    "2, a whole number": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "300000 100000\n"}, 3),
    "2, rounded down": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "299999 100000\n"}, 2),
    "2, less than one": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "20000 100000\n"}, 1),
    "2, of a group above": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            f"{V2}/a/b/cpu.max": "400000 100000\n",
            f"{V2}/a/cpu.max": "100000 50000\n",
        },
        2,
    ),
    "2, its root is that of a container": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    "2, without a namespace": ({"proc/self/cgroup": "0::/docker/1\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    "2, unreadable": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 0\n"}, limits.MOST),
    "1": (
        {
            "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n",
            f"{V1}/a/cpu.cfs_quota_us": "250000\n",
            f"{V1}/a/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "1, no limit": (
        {
            "proc/self/cgroup": "4:cpuacct,cpu:/a\n0::/\n",
            f"{V1}/a/cpu.cfs_quota_us": "-1\n",
            f"{V1}/a/cpu.cfs_period_us": "100000\n",
        },
        limits.MOST,
    ),
    "1, in a container": (
        {
            "proc/self/cgroup": "4:cpu:/docker/1\n",
            f"{V1}/cpu.cfs_quota_us": "50000\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quotas(name, tmp_path):
    files, threads = QUOTAS[name]
    assert limits.quota_threads(tree(tmp_path, files)) == threads
    assert limits.granted_threads({"OMP_NUM_THREADS": "2"}, tmp_path) == min(threads, 2)


# The affinity


def check_affinity():
    cpus = os.sched_getaffinity(0)
    assert csoftmax.get_num_threads() == len(cpus)
    os.sched_setaffinity(0, {min(cpus)})
    assert csoftmax.get_num_threads() == 1
    os.sched_setaffinity(0, cpus)
    assert csoftmax.get_num_threads() == len(cpus)


@needs_threads
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system says not on which CPUs a thread may run")
@pytest.mark.skipif(limits.granted_threads({}) < (os.cpu_count() or 1), reason="a quota holds")
def test_calls_heed_the_affinity_of_their_time():
    processes.run_function(check_affinity, CSOFTMAX_NUM_THREADS=None, OMP_NUM_THREADS=None)
