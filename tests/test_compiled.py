import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ploutos
from ploutos.compiled import COMPILED_SOURCES, cache_folder

PROBE = """
import numpy as np
from ploutos.env.account import decide, open_accounts, settle
from ploutos.portfolio import PortfolioConfig, rules_of
from tests.env.test_account import one_symbol_market
market = one_symbol_market(opens=[100, 100, 100], closes=[100, 100, 100])
accounts = open_accounts(1, 1, 10**12)
rules = rules_of(PortfolioConfig())
decide(market, accounts, 0, 0, np.array([1]), rules)
settle(market, accounts, 0, 1, rules)
print(accounts.fill_price[0, 0])
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
    accounting = tmp_path / "ploutos" / "portfolio" / "accounting.py"
    text = accounting.read_text()
    doubled = text.replace("1.0 + rules.half_spread", "1.0 + 2.0 * rules.half_spread")
    assert doubled != text
    accounting.write_text(doubled)
    assert fill_price(tmp_path) == pytest.approx(100.04, rel=1e-12)


def test_compiled_code_lies_beside_the_package_or_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert cache_folder(tmp_path, "ab" * 32) == tmp_path / "__pycache__" / "numba-abababababababab"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder(tmp_path, "ab" * 32) == tmp_path / "own" / "numba-abababababababab"


def test_compiled_functions_stand_only_where_the_digest_looks():
    package = Path(ploutos.__file__).parent
    holders = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s*@(compiled|njit)\b|njit\(", path.read_text(), re.MULTILINE)
    }
    outside = {name for name in holders if not name.startswith(COMPILED_SOURCES)}
    assert holders
    assert outside == set()
