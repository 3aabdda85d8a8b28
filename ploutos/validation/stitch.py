"""Out-of-sample curves of a run. In: its policies and folds. Out: one rollout per procedure.

The test ranges of the folds adjoin. Each procedure (the committee; one algorithm with one seed)
trades all of them with one account, the policy changing at every fold's border.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ploutos.agent.play import Segment, Trajectory, play
from ploutos.agent.policy import Committee, Policy, check_fits, load_policy
from ploutos.agent.train import MemberKey, RunSpec, policy_folders
from ploutos.env.market import Market
from ploutos.env.scaler import Scaler
from ploutos.folds import Fold, stitched_test
from ploutos.panel import Panel
from ploutos.portfolio.config import MICRO
from ploutos.validation.baselines import buy_and_hold, hold_cash
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE, Rollout

OnMessage = Callable[[str], None]
RUINED_USD = 1.0 / MICRO


def load_policies(run: RunSpec, panel: Panel) -> dict[MemberKey, Policy]:
    """Load every policy of a run and refuse one that does not fit the panel."""
    policies: dict[MemberKey, Policy] = {}
    for fold in run.folds:
        for key, path in policy_folders(run, fold.index).items():
            policies[key] = load_policy(path)
            check_fits(policies[key].manifest, panel.meta)
    return policies


def committee_of(policies: dict[MemberKey, Policy], fold: int) -> Committee:
    """Return the committee of one fold: every algorithm, every seed."""
    return Committee([policy for key, policy in policies.items() if key[1] == fold])


def scalers_of(policies: dict[MemberKey, Policy]) -> dict[int, Scaler]:
    """Return the scaler of each fold, by its index; all members of a fold have the same."""
    return {key[1]: policy.scaler for key, policy in policies.items()}


def roll_out_all(
    run: RunSpec, panel: Panel, market: Market, policies: dict[MemberKey, Policy], on: OnMessage
) -> dict[str, Rollout]:
    """Roll out the committee, every algorithm x seed, and the baselines over all test rows."""
    procedures: dict[str, list[Segment]] = {
        COMMITTEE: [Segment(committee_of(policies, f.index), f.test) for f in run.folds]
    }
    for algo in sorted(run.config.algos):
        for seed in run.config.seeds:
            procedures[f"{algo}/seed{seed}"] = [
                Segment(policies[algo, fold.index, seed], fold.test) for fold in run.folds
            ]
    rollouts: dict[str, Rollout] = {}
    for number, (name, segments) in enumerate(procedures.items(), start=1):
        played = play(market, segments, run.config.env, run.config.warm_up_bars)
        rollouts[name] = rollout_of(name, played, panel, market, run.folds)
        on(f"rolled out {name} ({number} of {len(procedures)})")
    rows = stitched_test(run.folds)
    cash = hold_cash(market, rows, run.config.env)
    held = buy_and_hold(market, rows, run.config.env)
    rollouts[CASH] = rollout_of(CASH, cash, panel, market, run.folds)
    rollouts[BUY_AND_HOLD] = rollout_of(BUY_AND_HOLD, held, panel, market, run.folds)
    return rollouts


def rollout_of(
    name: str, played: Trajectory, panel: Panel, market: Market, folds: Sequence[Fold]
) -> Rollout:
    """Convert a trajectory from micro-units into the floats that statistics read.

    Notional and costs are in US dollars. The cost of a fill is its commission and sell fees, plus
    what spread and impact took: the distance of its price from the open. Interest, earned or paid,
    is part of the return and no cost. An account that loses everything (one with margin can) ends
    there: `ruined_at`.
    """
    filled = np.abs(played.fill_micro) / MICRO  # (R, N)
    price = np.nan_to_num(played.fill_price)
    slippage = (filled * np.abs(price - np.nan_to_num(played.open))).sum(axis=1)
    equity = played.equity_micro / MICRO
    value = played.quantity_micro / MICRO * market.mark[played.rows]  # (R+1, N)
    notional = (filled * price).sum(axis=1)
    cost = slippage + played.fee_micro.sum(axis=1) / MICRO
    ruin = ruined_at(played.equity_micro)
    equity[ruin:], value[ruin:] = RUINED_USD, 0.0
    notional[ruin:], cost[ruin:] = 0.0, 0.0
    fold_of_row = np.zeros(panel.n_rows, np.int64)
    for fold in folds:
        fold_of_row[fold.test.start : fold.test.stop] = fold.index
    return Rollout(
        name=name,
        closed_at=panel.closed_at[played.rows],
        equity_usd=equity,
        weights=value / equity[:, None],
        turnover=notional / equity[:-1],
        cost_usd=cost,
        fold=fold_of_row[played.rows[1:]],
    )


def ruined_at(equity_micro: np.ndarray) -> int:
    """Return the first row (R+1,) without equity above zero; R+1 if there is none.

    From there on nothing of the account counts: nobody would lend to it, so that what the kernel
    makes of it afterwards, even a recovery, is no return that anyone could have had. Its equity
    is put at one micro-dollar, a loss of everything that ratios and logarithms can still hold.
    """
    lost = np.flatnonzero(equity_micro <= 0)
    return int(lost[0]) if lost.size else equity_micro.shape[0]
