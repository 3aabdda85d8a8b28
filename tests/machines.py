"""Machines as their kernels describe them: files under a folder that stands for `/`."""

from pathlib import Path

GIB = 1024**3
HOST_MEMINFO = "MemTotal:       528280576 kB\nMemFree:        22758464 kB\n"
HOST_BYTES = 528280576 * 1024
# Neither RunPod's variables nor a graphics driver.
NO_PROGRAMS = {"PATH": "/nowhere"}


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Write files by their path below `root`; return `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def bare_machine(root: Path, memory_gib: int) -> Path:
    """Write a machine without any limit."""
    kib = memory_gib * 1024**2
    return write_files(root, {"proc/meminfo": f"MemTotal:       {kib} kB\n"})


def container_v2(root: Path, cores: int, memory_gib: int) -> Path:
    """Write a host of 504 GiB under the limits of cgroup v2."""
    return write_files(
        root,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu.max": f"{cores * 100_000} 100000\n",
            "sys/fs/cgroup/memory.max": f"{memory_gib * GIB}\n",
        },
    )


def container_v1(root: Path, cores: int, memory_gib: int) -> Path:
    """Write the same under cgroup v1, where a container sees the host's path to its group."""
    return write_files(
        root,
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n0::/\n",
            "proc/meminfo": HOST_MEMINFO,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": f"{cores * 100_000}\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{memory_gib * GIB}\n",
        },
    )


def graphics_driver(folder: Path, name: str, mebibytes: int) -> dict[str, str]:
    """Write a program that answers as nvidia-smi does; return an environment that finds it."""
    program = folder / "nvidia-smi"
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "{name}, {mebibytes}"\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}
