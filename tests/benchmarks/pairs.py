"""Two sides in one run. In: two timed functions. Out: alternated measurements, and a figure."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple


class Pairs(NamedTuple):
    """Measurements of both sides, in the order in which they were taken."""

    ours: list[float]
    peer: list[float]


def alternate(ours: Callable[[], float], peer: Callable[[], float], n_pairs: int) -> Pairs:
    """Measure peer, ours, peer, ours, ... so that a busy machine disturbs both alike."""
    both = [(peer(), ours()) for _ in range(n_pairs)]
    return Pairs([one for _, one in both], [other for other, _ in both])


def times_better(name: str, pairs: Pairs, detail: str) -> Mapping[str, Any]:
    """Return the figure `peer / ours`: how many times less of a thing we need."""
    return _figure(name, [b / a for a, b in zip(*pairs, strict=True)], "times", pairs, detail)


def share_of_peer(name: str, pairs: Pairs, detail: str) -> Mapping[str, Any]:
    """Return the figure `ours / peer`, for targets that say "at most"."""
    return _figure(name, [a / b for a, b in zip(*pairs, strict=True)], "of peer", pairs, detail)


def _figure(
    name: str, ratios: list[float], unit: str, pairs: Pairs, detail: str
) -> Mapping[str, Any]:
    return {
        "name": name,
        "value": round(median(ratios), 3),
        "unit": unit,
        "ours": round(median(pairs.ours), 4),
        "peer": round(median(pairs.peer), 4),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "detail": f"{detail}; median of {len(ratios)} pairs",
    }


def worst(figures: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the case to report: the least where more is better, the most where less is.

    Its detail names the values of the others.
    """
    pick = max if figures[0]["unit"] == "of peer" else min
    chosen = pick(figures, key=lambda figure: figure["value"])
    others = "; ".join(
        f"{other['value']}: {other['detail']}" for other in figures if other is not chosen
    )
    return {**chosen, "detail": f"{chosen['detail']}. Worst of {len(figures)} cases ({others})"}
