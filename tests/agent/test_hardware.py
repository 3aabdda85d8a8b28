"""What the process may use, from sample files as kernels and providers write them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ploutos.agent import hardware as hardware_module
from ploutos.agent.hardware import (
    GIB,
    Gpu,
    detect_hardware,
    parse_cfs_quota,
    parse_cgroup_path,
    parse_cpu_max,
    parse_memory_limit,
    parse_memory_total,
    parse_nvidia_smi,
)

HOST_MEMINFO = "MemTotal:       528280576 kB\nMemFree:        22758464 kB\n"
HOST_BYTES = 528280576 * 1024
NO_PROGRAMS = {"PATH": "/nowhere"}


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


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


def test_first_line_of_nvidia_smi_is_the_gpu():
    text = "NVIDIA RTX A5000, 24564\nNVIDIA A40, 46068\n"

    assert parse_nvidia_smi(text) == Gpu(name="NVIDIA RTX A5000", memory_bytes=24564 * 1024**2)
    assert parse_nvidia_smi("NVIDIA GB10, [N/A]\n") == Gpu(name="NVIDIA GB10", memory_bytes=0)
    assert parse_nvidia_smi("") is None


def test_cgroup_v2_quota_counts_instead_of_the_host(tmp_path):
    root = write_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu.max": "1200000 100000\n",
            "sys/fs/cgroup/memory.max": f"{48 * GIB}\n",
        },
    )
    hardware = detect_hardware(root, NO_PROGRAMS, affinity_cpus=128)

    assert (hardware.cpu_count, hardware.memory_bytes) == (12, 48 * GIB)
    assert hardware.sources["cpu_count"] == "cgroup v2 cpu.max"
    assert hardware.sources["memory_bytes"] == "cgroup v2 memory.max"


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
    hardware = detect_hardware(root, NO_PROGRAMS, affinity_cpus=128)

    assert (hardware.cpu_count, hardware.memory_bytes) == (4, 8 * GIB)


def test_cgroup_v1_limits_are_read_where_v2_states_none(tmp_path):
    # A container sees the host's path here, but its own group is mounted at the top.
    root = write_files(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "600000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{24 * GIB}\n",
        },
    )
    hardware = detect_hardware(root, NO_PROGRAMS, affinity_cpus=64)

    assert (hardware.cpu_count, hardware.memory_bytes) == (6, 24 * GIB)
    assert hardware.sources["cpu_count"] == "cgroup v1 cpu.cfs_quota_us"
    assert hardware.sources["memory_bytes"] == "cgroup v1 memory.limit_in_bytes"


def test_runpod_variables_come_before_the_cgroup(tmp_path):
    root = write_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu.max": "1200000 100000\n",
        },
    )
    environ = {**NO_PROGRAMS, "RUNPOD_CPU_COUNT": "16", "RUNPOD_MEM_GB": "62"}
    hardware = detect_hardware(root, environ, affinity_cpus=128)

    assert (hardware.cpu_count, hardware.memory_bytes) == (16, 62 * GIB)
    assert hardware.sources["cpu_count"] == "RUNPOD_CPU_COUNT"


def test_variables_that_state_no_number_are_passed_over(tmp_path):
    root = write_files(tmp_path, {"proc/meminfo": HOST_MEMINFO})
    environ = {**NO_PROGRAMS, "RUNPOD_CPU_COUNT": "", "RUNPOD_MEM_GB": "unknown"}
    hardware = detect_hardware(root, environ, affinity_cpus=3)

    assert (hardware.cpu_count, hardware.memory_bytes) == (3, HOST_BYTES)


def test_affinity_and_machine_cap_a_larger_limit(tmp_path):
    root = write_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu.max": "6400000 100000\n",
            "sys/fs/cgroup/memory.max": f"{1024 * GIB}\n",
        },
    )
    hardware = detect_hardware(root, NO_PROGRAMS, affinity_cpus=4)

    assert (hardware.cpu_count, hardware.memory_bytes) == (4, HOST_BYTES)
    assert hardware.sources["cpu_count"] == "CPU affinity"


def test_part_of_a_core_counts_as_one_core(tmp_path):
    root = write_files(
        tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    )

    assert detect_hardware(root, NO_PROGRAMS, affinity_cpus=8).cpu_count == 1


def test_free_shared_memory_is_that_of_the_file_system(tmp_path):
    (tmp_path / "dev/shm").mkdir(parents=True)
    status = os.statvfs(tmp_path)
    free = detect_hardware(tmp_path, NO_PROGRAMS, affinity_cpus=1).shm_free_bytes

    assert abs(free - status.f_bavail * status.f_frsize) < GIB
    assert detect_hardware(tmp_path / "empty", NO_PROGRAMS, affinity_cpus=1).shm_free_bytes == 0


def test_this_machine_gives_no_more_than_the_kernel_schedules_on():
    hardware = detect_hardware()

    assert 1 <= hardware.cpu_count <= len(os.sched_getaffinity(0))
    assert 0 < hardware.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def fake_driver(tmp_path) -> dict[str, str]:
    """Put a program in the path that answers as nvidia-smi does on a machine with two GPUs."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--id=1) echo "NVIDIA A40, 46068"; exit 0;; esac\n'
        'case "$*" in *--id=*) echo "No devices were found" >&2; exit 6;; esac\n'
        'echo "NVIDIA RTX A5000, 24564"; echo "NVIDIA A40, 46068"\n'
    )
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def test_gpu_is_the_first_one_the_driver_lists(tmp_path, fake_driver):
    hardware = detect_hardware(tmp_path, fake_driver, affinity_cpus=1)

    assert hardware.gpu == Gpu(name="NVIDIA RTX A5000", memory_bytes=24564 * 1024**2)


def test_gpu_is_the_one_that_is_made_visible(tmp_path, fake_driver):
    environ = {**fake_driver, "CUDA_VISIBLE_DEVICES": "1,0"}
    hardware = detect_hardware(tmp_path, environ, affinity_cpus=1)

    assert hardware.gpu == Gpu(name="NVIDIA A40", memory_bytes=46068 * 1024**2)


@pytest.mark.parametrize(
    ("visible", "source"),
    [("", "hidden by CUDA_VISIBLE_DEVICES"), ("-1", "hidden by"), ("7", "nvidia-smi failed")],
)
def test_gpu_that_is_hidden_or_unknown_is_none_with_the_reason(
    tmp_path, fake_driver, visible, source
):
    environ = {**fake_driver, "CUDA_VISIBLE_DEVICES": visible}
    hardware = detect_hardware(tmp_path, environ, affinity_cpus=1)

    assert hardware.gpu is None
    assert source in hardware.sources["gpu"]


def test_hardware_is_detected_without_importing_torch():
    # The file is run by its path: the package around it may well import torch.
    code = (
        "import runpy, sys;"
        f"runpy.run_path({hardware_module.__file__!r})['detect_hardware']();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
