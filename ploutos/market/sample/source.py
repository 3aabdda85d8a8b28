"""The source `sample`. In: the name of a data set. Out: its bars and macro series, verified."""

import io
import json
from importlib.resources import files
from importlib.resources.abc import Traversable

import polars as pl

from ploutos.errors import SourceError
from ploutos.market.config import SampleSource
from ploutos.market.data import FetchTerms, MarketData
from ploutos.store import digest_bytes

TABLES = ("bars", "macro", "reference")
SAMPLE_EXCHANGE = "XNYS"


def fetch_sample(source: SampleSource, terms: FetchTerms) -> MarketData:
    """Load a data set that travels with the package.

    Raises
    ------
    SourceError
        If a file of it is missing or does not have the digest in its `provenance.json`, or if
        another exchange than its own is asked for.
    """
    if terms.exchange != SAMPLE_EXCHANGE:
        raise SourceError(
            f"the sample {source.name} follows the exchange {SAMPLE_EXCHANGE}, "
            f"received {terms.exchange!r}. Leave the exchange at its default."
        )
    return load_sample(source.name, files("ploutos.market.sample").joinpath(source.name))


def load_sample(name: str, root: Traversable) -> MarketData:
    """Load a data set out of a folder that the build script wrote.

    Raises
    ------
    SourceError
        If a file is missing or does not have the digest in `provenance.json`.
    """
    try:
        provenance = json.loads(root.joinpath("provenance.json").read_bytes())
        digests: dict[str, str] = provenance["files"]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(root, "provenance.json", str(error)) from error
    frames = {table: _load(root, f"{table}.parquet", digests) for table in TABLES}
    return MarketData(
        name=name,
        bars=frames["bars"],
        macro=frames["macro"],
        reference=frames["reference"],
        missing_series=tuple(provenance["missing_series"]),
        exchange=SAMPLE_EXCHANGE,
        provenance=provenance,
    )


def _load(root: Traversable, name: str, digests: dict[str, str]) -> pl.DataFrame:
    try:
        encoded = root.joinpath(name).read_bytes()
    except OSError as error:
        raise _damaged(root, name, str(error)) from error
    if digest_bytes(encoded) != digests.get(name):
        raise _damaged(
            root, name, f"expected SHA-256 {digests.get(name)}, received {digest_bytes(encoded)}"
        )
    return pl.read_parquet(io.BytesIO(encoded))


def _damaged(root: Traversable, name: str, what: str) -> SourceError:
    return SourceError(f"the sample file {root.joinpath(name)} is damaged: {what}. Install again.")
