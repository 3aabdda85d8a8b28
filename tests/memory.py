"""What the kernel says about a process's memory."""

from collections import Counter
from pathlib import Path

KIB = 1024


def mapped_bytes(pid: int, name: str) -> Counter[str]:
    """Add up the figures (Rss, Pss, ...) of the mappings whose path contains `name`."""
    figures: Counter[str] = Counter()
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):
            inside = name in line
        elif inside and rest[-1] == "kB":
            figures[key[:-1]] += int(rest[0]) * KIB
    return figures


def private_bytes(pid: int) -> int:
    """Return the bytes that no other process shares: what one more such process costs."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * KIB for line in lines if line.startswith("Private_"))
