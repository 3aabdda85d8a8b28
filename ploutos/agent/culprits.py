"""Names for what went wrong. In: indices into a rollout. Out: words: bar, symbol, feature.

Used only after a guard has fired, so nothing here has to be fast.
"""

from datetime import UTC, datetime

import numpy as np

from ploutos.env.kernel import Setup
from ploutos.env.market import Market
from ploutos.env.observe import market_length
from ploutos.panel import Panel

UNKNOWN_ROW = -1
_ACCOUNT = ("cash", "drawdown", "value of all positions", "drawdown stop")
_OF_SYMBOL = ("weight", "return since entry", "age", "last action")


def column_name(panel: Panel, setup: Setup, index: int) -> str:
    """Return what an observation holds at `index`, as `ploutos.env.observe` lays it out."""
    if setup.by_reference:
        return "the row's number" if index == 0 else _account_name(panel, index - 1)
    length = market_length(panel)
    back, place = divmod(index, length)
    back = setup.window_bars - 1 - back
    if back < 0:
        return _account_name(panel, index - setup.window_bars * length)
    ago = f", {back} bars before" if back else ""
    return _market_name(panel, place) + ago


def _market_name(panel: Panel, place: int) -> str:
    meta, n_features = panel.meta, panel.n_features
    if place < panel.n_symbols * n_features:
        symbol, feature = divmod(place, n_features)
        return f"feature {meta.feature_names[feature]} of {meta.symbols[symbol]}"
    names = [f"macro feature {name}" for name in meta.macro_names]
    names += [f"validity of {name}" for name in (*meta.symbols, *meta.macro_names)]
    return names[place - panel.n_symbols * n_features]


def _account_name(panel: Panel, place: int) -> str:
    if place < len(_ACCOUNT):
        return f"the account's {_ACCOUNT[place]}"
    kind, symbol = divmod(place - len(_ACCOUNT), panel.n_symbols)
    return f"the account's {_OF_SYMBOL[kind]} of {panel.meta.symbols[symbol]}"


def row_name(panel: Panel, row: int) -> str:
    """Return a row and its date; rows that nobody knows are called so."""
    if not 0 <= row < panel.n_rows:
        return "a row of an episode that began and ended inside the rollout"
    closed_on = datetime.fromtimestamp(int(panel.closed_at[row]) // 10**9, UTC).date()
    return f"panel row {row} (closed {closed_on.isoformat()})"


def moved_most(panel: Panel, market: Market, row: int) -> str:
    """Return the symbol whose price moved most from `row` to the next, and by what factor."""
    if not 0 <= row < panel.n_rows - 1:
        return "no symbol to name"
    with np.errstate(all="ignore"):
        factor = market.split_ratio[row + 1] * market.mark[row + 1] / market.mark[row]
        size = np.abs(np.log(factor))
    symbol = int(np.argmax(np.where(np.isnan(size), np.inf, size)))
    name = panel.meta.symbols[symbol]
    return f"{name} moved most on the next bar, by a factor of {factor[symbol]:.4g}"


def rows_of(starts: np.ndarray, first_row: np.ndarray, last_row: np.ndarray | None) -> np.ndarray:
    """Return the rows at which the decisions of a rollout were taken.

    Parameters
    ----------
    starts : (S + 1, E) bool
        Whether an episode begins at each of S decisions and at the one after them.
    first_row : (E,) int64
        Rows of the first decision.
    last_row : (E,) int64 or None
        Rows of the decision after the last one, if they are known.

    Returns
    -------
    (S, E) int64; `UNKNOWN_ROW` in an episode that began and ended inside: it began at random.
    """
    n_steps = starts.shape[0] - 1
    step = np.arange(n_steps)[:, None]
    begun = np.cumsum(starts[1:], axis=0)  # starts in 1 .. s + 1
    before = np.concatenate([np.zeros_like(begun[:1]), begun[:-1]])  # starts in 1 .. s
    rows = np.where(before == 0, first_row + step, UNKNOWN_ROW)
    if last_row is not None:
        after = begun[-1] - before  # starts in s + 1 .. S
        rows = np.where(after == 0, last_row - (n_steps - step), rows)
    return rows
