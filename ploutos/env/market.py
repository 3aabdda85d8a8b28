"""The panel as the kernel sees it. In: a panel. Out: `Market`, a tuple of read-only arrays."""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.panel import Panel
from ploutos.portfolio.fees import sell_fees

# The window of the trailing median volume, in bars: four weeks of daily ones.
MEDIAN_VOLUME_BARS = 20
US_EXCHANGES = ("XNYS", "XNAS", "XASE", "ARCX", "BATS", "IEXG")
NS_PER_DAY = 86_400 * 10**9

# Columns of `Market.clock`.
HAS_EVENT, DAYS, SEC_FEE, TAF, TAF_MAXIMUM, BENCHMARK = range(6)


class Market(NamedTuple):
    """What the kernel reads of the market, by row number.

    features (T, N, F) float32; macro (T, M) float32; valid (T, N), macro_valid (T, M) uint8;
    split_ratio, cash_dividend (T, N) float64: views of the panel, so of the shared block.

    open (T, N) float64, NaN = no bar; mark (T, N) float64: the last close known at the row, 0
    before the first bar; volume (T, N) float64: median volume of the last 20 rows in shares of
    the row, 0 = unknown; clock (T, 6) float64: 1 where any symbol has a split or a dividend,
    days since the row before (of 24 hours, with fractions), the three sell fees of the date
    (`ploutos.portfolio.fees`), the log return of the equal-weight benchmark since the row before.
    These four are computed: 24 bytes per bar and symbol.
    """

    features: np.ndarray
    macro: np.ndarray
    valid: np.ndarray
    macro_valid: np.ndarray
    split_ratio: np.ndarray
    cash_dividend: np.ndarray
    open: np.ndarray
    mark: np.ndarray
    volume: np.ndarray
    clock: np.ndarray


def market_of(panel: Panel) -> Market:
    """Bind a panel: views of its arrays, and the few computed ones; all read-only."""
    mark = carry_forward(np.ascontiguousarray(panel.prices[:, :, 3]))
    fees = sell_fees(panel.closed_at)
    if panel.meta.exchange not in US_EXCHANGES:
        fees = np.zeros_like(fees)
    clock = np.zeros((panel.n_rows, 6))
    clock[:, HAS_EVENT] = ((panel.split_ratio != 1) | (panel.cash_dividend != 0)).any(axis=1)
    clock[1:, DAYS] = np.diff(panel.closed_at) / NS_PER_DAY
    clock[:, SEC_FEE : TAF_MAXIMUM + 1] = fees
    clock[:, BENCHMARK] = benchmark_log_return(
        mark, panel.valid, panel.split_ratio, panel.cash_dividend
    )
    market = Market(
        features=panel.features,
        macro=panel.macro,
        valid=panel.valid,
        macro_valid=panel.macro_valid,
        split_ratio=panel.split_ratio,
        cash_dividend=panel.cash_dividend,
        open=np.ascontiguousarray(panel.prices[:, :, 0]),
        mark=mark,
        volume=median_volume(np.ascontiguousarray(panel.prices[:, :, 4]), panel.split_ratio),
        clock=clock,
    )
    return Market(*(_read_only(array) for array in market))


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written: compiled code is made for one kind of array.

    A copy is made only of an array that does not lie row by row, which none in a block does.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@compiled
def carry_forward(close: np.ndarray) -> np.ndarray:
    """Return (T, N) closes with gaps filled by the last known close, 0 before the first one.

    A split on a date without a bar waits in the panel for the symbol's next bar, so the carried
    price and the number of shares held always belong together.
    """
    mark = close.copy()
    for t in range(mark.shape[0]):
        for n in range(mark.shape[1]):
            if np.isnan(mark[t, n]):
                mark[t, n] = mark[t - 1, n] if t > 0 else 0.0
    return mark


@compiled
def median_volume(volume: np.ndarray, split_ratio: np.ndarray) -> np.ndarray:
    """Return the trailing median volume (T, N), in shares as they count at each row.

    Rows without a volume are left out; where the whole window has none, the median is 0.

    Parameters
    ----------
    volume : (T, N) float64
        Shares as traded, NaN = no bar.
    split_ratio : (T, N) float64
        New shares per old share: a volume before a split is multiplied by it.
    """
    T, N = volume.shape
    result = np.zeros((T, N))
    window = np.empty(MEDIAN_VOLUME_BARS)
    for n in range(N):
        for t in range(T):
            count, ratio = 0, 1.0
            for back in range(min(MEDIAN_VOLUME_BARS, t + 1)):
                known = volume[t - back, n] * ratio
                if not np.isnan(known):
                    at = count
                    while at > 0 and window[at - 1] > known:
                        window[at] = window[at - 1]
                        at -= 1
                    window[at] = known
                    count += 1
                ratio *= split_ratio[t - back, n]
            if count > 0:
                result[t, n] = 0.5 * (window[(count - 1) // 2] + window[count // 2])
    return result


@compiled
def benchmark_log_return(
    mark: np.ndarray, valid: np.ndarray, split_ratio: np.ndarray, cash_dividend: np.ndarray
) -> np.ndarray:
    """Return (T,) log returns, from the row before, of equal weights in what was valid there.

    Closes to closes, dividends included, rebalanced at every close without costs; 0 at the first
    row and where nothing was valid.
    """
    result = np.zeros(mark.shape[0])
    for t in range(1, mark.shape[0]):
        total, count = 0.0, 0
        for n in range(mark.shape[1]):
            if valid[t - 1, n] != 0:
                total += split_ratio[t, n] * (mark[t, n] + cash_dividend[t, n]) / mark[t - 1, n]
                count += 1
        if count > 0:
            result[t] = np.log(total / count)
    return result
