"""Symbols that stopped trading. In: bars. Out: which ended; the data without them, or an error.

What becomes of a holding when its symbol is delisted is not in the bars. Held for ever at its last
price it would flatter every curve, so such a symbol is refused; or left out, where the config
allows it, which is recorded because it makes the rest a choice of survivors.
"""

from dataclasses import replace

import polars as pl

from ploutos.errors import DataError
from ploutos.market.config import QualityConfig
from ploutos.market.data import MarketData
from ploutos.market.grid import is_intraday
from ploutos.market.schema import SHOWN, describe_rows

MAX_SILENT_BARS = 10


def ended_symbols(bars: pl.DataFrame) -> dict[str, str]:
    """Return the symbols whose last bar lies more than 10 bars before the last of all.

    Parameters
    ----------
    bars
        `symbol`, `closed_at`; the bars counted are those of all symbols together.

    Returns
    -------
    dict[str, str]
        The close of the last bar, as text, by symbol; in the order of the symbols.
    """
    closes = bars["closed_at"].unique().sort()
    if closes.is_empty():
        return {}
    allowed = closes[-min(len(closes), MAX_SILENT_BARS + 1)]
    last = bars.group_by("symbol").agg(pl.col("closed_at").max()).sort("symbol")
    ended = last.filter(pl.col("closed_at") < allowed)
    return {symbol: str(closed_at) for symbol, closed_at in ended.iter_rows()}


def leave_out_ended(data: MarketData, config: QualityConfig) -> MarketData:
    """Return daily or longer data without the symbols that ended; recorded in the provenance.

    Raises
    ------
    DataError
        If more symbols ended than `config.max_ended_symbols`.
    """
    ended = {} if is_intraday(data.interval) else ended_symbols(data.bars)
    if len(ended) > config.max_ended_symbols:
        rows = [f"{symbol} at {closed_at}" for symbol, closed_at in list(ended.items())[:SHOWN]]
        raise DataError(
            f"bars of {data.name}: expected every symbol to trade until the end, but more than "
            f"{MAX_SILENT_BARS} bars before it ended {describe_rows(rows, len(ended))}. Delistings "
            "are not modelled: do not ask for the symbol, end the data with it, or allow it to be "
            "left out with quality.max_ended_symbols."
        )
    if not ended:
        return data
    keep = ~pl.col("symbol").is_in(list(ended))
    return replace(
        data,
        bars=data.bars.filter(keep),
        quarantine=data.quarantine.filter(keep),
        provenance=data.provenance | {"ended_symbols": ended},
    )
