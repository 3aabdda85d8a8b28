"""How much memory building a panel takes, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, sys
from datetime import date
from pathlib import Path
import polars as pl
from ploutos.calendar import closes
from ploutos.features import FeatureConfig
from ploutos.market import MarketData
from ploutos.panel import build_panel
from tests.panel.markets import make_bars, make_macro

sessions = closes("XNYS", date(2006, 1, 3), date(2016, 3, 31))["closed_at"].to_list()

def data(symbols, sessions):
    bars = pl.concat([make_bars(f"S{n:03}", n, sessions) for n in range(symbols)])
    macro, reference = make_macro("VIX", 16), make_bars("INDEX", 0, sessions)
    return MarketData(
        name="large", bars=bars, macro=macro, reference=reference, missing_series=("DXY", "TNX")
    )

def resident(which):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))

# Everything is loaded and compiled, and every thread has its arena, before anything is measured.
build_panel(data(8, sessions[:400]), FeatureConfig())
large = data(50, sessions)
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS:")
ref = build_panel(large, FeatureConfig())
print(ref.n_bytes, resident("VmHWM:") - before)
"""


def test_there_is_never_more_than_one_copy_beside_the_panel_that_is_built(home):
    """The panel, the bytes of its file, and the columns that the features are computed from.

    The file itself belongs to the page cache, not to the process. A second copy would be 3 panels.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell a process the peak of its memory")
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        # A machine of many processors would keep an arena for each of its threads.
        env=os.environ | {"POLARS_MAX_THREADS": "2"},
    )
    assert answer.returncode == 0, answer.stderr
    n_bytes, peak = map(int, answer.stdout.split())
    assert n_bytes > 64 * 1024**2
    assert n_bytes < peak < 2.6 * n_bytes
