"""Catalog rows and leaks as text. In: rows, leaks. Out: lines for a terminal, or Markdown."""

import textwrap
from collections.abc import Iterator, Sequence

from ploutos.features.feature import MAX_WARM_UP_BARS, Feature
from ploutos.features.leaks import Leak

_MEANING = {
    "truncation": "later bars were cut off",
    "doubling": "later prices and volumes were doubled",
    "shuffling": "later bars were put in another order",
    "hiding": "later volumes were hidden",
}
_FUTURE = (
    "A feature must not change when later bars do. What usually does: shift(-n), a centred window, "
    "a mean, deviation, extreme or rank of the whole column, a backward fill."
)
_WARM_UP = (
    "After its warm-up a feature must not tell where the history starts. Declare more warm_up_bars "
    f"(at most {MAX_WARM_UP_BARS}), or compute it over a window."
)

PAGE_HEAD = """# The feature catalog

{technical} technical and {macro} macro features. This page is made of the catalog by
`ploutos features --format markdown > docs/features.md`; a test holds the two equal.

- Every value is known at the close of its bar and depends on no later one. It is missing in the
  first *warm-up* bars of a symbol; after them it does not depend on where the history starts. The
  head of each family's file tells where else a value is missing.
- No value changes when prices are multiplied by a number or a split falls in between: prices are
  adjusted forward for splits and dividends.
- WilderN(x) is the exponential mean with weight 1 / N, EMAn that with weight 2 / (n + 1); both
  start on the first value. ATR14 is Wilder14 of the true range. TP is (high + low + close) / 3.
- Macro features are computed on the series' own observations and joined by the instant of release.

[Features of your own](own-features.md) take one row each.
"""


def catalog_text(rows: Sequence[Feature], width: int = 80) -> str:
    """Return rows as text, family by family, in lines of at most `width` characters."""
    lines: list[str] = []
    for family, members in _by_family(rows):
        lines += ["", f"{family.upper().replace('_', ' ')} ({len(members)})"]
        for row in members:
            facts = f"warm-up {row.warm_up_bars:>3} bars, {row.unit}"
            lines += ["", *_wrapped(f"{row.name:<28}  {facts}", width, " " * 30)]
            lines += _wrapped(f"    {row.formula}", width, " " * 4)
            lines += _wrapped(f"    [{row.source}]", width, " " * 5)
    return "\n".join(lines[1:])


def catalog_page(technical: Sequence[Feature], macro: Sequence[Feature]) -> str:
    """Return the whole catalog as a page in Markdown."""
    parts = [PAGE_HEAD.format(technical=len(technical), macro=len(macro))]
    for family, members in _by_family([*technical, *macro]):
        parts.append(f"## {family.replace('_', ' ').capitalize()}\n\n{_markdown_table(members)}")
    return "\n".join(parts)


def leaks_text(leaks: Sequence[Leak], width: int = 80) -> str:
    """Return leaks as text: for each feature its first leaking bar, and what to do about it."""
    lines: list[str] = []
    by_name: dict[str, list[Leak]] = {}
    for leak in leaks:
        by_name.setdefault(leak.feature, []).append(leak)
    for own in by_name.values():
        lines += [line for part in _of_feature(own) for line in _wrapped(part, width, " " * 4)]
        lines.append("")
    if any(leak.check != "warm-up" for leak in leaks):
        lines += [*_wrapped(_FUTURE, width, ""), ""]
    if any(leak.check == "warm-up" for leak in leaks):
        lines += [*_wrapped(_WARM_UP, width, ""), ""]
    return "\n".join(lines[:-1])


def _of_feature(own: Sequence[Leak]) -> Iterator[str]:
    future = [leak for leak in own if leak.check != "warm-up"]
    late = [leak for leak in own if leak.check == "warm-up"]
    if future:
        first = min(future, key=lambda leak: leak.bar)
        yield f"{first.feature} knows what comes later"
        full, changed = _values(first)
        yield (
            f"  {_place(first)}: {full}, but {changed} when {_MEANING[first.check]} "
            f"(bar {first.bars_known} and after)"
        )
        yield f"  found by {', '.join(leak.check for leak in future)}"
    for leak in late:
        yield f"{leak.feature} has a longer memory than its warm-up"
        full, changed = _values(leak)
        yield (
            f"  {_place(leak)}: {full}, but {changed} when the history starts at bar "
            f"{leak.bars_known}"
        )


def _place(leak: Leak) -> str:
    return f"{leak.symbol}, bar {leak.bar} ({leak.closed_at:%Y-%m-%d})"


def _values(leak: Leak) -> tuple[str, str]:
    """Return both values, with as many digits as tell them apart."""
    values = (leak.expected, leak.received)
    for digits in (6, 17):
        texts = tuple("missing" if one is None else f"{one:.{digits}g}" for one in values)
        if texts[0] != texts[1]:
            break
    return texts[0], texts[1]


def _by_family(rows: Sequence[Feature]) -> Iterator[tuple[str, list[Feature]]]:
    families = dict.fromkeys(row.family for row in rows)
    for family in families:
        yield family, [row for row in rows if row.family == family]


def _markdown_table(rows: Sequence[Feature]) -> str:
    lines = ["| name | warm-up, bars | unit | formula | source |", "|---|---:|---|---|---|"]
    for row in rows:
        texts = (f"`{row.name}`", str(row.warm_up_bars), row.unit, row.formula, row.source)
        cells = (text.replace("|", "\\|").replace("*", "\\*") for text in texts)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
