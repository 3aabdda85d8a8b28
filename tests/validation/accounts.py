"""Accounts whose returns are given, for tests of what judges and shows them."""

import numpy as np

from ploutos.folds import FoldConfig, split
from ploutos.validation.config import ValidationConfig
from ploutos.validation.gate import judge
from ploutos.validation.report import ReportInput
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE, Rollout

DAY_NS = 86_400 * 10**9
PERIODS = 252.0
N_ROWS = 1200
SYMBOLS = ("AAA", "BBB")


def account(name, returns, *, weight=0.5, start_ns=1_100_000_000 * 10**9, n_symbols=2, fold=None):
    """Return a rollout that starts with 100,000 USD and earns `returns`."""
    returns = np.asarray(returns, dtype=np.float64)
    equity = 100_000.0 * np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    n_bars = returns.size
    return Rollout(
        name=name,
        closed_at=start_ns + DAY_NS * np.arange(n_bars + 1, dtype=np.int64),
        equity_usd=equity,
        weights=np.full((n_bars + 1, n_symbols), weight),
        turnover=np.full(n_bars, 0.02),
        cost_usd=np.full(n_bars, 1.5),
        fold=np.zeros(n_bars, dtype=np.int64) if fold is None else fold,
    )


def evidence(seed, *, edge_per_year, n_bars=1260, volatility=0.01, fold=None):
    """Return a committee and members that earn `edge_per_year` beside a driftless market."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0, volatility, n_bars)
    daily = edge_per_year / PERIODS

    def earned():
        return daily + rng.normal(0.0, volatility, n_bars)

    committee = account(COMMITTEE, earned(), fold=fold)
    names = [f"{algo}/seed{number}" for algo in ("PPO", "RecurrentPPO") for number in (0, 1)]
    members = {
        name: account(name, committee.returns + rng.normal(0, 1e-3, n_bars), fold=fold)
        for name in names
    }
    baselines = {
        BUY_AND_HOLD: account(BUY_AND_HOLD, market, fold=fold),
        CASH: account(CASH, np.zeros(n_bars), weight=0.0, fold=fold),
    }
    return committee, members, baselines


def report_input(edge_per_year=0.0, **changes):
    """Return a full report input of three folds of 252 bars."""
    folds = split(100, N_ROWS, FoldConfig(n_folds=3, test_bars=252, validation_bars=20))
    first, stop = folds[0].test.start, folds[-1].test.stop
    fold = np.repeat([f.index for f in folds], [len(f.test) for f in folds])[:-1]
    committee, members, baselines = evidence(
        1, edge_per_year=edge_per_year, n_bars=stop - first - 1, fold=fold
    )
    verdict = judge(
        committee, members, baselines, ValidationConfig(), periods_per_year=PERIODS, n_trials=4
    )
    start_ns = int(committee.closed_at[0]) - first * DAY_NS
    fields = {
        "run_id": "0123456789abcdef",
        "title": "a driftless market",
        "rollouts": {COMMITTEE: committee, **members, **baselines},
        "verdict": verdict,
        "folds": folds,
        "closed_at": start_ns + DAY_NS * np.arange(N_ROWS, dtype=np.int64),
        "symbols": SYMBOLS,
        "lineage": {"panel": "a" * 64, "validation config": ValidationConfig().model_dump()},
        "periods_per_year": PERIODS,
        "training": [{"algo": "PPO", "fold": 0, "seed": 0, "timesteps": 100_000}],
        "scaling": [{"feature": f"f{n}", "train": 0.004 / n, "test": np.nan} for n in range(1, 12)],
    }
    return ReportInput(**(fields | changes))
