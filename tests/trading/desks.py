"""A small market with a split, a dividend and missing bars, and an actor that follows a script."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import torch

from ploutos.env.config import EnvConfig
from ploutos.env.market import Market, carry_forward
from ploutos.folds import Rows
from ploutos.portfolio.config import CostConfig, PortfolioConfig
from ploutos.trading.desk import Desk
from ploutos.trading.ledger import Ledger
from ploutos.trading.ledger_schema import url_of

SYMBOLS = ("AAA", "BBB", "CCC")
BARS = 40
ENV = EnvConfig(
    portfolio=PortfolioConfig(
        initial_cash_usd=10_000.0,
        buy_fraction=0.4,
        maximum_weight=0.6,
        costs=CostConfig(commission_bps=3, half_spread_bps=7, minimum_commission_usd=0.5),
    )
)


def weekdays(n, first=date(2013, 1, 2)):
    days = (first + timedelta(days=i) for i in range(3 * n))
    return tuple(day.isoformat() for day in days if day.weekday() < 5)[:n]


def small_market(seed=7, bars=BARS):
    """Return three symbols: BBB splits 3:1, AAA pays a dividend, CCC misses bars around a split."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, (bars, 3)), axis=0))
    opens = close * np.exp(rng.normal(0, 0.01, close.shape))
    split = np.ones_like(close)
    dividend = np.zeros_like(close)
    split[bars - 12, 1] = 3.0
    split[bars - 5, 2] = 0.5  # announced while CCC had no bar
    dividend[bars - 9, 0] = 0.37
    dividend[bars - 12, 1] = 0.11  # on the day of the split
    ratio = np.cumprod(split, axis=0)
    close, opens = close / ratio, opens / ratio
    close[bars - 8 : bars - 5, 2] = np.nan
    opens[bars - 8 : bars - 5, 2] = np.nan
    features = rng.normal(0, 1, (bars, 3, 2)).astype(np.float32)
    return Market(
        features=features,
        macro=rng.normal(0, 1, (bars, 1)).astype(np.float32),
        open=opens,
        mark=carry_forward(close),
        split_ratio=split,
        cash_dividend=dividend,
        valid=np.isfinite(close).astype(np.uint8),
        macro_valid=np.ones((bars, 1), np.uint8),
    )


class ScriptedActor:
    """Acts by arithmetic on the row, its account and its memory: a sum that never forgets."""

    def act(self, market, accounts, e, row, state):
        total = torch.zeros(1, dtype=torch.float32) if state is None else state
        total = total * 0.7 + float(market.features[row].sum()) / 3.0
        mood = int(abs(float(total[0])) * 1000) + int(accounts.held_bars[e].sum())
        action = [(row * 5 + n * 7 + mood) % 3 for n in range(market.mark.shape[1])]
        return np.array(action, np.int64), total


def desk_on(path: Path, *, account="replay-test", mode="replay", market=None, actor=None):
    market = small_market() if market is None else market
    return Desk(
        ledger=Ledger(url_of(path)),
        account=account,
        mode=mode,
        strategy="scripted",
        symbols=SYMBOLS,
        sessions=weekdays(market.mark.shape[0]),
        market=market,
        actor=actor or ScriptedActor(),
        env=ENV,
        warm_up_bars=5,
        largest_price_ratio=4.0,
    )


def clock_of(market):
    """Return one instant per row: a day apart, ns."""
    return np.arange(market.mark.shape[0], dtype=np.int64) * 86_400 * 10**9


LAST_20 = Rows(start=BARS - 20, stop=BARS)
