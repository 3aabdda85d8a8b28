"""A panel out of a frame that a user already has. In: OHLCV, pandas or Polars. Out: a panel."""

from typing import Any

from ploutos.features import FeatureConfig, FeatureEngineer
from ploutos.market import MarketData
from ploutos.market.data import MACRO_SERIES
from ploutos.market.schema import empty_bars, empty_macro
from ploutos.panel.build import align
from ploutos.panel.model import Panel


def panel_of_frame(frame: Any, time_column: str = "closed_at") -> Panel:
    """Compute all features of a frame and align them; no macro series, nothing is written.

    Parameters
    ----------
    frame
        A pandas or Polars frame as `FeatureEngineer.compute` takes it.
    time_column
        Column with the instant or date of each bar.

    Raises
    ------
    FeatureError
        If the frame is not one of bars.
    PanelError
        If it does not have more bars than the longest warm-up.
    """
    data = MarketData(
        name="frame",
        bars=FeatureEngineer(time_column=time_column).bars_of(frame),
        macro=empty_macro(),
        reference=empty_bars(),
        missing_series=MACRO_SERIES,
    )
    return align(data, FeatureConfig())
