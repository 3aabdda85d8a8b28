"""Features: bars and macro series become scale-free, causal columns, one catalog row each."""

from ploutos.features.catalog import CATALOG, catalog_digest, select_features
from ploutos.features.config import FeatureConfig
from ploutos.features.engine import compute_features, compute_matrix
from ploutos.features.engineer import FeatureEngineer
from ploutos.features.feature import Feature
from ploutos.features.live import LiveFeatures
from ploutos.features.macro import MACRO_CATALOG, MACRO_SERIES, compute_macro_features

__all__ = [
    "CATALOG",
    "MACRO_CATALOG",
    "MACRO_SERIES",
    "Feature",
    "FeatureConfig",
    "FeatureEngineer",
    "LiveFeatures",
    "catalog_digest",
    "compute_features",
    "compute_macro_features",
    "compute_matrix",
    "select_features",
]
