"""The same indicators in other libraries. In: one symbol's arrays or a frame. Out: columns."""

import numpy as np
import polars as pl
import polars_talib
import talib

# Rows of the catalog that TA-Lib, polars-talib and pandas-ta have as well, with their arguments.
SHARED: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "sma_distance_10": ("sma", ("close",), (10,)),
    "sma_distance_20": ("sma", ("close",), (20,)),
    "sma_distance_50": ("sma", ("close",), (50,)),
    "sma_distance_100": ("sma", ("close",), (100,)),
    "sma_distance_200": ("sma", ("close",), (200,)),
    "rsi_14": ("rsi", ("close",), (14,)),
    "plus_di_14": ("plus_di", ("high", "low", "close"), (14,)),
    "minus_di_14": ("minus_di", ("high", "low", "close"), (14,)),
    "adx_14": ("adx", ("high", "low", "close"), (14,)),
    "atr_ratio_14": ("natr", ("high", "low", "close"), (14,)),
    "cci_20": ("cci", ("high", "low", "close"), (20,)),
    "mfi_14": ("mfi", ("high", "low", "close", "volume"), (14,)),
    "williams_r_14": ("willr", ("high", "low", "close"), (14,)),
    "ultimate_oscillator_7_14_28": ("ultosc", ("high", "low", "close"), (7, 14, 28)),
    "trix_15": ("trix", ("close",), (15,)),
    "momentum_21": ("roc", ("close",), (21,)),
    "momentum_63": ("roc", ("close",), (63,)),
    "slope_20": ("linearreg_slope", ("close",), (20,)),
    "slope_60": ("linearreg_slope", ("close",), (60,)),
    "high_distance_20": ("max", ("high",), (20,)),
    "high_distance_60": ("max", ("high",), (60,)),
    "low_distance_20": ("min", ("low",), (20,)),
    "low_distance_60": ("min", ("low",), (60,)),
}
# Whose values TA-Lib has too, but for a factor: what the correctness gate compares. Not MFI:
# typical prices that are equal but for a rounding error rise on one side and fall on the other.
GATED: dict[str, float] = {
    "rsi_14": 100.0,
    "plus_di_14": 100.0,
    "minus_di_14": 100.0,
    "adx_14": 100.0,
    "atr_ratio_14": 100.0,
    "cci_20": 100.0,
    "williams_r_14": 100.0,
    "ultimate_oscillator_7_14_28": 100.0,
    "trix_15": 100.0,
}


def with_talib(symbols: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    """Call TA-Lib once per symbol and indicator."""
    return [
        [
            getattr(talib, name.upper())(*(own[one] for one in inputs), *arguments)
            for name, inputs, arguments in SHARED.values()
        ]
        for own in symbols
    ]


def with_polars_talib(frame: pl.DataFrame) -> pl.DataFrame:
    """Evaluate polars-talib's expressions over the symbols."""
    return frame.select(
        _polars_talib(name, inputs, arguments).over("symbol").alias(feature)
        for feature, (name, inputs, arguments) in SHARED.items()
    )


def _polars_talib(name: str, inputs: tuple[str, ...], arguments: tuple[float, ...]) -> pl.Expr:
    function = getattr(polars_talib, name)
    return function(*(pl.col(one) for one in inputs), *arguments)
