"""What this process may really use. In: environment, cgroup and proc files. Out: a `Hardware`.

In a container `os.cpu_count()` and `/proc/meminfo` describe the host. Limits are therefore asked
in this order: RunPod's variables, cgroup v2, cgroup v1, CPU affinity, operating system. The
first limit that is stated counts, but never more than what affinity and the machine give.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import Field

from ploutos.block import free_bytes
from ploutos.config import FrozenConfig

GIB = 1024**3
# cgroup v1 writes "no limit" as the largest page-aligned 63-bit number.
UNLIMITED_BYTES = 2**60


class Gpu(FrozenConfig):
    """One graphics processor."""

    name: str = Field(description="Model name as its driver reports it.")
    memory_bytes: int = Field(ge=0, description="Total memory, in bytes.")


class Hardware(FrozenConfig):
    """What may be used here, and where each number was found."""

    cpu_count: int = Field(ge=1, description="Whole CPU cores that may be used.")
    memory_bytes: int = Field(ge=0, description="Memory that may be used, in bytes.")
    shm_free_bytes: int = Field(ge=0, description="Free bytes in the shared-memory file system.")
    gpu: Gpu | None = Field(description="First visible GPU; empty if there is none.")
    sources: dict[str, str] = Field(description="For each number, where it was found.")


def detect_hardware(
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    affinity_cpus: int | None = None,
) -> Hardware:
    """Find out what this process may use.

    Parameters
    ----------
    root
        Folder under which `proc`, `sys` and `dev` are looked up.
    environ
        Environment variables; default: those of this process.
    affinity_cpus
        Number of CPUs that this process may be scheduled on; default: asked from the kernel.

    Returns
    -------
    Hardware
        Cores are rounded down, to at least 1.
    """
    environ = os.environ if environ is None else environ
    cpus = len(os.sched_getaffinity(0)) if affinity_cpus is None else affinity_cpus
    cpu_count, cpu_source = _cpu_count(root, environ, cpus)
    memory_bytes, memory_source = _memory_bytes(root, environ)
    gpu, gpu_source = _detect_gpu(environ)
    return Hardware(
        cpu_count=cpu_count,
        memory_bytes=memory_bytes,
        shm_free_bytes=free_bytes(root / "dev/shm"),
        gpu=gpu,
        sources={
            "cpu_count": cpu_source,
            "memory_bytes": memory_source,
            "shm_free_bytes": "free space of /dev/shm",
            "gpu": gpu_source,
        },
    )


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


def parse_nvidia_smi(text: str) -> Gpu | None:
    """Read the first line "name, MiB" of nvidia-smi's CSV; None if there is none."""
    first = next((line for line in text.splitlines() if "," in line), None)
    if first is None:
        return None
    name, _, mebibytes = first.rpartition(",")
    memory = mebibytes.strip()
    # Devices that share the host's memory report "[N/A]".
    return Gpu(name=name.strip(), memory_bytes=int(memory) * 1024**2 if memory.isdigit() else 0)


def _cpu_count(root: Path, environ: Mapping[str, str], affinity_cpus: int) -> tuple[int, str]:
    """Return whole cores and where the number comes from."""
    stated = _number(environ.get("RUNPOD_CPU_COUNT"))
    source = "RUNPOD_CPU_COUNT"
    if stated is None:
        stated = _smallest(root, "", "cpu.max", _read_cpu_max)
        source = "cgroup v2 cpu.max"
    if stated is None:
        stated = _smallest(root, "cpu", "cpu.cfs_quota_us", _read_cfs_quota)
        source = "cgroup v1 cpu.cfs_quota_us"
    if stated is None or affinity_cpus < stated:
        return max(1, affinity_cpus), "CPU affinity"
    return max(1, int(stated)), source


def _memory_bytes(root: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """Return usable memory in bytes and where the number comes from."""
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
        return total, "total memory of the machine"
    return int(stated), source


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


def _detect_gpu(environ: Mapping[str, str]) -> tuple[Gpu | None, str]:
    """Ask nvidia-smi for the first visible GPU: torch would cost this process 140 MiB."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in {"", "-1"}:
        return None, "hidden by CUDA_VISIBLE_DEVICES"
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return None, "nvidia-smi is not installed"
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    if visible is not None:
        command.append(f"--id={visible.split(',')[0].strip()}")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"nvidia-smi failed: {error}"
    return parse_nvidia_smi(answer.stdout), "nvidia-smi"
