"""How many cores and how much memory may be used. In: environment, cgroup and proc files.

Out: a `Limit` each. In a container `os.cpu_count()` and `/proc/meminfo` describe the host. Limits
are therefore asked in this order: RunPod's variables, cgroup v2, cgroup v1, CPU affinity, operating
system. The first limit that is stated counts, but never more than what affinity and the machine
give. The thread counts of the numeric libraries follow from it, so this imports none of them.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

GIB = 1024**3
# cgroup v1 writes "no limit" as the largest page-aligned 63-bit number.
UNLIMITED_BYTES = 2**60


class Limit(NamedTuple):
    """What may be used (whole cores, or bytes), and where that was found."""

    amount: int
    source: str


def affinity_cpus() -> int:
    """Return the number of CPUs that the kernel schedules this process on, quota or not."""
    return len(os.sched_getaffinity(0))


def usable_cores(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None, affinity: int | None = None
) -> Limit:
    """Return the whole cores that this process may use, rounded down, at least 1.

    Parameters
    ----------
    root
        Folder under which `proc` and `sys` are looked up.
    environ
        Environment variables; default: those of this process.
    affinity
        Number of CPUs that this process may be scheduled on; default: asked from the kernel.
    """
    environ = os.environ if environ is None else environ
    affinity = affinity_cpus() if affinity is None else affinity
    stated, source = _number(environ.get("RUNPOD_CPU_COUNT")), "RUNPOD_CPU_COUNT"
    if stated is None:
        stated, source = _smallest(root, "", "cpu.max", _read_cpu_max), "cgroup v2 cpu.max"
    if stated is None:
        stated = _smallest(root, "cpu", "cpu.cfs_quota_us", _read_cfs_quota)
        source = "cgroup v1 cpu.cfs_quota_us"
    if stated is None or affinity < stated:
        return Limit(max(1, affinity), "CPU affinity")
    return Limit(max(1, int(stated)), source)


def usable_memory(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> Limit:
    """Return the bytes of memory that this process and its children may use together.

    Parameters are those of `usable_cores`.
    """
    environ = os.environ if environ is None else environ
    meminfo = _read(root / "proc/meminfo")
    total = parse_memory_total(meminfo) if meminfo else _system_memory()
    gigabytes = _number(environ.get("RUNPOD_MEM_GB"))
    stated = None if gigabytes is None else int(gigabytes * GIB)
    source = "RUNPOD_MEM_GB"
    if stated is None:
        stated = _smallest(root, "", "memory.max", _read_memory_limit)
        source = "cgroup v2 memory.max"
    if stated is None:
        stated = _smallest(root, "memory", "memory.limit_in_bytes", _read_memory_limit)
        source = "cgroup v1 memory.limit_in_bytes"
    if stated is None or 0 < total < stated:
        return Limit(total, "total memory of the machine")
    return Limit(int(stated), source)


def parse_cpu_max(text: str) -> float | None:
    """Read cgroup v2 `cpu.max` ("1200000 100000"); cores, or None for "max"."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" else float(quota) / float(period or 100_000)


def parse_cfs_quota(quota: str, period: str) -> float | None:
    """Read cgroup v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`; cores, or None for -1."""
    return None if int(quota) <= 0 else int(quota) / int(period)


def parse_memory_limit(text: str) -> int | None:
    """Read `memory.max` (v2) or `memory.limit_in_bytes` (v1); bytes, or None if unlimited."""
    value = text.strip()
    if value == "max" or int(value) >= UNLIMITED_BYTES:
        return None
    return int(value)


def parse_cgroup_path(text: str, controller: str) -> str | None:
    """Return this process's path in `/proc/self/cgroup`; controller "" asks for cgroup v2."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def parse_memory_total(text: str) -> int:
    """Read `MemTotal` out of `/proc/meminfo`, in bytes; 0 if the line is missing."""
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _smallest(
    root: Path, controller: str, name: str, read: Callable[[Path], float | None]
) -> float | None:
    """Return the tightest limit on the way from the process's cgroup up to the root one."""
    limits = [read(folder / name) for folder in _cgroup_folders(root, controller)]
    return min((limit for limit in limits if limit is not None), default=None)


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the cgroup folders that limit this process, innermost first; "" means cgroup v2.

    A container may see the host's path in `/proc/self/cgroup` but only its own group under
    `/sys/fs/cgroup`: folders that do not exist have no limit files and are passed over.
    """
    listing = _read(root / "proc/self/cgroup")
    path = parse_cgroup_path(listing, controller) if listing else None
    parts = [part for part in (path or "").split("/") if part not in {"", ".."}]
    base = root / "sys/fs/cgroup" / controller
    for depth in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:depth])


def _read_cpu_max(path: Path) -> float | None:
    text = _read(path)
    return parse_cpu_max(text) if text else None


def _read_cfs_quota(path: Path) -> float | None:
    quota = _read(path)
    period = _read(path.with_name("cpu.cfs_period_us"))
    return parse_cfs_quota(quota, period) if quota and period else None


def _read_memory_limit(path: Path) -> float | None:
    text = _read(path)
    return parse_memory_limit(text) if text else None


def _read(path: Path) -> str | None:
    """Return a small file's text, or None where the kernel does not offer it."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    """Read a positive number out of an environment variable; None if it states nothing."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 else None


def _system_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
