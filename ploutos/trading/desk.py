"""What a cycle works with: a ledger account, a strategy, a market. In: a run. Out: one `Desk`.

Also the checks that a session's data must pass before anything is recorded about it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ploutos.agent.policy import Actor, Committee, check_fits, load_policy
from ploutos.agent.train import RunSpec, policy_folders
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market, market_of
from ploutos.errors import TradingError
from ploutos.panel import Panel
from ploutos.store import folder
from ploutos.trading.account_state import AccountState
from ploutos.trading.config import PaperConfig
from ploutos.trading.ledger import Ledger
from ploutos.trading.ledger_schema import url_of
from ploutos.trading.schedule import sessions_of

Mode = Literal["replay", "paper"]


@dataclass(frozen=True)
class Desk:
    """One strategy that trades one account on one market.

    `sessions` is the exchange day (ISO date) of every row of `market`; `warm_up_bars` how many
    rows a policy with memory is shown before its first decision; `largest_price_ratio` see
    `PaperConfig`.
    """

    ledger: Ledger
    account: str
    mode: Mode
    strategy: str
    symbols: tuple[str, ...]
    sessions: tuple[str, ...]
    market: Market
    actor: Actor
    env: EnvConfig
    warm_up_bars: int
    largest_price_ratio: float

    def state(self) -> AccountState:
        """Return the account.

        Raises
        ------
        TradingError
            If it was never opened, is of another mode, holds other symbols, or is a margin account
            where the policy's is none, or the other way round.
        """
        state = self.ledger.state(self.account)
        if state is None:
            raise TradingError(f"account {self.account} is not open in {self.ledger.path}")
        margin = self.env.portfolio.margin is not None
        expected = (self.mode, self.symbols, margin)
        received = (state.mode, state.symbols, state.margin)
        if expected != received:
            raise TradingError(
                f"account {self.account}: expected (mode, symbols, margin) {expected}, the ledger "
                f"{self.ledger.path} has {received}. Use another account name."
            )
        return state

    def row_of(self, session: str) -> int:
        """Return the market row of a session.

        Raises
        ------
        TradingError
            If the market has no bar of that session: the data are stale, or it is no session.
        """
        row = int(np.searchsorted(np.array(self.sessions), session))
        if row == len(self.sessions) or self.sessions[row] != session:
            raise TradingError(
                f"expected bars of {session}, received bars from {self.sessions[0]} to "
                f"{self.sessions[-1]} without it: the data are stale. Ingest and prepare again."
            )
        return row


def open_ledger(config: PaperConfig) -> Ledger:
    """Open the ledger that the config names."""
    return Ledger(config.ledger_url or url_of(folder() / "ledger.sqlite"))


def desk_of(
    run: RunSpec, panel: Panel, ledger: Ledger, account: tuple[str, Mode], config: PaperConfig
) -> Desk:
    """Return a desk with the committee of the run's latest fold, every algorithm and seed.

    Raises
    ------
    PolicyError
        If a policy is missing, damaged or does not fit the panel.
    """
    latest = run.folds[-1].index
    policies = [load_policy(path) for path in policy_folders(run, latest).values()]
    for policy in policies:
        check_fits(policy.manifest, panel.meta)
    return Desk(
        ledger=ledger,
        account=account[0],
        mode=account[1],
        strategy=f"committee-{run.run_id}-fold{latest}",
        symbols=panel.meta.symbols,
        sessions=sessions_of(panel.closed_at),
        market=market_of(panel),
        actor=Committee(policies),
        env=run.config.env,
        warm_up_bars=run.config.warm_up_bars,
        largest_price_ratio=config.largest_price_ratio,
    )


def check_bar(desk: Desk, row: int) -> None:
    """Check that the bars of `row` can be believed.

    Raises
    ------
    TradingError
        If no symbol is tradable, or a close is implausibly far from the one before it.
    """
    market, session = desk.market, desk.sessions[row]
    if not market.valid[row].any():
        raise TradingError(
            f"expected a usable bar of at least one of {', '.join(desk.symbols)} at {session}, "
            "received none: the data are incomplete. Ingest again."
        )
    if row == 0:
        return
    close, before = market.mark[row], market.mark[row - 1]
    ratio = close * market.split_ratio[row] / before
    limit = desk.largest_price_ratio
    for n in np.flatnonzero((ratio > limit) | (ratio < 1.0 / limit)):
        raise TradingError(
            f"{desk.symbols[n]} at {session}: expected a close within a factor of {limit} of the "
            f"one before it ({before[n]}, split {market.split_ratio[row, n]}), received "
            f"{close[n]}. Check the source; raise largest_price_ratio if the price is right."
        )
