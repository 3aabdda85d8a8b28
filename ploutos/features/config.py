"""What the feature stage can be told. In: nothing. Out: the frozen `FeatureConfig`."""

from typing import Literal

from pydantic import Field

from ploutos.config import FrozenConfig

Family = Literal[
    "trend",
    "momentum",
    "mean_reversion",
    "volatility",
    "volume",
    "candles",
    "support_resistance",
    "statistics",
    "cross_section",
    "seasonal",
]


class FeatureConfig(FrozenConfig):
    """Which features are computed, and how old a macro value may be."""

    families: tuple[Family, ...] | None = Field(
        default=None,
        min_length=1,
        description="Families of technical features to compute; all of them when empty.",
    )
    own_features: tuple[str, ...] = Field(
        default=(),
        description="Features of your own, computed after those of the catalog: `module:attribute` "
        "or `file.py:attribute`; without an attribute, `FEATURES` is read.",
    )
    macro_max_age_days: int = Field(
        default=7,
        ge=1,
        le=366,
        description="Age in days after which a released macro value counts as missing.",
    )
