import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ploutos
from ploutos.compiled import SOURCES, cache_folder

PROBE = """
from dataclasses import replace
import numpy as np
from ploutos.env.account import decide, open_accounts, settle
from ploutos.env.market import market_of
from ploutos.portfolio import CostConfig, PortfolioConfig, rules_of
from ploutos.portfolio.fills import new_trades
from tests.panels import random_panel
panel = random_panel(bars=12, symbols=1)
prices = panel.prices.copy()
prices[:, :, :4] = 100.0
market = market_of(replace(panel, prices=prices))
accounts, trades = open_accounts(1, 1, 1e12), new_trades(1)
rules = rules_of(PortfolioConfig(costs=CostConfig(impact_bps=0)))
decide(market, accounts, (0, 10), np.array([1]), rules, trades)
settle(market, accounts, (0, 11), rules, trades)
print(trades.fill_price[0])
"""


def fill_price(folder):
    result = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, capture_output=True, text=True, check=True
    )
    return float(result.stdout)


def test_edited_cost_reaches_the_compiled_transition_that_calls_it(tmp_path):
    # The transition stands in another file than the costs; Numba alone would reuse the old one.
    root = Path(ploutos.__file__).parents[1]
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("ploutos", "tests"):
        shutil.copytree(root / name, tmp_path / name, ignore=skip)
    assert fill_price(tmp_path) == pytest.approx(100.02, rel=1e-12)
    costs = tmp_path / "ploutos" / "portfolio" / "costs.py"
    text = costs.read_text()
    doubled = text.replace("slippage = rules.half_spread", "slippage = 2.0 * rules.half_spread")
    assert doubled != text
    costs.write_text(doubled)
    assert fill_price(tmp_path) == pytest.approx(100.04, rel=1e-12)


def test_compiled_code_lies_beside_the_package_or_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert cache_folder(tmp_path, "ab" * 32) == tmp_path / "__pycache__" / "numba-abababababababab"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder(tmp_path, "ab" * 32) == tmp_path / "own" / "numba-abababababababab"


def test_compiled_functions_stand_only_where_the_digests_look():
    package = Path(ploutos.__file__).parent
    holders = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s*@(compiled|entry|njit)\b|njit\(", path.read_text(), re.MULTILINE)
    }
    looked_at = {name for sources in SOURCES.values() for name in sources}
    outside = {name for name in holders if not name.startswith(tuple(looked_at))}
    assert holders
    assert outside == set()


def test_no_group_calls_compiled_code_of_another():
    package = Path(ploutos.__file__).parent
    features = (package / "features" / "kernels").rglob("*.py")
    accounts = [*(package / "env").rglob("*.py"), *(package / "portfolio").rglob("*.py")]
    assert not any("ploutos.env" in f.read_text() for f in features)
    assert not any("ploutos.portfolio" in f.read_text() for f in features)
    assert not any("features.kernels" in file.read_text() for file in accounts)
