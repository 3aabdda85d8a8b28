"""What this machine lets a job use; limits themselves are tested with `ploutos.quota`."""

import os
import subprocess
import sys

import pytest

from ploutos.agent import hardware as hardware_module
from ploutos.agent.hardware import (
    Gpu,
    detect_hardware,
    hardware_rows,
    parse_nvidia_smi,
    readable_bytes,
)
from tests.machines import GIB, NO_PROGRAMS, bare_machine, container_v1, container_v2


def test_first_line_of_nvidia_smi_is_the_gpu():
    text = "NVIDIA RTX A5000, 24564\nNVIDIA A40, 46068\n"

    assert parse_nvidia_smi(text) == Gpu(name="NVIDIA RTX A5000", memory_bytes=24564 * 1024**2)
    assert parse_nvidia_smi("NVIDIA GB10, [N/A]\n") == Gpu(name="NVIDIA GB10", memory_bytes=0)
    assert parse_nvidia_smi("") is None


@pytest.mark.parametrize("container", [container_v1, container_v2])
def test_limits_of_a_container_count_and_the_cpus_it_sees_are_kept(tmp_path, container):
    hardware = detect_hardware(container(tmp_path, 12, 48), NO_PROGRAMS, affinity=128)

    assert (hardware.cpu_count, hardware.affinity_cpus) == (12, 128)
    assert hardware.memory_bytes == 48 * GIB
    assert hardware.gpu is None
    assert hardware.sources["gpu"] == "nvidia-smi is not installed"


def test_free_shared_memory_is_that_of_the_file_system(tmp_path):
    (tmp_path / "dev/shm").mkdir(parents=True)
    status = os.statvfs(tmp_path)
    free = detect_hardware(tmp_path, NO_PROGRAMS, affinity=1).shm_free_bytes

    assert abs(free - status.f_bavail * status.f_frsize) < GIB
    assert detect_hardware(tmp_path / "empty", NO_PROGRAMS, affinity=1).shm_free_bytes == 0


def test_every_number_of_the_table_says_where_it_was_found(tmp_path):
    rows = hardware_rows(detect_hardware(bare_machine(tmp_path, 24), NO_PROGRAMS, affinity=2))

    assert [row[:2] for row in rows] == [
        ("cpu_count", "2"),
        ("affinity_cpus", "2"),
        ("memory_bytes", "24 GiB"),
        ("shm_free_bytes", "0 MiB"),
        ("gpu", "none"),
    ]
    assert all(source for _, _, source in rows)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(64 * 1024**2, "64 MiB"), (1300 * 1024**2, "1.27 GiB"), (1024 * GIB, "1,024 GiB")],
)
def test_bytes_are_written_to_be_read(n_bytes, text):
    assert readable_bytes(n_bytes) == text


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
    hardware = detect_hardware(tmp_path, fake_driver, affinity=1)

    assert hardware.gpu == Gpu(name="NVIDIA RTX A5000", memory_bytes=24564 * 1024**2)
    assert ("gpu", "NVIDIA RTX A5000, 24 GiB", "nvidia-smi") in hardware_rows(hardware)


def test_gpu_is_the_one_that_is_made_visible(tmp_path, fake_driver):
    environ = {**fake_driver, "CUDA_VISIBLE_DEVICES": "1,0"}
    hardware = detect_hardware(tmp_path, environ, affinity=1)

    assert hardware.gpu == Gpu(name="NVIDIA A40", memory_bytes=46068 * 1024**2)


@pytest.mark.parametrize(
    ("visible", "source"),
    [("", "hidden by CUDA_VISIBLE_DEVICES"), ("-1", "hidden by"), ("7", "nvidia-smi failed")],
)
def test_gpu_that_is_hidden_or_unknown_is_none_with_the_reason(
    tmp_path, fake_driver, visible, source
):
    environ = {**fake_driver, "CUDA_VISIBLE_DEVICES": visible}
    hardware = detect_hardware(tmp_path, environ, affinity=1)

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
