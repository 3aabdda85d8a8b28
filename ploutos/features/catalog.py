"""The catalog: every feature of every family. In: the family files. Out: rows, names, a digest."""

import json
from typing import get_args

from ploutos.errors import FeatureError
from ploutos.features import (
    candles,
    cross_section,
    mean_reversion,
    momentum,
    seasonal,
    statistics,
    support_resistance,
    trend,
    volatility,
    volume,
)
from ploutos.features.bases import BASES
from ploutos.features.config import Family, FeatureConfig
from ploutos.features.expression import Expression
from ploutos.features.feature import MAX_WARM_UP_BARS, Feature
from ploutos.features.macro import MACRO_CATALOG
from ploutos.features.own import load_features
from ploutos.features.program import identity
from ploutos.store import digest_json

FAMILIES: tuple[str, ...] = get_args(Family)

CATALOG: tuple[Feature, ...] = (
    *trend.FEATURES,
    *momentum.FEATURES,
    *mean_reversion.FEATURES,
    *volatility.FEATURES,
    *volume.FEATURES,
    *candles.FEATURES,
    *support_resistance.FEATURES,
    *statistics.FEATURES,
    *cross_section.FEATURES,
    *seasonal.FEATURES,
)


def select_features(config: FeatureConfig) -> tuple[Feature, ...]:
    """Return the technical features of the families that the config asks for, in catalog order.

    The user's own features follow. Their module is imported, so this runs its code.

    Raises
    ------
    FeatureError
        If a module of own features cannot be loaded, or one breaks a rule of `check_catalog`.
    """
    picked = tuple(
        feature
        for feature in CATALOG
        if config.families is None or feature.family in config.families
    )
    if not config.own_features:
        return picked
    own = (feature for reference in config.own_features for feature in load_features(reference))
    features = (*picked, *own)
    check_catalog(features)
    return features


def check_catalog(features: tuple[Feature, ...]) -> None:
    """Check that names are unique and warm-ups are within bounds.

    Raises
    ------
    FeatureError
        Naming the first feature that breaks a rule.
    """
    seen: set[str] = set()
    for feature in features:
        if feature.name in seen:
            raise FeatureError(f"feature names must be unique; '{feature.name}' occurs twice")
        if not 0 <= feature.warm_up_bars <= MAX_WARM_UP_BARS:
            raise FeatureError(
                f"feature '{feature.name}': expected a warm-up of 0 to {MAX_WARM_UP_BARS} bars, "
                f"received {feature.warm_up_bars}"
            )
        seen.add(feature.name)


def catalog_digest(config: FeatureConfig, features: tuple[Feature, ...] | None = None) -> str:
    """Return 64 hexadecimal digits that change when any value of the stage may change.

    Parameters
    ----------
    config
        Its families pick the technical features; its maximum age belongs to the macro features.
    features
        The technical features, when they are not those that `config` picks.

    Notes
    -----
    Covers order, names, partitions, warm-ups and the expressions of technical and macro features
    and of the base columns. Where a row is a Polars expression, a Polars release that serialises
    it in another way also changes the digest.
    """
    technical = select_features(config) if features is None else features
    return digest_json(
        {
            "technical": [_identity(feature) for feature in technical],
            "macro": [_identity(feature) for feature in MACRO_CATALOG],
            "macro_max_age_days": config.macro_max_age_days,
            "bases": {name: identity([expression]) for name, expression in BASES.items()},
        }
    )


def _identity(feature: Feature) -> list[object]:
    expression = (
        identity([feature.expression])
        if isinstance(feature.expression, Expression)
        else json.loads(feature.expression.meta.serialize(format="json"))
    )
    return [feature.name, feature.over, feature.warm_up_bars, expression]
