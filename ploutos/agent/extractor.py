"""A policy's first layers. In: an encoder's form. Out: SB3's extractor and its arguments."""

from typing import Any

from ploutos.agent.config import EncoderConfig, RowEncoder, SymbolEncoder
from ploutos.agent.encoders.row import MarketExtractor
from ploutos.agent.encoders.symbol import SymbolExtractor
from ploutos.agent.encoders.window import WindowExtractor
from ploutos.agent.market_rows import Layout, MarketSource
from ploutos.errors import PolicyError


def extractor_arguments(
    encoder: EncoderConfig, source: MarketSource | None, layout: Layout | None
) -> dict[str, Any]:
    """Return the part of SB3's `policy_kwargs` that describes the features extractor.

    Parameters
    ----------
    encoder : RowEncoder, SymbolEncoder or WindowEncoder
        The form.
    source : MarketSource, optional
        What row numbers stand for, where observations come by reference.
    layout : Layout, optional
        Of the observations; all but a row encoder need it.

    Raises
    ------
    PolicyError
        If it is needed and there is none.
    """
    if isinstance(encoder, RowEncoder):
        return {
            "features_extractor_class": MarketExtractor,
            "features_extractor_kwargs": {"width": encoder.width, "source": source},
        }
    if layout is None:
        raise PolicyError(
            f"expected the layout of the observations for a {encoder.kind} encoder, received none: "
            "their length alone does not say how many features a symbol has."
        )
    kind = SymbolExtractor if isinstance(encoder, SymbolEncoder) else WindowExtractor
    return {
        "features_extractor_class": kind,
        "features_extractor_kwargs": {"encoder": encoder, "layout": layout, "source": source},
    }
