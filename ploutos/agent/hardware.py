"""What this machine lets a training job use. In: environment, cgroup and proc files, the driver.

Out: a `Hardware`: cores and memory as `ploutos.quota` finds them, shared memory, the first GPU.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from ploutos.block import free_bytes
from ploutos.config import FrozenConfig
from ploutos.quota import affinity_cpus, usable_cores, usable_memory


class Gpu(FrozenConfig):
    """One graphics processor."""

    name: str = Field(description="Model name as its driver reports it.")
    memory_bytes: int = Field(ge=0, description="Total memory, in bytes.")


class Hardware(FrozenConfig):
    """What may be used here, and where each number was found."""

    cpu_count: int = Field(ge=1, description="Whole CPU cores that may be used.")
    affinity_cpus: int = Field(
        ge=1, description="CPUs that the kernel schedules on, though perhaps not all at a time."
    )
    memory_bytes: int = Field(ge=0, description="Memory that may be used, in bytes.")
    shm_free_bytes: int = Field(ge=0, description="Free bytes in the shared-memory file system.")
    gpu: Gpu | None = Field(description="First visible GPU; empty if there is none.")
    sources: dict[str, str] = Field(description="For each number, where it was found.")


def detect_hardware(
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    affinity: int | None = None,
) -> Hardware:
    """Find out what this process may use.

    Parameters
    ----------
    root
        Folder under which `proc`, `sys` and `dev` are looked up.
    environ
        Environment variables; default: those of this process.
    affinity
        Number of CPUs that this process may be scheduled on; default: asked from the kernel.

    Returns
    -------
    Hardware
        Cores are rounded down, to at least 1.
    """
    environ = os.environ if environ is None else environ
    affinity = affinity_cpus() if affinity is None else affinity
    cores = usable_cores(root, environ, affinity)
    memory = usable_memory(root, environ)
    gpu, gpu_source = _detect_gpu(environ)
    return Hardware(
        cpu_count=cores.amount,
        affinity_cpus=affinity,
        memory_bytes=memory.amount,
        shm_free_bytes=free_bytes(root / "dev/shm"),
        gpu=gpu,
        sources={
            "cpu_count": cores.source,
            "affinity_cpus": "CPU affinity",
            "memory_bytes": memory.source,
            "shm_free_bytes": "free space of /dev/shm",
            "gpu": gpu_source,
        },
    )


def parse_nvidia_smi(text: str) -> Gpu | None:
    """Read the first line "name, MiB" of nvidia-smi's CSV; None if there is none."""
    first = next((line for line in text.splitlines() if "," in line), None)
    if first is None:
        return None
    name, _, mebibytes = first.rpartition(",")
    memory = mebibytes.strip()
    # Devices that share the host's memory report "[N/A]".
    return Gpu(name=name.strip(), memory_bytes=int(memory) * 1024**2 if memory.isdigit() else 0)


def hardware_rows(hardware: Hardware) -> tuple[tuple[str, str, str], ...]:
    """Return the hardware as a table to print: name, value and source of every number."""
    gpu = hardware.gpu
    values = {
        "cpu_count": str(hardware.cpu_count),
        "affinity_cpus": str(hardware.affinity_cpus),
        "memory_bytes": readable_bytes(hardware.memory_bytes),
        "shm_free_bytes": readable_bytes(hardware.shm_free_bytes),
        "gpu": f"{gpu.name}, {readable_bytes(gpu.memory_bytes)}" if gpu else "none",
    }
    return tuple((name, value, hardware.sources.get(name, "")) for name, value in values.items())


def readable_bytes(n_bytes: int) -> str:
    """Write a number of bytes in GiB or MiB, with three significant digits or all whole ones."""
    size, unit = (n_bytes / 2**30, "GiB") if n_bytes >= 2**30 else (n_bytes / 2**20, "MiB")
    return f"{size:,.0f} {unit}" if size >= 100 else f"{size:.3g} {unit}"


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
