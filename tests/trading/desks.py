"""A small market with a split, a dividend and missing bars, and an actor that follows a script."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import torch

from ploutos.env.config import EnvConfig
from ploutos.env.market import Market, market_of
from ploutos.folds import Rows
from ploutos.panel import Panel, PanelMeta
from ploutos.portfolio.config import CostConfig, OrderActions, PortfolioConfig
from ploutos.trading.desk import Desk
from ploutos.trading.ledger import Ledger
from ploutos.trading.ledger_schema import url_of

SYMBOLS = ("AAA", "BBB", "CCC")
BARS = 40
PORTFOLIO = PortfolioConfig(
    initial_cash_usd=10_000.0,
    actions=OrderActions(buy_fraction=0.4),
    maximum_weight=0.6,
    costs=CostConfig(commission_bps=3, half_spread_bps=7, minimum_commission_usd=0.5),
)
ENV = EnvConfig(portfolio=PORTFOLIO)


def weekdays(n, first=date(2013, 1, 2)):
    days = (first + timedelta(days=i) for i in range(3 * n))
    return tuple(day.isoformat() for day in days if day.weekday() < 5)[:n]


def market_from(opens, close, volume, *, split, dividend, features=None, macro=None):
    """Return the market of a panel with these (T, N) arrays, NaN = no bar, on weekdays of 2013."""
    bars, symbols = close.shape
    features = np.zeros((bars, symbols, 1)) if features is None else features
    macro = np.zeros((bars, 1)) if macro is None else macro
    days = [datetime.fromisoformat(day).replace(hour=21, tzinfo=UTC) for day in weekdays(bars)]
    closed_at = np.array([int(day.timestamp()) for day in days]) * 10**9
    panel = Panel(
        meta=PanelMeta(
            name="small",
            symbols=SYMBOLS[:symbols],
            feature_names=tuple(f"f{f}" for f in range(features.shape[2])),
            macro_names=("m",),
            catalog_digest="c" * 64,
            first_row=0,
        ),
        closed_at=closed_at,
        decided_at=closed_at + 3 * 3600 * 10**9,
        features=features.astype(np.float32),
        macro=macro.astype(np.float32),
        prices=np.stack([opens, close, close, close, volume], axis=2),
        split_ratio=split,
        cash_dividend=dividend,
        reference=np.zeros((bars, 0)),
        valid=np.isfinite(close).astype(np.uint8),
        macro_valid=np.ones(macro.shape, np.uint8),
    )
    return market_of(panel)


def small_market(seed=7, bars=BARS, shares=1e6):
    """Return three symbols: BBB splits 3:1, AAA pays a dividend, CCC misses bars around a split.

    About `shares` of each are traded on a bar.
    """
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
    features = rng.normal(0, 1, (bars, 3, 2))
    macro = rng.normal(0, 1, (bars, 1))
    volume = shares * ratio * np.exp(rng.normal(0, 0.5, close.shape))
    volume[np.isnan(close)] = np.nan
    return market_from(
        opens, close, volume, split=split, dividend=dividend, features=features, macro=macro
    )


def changed(market: Market, row, **values):
    """Return the market with other values in one row."""
    arrays = market._asdict()
    for name, value in values.items():
        arrays[name] = arrays[name].copy()
        arrays[name][row] = value
        arrays[name].flags.writeable = False
    return Market(**arrays)


class ScriptedActor:
    """Acts by arithmetic on the row, its account and its memory: a sum that never forgets."""

    def act(self, market, accounts, e, row, state):
        total = torch.zeros(1, dtype=torch.float32) if state is None else state
        total = total * 0.7 + float(market.features[row].sum()) / 3.0
        mood = int(abs(float(total[0])) * 1000) + int(accounts.held_bars[e].sum())
        # What an account remembers of its last action must reach the actor, too.
        mood += int(accounts.last_action[e].sum() > 0) + int(accounts.stopped[e])
        action = [(row * 5 + n * 7 + mood) % 3 for n in range(market.mark.shape[1])]
        return self.answer(action, float(total[0]), market.mark.shape[1]), total

    def answer(self, action, total, n_symbols):
        return np.array(action, np.int64)


class WeighingActor(ScriptedActor):
    """Answers with target weights, some negative, some none, some beyond any limit."""

    def answer(self, action, total, n_symbols):
        weights = np.sin(total * 10 + np.arange(n_symbols, dtype=np.float64)) * 1.2
        weights[np.array(action) == 0] = 0.0
        return weights


def desk_on(path: Path, *, account="replay-test", mode="replay", market=None, actor=None, env=ENV):
    market = small_market() if market is None else market
    return Desk(
        ledger=Ledger(url_of(path)),
        account=account,
        mode=mode,
        strategy="scripted",
        symbols=SYMBOLS[: market.mark.shape[1]],
        sessions=weekdays(market.mark.shape[0]),
        market=market,
        actor=actor or ScriptedActor(),
        env=env,
        warm_up_bars=5,
        largest_price_ratio=4.0,
    )


def clock_of(market):
    """Return one instant per row: a day apart, ns."""
    return np.arange(market.mark.shape[0], dtype=np.int64) * 86_400 * 10**9


LAST_20 = Rows(start=BARS - 20, stop=BARS)
