"""What an environment stands on. In: a block ref, a panel, a market or a frame. Out: a `Batch`."""

from typing import TYPE_CHECKING, Any

from ploutos.block import Block, BlockRef, attach
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market, market_of
from ploutos.env.scaler import Scaler, fit_scaler
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.panel import Panel

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Data = BlockRef | Panel | Market | pd.DataFrame | pl.DataFrame


def bind(
    data: "Data",
    config: EnvConfig | None,
    rows: Rows | None,
    scaler: Scaler | None,
    sizes: tuple[int, int],
) -> tuple[Batch, Block | None]:
    """Build a batch of `sizes` (environments, threads) over `data`; a ref is attached to.

    Rows default to those after the warm-up, the scaler to one that is fitted on the rows. The
    block, if there is one, is the caller's to close.

    Raises
    ------
    EnvironmentConfigError
        If the data are none of what an environment can stand on, or do not fit the config; if
        they are a `Market`, shared by many environments, without rows or scaler.
    """
    config = config or EnvConfig()
    if isinstance(data, Market):
        if rows is None or scaler is None:
            raise EnvironmentConfigError(
                "expected rows and a scaler together with a Market, which has no warm-up to leave "
                "out. Pass them, or the panel."
            )
        return Batch(data, scaler, config, rows, *sizes), None
    block = attach(data) if isinstance(data, BlockRef) else None
    try:
        panel = block.panel if block is not None else _panel_of(data)
        rows = rows or Rows(start=panel.meta.first_row, stop=panel.n_rows)
        scaler = scaler or fit_scaler(panel, rows, config.clip)
        return Batch(market_of(panel), scaler, config, rows, *sizes), block
    except BaseException:
        if block is not None:
            block.close()
        raise


def _panel_of(data: Any) -> Panel:
    if isinstance(data, Panel):
        return data
    if not hasattr(data, "columns"):
        raise EnvironmentConfigError(
            f"expected a BlockRef, a Panel or a frame as data, received {type(data).__name__}."
        )
    # Only here, because workers that attach a block must not load Polars and pandas.
    from ploutos.panel.frame import panel_of_frame  # noqa: PLC0415

    return panel_of_frame(data)


def row_option(options: dict[str, Any]) -> int:
    """Return the row that reset options ask for.

    Raises
    ------
    EnvironmentConfigError
        If they hold anything else.
    """
    if set(options) != {"row"}:
        raise EnvironmentConfigError(
            f"expected no reset options but 'row', received {sorted(options)}."
        )
    return int(options["row"])
