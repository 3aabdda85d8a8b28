"""What a process may really use, from sample files as kernels and providers write them."""

import os

import pytest

from ploutos.quota import (
    Limit,
    affinity_cpus,
    parse_cfs_quota,
    parse_cgroup_path,
    parse_cpu_max,
    parse_memory_limit,
    parse_memory_total,
    usable_cores,
    usable_memory,
)
from tests.machines import (
    GIB,
    HOST_BYTES,
    HOST_MEMINFO,
    NO_PROGRAMS,
    container_v1,
    container_v2,
    write_files,
)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("1200000 100000\n", 12.0), ("150000 100000", 1.5)]
)
def test_cpu_max_is_quota_over_period(text, cores):
    assert parse_cpu_max(text) == cores


def test_cfs_quota_of_minus_one_is_no_limit():
    assert parse_cfs_quota("-1\n", "100000\n") is None
    assert parse_cfs_quota("250000\n", "50000\n") == 5.0


def test_memory_limit_of_max_or_of_63_bits_is_no_limit():
    assert parse_memory_limit("max\n") is None
    assert parse_memory_limit("9223372036854771712\n") is None
    assert parse_memory_limit("68719476736\n") == 64 * GIB


def test_cgroup_path_is_found_by_controller():
    listing = "9:cpu,cpuacct:/docker/ab\n4:memory:/jobs/x:y\n0::/user.slice\n"

    assert parse_cgroup_path(listing, "cpu") == "/docker/ab"
    assert parse_cgroup_path(listing, "memory") == "/jobs/x:y"
    assert parse_cgroup_path(listing, "") == "/user.slice"
    assert parse_cgroup_path(listing, "pids") is None


def test_memory_total_is_in_kibibytes():
    assert parse_memory_total("MemFree: 1 kB\nMemTotal:       24684084 kB\n") == 24684084 * 1024
    assert parse_memory_total("") == 0


def test_cgroup_v2_limits_count_instead_of_the_host(tmp_path):
    root = container_v2(tmp_path, 12, 48)

    assert usable_cores(root, NO_PROGRAMS, 128) == Limit(12, "cgroup v2 cpu.max")
    assert usable_memory(root, NO_PROGRAMS) == Limit(48 * GIB, "cgroup v2 memory.max")


def test_cgroup_v1_limits_are_read_where_v2_states_none(tmp_path):
    root = container_v1(tmp_path, 6, 24)

    assert usable_cores(root, NO_PROGRAMS, 64) == Limit(6, "cgroup v1 cpu.cfs_quota_us")
    assert usable_memory(root, NO_PROGRAMS) == Limit(24 * GIB, "cgroup v1 memory.limit_in_bytes")


def test_tightest_limit_on_the_way_to_the_root_group_counts(tmp_path):
    root = write_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slice/job\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/slice/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/slice/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slice/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/slice/job/memory.max": f"{16 * GIB}\n",
        },
    )

    assert usable_cores(root, NO_PROGRAMS, 128).amount == 4
    assert usable_memory(root, NO_PROGRAMS).amount == 8 * GIB


def test_runpod_variables_come_before_the_cgroup(tmp_path):
    root = container_v2(tmp_path, 12, 48)
    environ = {**NO_PROGRAMS, "RUNPOD_CPU_COUNT": "16", "RUNPOD_MEM_GB": "62"}

    assert usable_cores(root, environ, 128) == Limit(16, "RUNPOD_CPU_COUNT")
    assert usable_memory(root, environ) == Limit(62 * GIB, "RUNPOD_MEM_GB")


def test_variables_that_state_no_number_are_passed_over(tmp_path):
    root = write_files(tmp_path, {"proc/meminfo": HOST_MEMINFO})
    environ = {**NO_PROGRAMS, "RUNPOD_CPU_COUNT": "", "RUNPOD_MEM_GB": "unknown"}

    assert usable_cores(root, environ, 3) == Limit(3, "CPU affinity")
    assert usable_memory(root, environ) == Limit(HOST_BYTES, "total memory of the machine")


def test_affinity_and_machine_cap_a_larger_limit(tmp_path):
    root = container_v2(tmp_path, 64, 1024)

    assert usable_cores(root, NO_PROGRAMS, 4) == Limit(4, "CPU affinity")
    assert usable_memory(root, NO_PROGRAMS) == Limit(HOST_BYTES, "total memory of the machine")


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000\n", 1), ("290000 100000\n", 2)])
def test_parts_of_a_core_are_cut_off_but_one_is_left(tmp_path, quota, cores):
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota}

    assert usable_cores(write_files(tmp_path, files), NO_PROGRAMS, 8).amount == cores


def test_this_machine_gives_no_more_than_the_kernel_schedules_on():
    assert affinity_cpus() == len(os.sched_getaffinity(0))
    assert 1 <= usable_cores().amount <= affinity_cpus()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < usable_memory().amount <= total
